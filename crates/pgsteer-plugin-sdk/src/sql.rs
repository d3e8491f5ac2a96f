//! A look at the text of a statement, for what the proxy does not tell: comments, and what is
//! written where. It splits a text into tokens as PostgreSQL does with `standard_conforming_strings`
//! on, and understands nothing else of SQL.
//!
//! ```
//! use pgsteer_plugin_sdk::sql;
//!
//! assert_eq!(sql::tag("SELECT 1 /* app='web', tenant='42' */", "tenant"), Some("42"));
//! assert_eq!(sql::tag("-- tenant: 42\nSELECT 1", "tenant"), Some("42"));
//! assert_eq!(sql::tag("SELECT '/* tenant=1 */'", "tenant"), None);
//! ```

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A keyword or a name, as it is written.
    Word(&'a str),
    /// A name between double quotes, which are left out; `""` in it stands for one.
    Quoted(&'a str),
    /// A literal between single quotes, which are left out; `''` in it stands for one.
    Text(&'a str),
    /// A literal or a name that does not mean what it looks like: `E'..'`, `B'..'`, `X'..'`,
    /// `N'..'`, `U&'..'`, `U&".."`, and any literal that goes on in another line (`'a'`, a line
    /// break, `'b'`). With everything around it.
    Escaped(&'a str),
    /// A literal between dollar quotes, which are left out.
    Dollar(&'a str),
    /// `$1`
    Parameter(u16),
    /// A number.
    Number(&'a str),
    /// A comment without what surrounds it.
    Comment(&'a str),
    /// Anything else.
    Symbol(char),
}

impl Token<'_> {
    /// Whether it is this word, whatever the case, without quotes.
    #[must_use]
    pub fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word))
    }

    /// The name that it is, as PostgreSQL folds it; `None` if it is none, or one that must be
    /// decoded first.
    #[must_use]
    pub fn as_name(&self) -> Option<String> {
        match self {
            Self::Word(text) => Some(text.to_ascii_lowercase()),
            Self::Quoted(text) => Some(text.replace("\"\"", "\"")),
            _ => None,
        }
    }
}

/// The tokens of a text, in order. What is not closed reaches to the end.
#[must_use]
pub fn tokens(sql: &str) -> Tokens<'_> {
    Tokens { rest: sql }
}

/// Iterator over [`Token`]s.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.rest = self.rest.trim_start_matches(WHITE_SPACE);
        let first = self.rest.chars().next()?;
        Some(match first {
            '-' if self.rest.starts_with("--") => self.line_comment(),
            '/' if self.rest.starts_with("/*") => self.block_comment(),
            '\'' => self.text(),
            '"' => Token::Quoted(self.quoted(1, '"', false)),
            '$' => self.dollar(),
            '0'..='9' => {
                let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
                Token::Number(self.take_while(belongs))
            }
            c if is_name_start(c) => self.word(),
            c => {
                self.take(c.len_utf8());
                Token::Symbol(c)
            }
        })
    }
}

