//! The value of `PGPOOL_BACKEND_NODES`: `num:host[:port][:weight][:data_dir][:flag]`, separated by
//! comma, semicolon or blank.

/// One element of the list; what was left out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackendNode {
    pub(crate) number: u32,
    pub(crate) host: String,
    pub(crate) port: Option<String>,
    pub(crate) weight: Option<String>,
    pub(crate) data_dir: Option<String>,
    pub(crate) flag: Option<String>,
}

/// The elements in the order of their numbers, and a sentence for each that is wrong.
pub(crate) fn parse(text: &str) -> (Vec<BackendNode>, Vec<String>) {
    let mut nodes: Vec<BackendNode> = Vec::new();
    let mut problems = Vec::new();
    let elements = text
        .split([',', ';', ' ', '\t', '\n'])
        .filter(|element| !element.is_empty());
    for element in elements {
        match parse_one(element) {
            Ok(node) if nodes.iter().any(|other| other.number == node.number) => {
                problems.push(format!(
                    "number {} is used twice in \"{element}\"",
                    node.number
                ));
            }
            Ok(node) => nodes.push(node),
            Err(problem) => problems.push(format!("\"{element}\" {problem}")),
        }
    }
    nodes.sort_by_key(|node| node.number);
    (nodes, problems)
}

fn parse_one(element: &str) -> Result<BackendNode, String> {
    let mut fields = element.split(':');
    let number = fields.next().unwrap_or_default();
    let number = number
        .parse()
        .map_err(|_| "does not start with a number".to_owned())?;
    let host = fields
        .next()
        .filter(|host| !host.is_empty())
        .ok_or("names no host")?
        .to_owned();
    let mut next = || {
        fields
            .next()
            .filter(|field| !field.is_empty())
            .map(str::to_owned)
    };
    let (port, weight) = (next(), next());
    let (data_dir, flag) = (next(), next());
    match fields.next() {
        Some(_) => Err("has more than six fields".to_owned()),
        None => Ok(BackendNode {
            number,
            host,
            port,
            weight,
            data_dir,
            flag,
        }),
    }
}

/// The flag that counts of several, as `backend_flag` has them: joined by `|`.
pub(crate) fn flag(text: &str) -> String {
    let upper = text
        .to_ascii_uppercase()
        .replace("ALWAYS_MASTER", "ALWAYS_PRIMARY");
    let strictest = [
        "ALWAYS_PRIMARY",
        "DISALLOW_TO_FAILOVER",
        "ALLOW_TO_FAILOVER",
    ];
    let words: Vec<&str> = upper.split('|').map(str::trim).collect();
    let known = words.iter().all(|word| strictest.contains(word));
    let found = strictest.iter().find(|flag| known && words.contains(flag));
    found.map_or(upper.clone(), |flag| (*flag).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u32, host: &str, port: Option<&str>, weight: Option<&str>) -> BackendNode {
        let (port, weight) = (port.map(str::to_owned), weight.map(str::to_owned));
        BackendNode {
            number,
            host: host.to_owned(),
            port,
            weight,
            data_dir: None,
            flag: None,
        }
    }

    #[test]
    fn every_form_is_read() {
        let cases = [
            ("0:pg", vec![node(0, "pg", None, None)]),
            (
                "1:b:5433,0:a:5432",
                vec![
                    node(0, "a", Some("5432"), None),
                    node(1, "b", Some("5433"), None),
                ],
            ),
            (
                "0:a; 1:b  2:c",
                vec![
                    node(0, "a", None, None),
                    node(1, "b", None, None),
                    node(2, "c", None, None),
                ],
            ),
            (
                "0:a::2:/data",
                vec![BackendNode {
                    data_dir: Some("/data".to_owned()),
                    ..node(0, "a", None, Some("2"))
                }],
            ),
            (
                "0:a:1:2:/d:ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER",
                vec![BackendNode {
                    data_dir: Some("/d".to_owned()),
                    flag: Some("ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER".to_owned()),
                    ..node(0, "a", Some("1"), Some("2"))
                }],
            ),
            ("", vec![]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), (expected, vec![]), "{text}");
        }
    }

    #[test]
    fn every_mistake_is_named() {
        let (nodes, problems) = parse("a:b,1,0:x,0:y,3:a:1:1:d:f:g");
        assert_eq!(nodes, vec![node(0, "x", None, None)]);
        assert_eq!(
            problems,
            [
                "\"a:b\" does not start with a number",
                "\"1\" names no host",
                "number 0 is used twice in \"0:y\"",
                "\"3:a:1:1:d:f:g\" has more than six fields",
            ]
        );
    }
}
