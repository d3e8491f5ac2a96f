//! The syntax of `pgbouncer.ini`: sections, `key = value`, comments, `%include`; connection strings;
//! and that of `userlist.txt`.

/// One line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Line in its file, from 1.
    pub(crate) line: usize,
    /// The section it stands in, in lower case; empty before the first.
    pub(crate) section: String,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A line that cannot be read, and why.
pub(crate) type Problem = (usize, &'static str);

/// All lines that say something. An include is an entry called `%include`; the section that the
/// file ends in goes on in the next.
pub(crate) fn parse(text: &str, section: &mut String) -> (Vec<Entry>, Vec<Problem>) {
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, written) in text.lines().enumerate() {
        let (line, written) = (index + 1, written.trim());
        if written.is_empty() || written.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = written.strip_prefix('[') {
            match name.strip_suffix(']') {
                Some(name) => *section = name.trim().to_ascii_lowercase(),
                None => problems.push((line, "begins a section and does not end it")),
            }
            continue;
        }
        match entry(written) {
            Some((name, value)) => entries.push(Entry {
                line,
                section: section.clone(),
                name,
                value,
            }),
            None => problems.push((line, "is not of the form key = value")),
        }
    }
    (entries, problems)
}

fn entry(line: &str) -> Option<(String, String)> {
    if let Some(file) = line.strip_prefix("%include") {
        let file = file.trim();
        return (!file.is_empty()).then(|| ("%include".to_owned(), file.to_owned()));
    }
    let (name, rest) = match line.strip_prefix('"') {
        Some(quoted) => in_quotes(quoted, '"')?,
        None => {
            let (name, _) = line.split_once('=')?;
            let rest = line.get(name.len()..)?;
            (name.trim().to_owned(), rest)
        }
    };
    let value = rest.trim_start().strip_prefix('=')?;
    (!name.is_empty()).then(|| (name, value.trim().to_owned()))
}

/// The text up to the closing quote, which is doubled where it stands for itself, and what follows.
fn in_quotes(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once(quote)?;
        value.push_str(part);
        match after.strip_prefix(quote) {
            Some(more) => {
                value.push(quote);
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

/// The pairs of a connection string; `None` if it is none.
pub(crate) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, more) = match after.strip_prefix('\'') {
            Some(quoted) => in_quotes(quoted, '\'')?,
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                let (value, more) = after.split_at_checked(end)?;
                (value.to_owned(), more)
            }
        };
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return None;
        }
        pairs.push((name, value));
        rest = more.trim_start();
    }
    Some(pairs)
}

/// Names and passwords of `userlist.txt`, and lines that are none. The reasons show nothing of a
/// line.
pub(crate) fn userlist(text: &str) -> (Vec<(usize, String, String)>, Vec<Problem>) {
    let (mut users, mut problems) = (Vec::new(), Vec::new());
    for (index, written) in text.lines().enumerate() {
        let (line, written) = (index + 1, written.trim());
        if written.is_empty() || written.starts_with([';', '#']) {
            continue;
        }
        let read = || {
            let (name, rest) = in_quotes(written.strip_prefix('"')?, '"')?;
            let (password, _) = in_quotes(rest.trim_start().strip_prefix('"')?, '"')?;
            Some((name, password))
        };
        match read() {
            Some((name, password)) => users.push((line, name, password)),
            None => problems.push((line, "is not of the form \"name\" \"password\"")),
        }
    }
    (users, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_and_includes() {
        let text = "%include a.ini\n; no\n[databases]\nx = host=a port=1\n\"my \"\"db\" = host=b\n\
                    * = host=c\n[pgbouncer]\nauth_query = SELECT $1 ; no comment\nbroken\n[open\n";
        let (entries, problems) = parse(text, &mut String::new());
        let shown: Vec<_> = entries
            .iter()
            .map(|e| (e.section.as_str(), e.name.as_str(), e.value.as_str()))
            .collect();
        let expected = [
            ("", "%include", "a.ini"),
            ("databases", "x", "host=a port=1"),
            ("databases", "my \"db", "host=b"),
            ("databases", "*", "host=c"),
            ("pgbouncer", "auth_query", "SELECT $1 ; no comment"),
        ];
        assert_eq!(shown, expected);
        let lines: Vec<_> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [9, 10]);
    }

    #[test]
    fn connection_strings_and_users() {
        let read = pairs("host = 'a b''c' port=5  dbname=x").expect("pairs");
        let expected = [("host", "a b'c"), ("port", "5"), ("dbname", "x")];
        assert!(read.iter().map(|(n, v)| (&**n, &**v)).eq(expected));
        assert_eq!(pairs(""), Some(Vec::new()));
        for wrong in ["host", "a b=c", "x='open", "=1"] {
            assert_eq!(pairs(wrong), None, "{wrong}");
        }
        let (users, problems) = userlist("\"a\" \"b\"\"c\" more\n;x\nsecret\n");
        assert_eq!(users, [(1, "a".to_owned(), "b\"c".to_owned())]);
        assert!(!format!("{problems:?}").contains("secret"));
        assert_eq!(problems.len(), 1);
    }
}