impl<'a> Tokens<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    fn line_comment(&mut self) -> Token<'a> {
        self.take(2);
        Token::Comment(self.take_while(|c| !matches!(c, '\n' | '\r')))
    }

    /// They nest.
    fn block_comment(&mut self) -> Token<'a> {
        let bytes = self.rest.as_bytes();
        let (mut depth, mut at) = (1, 2);
        while depth > 0 && at < bytes.len() {
            match bytes.get(at..at + 2) {
                Some(b"/*") => (depth, at) = (depth + 1, at + 2),
                Some(b"*/") => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
        }
        let whole = self.take(at);
        let inner = whole.get(2..).unwrap_or_default();
        Token::Comment(inner.strip_suffix("*/").unwrap_or(inner))
    }

    /// What is between quotes, after an opening of so many bytes.
    fn quoted(&mut self, opening: usize, quote: char, escapes: bool) -> &'a str {
        self.take(opening);
        let text = self.rest;
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            if character == '\\' && escapes {
                characters.next();
            } else if character == quote {
                if characters.peek().is_none_or(|(_, next)| *next != quote) {
                    self.take(at + quote.len_utf8());
                    return text.get(..at).unwrap_or_default();
                }
                characters.next();
            }
        }
        self.take(text.len())
    }

    /// A plain literal.
    fn text(&mut self) -> Token<'a> {
        let whole = self.rest;
        let inner = self.quoted(1, '\'', false);
        match self.continued(false) {
            false => Token::Text(inner),
            true => Token::Escaped(self.since(whole)),
        }
    }

    /// Takes what goes on with a literal behind its closing quote, in the same mode, as the server
    /// does; whether there was something.
    fn continued(&mut self, escapes: bool) -> bool {
        let mut is_continued = false;
        while let Some(gap) = continuation(self.rest) {
            self.take(gap);
            self.quoted(1, '\'', escapes);
            is_continued = true;
        }
        is_continued
    }

    /// What has been taken of a text.
    fn since(&self, text: &'a str) -> &'a str {
        text.get(..text.len() - self.rest.len()).unwrap_or_default()
    }

    fn word(&mut self) -> Token<'a> {
        let text = self.rest;
        let (opening, quote, escapes) = match text.as_bytes() {
            [b'e' | b'E', b'\'', ..] => (2, '\'', true),
            [b'b' | b'B' | b'x' | b'X' | b'n' | b'N', b'\'', ..] => (2, '\'', false),
            [b'u' | b'U', b'&', b'\'', ..] => (3, '\'', false),
            [b'u' | b'U', b'&', b'"', ..] => (3, '"', false),
            _ => {
                let belongs = |c| is_name_start(c) || c == '$' || c.is_ascii_digit();
                return Token::Word(self.take_while(belongs));
            }
        };
        self.quoted(opening, quote, escapes);
        if quote == '\'' {
            self.continued(escapes);
        }
        Token::Escaped(self.since(text))
    }

    fn dollar(&mut self) -> Token<'a> {
        let after = self.rest.get(1..).unwrap_or_default();
        let tag = after.find('$').and_then(|end| after.get(..end));
        let is_tag = |tag: &&str| {
            !tag.starts_with(|c: char| c.is_ascii_digit())
                && tag.chars().all(|c| is_name_start(c) || c.is_ascii_digit())
        };
        if let Some(tag) = tag.filter(is_tag) {
            let quote = self.take(tag.len() + 2);
            let end = self.rest.find(quote).unwrap_or(self.rest.len());
            let inner = self.take(end);
            self.take(quote.len());
            return Token::Dollar(inner);
        }
        self.take(1);
        let digits = self.take_while(|c| c.is_ascii_digit());
        digits.parse().map_or(Token::Symbol('$'), Token::Parameter)
    }
}

/// Where a literal goes on, behind its closing quote: after white space and line comments with at
/// least one line break, at the next quote.
fn continuation(text: &str) -> Option<usize> {
    const LINE_ENDS: [char; 2] = ['\n', '\r'];
    let mut rest = text.trim_start_matches(WHITE_SPACE);
    while let Some(comment) = rest.strip_prefix("--") {
        let end = comment.find(LINE_ENDS)?;
        rest = comment.get(end..)?.trim_start_matches(WHITE_SPACE);
    }
    let gap = text.get(..text.len() - rest.len())?;
    (rest.starts_with('\'') && gap.contains(LINE_ENDS)).then_some(gap.len())
}

/// The server's: other blanks of Unicode are letters to it.
const WHITE_SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];

fn is_name_start(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_' || !character.is_ascii()
}

/// The value of a name in the comments at the beginning and the end of a text: `name='value'` as
/// sqlcommenter writes it, `name=value` or `name: value`; several are separated by commas or white
/// space. Escapes in it stay as they are.
#[must_use]
pub fn tag<'a>(sql: &'a str, name: &str) -> Option<&'a str> {
    let mut is_leading = true;
    let mut trailing = None;
    for token in tokens(sql) {
        match token {
            Token::Comment(text) => {
                let found = pair(text, name);
                if is_leading && found.is_some() {
                    return found;
                }
                trailing = trailing.or(found);
            }
            Token::Symbol(';') => {}
            _ => (is_leading, trailing) = (false, None),
        }
    }
    trailing
}

/// The value of a name in a comment.
fn pair<'a>(comment: &'a str, name: &str) -> Option<&'a str> {
    let ends = |c: char| c == ',' || c.is_whitespace();
    let mut rest = comment;
    loop {
        rest = rest.trim_start_matches(ends);
        let length = rest.find(|c| ends(c) || matches!(c, '=' | ':'))?;
        let (key, after) = rest.split_at_checked(length)?;
        let after = after.trim_start();
        let Some(after) = after.strip_prefix(['=', ':']) else {
            rest = after;
            continue;
        };
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('\'') {
            Some(quoted) => quoted.split_at_checked(closing(quoted))?,
            None => after.split_at_checked(after.find(ends).unwrap_or(after.len()))?,
        };
        if key == name {
            return (!value.is_empty()).then_some(value);
        }
        rest = after.strip_prefix('\'').unwrap_or(after);
    }
}

