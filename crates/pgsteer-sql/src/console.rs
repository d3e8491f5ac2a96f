//! Commands that the proxy answers itself: `SHOW pool_*`, `PGPOOL SHOW|SET|RESET`, `EXPLAIN ROUTE`,
//! `PGSTEER ...`.

/// A command that the proxy answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// `SHOW pool_nodes`.
    PoolNodes,
    /// `SHOW pool_plugins`.
    PoolPlugins,
    /// `SHOW pool_plugin_stats`.
    PoolPluginStats,
    /// `SHOW pool_plugin_metrics`.
    PoolPluginMetrics,
    /// `SHOW pool_version`.
    PoolVersion,
    /// `SHOW pool_processes`.
    PoolProcesses,
    /// `SHOW pool_pools`.
    PoolPools,
    /// `SHOW pool_pins`.
    PoolPins,
    /// `SHOW pool_cache`.
    PoolCache,
    /// `SHOW pool_backend_stats`.
    PoolBackendStats,
    /// `SHOW pool_health_check_stats`.
    PoolHealthCheckStats,
    /// `SHOW pool_status`.
    PoolStatus,
    /// `PGPOOL SHOW name`, in lower case: a parameter, a group of them, or `all`.
    Show(Box<str>),
    /// `PGPOOL SET name TO value`; no value for DEFAULT.
    Set {
        /// The parameter, in lower case.
        name: Box<str>,
        /// Its value without quotes.
        value: Option<Box<str>>,
    },
    /// `PGPOOL RESET name`; no name for ALL.
    Reset(Option<Box<str>>),
    /// `EXPLAIN ROUTE statement`.
    ExplainRoute(Box<str>),
    /// `PGSTEER PLUGIN name TELL 'text'`: a command for a plugin.
    Tell {
        /// The plugin's file, with or without its number.
        plugin: Box<str>,
        /// What it is told.
        text: Box<str>,
    },
    /// What else follows `PGSTEER`: an order about plugins.
    Order(Box<str>),
}

impl Console {
    /// The command `SHOW name`, if the proxy answers it.
    pub(crate) fn show(name: &str) -> Option<Self> {
        Some(match name {
            "pool_nodes" => Self::PoolNodes,
            "pool_plugins" => Self::PoolPlugins,
            "pool_plugin_stats" => Self::PoolPluginStats,
            "pool_plugin_metrics" => Self::PoolPluginMetrics,
            "pool_version" => Self::PoolVersion,
            "pool_processes" => Self::PoolProcesses,
            "pool_pools" => Self::PoolPools,
            "pool_pins" => Self::PoolPins,
            "pool_cache" => Self::PoolCache,
            "pool_backend_stats" => Self::PoolBackendStats,
            "pool_health_check_stats" => Self::PoolHealthCheckStats,
            "pool_status" => Self::PoolStatus,
            _ => return None,
        })
    }

    /// Bytes its texts occupy.
    pub(crate) fn text_len(&self) -> usize {
        match self {
            Self::Show(text)
            | Self::ExplainRoute(text)
            | Self::Order(text)
            | Self::Reset(Some(text)) => text.len(),
            Self::Tell { plugin, text } => plugin.len() + text.len(),
            Self::Set { name, value } => name.len() + value.as_ref().map_or(0, |v| v.len()),
            _ => 0,
        }
    }
}

