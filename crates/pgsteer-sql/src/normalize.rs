//! One pass over a text that takes the literals out.
//!
//! Two texts with the same normal form have the same analysis. That holds because the analysis of a
//! query does not look into its literals; where it would (SET, COPY, multi-statement strings,
//! set_config), the text is its own normal form. Assumes `standard_conforming_strings = on`.

use std::hash::{BuildHasher, Hasher};

/// Appends the normal form of `text` to `out`; `false` if the text is its own normal form.
pub(crate) fn normalize(text: &[u8], out: &mut Vec<u8>) -> bool {
    let mut normalizer = Normalizer {
        text,
        at: 0,
        out,
        lists: 0,
        depth: 0,
    };
    starts_like_a_query(text) && normalizer.run().is_some()
}

/// Equal for texts with the same normal form, in this and every other process.
pub(crate) fn fingerprint(text: &[u8]) -> u64 {
    let mut out = Vec::with_capacity(text.len());
    let key = if normalize(text, &mut out) {
        out.as_slice()
    } else {
        text
    };
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// The text with its literals replaced by parameters, in PostgreSQL's way; empty if it is not
/// understood. It is parsed for that: not for the way of a statement.
#[must_use]
pub fn without_literals(text: &str) -> String {
    pg_query::normalize(text).unwrap_or_default()
}

fn starts_like_a_query(text: &[u8]) -> bool {
    const FIRST: [&[u8]; 8] = [
        b"select", b"with", b"values", b"table", b"insert", b"update", b"delete", b"merge",
    ];
    let word = text.trim_ascii_start();
    let len = word
        .iter()
        .position(|b| !b.is_ascii_alphabetic())
        .unwrap_or(word.len());
    let word = word.get(..len).unwrap_or_default();
    FIRST.iter().any(|first| word.eq_ignore_ascii_case(first))
}

/// By byte: whether it can be part of a name.
#[expect(
    clippy::indexing_slicing,
    reason = "a constant that panics does not compile"
)]
const IDENTIFIER: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < table.len() {
        let byte = at as u8;
        table[at] =
            byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii();
        at += 1;
    }
    table
};

fn is_identifier(byte: u8) -> bool {
    IDENTIFIER.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Length of the name at the front.
fn identifier_len(text: &[u8]) -> usize {
    let end = text.iter().position(|byte| !is_identifier(*byte));
    end.unwrap_or(text.len())
}

/// Whether a text ends in this word, blanks behind it left aside.
fn ends_in_word(text: &[u8], word: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    let Some(start) = text.len().checked_sub(word.len()) else {
        return false;
    };
    let (before, end) = text.split_at(start);
    end.eq_ignore_ascii_case(word)
        && !before
            .last()
            .is_some_and(|b| is_identifier(*b) || *b == b'.')
}

struct Normalizer<'a> {
    text: &'a [u8],
    at: usize,
    out: &'a mut Vec<u8>,
    /// For each open bracket, innermost in the lowest bit, whether the number of literals in it
    /// makes no difference: after IN and in an array. In a call it tells functions apart.
    lists: u64,
    depth: u32,
}

