//! What the tokens of a text say, wherever in it they stand.
//!
//! A walk over a syntax tree misses what its author forgot; tokens cannot be missed. So whether a
//! query only reads is proven here, and doubt counts as a write.

use pg_query::protobuf::{KeywordKind, ScanToken, Token};

use crate::analysis::bits;
use crate::functions::{self, Volatility};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Bits of the analysis.
    pub(crate) traits: u64,
    /// Identifiers, without quotes.
    pub(crate) names: Vec<Box<str>>,
    /// Calls a function that takes an advisory lock for the session.
    pub(crate) session_lock: bool,
    /// Calls `set_config`; `Some(true)` if every call says that it is for the transaction only.
    pub(crate) set_config: Option<bool>,
    /// Highest `$n`.
    pub(crate) parameter_count: u16,
}

/// Words that may stand before a parenthesis without being a function.
const NOT_FUNCTIONS: &[&str] = &[
    "over",
    "filter",
    "by",
    "copy",
    "explain",
    "rollup",
    "cube",
    "sets",
    "materialized",
    "within",
    "ordinality",
];

struct Scan<'a> {
    text: &'a str,
    tokens: &'a [ScanToken],
    partners: Vec<Option<usize>>,
}

/// For each parenthesis the place of its other half.
fn partners(tokens: &[ScanToken]) -> Vec<Option<usize>> {
    let mut partners = vec![None; tokens.len()];
    let mut open = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token.token() {
            Token::Ascii40 => open.push(index),
            Token::Ascii41 => {
                if let Some(start) = open.pop() {
                    if let Some(place) = partners.get_mut(start) {
                        *place = Some(index);
                    }
                    if let Some(place) = partners.get_mut(index) {
                        *place = Some(start);
                    }
                }
            }
            _ => {}
        }
    }
    partners
}

impl<'a> Scan<'a> {
    fn kind(&self, index: usize) -> Option<Token> {
        self.tokens
            .get(index)
            .and_then(|t| Token::try_from(t.token).ok())
    }

