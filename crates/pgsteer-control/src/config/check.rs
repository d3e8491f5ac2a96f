//! Reads single values as what they should be, and keeps every complaint.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::error::ConfigError;
use super::keys::{Kind, Setting, setting};
use super::raw::Given;
use super::units;

/// Where values come from, for messages and relative paths.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The file as the operator named it.
    pub(crate) file: Option<String>,
    /// Directory relative paths start at.
    pub(crate) base: PathBuf,
    /// By key path, the variable a value came from.
    pub(crate) variables: HashMap<String, String>,
}

/// Reads a file of a few bytes, such as a password.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Reads values and collects what is wrong with them.
pub(crate) struct Checker<'a> {
    origin: &'a Origin,
    read_file: ReadFile<'a>,
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<String>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(origin: &'a Origin, read_file: ReadFile<'a>) -> Self {
        Self {
            origin,
            read_file,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What reads files.
    pub(crate) fn read_file(&self) -> ReadFile<'a> {
        self.read_file
    }

    /// Notes a mistake.
    pub(crate) fn error(&mut self, key: &str, problem: impl Display, advice: impl Display) {
        let variable = self.origin.variables.get(key);
        self.errors.push(ConfigError {
            file: if variable.is_some() {
                None
            } else {
                self.origin.file.clone()
            },
            place: variable.cloned().unwrap_or_else(|| key.to_owned()),
            problem: problem.to_string(),
            advice: advice.to_string(),
        });
    }

    /// Notes something odd that does not prevent a start.
    pub(crate) fn warning(&mut self, key: &str, text: impl Display) {
        let place = self.origin.variables.get(key).map_or(key, String::as_str);
        self.warnings.push(format!("{place}: {text}"));
    }

    /// Text that is not empty; `None` if not given and without default, or wrong.
    pub(crate) fn text(&mut self, key: &str, given: Given) -> Option<String> {
        match given {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            Some(Value::String(_)) => {
                self.wrong(key, "is empty", "write a value or remove the line")
            }
            Some(other) => self.wrong(key, describe(&other), "write text in quotes"),
            None => known(key).default.map(str::to_owned),
        }
    }

    /// Text that must be there.
    pub(crate) fn required(&mut self, key: &str, given: Given) -> Option<String> {
        if given.is_none() {
            return self.wrong(key, "is missing", "add it");
        }
        self.text(key, given)
    }

    /// One of the words of a [`Kind::Choice`], as its position.
    pub(crate) fn choice(&mut self, key: &str, given: Given) -> Option<&'static str> {
        let Kind::Choice(words) = known(key).kind else {
            return None;
        };
        let text = self.text(key, given)?;
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            self.error(
                key,
                format!("is \"{text}\""),
                format!("use one of: {}", words.join(", ")),
            );
        }
        found
    }

    /// Yes or no.
    pub(crate) fn switch(&mut self, key: &str, given: Given) -> bool {
        let default = known(key).default == Some("true");
        match given {
            None => default,
            Some(Value::Boolean(value)) => value,
            Some(other) => {
                self.error(key, describe(&other), "write true or false without quotes");
                default
            }
        }
    }

    /// Text or a list of texts.
    pub(crate) fn texts(&mut self, key: &str, given: Given) -> Vec<String> {
        let Some(Value::Array(list)) = given else {
            return self.text(key, given).into_iter().collect();
        };
        if list.is_empty() {
            self.error(key, "is an empty list", "name at least one");
        }
        let element = |(index, value)| self.text_of_list(key, index, value);
        list.into_iter().enumerate().filter_map(element).collect()
    }

    /// A list of texts that may be empty.
    pub(crate) fn list(&mut self, key: &str, given: Given) -> Vec<String> {
        match given {
            None => Vec::new(),
            Some(Value::Array(list)) if list.is_empty() => Vec::new(),
            Some(list @ Value::Array(_)) => self.texts(key, Some(list)),
            Some(other) => {
                let advice = "write a list of texts, such as [\"one\", \"two\"]";
                self.error(key, describe(&other), advice);
                Vec::new()
            }
        }
    }

    /// A list of some of the words of a [`Kind::Words`].
    pub(crate) fn words(&mut self, key: &str, given: Given) -> Vec<&'static str> {
        let Kind::Words(words) = known(key).kind else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for text in self.list(key, given) {
            match words.iter().find(|word| **word == text) {
                Some(word) => found.push(*word),
                None => {
                    let advice = format!("use some of: {}", words.join(", "));
                    self.error(key, format!("holds \"{text}\""), advice);
                }
            }
        }
        found
    }

    /// A share of a whole, as a number between 0 and 1.
    pub(crate) fn percent(&mut self, key: &str, given: Given) -> f64 {
        let default = known(key).default.and_then(percent).unwrap_or_default();
        let text = match given {
            None => return default,
            Some(Value::String(text)) => text,
            Some(other) => {
                self.error(key, describe(&other), PERCENT);
                return default;
            }
        };
        percent(&text).unwrap_or_else(|| {
            self.error(key, format!("is \"{text}\""), PERCENT);
            default
        })
    }

    fn text_of_list(&mut self, key: &str, index: usize, value: Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text),
            other => self.wrong(
                &format!("{key}[{index}]"),
                describe(&other),
                "write text in quotes",
            ),
        }
    }

    /// A whole number within the limits of the table.
    pub(crate) fn count(&mut self, key: &str, given: Given) -> u64 {
        let setting = known(key);
        let Kind::Count(min, max) = setting.kind else {
            return 0;
        };
        let default = setting
            .default
            .and_then(|text| text.parse().ok())
            .unwrap_or(min);
        let number = match given {
            None => return default,
            Some(Value::Integer(number)) => number,
            Some(other) => {
                self.error(key, describe(&other), "write a whole number without quotes");
                return default;
            }
        };
        match u64::try_from(number) {
            Ok(number) if (min..=max).contains(&number) => number,
            _ => {
                self.error(key, format!("is {number}"), format!("use {min} to {max}"));
                default
            }
        }
    }

    /// A finite number that is not negative.
    pub(crate) fn share(&mut self, key: &str, given: Given) -> f64 {
        let number = match given {
            None => 1.0,
            Some(Value::Float(number)) => number,
            // Integers beyond 2^53 lose their last digits, which no weight misses.
            Some(Value::Integer(number)) => number as f64,
            Some(other) => {
                self.error(key, describe(&other), "write a number without quotes");
                return 1.0;
            }
        };
        if number.is_finite() && number >= 0.0 {
            return number;
        }
        self.error(
            key,
            format!("is {number}"),
            "use a number that is not negative, such as 1",
        );
        1.0
    }

    /// A duration within the limits of the table.
    pub(crate) fn duration(&mut self, key: &str, given: Given) -> Duration {
        let Kind::Duration(min, max) = known(key).kind else {
            return Duration::ZERO;
        };
        self.measured(
            key,
            given,
            (min, max),
            units::duration,
            units::show_duration,
        )
    }

    /// A size in bytes within the limits of the table.
    pub(crate) fn size(&mut self, key: &str, given: Given) -> usize {
        let Kind::Size(min, max) = known(key).kind else {
            return 0;
        };
        self.measured(key, given, (min, max), units::size, units::show_size)
    }

    fn measured<T: PartialOrd + Copy>(
        &mut self,
        key: &str,
        given: Given,
        (min, max): (T, T),
        read: fn(&str) -> Result<T, String>,
        show: fn(T) -> String,
    ) -> T {
        let default = known(key)
            .default
            .and_then(|text| read(text).ok())
            .unwrap_or(min);
        let text = match given {
            None => return default,
            Some(Value::String(text)) => text,
            Some(other) => {
                self.error(key, describe(&other), read("").err().unwrap_or_default());
                return default;
            }
        };
        match read(&text) {
            Ok(value) if value >= min && value <= max => return value,
            Ok(_) => {
                let limits = format!("use {} to {}", show(min), show(max));
                self.error(key, format!("is \"{text}\""), limits);
            }
            Err(advice) => self.error(key, format!("is \"{text}\""), advice),
        }
        default
    }

    /// A path, made absolute where the file tells where it starts.
    pub(crate) fn path(&mut self, key: &str, given: Given) -> Option<PathBuf> {
        let text = self.text(key, given)?;
        if self.origin.variables.contains_key(key) {
            return Some(PathBuf::from(text));
        }
        Some(self.origin.base.join(text))
    }

    /// A secret given as such or as the name of a file with it; `None` if neither or wrong.
    pub(crate) fn secret(&mut self, prefix: &str, given: Given, file: Given) -> Option<String> {
        let file_key = format!("{prefix}password_file");
        let key = format!("{prefix}password");
        match (given, file) {
            (Some(_), Some(_)) => self.wrong(
                &file_key,
                "is given together with `password`",
                "keep one of them",
            ),
            (Some(Value::String(secret)), None) => Some(secret),
            (Some(_), None) => self.wrong(&key, "is not text", "write text in quotes"),
            (None, None) => None,
            (None, file) => {
                let path = self.path(&file_key, file)?;
                match (self.read_file)(&path) {
                    Ok(text) => Some(first_line(&text).to_owned()),
                    Err(error) => {
                        let problem = format!("{} cannot be read: {error}", path.display());
                        self.wrong(&file_key, problem, "name a file the proxy may read")
                    }
                }
            }
        }
    }

    /// A small file, such as one with users; `None` if it cannot be read.
    pub(crate) fn file(&mut self, key: &str, path: &Path) -> Option<String> {
        match (self.read_file)(path) {
            Ok(text) => Some(text),
            Err(error) => {
                let problem = format!("{} cannot be read: {error}", path.display());
                self.wrong(key, problem, "name a file the proxy may read")
            }
        }
    }

    /// What reads files.
    pub(crate) fn reader(&self) -> ReadFile<'a> {
        self.read_file
    }

    fn wrong<T>(&mut self, key: &str, problem: impl Display, advice: &str) -> Option<T> {
        self.error(key, problem, advice);
        None
    }
}

/// `1%` is 0.01.
fn percent(text: &str) -> Option<f64> {
    let number: f64 = text.strip_suffix('%')?.trim_end().parse().ok()?;
    (0.0..=100.0).contains(&number).then_some(number / 100.0)
}

const PERCENT: &str = "write a number of per cent from 0% to 100%, as in \"0.5%\"";

/// The first line, without its end.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn known(key: &str) -> &'static Setting {
    setting(key).expect("every key that is read is in SETTINGS")
}

/// Says what was found; secrets never get here.
fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("is the text \"{text}\""),
        Value::Integer(number) => format!("is the bare number {number}"),
        Value::Float(number) => format!("is the bare number {number}"),
        Value::Boolean(value) => format!("is {value}"),
        Value::Datetime(_) => "is a date".to_owned(),
        Value::Array(_) => "is a list".to_owned(),
        Value::Table(_) => "is a table".to_owned(),
    }
}
