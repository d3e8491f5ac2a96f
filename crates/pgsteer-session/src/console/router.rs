//! The built-in router's configuration as Pgpool-II shows it. Only names and defaults are known
//! here; what they mean is the router's business.

use serde_json::{Map, Value};

use super::status::{Item, switch, text};

/// Parameters that are on or off, with their defaults.
const SWITCHES: [(&str, bool, &str); 6] = [
    ("load_balance_mode", true, "reads are balanced"),
    (
        "statement_level_load_balance",
        false,
        "a node is drawn for each statement",
    ),
    (
        "prefer_lower_delay_standby",
        false,
        "a node that lags is replaced by the one that lags least",
    ),
    (
        "allow_sql_comments",
        false,
        "a leading comment does not force the primary",
    ),
    (
        "ignore_leading_white_space",
        true,
        "leading white space does not force the primary",
    ),
    (
        "check_unlogged_table",
        true,
        "unlogged tables are read on the primary",
    ),
];

/// All others.
const TEXTS: [(&str, &str, &str); 13] = [
    (
        "disable_load_balance_on_write",
        "transaction",
        "how long a write keeps reads on the primary",
    ),
    (
        "dml_adaptive_object_relationship_list",
        "",
        "relations that are written along with others",
    ),
    (
        "read_your_writes",
        "session",
        "whose writes a balanced read must see",
    ),
    (
        "delay_threshold",
        "0",
        "bytes a node may be behind, 0 for any",
    ),
    (
        "delay_threshold_by_time",
        "0",
        "milliseconds a node may be behind, 0 for any",
    ),
    ("read_only_function_list", "", "functions that only read"),
    ("write_function_list", "", "functions that write"),
    (
        "primary_routing_query_pattern_list",
        "",
        "texts that go to the primary",
    ),
    (
        "user_redirect_preference_list",
        "",
        "preferred nodes by user",
    ),
    (
        "database_redirect_preference_list",
        "",
        "preferred nodes by database",
    ),
    (
        "app_name_redirect_preference_list",
        "",
        "preferred nodes by application name",
    ),
    (
        "check_temp_table",
        "catalog",
        "how temporary tables are recognised",
    ),
    (
        "compatibility",
        "safe",
        "whether defects of Pgpool-II are wanted back",
    ),
];

/// The parameters with their values: those of a session, else those of the configuration, a JSON
/// object, else the defaults.
pub(crate) fn router_items(config: &str, overridden: &[(&str, &str)]) -> Vec<Item> {
    let set: Map<String, Value> = serde_json::from_str(config).unwrap_or_default();
    let switches = SWITCHES.iter().map(|(name, default, description)| {
        let configured = set.get(*name).and_then(Value::as_bool);
        let own = overridden.iter().find(|(n, _)| n == name);
        let own = own.map(|(_, value)| *value == "on");
        switch(name, own.or(configured).unwrap_or(*default), description)
    });
    let exact = set.get("compatibility").and_then(Value::as_str) == Some("exact");
    let texts = TEXTS.iter().map(|(name, default, description)| {
        let default = match *name {
            "read_your_writes" if exact => "off",
            _ => default,
        };
        let value = set.get(*name).map_or_else(|| default.to_owned(), plain);
        text(name, value, description)
    });
    switches.chain(texts).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_before_configuration_before_default() {
        let config = r#"{"allow_sql_comments": true, "delay_threshold": 4096,
            "compatibility": "exact", "write_function_list": "f,g"}"#;
        let value = |overridden: &[(&str, &str)], name: &str| {
            let items = router_items(config, overridden);
            let item = items.iter().find(|item| item.name == name).unwrap();
            (item.status.clone(), item.shown.clone())
        };
        let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(value(&[], "allow_sql_comments"), both("1", "on"));
        let own = [("allow_sql_comments", "off")];
        assert_eq!(value(&own, "allow_sql_comments"), both("0", "off"));
        assert_eq!(value(&[], "check_unlogged_table"), both("1", "on"));
        assert_eq!(value(&[], "delay_threshold"), both("4096", "4096"));
        assert_eq!(value(&[], "read_your_writes"), both("off", "off"));
        assert_eq!(value(&[], "write_function_list"), both("f,g", "f,g"));
    }
}
