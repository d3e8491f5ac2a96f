//! Connection strings of replicas (`primary_conninfo`): whom one follows, and how to follow another.

/// The same with another host and port; `None` if it is not understood (a URI, or quoted wrongly).
pub(super) fn redirected(conninfo: &str, host: &str, port: u16) -> Option<String> {
    let pairs = parse(conninfo)?;
    let kept = pairs
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "host" | "hostaddr" | "port"));
    let mut out = format!("host={} port={port}", quoted(host));
    for (name, value) in kept {
        out.push_str(&format!(" {name}={}", quoted(value)));
    }
    Some(out)
}

/// The host in it, if there is one.
pub(super) fn host(conninfo: &str) -> Option<String> {
    let pairs = parse(conninfo)?;
    let named = |wanted: &str| pairs.iter().rev().find(|(name, _)| name == wanted);
    let found = named("host").or_else(|| named("hostaddr"));
    found.map(|(_, value)| value.clone())
}

/// Keywords and values, as libpq reads them.
fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut chars = text.trim_start().chars().peekable();
    while chars.peek().is_some() {
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            name.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if name.is_empty() || chars.next() != Some('=') {
            return None;
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut value = String::new();
        if chars.next_if_eq(&'\'').is_some() {
            loop {
                match chars.next()? {
                    '\'' => break,
                    '\\' => value.push(chars.next()?),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                value.push(if c == '\\' { chars.next()? } else { c });
            }
        }
        pairs.push((name, value));
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
    }
    Some(pairs)
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Text as a literal of SQL, whatever `standard_conforming_strings` is.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''").replace('\\', "\\\\");
    if text.contains('\\') {
        format!("E'{doubled}'")
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_place_changes() {
        let old = r"user=replicator password='it''s \'x\' \\' channel_binding=prefer host=old
            hostaddr=10.0.0.1 port = 5432 application_name=node1";
        // libpq ends a quoted value at the first quote that no backslash precedes.
        assert_eq!(redirected(old, "new", 1), None);
        let old = r"user=replicator password='it\'s \\' host=old hostaddr=10.0.0.1 port = 5432 x=";
        assert_eq!(
            redirected(old, "new host", 5433).as_deref(),
            Some(r"host='new host' port=5433 user='replicator' password='it\'s \\' x=''")
        );
        assert_eq!(redirected("", "h", 1).as_deref(), Some("host='h' port=1"));
        for odd in ["postgresql://u@h/", "host", "=x", "a='", "a=b\\"] {
            assert_eq!(redirected(odd, "h", 1), None, "{odd}");
        }
    }

    #[test]
    fn literals_survive_quotes_and_backslashes() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }
}