    fn word(&self, index: usize) -> &'a str {
        let range = |t: &ScanToken| {
            let (start, end) = (usize::try_from(t.start).ok()?, usize::try_from(t.end).ok()?);
            self.text.get(start..end)
        };
        self.tokens.get(index).and_then(range).unwrap_or_default()
    }

    /// The identifier at this place as PostgreSQL would fold it.
    fn name(&self, index: usize) -> String {
        let word = self.word(index);
        match word.strip_prefix('"').and_then(|w| w.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => word.to_ascii_lowercase(),
        }
    }

    fn before(&self, index: usize) -> Option<Token> {
        index.checked_sub(1).and_then(|i| self.kind(i))
    }

    /// The other parenthesis of the pair.
    fn partner(&self, index: usize) -> Option<usize> {
        self.partners.get(index).copied().flatten()
    }

    /// Whether the word at `index` names a WITH query that has a column list.
    fn is_with_query(&self, index: usize) -> bool {
        let listed = matches!(
            self.before(index),
            Some(Token::With | Token::Recursive | Token::Ascii44)
        );
        let Some(close) = self.partner(index + 1).filter(|_| listed) else {
            return false;
        };
        let mut at = close + 1;
        if self.kind(at) != Some(Token::As) {
            return false;
        }
        at += 1;
        while matches!(self.kind(at), Some(Token::Materialized | Token::Not)) {
            at += 1;
        }
        // A column definition list would begin with a name.
        self.kind(at) == Some(Token::Ascii40)
            && matches!(
                self.kind(at + 1),
                Some(Token::Select | Token::With | Token::Values | Token::Table | Token::Ascii40)
            )
    }

    /// Whether the word at `index` is an alias with a column list behind a parenthesis, as in
    /// `(VALUES (1)) v(a)`; behind DISTINCT ON (...) and OPERATOR(...) it is not.
    fn is_alias(&self, index: usize) -> bool {
        let close = index
            .checked_sub(1)
            .filter(|at| self.kind(*at) == Some(Token::Ascii41));
        let open = close.and_then(|close| self.partner(close));
        open.is_some_and(|open| !matches!(self.before(open), Some(Token::On | Token::Operator)))
    }

    /// Whether the last argument of the call whose parenthesis opens at `index` is `true`.
    fn last_argument_is_true(&self, index: usize) -> bool {
        self.partner(index).is_some_and(|close| {
            self.before(close) == Some(Token::TrueP)
                && self.before(close.saturating_sub(1)) == Some(Token::Ascii44)
        })
    }

    fn call(&self, index: usize, found: &mut Findings) {
        let name = self.name(index);
        let dotted = self.before(index) == Some(Token::Ascii46);
        let not_a_function = matches!(self.before(index), Some(Token::Typecast | Token::As))
            || NOT_FUNCTIONS.contains(&name.as_str())
            || self.is_alias(index)
            || self.is_with_query(index);
        if not_a_function && !dotted {
            return;
        }
        let qualified = dotted && index >= 2;
        let schema = qualified.then(|| self.name(index - 2));
        if name == "set_config" {
            let local = self.last_argument_is_true(index + 1);
            found.set_config = Some(found.set_config.unwrap_or(true) && local);
        }
        found.session_lock |= functions::takes_session_lock(&name);
        found.traits |= match functions::volatility(schema.as_deref(), &name) {
            Volatility::Stable => 0,
            Volatility::Volatile => bits::VOLATILE_FUNCTION,
            Volatility::Unknown => bits::UNKNOWN_FUNCTION,
        };
    }

    fn token(&self, index: usize, token: &ScanToken, found: &mut Findings) {
        let reserved = matches!(
            token.keyword_kind(),
            KeywordKind::ReservedKeyword
                | KeywordKind::ColNameKeyword
                | KeywordKind::TypeFuncNameKeyword
        );
        let kind = self.kind(index);
        let is_name = matches!(kind, Some(Token::Ident | Token::Uident))
            || token.keyword_kind() == KeywordKind::UnreservedKeyword;
        match kind {
            Some(Token::Update) if matches!(self.before(index), Some(Token::For | Token::Key)) => {}
            Some(Token::Into | Token::Insert | Token::Update | Token::DeleteP | Token::Merge) => {
                found.traits |= bits::WRITES;
            }
            Some(Token::For) => {
                let next = self.kind(index + 1);
                if matches!(
                    next,
                    Some(Token::Update | Token::Share | Token::No | Token::Key)
                ) {
                    found.traits |= bits::LOCKING;
                }
            }
            Some(Token::Param) => {
                let number = self
                    .word(index)
                    .trim_start_matches('$')
                    .parse()
                    .unwrap_or(u16::MAX);
                found.parameter_count = found.parameter_count.max(number);
            }
            _ => {}
        }
        // After a dot every word is a name: app.check(1).
        let qualified = self.before(index) == Some(Token::Ascii46);
        // Words such as LEFT are functions as well as keywords.
        let may_be_both = token.keyword_kind() == KeywordKind::TypeFuncNameKeyword
            && !matches!(
                kind,
                Some(Token::Join | Token::Like | Token::Ilike | Token::Overlaps)
            );
        let calls_keyword = reserved && (qualified || may_be_both);
        if calls_keyword && self.kind(index + 1) == Some(Token::Ascii40) {
            self.call(index, found);
        }
        if is_name && !reserved {
            let name = self.name(index);
            let next = self.kind(index + 1);
            let qualifies_a_function =
                next == Some(Token::Ascii46) && self.kind(index + 3) == Some(Token::Ascii40);
            let calls = next == Some(Token::Ascii40);
            if name.starts_with("pg_") && !calls && !qualifies_a_function {
                found.traits |= bits::CATALOG;
            }
            found.names.push(name.into());
            if calls {
                self.call(index, found);
            }
        }
    }
}

/// Looks at all tokens of a text; `None` if the scanner refuses it.
pub(crate) fn scan(text: &str) -> Option<Findings> {
    let result = pg_query::scan(text).ok()?;
    let comment = |t: &ScanToken| matches!(t.token(), Token::CComment | Token::SqlComment);
    let tokens: Vec<ScanToken> = result.tokens.into_iter().filter(|t| !comment(t)).collect();
    let scan = Scan {
        text,
        tokens: &tokens,
        partners: partners(&tokens),
    };
    let mut found = Findings::default();
    for (index, token) in tokens.iter().enumerate() {
        scan.token(index, token, &mut found);
    }
    found.names.sort_unstable();
    found.names.dedup();
    Some(found)
}
