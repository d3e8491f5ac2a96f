//! `cases.lock.json`: the cases with everything that a plugin is told about them, so that the SDK
//! can run them natively, without a parser of SQL.

use pgsteer_core::Role;
use pgsteer_core::policy::{Grants, OwnedValue, Sample};
use serde_json::{Map, Value, json};

use super::cases::Case;

/// Which plugin the cases are for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// Its file name.
    pub(crate) file: &'a str,
    /// Its configuration, a JSON object.
    pub(crate) config: &'a str,
    /// Without the grant `values` it is not told any.
    pub(crate) grants: Grants,
}

/// The text of the file.
pub(crate) fn render(cases: &[Case], subject: Subject<'_>) -> String {
    let cases: Vec<Value> = cases.iter().map(|case| locked(case, subject)).collect();
    // A value of ours always has a text.
    let mut text = serde_json::to_string_pretty(&json!({ "cases": cases })).unwrap_or_default();
    text.push('\n');
    text
}

fn locked(case: &Case, subject: Subject<'_>) -> Value {
    let file = subject.file;
    let mut sample = case.question.sample(file);
    if !subject.grants.has(Grants::VALUES) {
        sample.values.clear();
    }
    let config = case.config.as_deref().unwrap_or(subject.config);
    let config: Value = serde_json::from_str(config).unwrap_or_else(|_| json!({}));
    let node = |(role, weight): &(Role, f64)| json!({ "role": role_name(*role), "weight": weight });
    let nodes: Vec<Value> = case.nodes.iter().map(node).collect();
    json!({
        "name": case.name,
        "file": file,
        "config": config,
        "session": session(&sample),
        "statement": statement(&sample),
        "topology": nodes,
        "expect": expectations(case),
    })
}

fn session(sample: &Sample) -> Value {
    let settings = sample.settings.iter();
    let settings: Map<String, Value> = settings
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({
        "user": sample.user,
        "database": sample.database,
        "application_name": sample.application_name,
        "client_address": sample.client_address,
        "settings": settings,
    })
}

/// Numbers of 64 bits are texts: not every reader of JSON keeps them whole.
fn statement(sample: &Sample) -> Value {
    let relation = |r: &pgsteer_sql::RelationRef| json!({ "schema": r.schema, "name": r.name, "written": r.written });
    let function = |f: &pgsteer_sql::FunctionRef| json!({ "schema": f.schema, "name": f.name });
    let (transaction, session) = sample.marks.first().map_or((0, 0), |(_, t, s)| (*t, *s));
    json!({
        "fingerprint": sample.fingerprint.to_string(),
        "class": sample.class,
        "traits": sample.traits.to_string(),
        "sql": sample.sql,
        "relations": sample.relations.iter().map(relation).collect::<Vec<_>>(),
        "functions": sample.functions.iter().map(function).collect::<Vec<_>>(),
        "values": sample.values.iter().map(value).collect::<Vec<_>>(),
        "transaction_marks": transaction,
        "session_marks": session,
        "balance_node": sample.balance_node.map(|node| node.0),
    })
}

fn value(value: &OwnedValue) -> Value {
    match value {
        OwnedValue::Null => Value::Null,
        OwnedValue::Text(text) => json!({ "text": text }),
        OwnedValue::Binary(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "binary": hex })
        }
    }
}

fn expectations(case: &Case) -> Value {
    let expected = &case.expected;
    let pairs = [
        ("route", &expected.route),
        ("rewrite", &expected.rewrite),
        ("admit", &expected.admit),
    ];
    let given = pairs.into_iter().filter_map(|(name, text)| {
        let text = text.as_ref()?;
        Some((name.to_owned(), json!(text)))
    });
    Value::Object(given.collect())
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Replica => "replica",
        Role::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::cases;

    #[test]
    fn a_case_is_written_with_its_facts() {
        let text = "[[case]]\nname = \"x\"\nsql = \"SELECT now() FROM s.t WHERE a = $1\"\n\
                    values = [1, { null = true }, { binary = \"0fff\" }]\nsession_marks = 3\n\
                    settings = { a = \"b\" }\nroute = \"primary\"\n";
        let cases = cases::parse(text).expect("valid").cases;
        let mut subject = Subject {
            file: "10-x",
            config: r#"{"k":1}"#,
            grants: Grants::VALUES,
        };
        let read =
            |subject| -> Value { serde_json::from_str(&render(&cases, subject)).expect("JSON") };
        let lock = read(subject);
        let case = &lock["cases"][0];
        assert_eq!(case["file"], "10-x");
        assert_eq!(case["config"], json!({ "k": 1 }));
        assert_eq!(case["session"]["settings"], json!({ "a": "b" }));
        assert_eq!(
            case["topology"][1],
            json!({ "role": "replica", "weight": 1.0 })
        );
        assert_eq!(case["expect"], json!({ "route": "primary" }));
        let statement = &case["statement"];
        let values = json!([{ "text": "1" }, null, { "binary": "0fff" }]);
        assert_eq!(statement["values"], values);
        assert_eq!(statement["class"], 1);
        assert_eq!(statement["session_marks"], 3);
        subject.grants = Grants::default();
        let untold = read(subject);
        assert_eq!(untold["cases"][0]["statement"]["values"], json!([]));
        let relation = json!({ "schema": "s", "name": "t", "written": false });
        assert_eq!(statement["relations"], json!([relation]));
        let traits = statement["traits"]
            .as_str()
            .and_then(|t| t.parse::<u64>().ok());
        assert!(traits.is_some_and(|bits| bits & 1 == 1), "it reads");
        assert!(
            statement["fingerprint"]
                .as_str()
                .is_some_and(|f| f.parse::<u64>().is_ok())
        );
    }
}