impl Normalizer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// `None`: something that must be compared as it is written.
    fn run(&mut self) -> Option<()> {
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\'' => self.string()?,
                b'"' => self.quoted_identifier()?,
                b'0'..=b'9' => self.number(),
                b'.' if self.peek(1).is_ascii_digit() => self.number(),
                b'$' => self.dollar()?,
                b'-' if self.peek(1) == b'-' => self.line_comment(),
                b'/' if self.peek(1) == b'*' => self.block_comment()?,
                b';' => return self.rest_is_blank().then_some(()),
                0 => return None,
                _ if byte.is_ascii_whitespace() => self.space(),
                _ if is_identifier(byte) => self.word()?,
                _ => {
                    match byte {
                        b'(' => self.open(ends_in_word(self.out, b"in"))?,
                        b'[' => self.open(true)?,
                        b')' | b']' => self.close(),
                        _ => {}
                    }
                    self.out.push(byte);
                    self.at += 1;
                }
            }
        }
        Some(())
    }

    fn rest_is_blank(&self) -> bool {
        self.text
            .get(self.at + 1..)
            .unwrap_or_default()
            .trim_ascii()
            .is_empty()
    }

    fn space(&mut self) {
        self.at += 1;
        if !matches!(self.out.last(), Some(b' ' | b',')) {
            self.out.push(b' ');
        }
    }

    /// A bracket opens; `None` if there are too many in each other to keep count.
    fn open(&mut self, is_list: bool) -> Option<()> {
        self.depth = self
            .depth
            .checked_add(1)
            .filter(|depth| *depth < u64::BITS)?;
        self.lists = self.lists << 1 | u64::from(is_list);
        Some(())
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.lists >>= 1;
    }

    /// A literal; in a list of literals only the first is kept.
    fn literal(&mut self) {
        match self.out.as_slice() {
            [.., b'?', b','] if self.lists & 1 == 1 => {
                self.out.pop();
            }
            _ => self.out.push(b'?'),
        }
    }

    fn number(&mut self) {
        while is_identifier(self.peek(0)) || self.peek(0) == b'.' {
            let exponent = matches!(self.peek(0), b'e' | b'E');
            self.at += 1;
            if exponent && matches!(self.peek(0), b'+' | b'-') {
                self.at += 1;
            }
        }
        self.literal();
    }

    fn word(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let (word, _) = rest.split_at_checked(identifier_len(rest))?;
        self.at += word.len();
        // E'', B'', X'', N'' and U&'' have rules of their own.
        let quote = |b: u8| matches!(b, b'\'' | b'"');
        let unicode =
            word.eq_ignore_ascii_case(b"u") && self.peek(0) == b'&' && quote(self.peek(1));
        let prefix = self.peek(0) == b'\'' || unicode;
        if prefix || word.eq_ignore_ascii_case(b"set_config") {
            return None;
        }
        self.out.extend_from_slice(word);
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.text.get(self.at)? {
                b'\'' if self.peek(1) == b'\'' => self.at += 2,
                b'\'' => break,
                0 => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.literal();
        Some(())
    }

    fn quoted_identifier(&mut self) -> Option<()> {
        let rest = self.text.get(self.at + 1..)?;
        let len = rest.iter().position(|&b| b == b'"')?;
        let end = self.at + len + 2;
        self.out.extend_from_slice(self.text.get(self.at..end)?);
        self.at = end;
        Some(())
    }

    /// `$1`, or a dollar-quoted string.
    fn dollar(&mut self) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let tag_len = rest
            .iter()
            .skip(1)
            .position(|&b| !is_identifier(b) || b == b'$')?
            + 1;
        if rest.get(1).is_some_and(u8::is_ascii_digit) || rest.get(tag_len) != Some(&b'$') {
            self.out.push(b'$');
            self.at += 1;
            while self.peek(0).is_ascii_digit() {
                self.out.push(self.peek(0));
                self.at += 1;
            }
            return Some(());
        }
        let tag = rest.get(..=tag_len)?;
        let body = rest.get(tag_len + 1..)?;
        let end = body.windows(tag.len()).position(|window| window == tag)?;
        self.at += tag.len() + end + tag.len();
        self.literal();
        Some(())
    }

    fn line_comment(&mut self) {
        while !matches!(self.peek(0), 0 | b'\n' | b'\r') {
            self.at += 1;
        }
        self.space();
    }

    fn block_comment(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => depth += 1,
                (b'*', b'/') => depth -= 1,
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            self.at += 2;
            if depth == 0 {
                self.at -= 1;
                self.space();
                return Some(());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        let mut out = Vec::new();
        if normalize(text.as_bytes(), &mut out) {
            String::from_utf8(out).unwrap()
        } else {
            text.to_owned()
        }
    }

    #[test]
    fn literals_are_taken_out() {
        for (text, expected) in [
            (
                "SELECT a FROM t WHERE b = 12",
                "SELECT a FROM t WHERE b = ?",
            ),
            (
                "SELECT 1.5e-3,  .5, 'it''s', $$x$$, $a$ ' $a$",
                "SELECT ?,?,?,?,?",
            ),
            (
                "SELECT a1, t2.b, $1, $12 FROM t",
                "SELECT a1,t2.b,$1,$12 FROM t",
            ),
            (
                "SELECT \"a 1\" -- x\n FROM t /* 'c /* d */ */ WHERE a IN (1, 2, 3);",
                "SELECT \"a 1\" FROM t WHERE a IN (?)",
            ),
            ("SELECT f(1), f(1, 2)", "SELECT f(?),f(?,?)"),
            (
                "SELECT ARRAY[1, 2] IN ((1), (2, 3))",
                "SELECT ARRAY[?] IN ((?),(?,?))",
            ),
            (
                "SELECT a FROM t WHERE b NOT\nIN\n(1,2)",
                "SELECT a FROM t WHERE b NOT IN (?)",
            ),
            ("SELECT min(1, 2)", "SELECT min(?,?)"),
            // Whether a text starts with a blank is part of its analysis.
            ("\n SELECT 1", " SELECT ?"),
            ("SET x = 1", "SET x = 1"),
            ("SELECT 1; SET x = 2", "SELECT 1; SET x = 2"),
            ("SELECT E'a\\'b'", "SELECT E'a\\'b'"),
            ("SELECT 'open", "SELECT 'open"),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
    }
}
