//! The syntax of `pgpool.conf`: lines of `key = value`, comments, quotes, `include`. What the keys
//! mean is in `keys.rs`.

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Line in its file, from 1.
    pub(crate) line: usize,
    /// The key as it is written.
    pub(crate) name: String,
    /// The value without quotes and escapes.
    pub(crate) value: String,
}

/// All lines that say something, and all lines that cannot be read, with the reason.
pub(crate) fn parse(text: &str) -> (Vec<Entry>, Vec<(usize, String)>) {
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, written) in text.lines().enumerate() {
        let line = index + 1;
        let written = written.trim();
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        match assignment(written) {
            Ok((name, value)) => entries.push(Entry { line, name, value }),
            Err(problem) => problems.push((line, problem)),
        }
    }
    (entries, problems)
}

/// Whether the line names another file to read.
pub(crate) fn is_include(name: &str) -> bool {
    ["include", "include_if_exists", "include_dir"]
        .iter()
        .any(|word| name.eq_ignore_ascii_case(word))
}

/// The messages show nothing of the line, which may be a secret in the wrong place.
fn assignment(line: &str) -> Result<(String, String), String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    let end = line.find(|c| !is_name(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end).unwrap_or((line, ""));
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("does not begin with the name of a parameter".to_owned());
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let (value, rest) = match rest.strip_prefix('\'') {
        Some(quoted) => in_quotes(quoted).ok_or("has a quote that is not closed")?,
        None => bare(rest).ok_or("has no value, or one that belongs in single quotes")?,
    };
    let rest = rest.trim_start();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err("goes on after the value".to_owned());
    }
    Ok((name.to_owned(), value))
}

/// A word such as `on`, `10MB` or `-1`, and what follows it.
fn bare(text: &str) -> Option<(String, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.:/+".contains(c) || !c.is_ascii();
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end)?;
    (!word.is_empty()).then(|| (word.to_owned(), rest))
}

/// The text up to the closing quote, and what follows it; `None` if there is none.
fn in_quotes(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '\'' => {
                let rest = chars.as_str();
                let Some(after) = rest.strip_prefix('\'') else {
                    return Some((value, rest));
                };
                value.push('\'');
                chars = after.chars();
            }
            '\\' => {
                let rest = chars.as_str();
                let digits = rest
                    .bytes()
                    .take(3)
                    .take_while(|byte| (b'0'..=b'7').contains(byte))
                    .count();
                if digits > 0 {
                    let (octal, after) = rest.split_at_checked(digits)?;
                    let code = u32::from_str_radix(octal, 8).ok()?;
                    value.push(char::from_u32(code & 0xff)?);
                    chars = after.chars();
                } else {
                    value.push(unescaped(chars.next()?));
                }
            }
            other => value.push(other),
        }
    }
}

fn unescaped(c: char) -> char {
    match c {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_every_form() {
        let cases = [
            ("port = 9999", "port", "9999"),
            ("port 9999", "port", "9999"),
            ("port=9999 # a comment", "port", "9999"),
            ("  a_1 =  on  ", "a_1", "on"),
            ("a = '#no comment' # one", "a", "#no comment"),
            ("a = 'it''s'", "a", "it's"),
            (r"a = 'it\'s \\ \t \101'", "a", "it's \\ \t A"),
            ("a = ''", "a", ""),
            ("a = 10MB", "a", "10MB"),
            ("a = -1", "a", "-1"),
            ("include 'more.conf'", "include", "more.conf"),
        ];
        for (line, name, value) in cases {
            let (entries, problems) = parse(line);
            assert!(problems.is_empty(), "{line}: {problems:?}");
            let expected = Entry {
                line: 1,
                name: name.to_owned(),
                value: value.to_owned(),
            };
            assert_eq!(entries, [expected], "{line}");
        }
    }

    #[test]
    fn every_mistake_is_found_and_shows_no_value() {
        let text = "a = 'secret\n= 1 secret\nsecret\n\n# fine\nb =\nc = *\nd = 1 secret\n9 = 1\nok = 1\r\n";
        let (entries, problems) = parse(text);
        assert_eq!(entries.len(), 1);
        let lines: Vec<_> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 6, 7, 8, 9]);
        assert!(!format!("{problems:?}").contains("secret"));
    }
}