/// The command a text is, of those that PostgreSQL's grammar does not know.
pub(crate) fn command(text: &str) -> Option<Console> {
    let text = text.trim_ascii();
    if let Some(rest) = after(text, "explain").and_then(|rest| after(rest, "route")) {
        let statement = rest.trim_ascii();
        return (!statement.is_empty()).then(|| Console::ExplainRoute(statement.into()));
    }
    if let Some(rest) = after(text, "pgsteer") {
        let rest = rest.strip_suffix(';').unwrap_or(rest).trim_ascii();
        return Some(tell(rest).unwrap_or_else(|| Console::Order(rest.into())));
    }
    let rest = after(text, "pgpool")?;
    let rest = rest.strip_suffix(';').unwrap_or(rest).trim_ascii();
    if let Some(name) = after(rest, "show") {
        return Some(Console::Show(parameter(name)?));
    }
    if let Some(name) = after(rest, "reset") {
        let name = parameter(name)?;
        return Some(Console::Reset((&*name != "all").then_some(name)));
    }
    let assignment = after(rest, "set")?;
    let len = assignment
        .find(|c: char| !is_identifier(c))
        .unwrap_or(assignment.len());
    let (name, rest) = assignment.split_at(len);
    let rest = rest.trim_ascii_start();
    let value = rest.strip_prefix('=').or_else(|| after(rest, "to"))?;
    let value = value.trim_ascii();
    let unquoted = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
    let value = match unquoted {
        Some(quoted) => Some(quoted.replace("''", "'").into()),
        None if value.eq_ignore_ascii_case("default") => None,
        None => Some(value.into()),
    };
    let name = parameter(name)?;
    Some(Console::Set { name, value })
}

/// `PLUGIN name TELL 'text'`.
fn tell(text: &str) -> Option<Console> {
    let rest = after(text, "plugin")?;
    let (name, rest) = rest.split_once(|c: char| c.is_ascii_whitespace())?;
    let told = after(rest.trim_ascii_start(), "tell")?;
    let told = told.strip_prefix('\'')?.strip_suffix('\'')?;
    Some(Console::Tell {
        plugin: name.trim_matches('\'').into(),
        text: told.replace("''", "'").into(),
    })
}

/// What follows a word and at least one blank; leading blanks of the rest are gone.
fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (first, rest) = text.split_at_checked(word.len())?;
    let ends = rest.starts_with(|c: char| c.is_ascii_whitespace());
    (first.eq_ignore_ascii_case(word) && ends).then(|| rest.trim_ascii_start())
}

fn parameter(name: &str) -> Option<Box<str>> {
    let name = name.trim_ascii();
    let valid = !name.is_empty() && name.chars().all(is_identifier);
    valid.then(|| name.to_ascii_lowercase().into())
}

fn is_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, analyze};

    #[test]
    fn commands_the_grammar_does_not_know() {
        let set = |name: &str, value: Option<&str>| Console::Set {
            name: name.into(),
            value: value.map(Into::into),
        };
        for (text, expected) in [
            ("PGPOOL SHOW ALL", Some(Console::Show("all".into()))),
            (
                " pgpool  show Backend_Weight0 ;",
                Some(Console::Show("backend_weight0".into())),
            ),
            (
                "PGPOOL SET allow_sql_comments TO on",
                Some(set("allow_sql_comments", Some("on"))),
            ),
            ("PGPOOL SET a = 'it''s'", Some(set("a", Some("it's")))),
            ("PGPOOL SET a TO DEFAULT;", Some(set("a", None))),
            ("PGPOOL RESET ALL", Some(Console::Reset(None))),
            ("PGPOOL RESET a", Some(Console::Reset(Some("a".into())))),
            (
                "explain route SELECT 1",
                Some(Console::ExplainRoute("SELECT 1".into())),
            ),
            (
                "PGSTEER PLUGIN 10-fw TELL 'block 1 because it''s slow';",
                Some(Console::Tell {
                    plugin: "10-fw".into(),
                    text: "block 1 because it's slow".into(),
                }),
            ),
            (
                "pgsteer plugin 10-fw rollback",
                Some(Console::Order("plugin 10-fw rollback".into())),
            ),
            ("EXPLAIN ROUTE", None),
            ("EXPLAIN SELECT 1", None),
            ("PGPOOL", None),
            ("PGPOOL SHOW a b", None),
            ("PGPOOLSHOW a", None),
        ] {
            assert_eq!(command(text), expected, "{text}");
        }
    }

    #[test]
    fn a_command_is_answered_without_a_server() {
        for text in ["SHOW pool_nodes", "show Pool_Nodes;", "PGPOOL SHOW all"] {
            let analysis = analyze(text.as_bytes());
            assert_eq!(analysis.class, Class::Show, "{text}");
            assert!(analysis.console.is_some(), "{text}");
        }
        assert!(analyze(b"SHOW pool_foo").console.is_none());
        assert!(analyze(b"SELECT 1; SHOW pool_nodes").console.is_none());
    }
}
