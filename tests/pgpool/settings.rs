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
