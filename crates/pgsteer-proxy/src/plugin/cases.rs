//! `cases.toml`: statements, sessions and failovers, and what a plugin should answer.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use pgsteer_core::Role;
use pgsteer_core::policy::OwnedValue;
use serde::Deserialize;

use super::expected::Expected;
use super::failover::{RawScenario, Scenario};
use super::question::{Moment, NODES, Question, Transaction};

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cases {
    /// About statements and sessions.
    pub(crate) cases: Vec<Case>,
    /// About failovers.
    pub(crate) scenarios: Vec<Scenario>,
}

/// One case, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) question: Question,
    pub(crate) nodes: Vec<(Role, f64)>,
    /// Configuration of the plugin as JSON, if not the one beside it.
    pub(crate) config: Option<String>,
    pub(crate) expected: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    nodes: Option<Vec<String>>,
    #[serde(default)]
    case: Vec<RawCase>,
    #[serde(default)]
    failover: Vec<RawScenario>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: Option<String>,
    #[serde(default)]
    sql: String,
    user: Option<String>,
    database: Option<String>,
    #[serde(default)]
    application_name: String,
    client_address: Option<String>,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    #[serde(default)]
    in_transaction: bool,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    extended: bool,
    #[serde(default)]
    values: Vec<RawValue>,
    #[serde(default)]
    transaction_marks: u32,
    #[serde(default)]
    session_marks: u32,
    balance_node: Option<u16>,
    nodes: Option<Vec<String>>,
    config: Option<toml::Table>,
    route: Option<String>,
    rewrite: Option<String>,
    admit: Option<String>,
}

/// TOML has no null, and a binary value is not text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawValue {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Binary { binary: String },
    Null { null: bool },
}

/// Reads the text of the file.
///
/// # Errors
/// The first mistake in it.
pub(crate) fn parse(text: &str) -> Result<Cases> {
    let raw: RawFile = toml::from_str(text)?;
    let shared = nodes(raw.nodes.as_deref())?.unwrap_or_else(|| NODES.to_vec());
    let mut cases = Vec::new();
    for (number, case) in (1..).zip(raw.case) {
        let name = case.name.clone();
        let name = name.unwrap_or_else(|| format!("case {number}"));
        let read = checked(case, &name, &shared);
        cases.push(read.map_err(|error| error.context(format!("case \"{name}\"")))?);
    }
    let scenarios = (1..).zip(raw.failover);
    let scenarios = scenarios.map(|(number, raw)| Scenario::checked(raw, number));
    let scenarios = scenarios.collect::<Result<Vec<_>>>()?;
    if cases.is_empty() && scenarios.is_empty() {
        bail!("there is no [[case]] and no [[failover]] in it");
    }
    Ok(Cases { cases, scenarios })
}

fn checked(raw: RawCase, name: &str, shared: &[(Role, f64)]) -> Result<Case> {
    let expected = Expected::parse(
        raw.route.as_deref(),
        raw.rewrite.as_deref(),
        raw.admit.as_deref(),
    )?;
    if expected.is_about_statement() && raw.sql.is_empty() {
        bail!("route and rewrite are about a statement: add sql = \"...\"");
    }
    let values = raw.values.into_iter().map(value);
    let config = raw.config.as_ref().map(serde_json::to_string).transpose()?;
    let app = || "app".to_owned();
    Ok(Case {
        name: name.to_owned(),
        question: Question {
            sql: raw.sql,
            user: raw.user.unwrap_or_else(app),
            database: raw.database.unwrap_or_else(app),
            application_name: raw.application_name,
            client_address: raw.client_address.unwrap_or_else(|| "127.0.0.1".to_owned()),
            settings: raw.settings.into_iter().collect(),
            moment: Moment {
                transaction: Transaction::new(raw.in_transaction, raw.read_only),
                extended: raw.extended,
            },
            values: values.collect::<Result<_>>()?,
            marks: (raw.transaction_marks, raw.session_marks),
            balance_node: raw.balance_node,
        },
        nodes: nodes(raw.nodes.as_deref())?.unwrap_or_else(|| shared.to_vec()),
        config,
        expected,
    })
}

