//! Lines of `pg_hba.conf` and `pg_ident.conf`: fields, each a list of words, some of them quoted.
//! Source: `next_token` and `tokenize_auth_file` in PostgreSQL's `src/backend/libpq/hba.c`.

/// A word of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// It began with a quote, so that it is a name whatever it says.
    pub(crate) is_quoted: bool,
}

impl Word {
    /// Whether it is this word, not quoted.
    pub(crate) fn is(&self, keyword: &str) -> bool {
        !self.is_quoted && self.text == keyword
    }

    /// As it would be written.
    pub(crate) fn written(&self) -> String {
        let is_special = |c: char| c.is_whitespace() || matches!(c, '"' | ',' | '#');
        if self.is_quoted || self.text.contains(is_special) {
            return format!("\"{}\"", self.text.replace('"', "\"\""));
        }
        self.text.clone()
    }
}

/// A line with fields, or several that a backslash at the end makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Number of the first of them, from 1.
    pub(crate) number: usize,
    pub(crate) fields: Vec<Vec<Word>>,
}

/// A line that cannot be read: its number, and what is wrong with it.
pub(crate) type Problem = (usize, String);

/// All lines that say something.
pub(crate) fn lines(text: &str) -> (Vec<Line>, Vec<Problem>) {
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    let mut physical = (1..).zip(text.lines());
    while let Some((number, first)) = physical.next() {
        let mut whole = first.trim_end_matches('\r').to_owned();
        while let Some(open) = whole.strip_suffix('\\') {
            let open = open.len();
            whole.truncate(open);
            match physical.next() {
                Some((_, next)) => whole.push_str(next.trim_end_matches('\r')),
                None => break,
            }
        }
        match fields(&whole) {
            Ok(fields) if fields.is_empty() => {}
            Ok(fields) => lines.push(Line { number, fields }),
            Err(problem) => problems.push((number, problem.to_owned())),
        }
    }
    (lines, problems)
}

/// The fields of one line up to a comment. Words of a field are separated by commas.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn fields(line: &str) -> Result<Vec<Vec<Word>>, &'static str> {
    let mut fields: Vec<Vec<Word>> = Vec::new();
    let mut chars = line.chars().peekable();
    let mut continues = false;
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if matches!(chars.peek(), None | Some('#')) {
            return match continues {
                true => Err("ends with a comma"),
                false => Ok(fields),
            };
        }
        let word = word(&mut chars)?;
        match fields.last_mut().filter(|_| continues) {
            Some(field) => field.push(word),
            None => fields.push(vec![word]),
        }
        continues = chars.next_if_eq(&',').is_some();
    }
}

fn word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Word, &'static str> {
    let is_quoted = chars.peek() == Some(&'"');
    let (mut text, mut is_inside) = (String::new(), false);
    while let Some(&c) = chars.peek() {
        match c {
            '"' => {
                chars.next();
                // Two of them inside stand for one.
                if is_inside && chars.next_if_eq(&'"').is_some() {
                    text.push('"');
                } else {
                    is_inside = !is_inside;
                }
                continue;
            }
            ',' | '#' if !is_inside => break,
            c if c.is_whitespace() && !is_inside => break,
            _ => text.push(c),
        }
        chars.next();
    }
    if is_inside {
        return Err("has a quote that is not closed");
    }
    if text.is_empty() && !is_quoted {
        return Err("has a comma without a word before it");
    }
    Ok(Word { text, is_quoted })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(line: &str) -> Result<String, &'static str> {
        let word = |word: &Word| match word.is_quoted {
            true => format!("<{}>", word.text),
            false => word.text.clone(),
        };
        let field = |field: &Vec<Word>| field.iter().map(word).collect::<Vec<_>>().join("+");
        Ok(fields(line)?
            .iter()
            .map(field)
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn fields_are_split_as_postgresql_does() {
        for (line, expected) in [
            ("host all all 10.0.0.0/8 md5", "host all all 10.0.0.0/8 md5"),
            ("\thost  a,b , c\td # rest", "host a+b , c d"),
            ("local \"all\" \"a b\",c trust", "local <all> <a b>+c trust"),
            ("a,\n b", "a+b"),
            ("\"a\"\"b\" x\"y z\"w", "<a\"b> xy zw"),
            ("\"#no comment\" x#comment", "<#no comment> x"),
            ("\"\"", "<>"),
            ("# all of it", ""),
            ("  ", ""),
        ] {
            let shown = shown(line);
            if line.contains(" , ") {
                assert!(shown.is_err(), "{line}: {shown:?}");
            } else {
                assert_eq!(shown.as_deref(), Ok(expected), "{line}");
            }
        }
        assert!(shown("a \"b").is_err());
        assert!(shown("a b,").is_err());
        assert!(shown(",a").is_err());
    }

    #[test]
    fn a_backslash_joins_lines() {
        let (lines, problems) = lines("# one \\\n two\nlocal all \\\r\n  all trust\r\n\"\nx\\");
        let shown: Vec<_> = lines.iter().map(|l| (l.number, l.fields.len())).collect();
        assert_eq!(shown, [(3, 4), (6, 1)]);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].0, 5);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z\",#\\\\ \\n\\r\\t\u{e9}]{0,200}") {
            let (lines, problems) = lines(&text);
            let known: Vec<_> = text.lines().collect();
            for number in lines.iter().map(|l| l.number).chain(problems.iter().map(|p| p.0)) {
                prop_assert!((1..=known.len()).contains(&number));
            }
            prop_assert!(lines.iter().all(|line| line.fields.iter().all(|f| !f.is_empty())));
        }

        #[test]
        fn a_quoted_name_reads_back(name in "[^\\x00-\\x1f\\\\]{0,40}") {
            let line = format!("local \"{}\" x", name.replace('"', "\"\""));
            let fields = fields(&line).expect("read");
            prop_assert_eq!(&fields[1], &vec![Word { text: name, is_quoted: true }]);
        }
    }
}
