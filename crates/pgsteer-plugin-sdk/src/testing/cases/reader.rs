//! Reads a file of cases. Fields that are not there have the value of an empty statement, and fields
//! that this version does not know are ignored.

use crate::json::{self, Json};
use crate::{
    Class, Function, Node, NodeId, NodeRole, Relation, Session, Statement, Topology, Traits, Value,
};

/// A question and what is expected.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) config: String,
    pub(super) session: Session,
    pub(super) statement: Statement,
    pub(super) topology: Topology,
    /// By hook.
    pub(super) expect: Vec<(String, String)>,
}

pub(super) fn read(text: &str) -> Result<Vec<Case>, String> {
    let file = json::parse(text)?;
    let cases = list(&file, "cases")?;
    let read = |(index, value): (usize, &Json)| {
        case(value).map_err(|error| format!("case {}: {error}", index + 1))
    };
    cases.iter().enumerate().map(read).collect()
}

fn case(value: &Json) -> Result<Case, String> {
    let config = field(value, "config");
    let expect = match field(value, "expect") {
        Some(Json::Object(fields)) => fields
            .iter()
            .map(|(hook, expected)| Some((hook.clone(), expected.as_text()?.to_owned())))
            .collect(),
        _ => None,
    };
    Ok(Case {
        name: text(value, "name")?,
        file: text(value, "file")?,
        config: config.map_or_else(|| "{}".to_owned(), ToString::to_string),
        session: field(value, "session").map_or(Ok(Session::default()), session)?,
        statement: field(value, "statement").map_or(Ok(Statement::default()), statement)?,
        topology: topology(list(value, "topology")?)?,
        expect: expect.ok_or("\"expect\" must be an object of texts")?,
    })
}

fn session(value: &Json) -> Result<Session, String> {
    let settings = match field(value, "settings") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Object(fields)) => fields
            .iter()
            .map(|(name, value)| (name.clone(), plain(value)))
            .collect(),
        Some(other) => return Err(format!("\"settings\" must be an object, got {other}")),
    };
    Ok(Session {
        id: 0,
        user: text(value, "user")?,
        database: text(value, "database")?,
        application_name: text(value, "application_name")?,
        client_address: text(value, "client_address")?,
        settings,
    })
}

fn statement(value: &Json) -> Result<Statement, String> {
    let relations = list(value, "relations")?.iter().map(|relation| {
        Ok(Relation {
            schema: optional_text(relation, "schema")?,
            name: text(relation, "name")?,
            written: matches!(field(relation, "written"), Some(Json::Bool(true))),
        })
    });
    let functions = list(value, "functions")?.iter().map(|function| {
        Ok(Function {
            schema: optional_text(function, "schema")?,
            name: text(function, "name")?,
        })
    });
    let class: u16 = number(value, "class")?;
    let node: Option<u32> = match field(value, "balance_node") {
        None | Some(Json::Null) => None,
        Some(_) => Some(number(value, "balance_node")?),
    };
    Ok(Statement {
        fingerprint: number(value, "fingerprint")?,
        class: Class::from_code(class),
        traits: Traits::from_bits(number(value, "traits")?),
        session_class: 0,
        balance_node: node.map(NodeId),
        transaction_marks: number(value, "transaction_marks")?,
        session_marks: number(value, "session_marks")?,
        sql: text(value, "sql")?,
        relations: relations.collect::<Result<_, String>>()?,
        functions: functions.collect::<Result<_, String>>()?,
        values: list(value, "values")?
            .iter()
            .map(bound)
            .collect::<Result<_, _>>()?,
    })
}

fn bound(value: &Json) -> Result<Value, String> {
    if *value == Json::Null {
        return Ok(Value::Null);
    }
    if let Some(text) = optional_text(value, "text")? {
        return Ok(Value::Text(text));
    }
    let digits = text(value, "binary")?;
    let bytes = (0..digits.len()).step_by(2).map(|at| {
        let pair = digits.get(at..at + 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    let bytes = bytes.ok_or_else(|| format!("\"{digits}\" is not hexadecimal"))?;
    Ok(Value::Binary(bytes))
}

fn topology(nodes: &[Json]) -> Result<Topology, String> {
    let node = |(id, value): (u32, &Json)| {
        let role = match text(value, "role")?.as_str() {
            "primary" => NodeRole::Primary,
            "replica" | "standby" => NodeRole::Replica,
            _ => NodeRole::Unknown,
        };
        Ok(Node {
            id: NodeId(id),
            host: format!("node{id}"),
            port: 5432,
            role,
            usable: !matches!(field(value, "usable"), Some(Json::Bool(false))),
            weight: match field(value, "weight") {
                None => 1.0,
                Some(_) => number(value, "weight")?,
            },
            lag_bytes: None,
        })
    };
    Ok(Topology {
        epoch: 1,
        nodes: (0..).zip(nodes).map(node).collect::<Result<_, String>>()?,
    })
}

fn field<'a>(value: &'a Json, name: &str) -> Option<&'a Json> {
    match value {
        Json::Object(fields) => {
            let mut fields = fields.iter();
            fields.find(|(key, _)| key == name).map(|(_, value)| value)
        }
        _ => None,
    }
}

fn list<'a>(value: &'a Json, name: &str) -> Result<&'a [Json], String> {
    match field(value, name) {
        None | Some(Json::Null) => Ok(&[]),
        Some(Json::List(values)) => Ok(values),
        Some(other) => Err(format!("\"{name}\" must be a list, got {other}")),
    }
}

fn optional_text(value: &Json, name: &str) -> Result<Option<String>, String> {
    match field(value, name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("\"{name}\" must be a text, got {other}")),
    }
}

fn text(value: &Json, name: &str) -> Result<String, String> {
    Ok(optional_text(value, name)?.unwrap_or_default())
}

/// A number, or a number in a text: large ones do not survive every reader of JSON.
fn number<T: std::str::FromStr + Default>(value: &Json, name: &str) -> Result<T, String> {
    let Some(value) = field(value, name) else {
        return Ok(T::default());
    };
    let wrong = || format!("\"{name}\" must be a number, got {value}");
    plain(value).parse().map_err(|_| wrong())
}

fn plain(value: &Json) -> String {
    match value {
        Json::Text(text) => text.clone(),
        other => other.to_string(),
    }
}
