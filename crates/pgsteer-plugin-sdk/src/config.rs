//! Helps to read a configuration: values of a kind, and errors that name the key, its value and
//! what is allowed.
//!
//! ```
//! use pgsteer_plugin_sdk::{config, json};
//!
//! for (key, value) in json::object(r#"{"limit": 10}"#).unwrap() {
//!     match key.as_str() {
//!         "limit" => assert_eq!(config::number(&key, &value), Ok(10)),
//!         _ => assert!(config::unknown(&key, &value, &["limit"]).contains("known are")),
//!     }
//! }
//! ```

use crate::json::Json;

/// `true` or `false`.
///
/// # Errors
/// A sentence for the operator.
pub fn switch(key: &str, value: &Json) -> Result<bool, String> {
    match value {
        Json::Bool(on) => Ok(*on),
        _ => Err(wrong(key, value, "allowed are true and false")),
    }
}

/// A whole number.
///
/// # Errors
/// A sentence for the operator.
pub fn number(key: &str, value: &Json) -> Result<u64, String> {
    let parsed = match value {
        Json::Number(text) => text.parse().ok(),
        _ => None,
    };
    parsed.ok_or_else(|| wrong(key, value, "allowed are whole numbers from 0"))
}

/// A weight or a rate: a number from 0.
///
/// # Errors
/// A sentence for the operator.
pub fn share(key: &str, value: &Json) -> Result<f64, String> {
    let parsed = match value {
        Json::Number(text) => text.parse::<f64>().ok(),
        _ => None,
    };
    let fits = parsed.filter(|share| share.is_finite() && *share >= 0.0);
    fits.ok_or_else(|| wrong(key, value, "allowed are numbers from 0"))
}

/// A text.
///
/// # Errors
/// A sentence for the operator.
pub fn text<'a>(key: &str, value: &'a Json) -> Result<&'a str, String> {
    let text = value.as_text();
    text.ok_or_else(|| wrong(key, value, "must be a text"))
}

/// A list of texts.
///
/// # Errors
/// A sentence for the operator.
pub fn texts(key: &str, value: &Json) -> Result<Vec<String>, String> {
    let texts = match value {
        Json::List(values) => values
            .iter()
            .map(|value| value.as_text().map(Into::into))
            .collect(),
        _ => None,
    };
    texts.ok_or_else(|| wrong(key, value, "must be a list of texts"))
}

/// One of some words.
///
/// # Errors
/// A sentence for the operator.
pub fn choice<T: Copy>(key: &str, value: &Json, words: &[(&str, T)]) -> Result<T, String> {
    let meant = value.as_text();
    let found = words.iter().find(|(word, _)| Some(*word) == meant);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let words: Vec<_> = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        wrong(key, value, &format!("allowed are {}", words.join(", ")))
    })
}

/// Milliseconds of a length of time as people write it: a whole number with `ms`, `s`, `min` (or
/// `m`), `h` or `d`. `None` if it is none.
///
/// ```
/// use pgsteer_plugin_sdk::config::duration_ms;
///
/// assert_eq!(duration_ms("10min"), Some(600_000));
/// assert_eq!(duration_ms("10"), None);
/// ```
#[must_use]
pub fn duration_ms(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "min" | "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms)
}

/// That there is no such key.
#[must_use]
pub fn unknown(key: &str, value: &Json, known: &[&str]) -> String {
    let known = known.join(", ");
    format!("unknown key \"{key}\" ({value}); known are {known}")
}

/// That a value does not fit.
#[must_use]
pub fn wrong(key: &str, value: &Json, allowed: &str) -> String {
    format!("{key} = {value}: {allowed}")
}
