//! Recordings: decisions of a live proxy as lines of JSON, to be replayed through another version
//! of a plugin.
//!
//! One sample is one line, a JSON object. Empty lines and lines that begin with `#` are remarks.
//! What has its usual value (empty, 0, false) is left out. Unknown members are ignored, so that
//! older programs read newer recordings.
//!
//! | Member | Meaning |
//! |---|---|
//! | `user`, `database`, `application_name`, `client_address` | of the session |
//! | `settings` | what the session has set for itself, an object |
//! | `fingerprint` | a number as text; equal for statements that differ only in literals |
//! | `class`, `traits` | numbers, as in `wit/v0.1/plugin.wit` |
//! | `balance_node` | number of the node drawn for the session's balanced reads |
//! | `sql` | the text; without its literals unless they were asked for |
//! | `relations` | objects with `schema`, `name`, `written` |
//! | `functions` | objects with `schema`, `name`, `arguments` |
//! | `values` | of parameters, if they were asked for: text, `null`, or an object `{"hex": "00ff"}` |
//! | `marks` | by file name of the plugin: those of the transaction and those of the session |
//! | `decided_by`, `answer` | file name of the plugin that decided, and its route in words |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use pgsteer_core::NodeId;
use pgsteer_core::policy::{OwnedValue, Sample};
use pgsteer_sql::{FunctionRef, RelationRef};
use serde::{Deserialize, Serialize};

/// A sample as one line of JSON, without the end of the line.
#[must_use]
pub fn line(sample: &Sample) -> String {
    // Only text and numbers: there is nothing in it that could not be written.
    serde_json::to_string(&Written::from(sample)).unwrap_or_default()
}

/// Reads a line; `None` if it is a remark.
///
/// # Errors
/// What is wrong with it.
pub fn read_line(line: &str) -> Result<Option<Sample>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let written: Written = serde_json::from_str(line).map_err(|error| error.to_string())?;
    written.into_sample().map(Some)
}

/// Reads a whole recording.
///
/// # Errors
/// The first line that is wrong, by its number, and what is wrong with it.
pub fn read(text: &str) -> Result<Vec<Sample>, String> {
    let mut samples = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let sample = read_line(line).map_err(|error| format!("line {}: {error}", index + 1))?;
        samples.extend(sample);
    }
    Ok(samples)
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Written {
    user: String,
    database: String,
    #[serde(skip_serializing_if = "is_usual")]
    application_name: String,
    #[serde(skip_serializing_if = "is_usual")]
    client_address: String,
    #[serde(skip_serializing_if = "is_usual")]
    settings: BTreeMap<String, String>,
    fingerprint: String,
    class: u16,
    traits: u64,
    #[serde(skip_serializing_if = "is_usual")]
    balance_node: Option<u16>,
    sql: String,
    #[serde(skip_serializing_if = "is_usual")]
    relations: Vec<Relation>,
    #[serde(skip_serializing_if = "is_usual")]
    functions: Vec<Function>,
    #[serde(skip_serializing_if = "is_usual")]
    values: Vec<WrittenValue>,
    #[serde(skip_serializing_if = "is_usual")]
    marks: BTreeMap<String, (u32, u32)>,
    #[serde(skip_serializing_if = "is_usual")]
    decided_by: String,
    #[serde(skip_serializing_if = "is_usual")]
    answer: String,
}

#[derive(Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
struct Relation {
    #[serde(skip_serializing_if = "is_usual")]
    schema: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "is_usual")]
    written: bool,
}

#[derive(Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
struct Function {
    #[serde(skip_serializing_if = "is_usual")]
    schema: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "is_usual")]
    arguments: Option<u16>,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
enum WrittenValue {
    Text(String),
    Binary { hex: String },
    Null,
}

fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<&Sample> for Written {
    fn from(sample: &Sample) -> Self {
        let relation = |relation: &RelationRef| Relation {
            schema: relation.schema.as_deref().map(str::to_owned),
            name: relation.name.to_string(),
            written: relation.written,
        };
        let function = |function: &FunctionRef| Function {
            schema: function.schema.as_deref().map(str::to_owned),
            name: function.name.to_string(),
            arguments: function.arguments,
        };
        let value = |value: &OwnedValue| match value {
            OwnedValue::Null => WrittenValue::Null,
            OwnedValue::Text(text) => WrittenValue::Text(text.clone()),
            OwnedValue::Binary(bytes) => WrittenValue::Binary { hex: hex(bytes) },
        };
        let marks = sample.marks.iter();
        Self {
            user: sample.user.clone(),
            database: sample.database.clone(),
            application_name: sample.application_name.clone(),
            client_address: sample.client_address.clone(),
            settings: sample.settings.iter().cloned().collect(),
            fingerprint: sample.fingerprint.to_string(),
            class: sample.class,
            traits: sample.traits,
            balance_node: sample.balance_node.map(|node| node.0),
            sql: sample.sql.clone(),
            relations: sample.relations.iter().map(relation).collect(),
            functions: sample.functions.iter().map(function).collect(),
            values: sample.values.iter().map(value).collect(),
            marks: marks
                .map(|(name, t, s)| (name.to_string(), (*t, *s)))
                .collect(),
            decided_by: sample.decided_by.clone(),
            answer: sample.answer.clone(),
        }
    }
}

