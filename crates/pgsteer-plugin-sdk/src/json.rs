//! A small reader for configurations: a plugin with it is a third of the size of one with a
//! general one. Numbers stay text, nesting is bounded, and a key that is there twice is an error.
//!
//! ```
//! use pgsteer_plugin_sdk::json;
//!
//! let fields = json::object(r#"{"limit": 10, "names": ["a", "b"]}"#).unwrap();
//! assert_eq!(fields[0].0, "limit");
//! assert_eq!(fields[1].1.to_string(), r#"["a", "b"]"#);
//! ```

use std::fmt;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it was written; parse it as what you need.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Self>),
    /// An object, in the order it was written; no key is there twice.
    Object(Vec<(String, Self)>),
}

impl Json {
    /// The string, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads a configuration: the fields of an object.
///
/// # Errors
/// A sentence for the operator.
pub fn object(text: &str) -> Result<Vec<(String, Json)>, String> {
    match parse(text)? {
        Json::Object(fields) => Ok(fields),
        other => Err(format!(
            "the configuration must be a JSON object, got {other}"
        )),
    }
}

/// Reads a value.
///
/// # Errors
/// A sentence with what is wrong and at which byte.
pub fn parse(text: &str) -> Result<Json, String> {
    let mut reader = Reader { text, position: 0 };
    let value = reader.value(0)?;
    match reader.next_byte() {
        None => Ok(value),
        Some(_) => Err(reader.wrong("the end")),
    }
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: u32) -> Result<Json, String> {
        if depth > DEPTH_MAX {
            return Err(format!("not valid JSON: nested deeper than {DEPTH_MAX}"));
        }
        match self.next_byte() {
            Some(b'{') => self.fields(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.wrong("a value")),
        }
    }

    fn fields(&mut self, depth: u32) -> Result<Json, String> {
        let mut fields: Vec<(String, Json)> = Vec::new();
        self.position += 1;
        if self.skip(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            if self.next_byte() != Some(b'"') {
                return Err(self.wrong("a key"));
            }
            let key = self.string()?;
            if fields.iter().any(|(known, _)| *known == key) {
                return Err(format!("the key \"{key}\" is there twice"));
            }
            if !self.skip(b':') {
                return Err(self.wrong("':'"));
            }
            fields.push((key, self.value(depth + 1)?));
            if self.skip(b'}') {
                return Ok(Json::Object(fields));
            }
            if !self.skip(b',') {
                return Err(self.wrong("',' or '}'"));
            }
        }
    }

    fn list(&mut self, depth: u32) -> Result<Json, String> {
        let mut values = Vec::new();
        self.position += 1;
        if self.skip(b']') {
            return Ok(Json::List(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            if self.skip(b']') {
                return Ok(Json::List(values));
            }
            if !self.skip(b',') {
                return Err(self.wrong("',' or ']'"));
            }
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, String> {
        if !self.rest().starts_with(word) {
            return Err(self.wrong("a value"));
        }
        self.position += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Json, String> {
        let belongs = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        let rest = self.rest();
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        let number = rest.get(..length).unwrap_or_default();
        if !is_number(number) {
            return Err(self.wrong("a number"));
        }
        let number = number.to_owned();
        self.position += length;
        Ok(Json::Number(number))
    }

    /// After an opening quote.
    fn string(&mut self) -> Result<String, String> {
        let mut text = String::new();
        self.position += 1;
        loop {
            let rest = self.rest();
            let plain = rest
                .find(|c| matches!(c, '"' | '\\') || c < ' ')
                .unwrap_or(rest.len());
            text.push_str(rest.get(..plain).unwrap_or_default());
            self.position += plain;
            match self.rest().as_bytes() {
                [b'"', ..] => {
                    self.position += 1;
                    return Ok(text);
                }
                [b'\\', ..] => {
                    let character = self.escape().ok_or_else(|| self.wrong("an escape"))?;
                    text.push(character);
                }
                _ => return Err(self.wrong("'\"'")),
            }
        }
    }

    /// At a backslash.
    fn escape(&mut self) -> Option<char> {
        let letter = *self.rest().as_bytes().get(1)?;
        self.position += 2;
        Some(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first);
                }
                self.position += self.rest().strip_prefix("\\u").map(|_| 2)?;
                let second = self.hex()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + second);
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4)?;
        let code = u32::from_str_radix(digits, 16).ok()?;
        self.position += 4;
        digits
            .bytes()
            .all(|digit| digit.is_ascii_hexdigit())
            .then_some(code)
    }

    /// The next byte that is not white space, which stays.
    fn next_byte(&mut self) -> Option<u8> {
        let rest = self.rest();
        let blank = |c| matches!(c, ' ' | '\t' | '\n' | '\r');
        self.position += rest.len() - rest.trim_start_matches(blank).len();
        self.rest().bytes().next()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let there = self.next_byte() == Some(byte);
        self.position += usize::from(there);
        there
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn wrong(&self, expected: &str) -> String {
        format!(
            "not valid JSON: expected {expected} at byte {}",
            self.position
        )
    }
}

fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent.strip_prefix(['+', '-']).unwrap_or(exponent),
        ),
        None => (text, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && digits(exponent)
        && (whole == "0" || !whole.starts_with('0'))
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(true) => f.write_str("true"),
            Self::Bool(false) => f.write_str("false"),
            Self::Number(number) => f.write_str(number),
            Self::Text(text) => write_string(f, text),
            Self::List(values) => {
                f.write_str("[")?;
                for (position, value) in values.iter().enumerate() {
                    f.write_str(if position == 0 { "" } else { ", " })?;
                    value.fmt(f)?;
                }
                f.write_str("]")
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                for (position, (key, value)) in fields.iter().enumerate() {
                    f.write_str(if position == 0 { "" } else { ", " })?;
                    write_string(f, key)?;
                    f.write_str(": ")?;
                    value.fmt(f)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_str(c.encode_utf8(&mut [0; 4]))?,
        }
    }
    f.write_str("\"")
}

/// Ours; the stack of a guest is small.
const DEPTH_MAX: u32 = 32;

#[cfg(test)]
mod tests {
    use super::{Json, object, parse};

    #[test]
    fn values_survive_a_round_trip() {
        for text in [
            "null",
            "[true, false]",
            "[-0.5e+3, 12, 0]",
            r#"{"a": {"b": []}, "c": {}}"#,
            r#""ü \" \\ \n \u0001""#,
        ] {
            assert_eq!(
                parse(text).map(|value| value.to_string()).as_deref(),
                Ok(text)
            );
        }
        let escaped = parse(r#" "\/\b\f\r\t\u00e4\ud83d\udc18" "#);
        assert_eq!(escaped, Ok(Json::Text("/\u{8}\u{c}\r\tä🐘".to_owned())));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = "[".repeat(1000);
        for text in [
            "",
            "{",
            "}",
            "{]",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a: 1}",
            "tru",
            "nul",
            "01",
            "1.",
            ".5",
            "1e",
            "--1",
            "+1",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\n\"",
            "1 2",
            "{\"a\": 1, \"a\": 2}",
            "\"\\u+123\"",
            &deep,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(object("[]").is_err_and(|error| error.contains("object")));
        assert!(parse("[1, x]").is_err_and(|error| error.contains("byte 4")));
    }
}