/// Where a quoted value ends.
fn closing(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            '\'' if !is_escaped => return at,
            _ => is_escaped = character == '\\' && !is_escaped,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{Token, tag, tokens};

    #[test]
    fn tokens_are_those_of_the_server() {
        let text = "SELECT a.\"B\"\"c\", 'it''s' /* x /* y */ z */ , E'\\'', $1, $$;'$$, $t$ $$ $t$, \
                    1.5e3 -- end\n;U&\"d\\0061\" é$1 $";
        let found: Vec<_> = tokens(text).filter(|t| *t != Token::Symbol(',')).collect();
        assert_eq!(
            found,
            [
                Token::Word("SELECT"),
                Token::Word("a"),
                Token::Symbol('.'),
                Token::Quoted("B\"\"c"),
                Token::Text("it''s"),
                Token::Comment(" x /* y */ z "),
                Token::Escaped("E'\\''"),
                Token::Parameter(1),
                Token::Dollar(";'"),
                Token::Dollar(" $$ "),
                Token::Number("1.5e3"),
                Token::Comment(" end"),
                Token::Symbol(';'),
                Token::Escaped("U&\"d\\0061\""),
                Token::Word("é$1"),
                Token::Symbol('$'),
            ]
        );
        assert_eq!(Token::Quoted("B\"\"c").as_name().as_deref(), Some("B\"c"));
        assert_eq!(Token::Word("Abc").as_name().as_deref(), Some("abc"));
    }

    #[test]
    fn a_blank_that_is_not_ascii_is_a_letter() {
        let found: Vec<_> = tokens("\u{a0}E'\\' x").collect();
        let expected = [Token::Word("\u{a0}E"), Token::Text("\\"), Token::Word("x")];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_literal_that_goes_on_in_another_line_keeps_its_mode() {
        for (text, whole) in [
            ("E'a'\n'b\\' || '", true),
            ("E'a'\n'b\\' || '; SET x = $$y$$; -- '", false),
            ("e'a' -- it's\r\n -- '\n\t'b\\''\u{b}\n'\\'; c'", true),
            ("U&'a'\n'b\\005f'", true),
            ("N'a'\n'b'", true),
            ("B'0'\n'1'", true),
            ("X'0'\n'1'", true),
            ("'a'\n'b'\n'c", true),
            // In these the literal ends before.
            ("E'a' 'b\\'", false),
            ("E'a' /* \n */ 'b\\'", false),
            ("E'a' /* */ \n 'b\\'", false),
            ("E'a' -- 'b\\'", false),
            ("E'a'\n\"b\\\"", false),
            ("U&\"a\"\n\"b\"", false),
            ("'a' 'b'", false),
        ] {
            let first = tokens(text).next();
            assert_eq!(first == Some(Token::Escaped(text)), whole, "{text:?}");
        }
        let plain: Vec<_> = tokens("'a'\n'b\\' x").collect();
        assert_eq!(plain, [Token::Escaped("'a'\n'b\\'"), Token::Word("x")]);
    }

    #[test]
    fn what_is_not_closed_reaches_to_the_end() {
        for (text, expected) in [
            ("'a", Token::Text("a")),
            ("\"a", Token::Quoted("a")),
            ("/* a", Token::Comment(" a")),
            ("/*/", Token::Comment("/")),
            ("$$a", Token::Dollar("a")),
            ("E'a\\", Token::Escaped("E'a\\")),
            ("--", Token::Comment("")),
        ] {
            assert_eq!(tokens(text).collect::<Vec<_>>(), [expected], "{text}");
        }
    }

    #[test]
    fn tags_at_either_end() {
        for (text, expected) in [
            ("SELECT 1 /*db='x',tenant='42'*/", Some("42")),
            ("SELECT 1 /*tenant='42'*/;", Some("42")),
            ("/* tenant=42 */ SELECT 1", Some("42")),
            ("-- report tenant: 42, x: 1\nSELECT 1", Some("42")),
            ("SELECT 1 -- tenant: 42", Some("42")),
            ("/* a */ /* tenant: 4'2 */ SELECT 1", Some("4'2")),
            ("SELECT 1 /* tenant='a\\'b' */", Some("a\\'b")),
            ("SELECT 1 /* tenant = 'a b' */", Some("a b")),
            ("SELECT /* tenant=42 */ 1", None),
            ("SELECT '-- tenant: 42'", None),
            ("SELECT 1 /* tenants=42 */", None),
            ("SELECT 1 /* tenant= */", None),
            ("SELECT 1 /* tenant='' */", None),
            ("SELECT 1 /* tenant */", None),
            ("SELECT 1", None),
            ("", None),
        ] {
            assert_eq!(tag(text, "tenant"), expected, "{text}");
        }
    }
}
