//! Lists of regular expressions: functions by name, statements by text.
//!
//! As in Pgpool-II each element is an expression that must match as a whole, whatever the case.

use pgsteer_plugin_sdk::Function;
use regex_lite::Regex;

/// An expression that matches whole texts without regard to case.
///
/// # Errors
/// A sentence for the operator.
pub(crate) fn whole(expression: &str) -> Result<Regex, String> {
    Regex::new(&format!("(?is)^(?:{expression})$"))
        .map_err(|error| format!("\"{expression}\" is no regular expression: {error}"))
}

/// Functions, separated by commas.
#[derive(Clone, Debug, Default)]
pub struct FunctionList(Vec<Regex>);

impl FunctionList {
    /// Reads a list.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let elements = text.split(',').map(str::trim).filter(|e| !e.is_empty());
        Ok(Self(elements.map(whole).collect::<Result<_, _>>()?))
    }

    /// Whether nothing is listed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a call is listed, under the name it is called by: with its schema only if the call
    /// has one.
    pub(crate) fn contains(&self, function: &Function) -> bool {
        let name = match &function.schema {
            Some(schema) => &format!("{schema}.{}", function.name),
            None => &function.name,
        };
        self.0.iter().any(|element| element.is_match(name))
    }
}

/// Texts of statements, separated by semicolons.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Regex>);

impl Patterns {
    /// Reads a list; `\;` is a semicolon that is part of a pattern.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut elements = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let escapes = character == '\\';
            match (character, characters.peek()) {
                (_, Some(next @ (';' | '\''))) if escapes => {
                    let next = *next;
                    characters.next();
                    push(&mut elements, next);
                }
                (';', _) => elements.push(String::new()),
                _ => push(&mut elements, character),
            }
        }
        let elements = elements.iter().filter(|e| !e.is_empty());
        let patterns = elements.map(|e| whole(e)).collect::<Result<_, _>>()?;
        Ok(Self(patterns))
    }

    /// Whether nothing is listed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a text is listed. Double quotes in it do not count.
    pub(crate) fn match_text(&self, text: &str) -> bool {
        let text = text.replace('"', "");
        self.0.iter().any(|pattern| pattern.is_match(&text))
    }
}

fn push(elements: &mut [String], character: char) {
    if let Some(last) = elements.last_mut() {
        last.push(character);
    }
}