impl Written {
    fn into_sample(self) -> Result<Sample, String> {
        let fingerprint = self.fingerprint.parse::<u64>().map_err(|_| {
            let text = &self.fingerprint;
            format!("the fingerprint is \"{text}\"; it should be a number")
        })?;
        let relation = |relation: Relation| RelationRef {
            schema: relation.schema.map(String::into_boxed_str),
            name: relation.name.into_boxed_str(),
            written: relation.written,
        };
        let function = |function: Function| FunctionRef {
            schema: function.schema.map(String::into_boxed_str),
            name: function.name.into_boxed_str(),
            arguments: function.arguments,
        };
        let value = |value: WrittenValue| match value {
            WrittenValue::Null => Ok(OwnedValue::Null),
            WrittenValue::Text(text) => Ok(OwnedValue::Text(text)),
            WrittenValue::Binary { hex } => unhex(&hex).map(OwnedValue::Binary),
        };
        let marks = self.marks.into_iter();
        Ok(Sample {
            user: self.user,
            database: self.database,
            application_name: self.application_name,
            client_address: self.client_address,
            settings: self.settings.into_iter().collect(),
            fingerprint,
            class: self.class,
            traits: self.traits,
            balance_node: self.balance_node.map(NodeId),
            sql: self.sql,
            relations: self.relations.into_iter().map(relation).collect(),
            functions: self.functions.into_iter().map(function).collect(),
            values: self
                .values
                .into_iter()
                .map(value)
                .collect::<Result<_, _>>()?,
            marks: marks
                .map(|(name, (t, s))| (Arc::from(name), t, s))
                .collect(),
            decided_by: self.decided_by,
            answer: self.answer,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("\"{text}\" is not hexadecimal");
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(wrong());
    }
    let pair = |at: usize| {
        text.get(at..at + 2)
            .and_then(|p| u8::from_str_radix(p, 16).ok())
    };
    let pairs = (0..text.len()).step_by(2);
    pairs.map(pair).collect::<Option<_>>().ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        Sample {
            user: "app".to_owned(),
            database: "shop".to_owned(),
            settings: vec![("search_path".to_owned(), "a, b".to_owned())],
            fingerprint: 0xfedc_ba98_7654_3210,
            class: 3,
            traits: 1 << 31,
            balance_node: Some(NodeId(2)),
            sql: "SELECT \"é\"\nFROM t WHERE x = $1".to_owned(),
            relations: vec![RelationRef {
                schema: Some("s".into()),
                name: "t".into(),
                written: true,
            }],
            functions: vec![FunctionRef {
                schema: None,
                name: "f".into(),
                arguments: Some(2),
            }],
            values: vec![
                OwnedValue::Null,
                OwnedValue::Text("null".to_owned()),
                OwnedValue::Binary(vec![0, 255]),
            ],
            marks: vec![("10-a".into(), 1, 2)],
            decided_by: "10-a".to_owned(),
            answer: "primary".to_owned(),
            ..Sample::default()
        }
    }

    #[test]
    fn a_line_leads_back() {
        for sample in [sample(), Sample::default()] {
            let line = line(&sample);
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(read_line(&line), Ok(Some(sample)), "{line}");
        }
    }

    #[test]
    fn the_format_stays() {
        let line = line(&sample());
        let expected = "{\"user\":\"app\",\"database\":\"shop\",\"settings\":{\"search_path\":\"a, b\"},\
            \"fingerprint\":\"18364758544493064720\",\"class\":3,\"traits\":2147483648,\
            \"balance_node\":2,\"sql\":\"SELECT \\\"é\\\"\\nFROM t WHERE x = $1\",\
            \"relations\":[{\"schema\":\"s\",\"name\":\"t\",\"written\":true}],\
            \"functions\":[{\"name\":\"f\",\"arguments\":2}],\
            \"values\":[null,\"null\",{\"hex\":\"00ff\"}],\"marks\":{\"10-a\":[1,2]},\
            \"decided_by\":\"10-a\",\"answer\":\"primary\"}";
        assert_eq!(line, expected);
    }

    #[test]
    fn remarks_are_skipped_and_mistakes_have_a_line() {
        let good = line(&sample());
        let text = format!("# a remark\n\n{good}\n{{\"fingerprint\":\"1\",\"newer\":true}}\n");
        assert_eq!(read(&text).map(|samples| samples.len()), Ok(2));
        for (bad, expected) in [
            ("{", "line 2: EOF"),
            ("{}", "line 2: the fingerprint is \"\""),
            (
                "{\"fingerprint\":\"1\",\"values\":[{\"hex\":\"0\"}]}",
                "line 2: \"0\" is not hex",
            ),
        ] {
            let error = read(&format!("{good}\n{bad}")).expect_err(bad);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
