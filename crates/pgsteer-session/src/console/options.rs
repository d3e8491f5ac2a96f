//! `PGPOOL SET` and `PGPOOL RESET`: what a session may set about itself, and how values are read.

use pgsteer_wire::{ErrorReply, Severity, SqlState, encode};
use tracing::Level;

use super::Answer;
use super::status::Item;
use crate::session::Session;

/// What was set in a session, but for what concerns the plugins.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) notice_per_node_statement: bool,
    /// None: as the log takes them.
    pub(crate) log_per_node_statement: Option<bool>,
    /// Seconds; 0 for no limit.
    pub(crate) client_idle_limit: u32,
}

impl Options {
    /// Whether statements of this session are logged. While the log does not take them this is one
    /// comparison.
    pub(crate) fn logs_statements(&self) -> bool {
        takes_statements() && self.log_per_node_statement != Some(false)
    }
}

fn takes_statements() -> bool {
    tracing::enabled!(target: "pgsteer::statement", Level::DEBUG)
}

/// What the plugins are told of, all of it on or off.
const FOR_PLUGINS: [&str; 2] = ["allow_sql_comments", "check_unlogged_table"];

/// What only the session itself needs.
const OWN: [&str; 3] = [
    "log_per_node_statement",
    "notice_per_node_statement",
    "client_idle_limit",
];

/// What Pgpool-II lets a session set and nothing here depends on.
const WITHOUT_EFFECT: [&str; 7] = [
    "log_statement",
    "log_client_messages",
    "log_backend_messages",
    "log_error_verbosity",
    "log_min_messages",
    "client_min_messages",
    "client_idle_limit_in_recovery",
];

impl Session {
    /// `PGPOOL SET name TO value`; without a value it is as at login again.
    pub(crate) fn set_option(
        &mut self,
        name: &str,
        value: Option<&str>,
    ) -> Result<Answer, ErrorReply> {
        if let Some(name) = FOR_PLUGINS.iter().find(|known| **known == name) {
            let on = value.map(|v| switch(name, v)).transpose()?;
            self.steering.override_setting(name, on);
            return Ok(Answer::Done("SET"));
        }
        match name {
            "client_idle_limit" => {
                let limit = value.map(|v| seconds(name, v)).transpose()?;
                self.options.client_idle_limit = limit.unwrap_or(0);
            }
            "notice_per_node_statement" => {
                let on = value.map(|v| switch(name, v)).transpose()?;
                self.options.notice_per_node_statement = on.unwrap_or(false);
            }
            "log_per_node_statement" => {
                let on = value.map(|v| switch(name, v)).transpose()?;
                self.options.log_per_node_statement = on;
                if on == Some(true) && !takes_statements() {
                    encode::error(&mut self.client.output, &not_taken());
                }
            }
            _ => return Err(self.not_settable(name)),
        }
        Ok(Answer::Done("SET"))
    }

    /// `PGPOOL RESET name` and `PGPOOL RESET ALL`.
    pub(crate) fn reset_options(&mut self, name: Option<&str>) -> Result<Answer, ErrorReply> {
        if let Some(name) = name {
            // The tag is SET in Pgpool-II, too.
            return self.set_option(name, None);
        }
        for name in FOR_PLUGINS.iter().chain(&OWN) {
            self.set_option(name, None)?;
        }
        Ok(Answer::Done("RESET"))
    }

    fn not_settable(&self, name: &str) -> ErrorReply {
        let is_known = |item: &Item| item.name == name;
        if WITHOUT_EFFECT.contains(&name) || self.items().iter().any(is_known) {
            let text = format!("invalid Context, value for parameter \"{name}\" cannot be changed");
            return ErrorReply::error(SqlState::CANT_CHANGE_RUNTIME_PARAM, text);
        }
        let text = format!("unrecognized configuration parameter \"{name}\"");
        ErrorReply::error(SqlState::UNDEFINED_OBJECT, text)
    }
}

fn not_taken() -> ErrorReply {
    let text = "the log does not take the statements sent to nodes";
    let reply = ErrorReply {
        severity: Severity::Warning,
        ..ErrorReply::error(SqlState::WARNING, text)
    };
    reply.with_hint("Start the proxy with PGSTEER_LOG=info,pgsteer::statement=debug.")
}

/// On or off, in PostgreSQL's words.
pub(crate) fn switch(name: &str, value: &str) -> Result<bool, ErrorReply> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "t" | "yes" | "y" | "1" => Ok(true),
        "off" | "of" | "false" | "f" | "no" | "n" | "0" => Ok(false),
        _ => Err(invalid(name, value)),
    }
}

/// A number of seconds, with or without a unit.
fn seconds(name: &str, value: &str) -> Result<u32, ErrorReply> {
    let is_unit = |c: char| c.is_ascii_alphabetic();
    let number = value.trim_end_matches(is_unit);
    let factor = match value.get(number.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(invalid(name, value)),
    };
    let parsed: Result<i64, _> = number.trim_ascii().parse();
    let number = parsed.map_err(|_| invalid(name, value))?;
    let number = number.saturating_mul(factor);
    let limit = i64::from(i32::MAX);
    let fits = (0..=limit).contains(&number);
    u32::try_from(number).ok().filter(|_| fits).ok_or_else(|| {
        let text =
            format!("{number} is outside the valid range for parameter \"{name}\" (0 .. {limit})");
        ErrorReply::error(SqlState::INVALID_PARAMETER_VALUE, text)
    })
}

fn invalid(name: &str, value: &str) -> ErrorReply {
    let text = format!("invalid value for parameter \"{name}\": \"{value}\"");
    ErrorReply::error(SqlState::INVALID_PARAMETER_VALUE, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_pgpool_reads_them() {
        let limit = |value: &str| seconds("client_idle_limit", value).map_err(|e| e.message);
        assert_eq!(limit("0"), Ok(0));
        assert_eq!(limit("10"), Ok(10));
        assert_eq!(limit("2min"), Ok(120));
        assert_eq!(
            limit("-5").unwrap_err(),
            "-5 is outside the valid range for parameter \"client_idle_limit\" (0 .. 2147483647)"
        );
        assert!(
            limit("2147483648")
                .unwrap_err()
                .starts_with("2147483648 is outside")
        );
        let wrong = "invalid value for parameter \"client_idle_limit\": \"abc\"";
        assert_eq!(limit("abc").unwrap_err(), wrong);
        assert!(limit("").is_err() && limit("5 years").is_err());
        assert_eq!(switch("x", "ON"), Ok(true));
        assert_eq!(switch("x", "no"), Ok(false));
        let wrong = switch("x", "abc").unwrap_err();
        assert_eq!(wrong.message, "invalid value for parameter \"x\": \"abc\"");
        assert_eq!(wrong.sqlstate.as_str(), "22023");
    }
}
