//! Settings of both proxies: written once, in Pgpool-II's words.

use std::fmt::Write as _;

/// A setting of Pgpool-II that pgsteer's router has too.
pub(crate) type Setting = (&'static str, Value);

#[derive(Clone, Copy)]
pub(crate) enum Value {
    Switch(bool),
    Text(&'static str),
}

/// Which of pgsteer's rules are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// The default, safer where Pgpool-II is wrong.
    Safer,
    /// Pgpool-II's own, `compatibility = "exact"`.
    Exact,
}

/// Names and values for `pgpool.conf`, before quoting.
pub(crate) fn for_pgpool(settings: &[Setting]) -> Vec<(&'static str, String)> {
    let value = |value: &Value| match value {
        Value::Switch(on) => if *on { "on" } else { "off" }.to_owned(),
        Value::Text(text) => (*text).to_owned(),
    };
    settings.iter().map(|(name, v)| (*name, value(v))).collect()
}

/// Lines for the section `[router]`.
pub(crate) fn for_router(settings: &[Setting]) -> String {
    let mut text = String::new();
    for (name, value) in settings {
        let _ = match value {
            Value::Switch(on) => writeln!(text, "{name} = {on}"),
            Value::Text(value) => writeln!(text, "{name} = {value:?}"),
        };
    }
    // Pgpool-II has nothing like it.
    text.push_str(
        "read_your_writes = \"off\"
",
    );
    text
}

impl Rules {
    /// The line that asks for these rules.
    pub(crate) fn line(self) -> &'static str {
        match self {
            Self::Safer => "",
            Self::Exact => "compatibility = \"exact\"\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::refuses;

    /// A value each missing key could have.
    const VALUES: &[(&str, &str)] = &[
        ("compatibility", "\"exact\""),
        ("read_your_writes", "\"off\""),
        ("write_function_list", "\"f\""),
        ("read_only_function_list", "\"f\""),
        ("primary_routing_query_pattern_list", "\"f\""),
        ("database_redirect_preference_list", "\"d:primary\""),
        ("app_name_redirect_preference_list", "\"d:primary\""),
        ("check_temp_table", "\"trace\""),
        ("check_unlogged_table", "true"),
        ("dml_adaptive_object_relationship_list", "\"a:b\""),
    ];

    #[test]
    fn what_is_missing_is_refused() {
        for name in MISSING {
            let found = VALUES.iter().find(|(key, _)| key == name);
            let (_, value) = found.unwrap_or_else(|| panic!("no value for {name}"));
            let told = format!("the router knows {name} now: take it out of MISSING");
            assert!(refuses(&format!("{name} = {value}")), "{told}");
        }
        for mode in MISSING_MODES {
            let told = format!("the router knows {mode} now: take it out of MISSING_MODES");
            let line = format!("disable_load_balance_on_write = \"{mode}\"");
            assert!(refuses(&line), "{told}");
        }
    }
}
