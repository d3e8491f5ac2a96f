//! The statement inside another one: what PREPARE prepares, DECLARE reads, EXPLAIN explains. Found by
//! PostgreSQL's own scanner, because the tree does not say where it begins.

use pg_query::protobuf::{ScanToken, Token};

use crate::Class;

/// The text of the statement inside one of this class, if there is one in it.
pub(crate) fn inner(text: &str, class: Class) -> Option<&str> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let tokens: Vec<_> = tokens.into_iter().filter(|t| !is_comment(t)).collect();
    let start = match class {
        Class::Prepare => after(&tokens, Token::As)?,
        Class::Cursor => after(&tokens, Token::For)?,
        Class::Explain => explained(&tokens)?,
        _ => return None,
    };
    text.get(usize::try_from(start.start).ok()?..)
}

fn is_comment(token: &ScanToken) -> bool {
    matches!(token.token(), Token::SqlComment | Token::CComment)
}

/// The token behind the first one of this kind outside of brackets.
fn after(tokens: &[ScanToken], kind: Token) -> Option<&ScanToken> {
    let mut depth = 0_i32;
    let at = tokens.iter().position(|token| {
        match token.token() {
            Token::Ascii40 => depth += 1,
            Token::Ascii41 => depth -= 1,
            _ => {}
        }
        depth == 0 && token.token() == kind
    })?;
    tokens.get(at + 1)
}

/// What follows EXPLAIN and its options.
fn explained(tokens: &[ScanToken]) -> Option<&ScanToken> {
    let mut rest = tokens.get(1..)?;
    let words = rest.iter();
    let words =
        words.take_while(|t| matches!(t.token(), Token::Analyze | Token::Analyse | Token::Verbose));
    rest = rest.get(words.count()..)?;
    let opens = rest.first()?.token() == Token::Ascii40;
    if opens && !rest.get(1).is_some_and(begins_a_query) {
        let close = rest.iter().position(|t| t.token() == Token::Ascii41)?;
        rest = rest.get(close + 1..)?;
    }
    rest.first()
}

fn begins_a_query(token: &ScanToken) -> bool {
    matches!(
        token.token(),
        Token::Select | Token::With | Token::Values | Token::Table | Token::Ascii40
    )
}

#[cfg(test)]
mod tests {
    use crate::analyze;

    #[test]
    fn a_wrapped_statement_has_the_fingerprint_of_what_is_in_it() {
        let plain = analyze(b"SELECT a FROM t WHERE b = 1").fingerprint;
        for wrapped in [
            "PREPARE p AS SELECT a FROM t WHERE b = 2",
            "prepare \"as\" (int, numeric(3, 1)) as SELECT a FROM t WHERE b = 3;",
            "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT a FROM t WHERE b = 4",
            "EXPLAIN SELECT a FROM t WHERE b = 5",
            "EXPLAIN /* x */ ANALYZE VERBOSE SELECT a FROM t WHERE b = 6",
            "EXPLAIN (ANALYZE, FORMAT json) SELECT a FROM t WHERE b = 'x'",
        ] {
            let analysis = analyze(wrapped.as_bytes());
            assert_eq!(analysis.fingerprint, plain, "{wrapped}");
            assert_ne!(analysis.class as u16, 1, "{wrapped}");
        }
        assert_ne!(analyze(b"EXPLAIN SELECT c FROM t").fingerprint, plain);
        assert_ne!(analyze(b"EXECUTE p(1)").fingerprint, plain);
    }
}
