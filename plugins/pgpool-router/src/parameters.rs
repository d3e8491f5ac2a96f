//! The configuration, with the names and defaults of Pgpool-II.

use pgsteer_plugin_sdk::json::{self, Json};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of Pgpool-II with its name"
)]
pub struct Parameters {
    /// Reads are balanced at all.
    pub load_balance_mode: bool,
    /// A node is drawn for every statement instead of once for the session.
    pub statement_level_load_balance: bool,
    /// What a write does to the reads after it.
    pub disable_load_balance_on_write: DisableOnWrite,
    /// The text of a statement is not looked at: a leading comment does not force the primary.
    pub allow_sql_comments: bool,
    /// White space in front of a statement is skipped before its text is looked at.
    pub ignore_leading_white_space: bool,
}

/// How far a write keeps reads on the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisableOnWrite {
    /// Not at all.
    Off,
    /// To the end of its transaction.
    Transaction,
    /// Also in every later explicit transaction of the session.
    TransTransaction,
    /// To the end of the session.
    Always,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            load_balance_mode: true,
            statement_level_load_balance: false,
            disable_load_balance_on_write: DisableOnWrite::Transaction,
            allow_sql_comments: false,
            ignore_leading_white_space: true,
        }
    }
}

impl Parameters {
    /// Reads a JSON object; what it does not set has its default.
    ///
    /// # Errors
    /// A sentence with the key, its value and what is allowed.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let mut parameters = Self::default();
        for (key, value) in json::object(json)? {
            parameters.set(&key, &value)?;
        }
        Ok(parameters)
    }

    fn set(&mut self, key: &str, value: &Json) -> Result<(), String> {
        match key {
            "load_balance_mode" => self.load_balance_mode = switch(key, value)?,
            "statement_level_load_balance" => {
                self.statement_level_load_balance = switch(key, value)?;
            }
            "disable_load_balance_on_write" => {
                self.disable_load_balance_on_write = disable_on_write(key, value)?;
            }
            "allow_sql_comments" => self.allow_sql_comments = switch(key, value)?,
            "ignore_leading_white_space" => self.ignore_leading_white_space = switch(key, value)?,
            _ => return Err(format!("unknown key \"{key}\" ({value}); known are {KEYS}")),
        }
        Ok(())
    }
}

fn switch(key: &str, value: &Json) -> Result<bool, String> {
    match value {
        Json::Bool(on) => Ok(*on),
        _ => Err(format!("{key} = {value}: allowed are true and false")),
    }
}

fn disable_on_write(key: &str, value: &Json) -> Result<DisableOnWrite, String> {
    match value.as_text() {
        Some("off") => Ok(DisableOnWrite::Off),
        Some("transaction") => Ok(DisableOnWrite::Transaction),
        Some("trans_transaction") => Ok(DisableOnWrite::TransTransaction),
        Some("always") => Ok(DisableOnWrite::Always),
        Some("dml_adaptive" | "dml_adaptive_global") => Err(format!(
            "{key} = {value}: not supported yet, it needs the tables of each statement; \
             use {MODES} (\"transaction\" is the nearest safe choice)"
        )),
        _ => Err(format!("{key} = {value}: allowed are {MODES}")),
    }
}

const MODES: &str = r#""off", "transaction", "trans_transaction" and "always""#;

const KEYS: &str = "load_balance_mode, statement_level_load_balance, \
     disable_load_balance_on_write, allow_sql_comments and ignore_leading_white_space";