fn value(raw: RawValue) -> Result<OwnedValue> {
    Ok(match raw {
        RawValue::Text(text) => OwnedValue::Text(text),
        RawValue::Integer(number) => OwnedValue::Text(number.to_string()),
        RawValue::Float(number) => OwnedValue::Text(number.to_string()),
        RawValue::Boolean(truth) => OwnedValue::Text(if truth { "t" } else { "f" }.to_owned()),
        RawValue::Binary { binary } => OwnedValue::Binary(bytes(&binary)?),
        RawValue::Null { null: true } => OwnedValue::Null,
        RawValue::Null { null: false } => bail!("write {{ null = true }} for a null"),
    })
}

/// From pairs of hexadecimal digits.
fn bytes(hex: &str) -> Result<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    match digits {
        Some(digits) if digits.len().is_multiple_of(2) => {
            let byte = |pair: &[u8]| pair.iter().fold(0, |byte, digit| byte << 4 | digit);
            Ok(digits.chunks(2).map(byte).collect())
        }
        _ => bail!("binary = \"{hex}\": write two hexadecimal digits for each byte"),
    }
}

/// Roles with a weight behind them, or without.
fn nodes(given: Option<&[String]>) -> Result<Option<Vec<(Role, f64)>>> {
    let Some(given) = given else { return Ok(None) };
    let node = |text: &String| {
        let mut words = text.split_whitespace();
        let role = match words.next() {
            Some("primary") => Some(Role::Primary),
            Some("replica") => Some(Role::Replica),
            Some("unknown") => Some(Role::Unknown),
            _ => None,
        };
        let weight = words.next().map_or(Some(1.0), |word| word.parse().ok());
        let weight = weight.filter(|w: &f64| w.is_finite() && *w >= 0.0);
        match (role, weight, words.next()) {
            (Some(role), Some(weight), None) => Ok((role, weight)),
            _ => bail!(
                "nodes: \"{text}\" is none; write \"primary\", \"replica\" or \"replica 0.5\""
            ),
        }
    };
    let nodes = given.iter().map(node).collect::<Result<Vec<_>>>()?;
    if nodes.is_empty() {
        bail!("nodes: there must be one at least");
    }
    Ok(Some(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_with_its_defaults() {
        let text = r#"
            nodes = ["primary 0", "replica"]
            [[case]]
            sql = "SELECT $1, $2, $3"
            read_only = true
            values = [1, { null = true }, { binary = "00fF" }]
            config = { tenant = "a" }
            route = "balanced"
            [[case]]
            name = "nobody"
            user = "nobody"
            nodes = ["primary"]
            admit = "refuse 28000"
        "#;
        let cases = parse(text).expect("valid").cases;
        let [first, second] = cases.as_slice() else {
            panic!("two cases: {cases:?}");
        };
        assert_eq!(first.name, "case 1");
        assert_eq!(first.nodes, [(Role::Primary, 0.0), (Role::Replica, 1.0)]);
        assert_eq!(first.config.as_deref(), Some("{\"tenant\":\"a\"}"));
        let question = &first.question;
        assert_eq!(question.moment.transaction, Transaction::ReadOnly);
        assert_eq!((&*question.user, &*question.database), ("app", "app"));
        let text = |text: &str| OwnedValue::Text(text.to_owned());
        let values = [
            text("1"),
            OwnedValue::Null,
            OwnedValue::Binary(vec![0, 255]),
        ];
        assert_eq!(question.values, values);
        assert_eq!(first.expected.route.as_deref(), Some("balanced"));
        assert_eq!(second.nodes, [(Role::Primary, 1.0)]);
        assert_eq!(second.expected.admit.as_deref(), Some("refuse 28000"));
    }

    #[test]
    fn mistakes_name_the_case() {
        for (text, expected) in [
            ("", "no [[case]]"),
            ("[[failover]]", "no [[failover.step]]"),
            ("[[case]]\nsql = \"SELECT 1\"", "expects nothing"),
            ("[[case]]\nroute = \"primary\"", "add sql"),
            (
                "[[case]]\nname = \"x\"\nsql = \"\"\nroute = \"up\"",
                "case \"x\"",
            ),
            (
                "[[case]]\nadmit = \"admit\"\nvalue = 1",
                "unknown field `value`",
            ),
            (
                "nodes = [\"standby\"]\n[[case]]\nadmit = \"admit\"",
                "\"standby\" is none",
            ),
            (
                "[[case]]\nadmit = \"admit\"\nvalues = [{ binary = \"0\" }]",
                "two hexadecimal digits",
            ),
        ] {
            let error = format!("{:#}", parse(text).expect_err(text));
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
