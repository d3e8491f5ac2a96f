//! Files with users and their passwords: PgBouncer's `userlist.txt`, and Pgpool-II's `pool_passwd`,
//! which has the same form as its `pcp.conf`.

use pgsteer_core::auth::Secret;

/// How a password is stored.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// There is none.
    Nothing,
    /// As it is.
    Plain(String),
    /// PostgreSQL's MD5.
    Md5(String),
    /// A SCRAM verifier, or what should be one.
    Scram(String),
    /// Encrypted, with a key that is not here.
    Aes,
}

impl Stored {
    /// What it is, in words that do not show it.
    pub(crate) fn how(&self) -> &'static str {
        match self {
            Self::Nothing => "empty",
            Self::Plain(_) => "in clear text",
            Self::Md5(_) => "an MD5 hash",
            Self::Scram(_) => "a SCRAM verifier",
            Self::Aes => "encrypted with AES",
        }
    }
}

/// Reads a password as Pgpool-II stores it, in `pool_passwd` or in `pgpool.conf`.
pub(crate) fn pgpool(text: &str) -> Stored {
    if text.starts_with("AES") {
        return Stored::Aes;
    }
    match text.strip_prefix("TEXT") {
        Some(plain) => Stored::Plain(plain.to_owned()),
        None => pgbouncer(text),
    }
}

/// Reads a password as PgBouncer and PostgreSQL store it.
pub(crate) fn pgbouncer(text: &str) -> Stored {
    match Secret::from_stored(text) {
        _ if text.is_empty() => Stored::Nothing,
        Ok(Secret::Password(_)) => Stored::Plain(text.to_owned()),
        Ok(Secret::Md5(_)) => Stored::Md5(text.to_owned()),
        Ok(Secret::Scram(_)) | Err(_) => Stored::Scram(text.to_owned()),
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
    for (line, written) in (1..).zip(text.lines()) {
        let begin = written.trim_start();
        if begin.is_empty() || begin.starts_with(['#', ';']) {
            continue;
        }
        let pair = match begin.starts_with('"') {
            true => quoted_pair(begin).map(|(name, text)| (name, pgbouncer(&text))),
            false => written
                .split_once(':')
                .map(|(name, text)| (name.to_owned(), pgpool(text))),
        };
        match pair.filter(|(name, _)| !name.is_empty()) {
            Some((name, password)) => entries.push(Entry {
                line,
                name,
                password,
            }),
            None => problems.push((line, "has no name with a password".to_owned())),
        }
    }
    (entries, problems)
}

/// `"name" "password"`; PgBouncer ignores what follows.
fn quoted_pair(line: &str) -> Option<(String, String)> {
    let (name, rest) = quoted(line)?;
    let (password, _) = quoted(rest.trim_start())?;
    Some((name, password))
}

/// A text in quotes, in which two quotes stand for one, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                value.push('"');
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MD5: &str = "md5d41d8cd98f00b204e9800998ecf8427e";
    const SCRAM: &str = "SCRAM-SHA-256$4096:c2FsdA==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn shown(stored: &Stored) -> String {
        match stored {
            Stored::Nothing => "nothing".to_owned(),
            Stored::Plain(text) => format!("plain {text}"),
            Stored::Md5(_) => "md5".to_owned(),
            Stored::Scram(_) => "scram".to_owned(),
            Stored::Aes => "aes".to_owned(),
        }
    }

    #[test]
    fn both_formats_are_read() {
        let text = format!(
            "; PgBouncer\n\"ann\" \"se\"\"cret\" rest\n  \"bob\"\t\"{MD5}\"\n\"carl\" \"{SCRAM}\"\n\
             \"none\" \"\"\n# Pgpool-II\ndora:{MD5}\neve:TEXTse:cret\nfay:AESabc=\ngus:plain\nhal:md5plain\n"
        );
        let (entries, problems) = parse(&text);
        assert!(problems.is_empty(), "{problems:?}");
        let found =
            |entry: &Entry| format!("{} {} {}", entry.line, entry.name, shown(&entry.password));
        assert_eq!(
            entries.iter().map(found).collect::<Vec<_>>(),
            [
                "2 ann plain se\"cret",
                "3 bob md5",
                "4 carl scram",
                "5 none nothing",
                "7 dora md5",
                "8 eve plain se:cret",
                "9 fay aes",
                "10 gus plain plain",
                "11 hal plain md5plain",
            ]
        );
    }

    #[test]
    fn bad_lines_are_not_shown() {
        let (entries, problems) =
            parse("secret\n:secret\n\"a\" secret\n\"a\n\"secret\"\n\"\" \"x\"\n");
        assert!(entries.is_empty());
        let lines: Vec<_> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6]);
        assert!(!format!("{problems:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z:\"\\\\ \\n\\t;#\u{e9}]{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn quoted_texts_read_back(name in "[^\\x00-\\x1f]{1,20}", password in "[^\\x00-\\x1f]{1,20}") {
            let quote = |text: &str| text.replace('"', "\"\"");
            let line = format!("\"{}\" \"{}\"", quote(&name), quote(&password));
            let (entries, _) = parse(&line);
            prop_assert_eq!(&entries[0].name, &name);
        }
    }
}
