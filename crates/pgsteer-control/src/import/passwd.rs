//! `pool_passwd` and `pcp.conf`: names with stored passwords, one a line.

/// How a password is stored. Only the first kind says what it is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    Plain(String),
    /// Hashed or encrypted; the word says how.
    Hidden(&'static str),
}

/// Reads a password as Pgpool-II stores it, in `pool_passwd` or in `pgpool.conf`.
pub(crate) fn stored(text: &str) -> Stored {
    let is_md5 = |hash: &str| hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    if text.strip_prefix("md5").is_some_and(is_md5) {
        Stored::Hidden("an MD5 hash")
    } else if text.starts_with("SCRAM-SHA-256$") {
        Stored::Hidden("a SCRAM verifier")
    } else if text.starts_with("AES") {
        Stored::Hidden("encrypted with AES")
    } else {
        Stored::Plain(text.strip_prefix("TEXT").unwrap_or(text).to_owned())
    }
}

/// One line with its number.
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) password: Stored,
}

/// All entries, and the numbers of lines that are none. The messages show nothing of a line.
pub(crate) fn parse(text: &str) -> (Vec<Entry>, Vec<(usize, String)>) {
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    for (index, written) in text.lines().enumerate() {
        let line = index + 1;
        if written.trim().is_empty() || written.starts_with('#') {
            continue;
        }
        match written.split_once(':') {
            Some((name, password)) if !name.is_empty() => entries.push(Entry {
                line,
                name: name.to_owned(),
                password: stored(password),
            }),
            _ => problems.push((line, "is not of the form name:password".to_owned())),
        }
    }
    (entries, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_passwords() {
        let md5 = "md5d41d8cd98f00b204e9800998ecf8427e";
        let cases = [
            ("TEXTsecret", Some("secret")),
            ("secret", Some("secret")),
            ("md5isnohash", Some("md5isnohash")),
            (md5, None),
            ("AESabc=", None),
            ("SCRAM-SHA-256$4096:salt$a:b", None),
        ];
        for (text, expected) in cases {
            let plain = match stored(text) {
                Stored::Plain(password) => Some(password),
                Stored::Hidden(_) => None,
            };
            assert_eq!(plain.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn passwords_may_hold_colons_and_bad_lines_are_not_shown() {
        let (entries, problems) = parse("# users\na:b:c\n\nsecret\n:secret\n");
        assert_eq!(entries.len(), 1);
        assert!(entries[0].password == Stored::Plain("b:c".to_owned()));
        assert_eq!(problems.len(), 2);
        assert!(!format!("{problems:?}").contains("secret"));
    }
}
