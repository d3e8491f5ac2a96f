//! Renders `docs/settings.md` and `config/pgsteer.toml` from the table of settings. Tests hold the
//! files against it; `PGSTEER_UPDATE_DOCS=1 cargo test -p pgsteer-control` writes them anew.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::keys::{Kind, Reload, SETTINGS, Setting};
use super::units::{show_duration, show_size};
use super::variables::{Use, VARIABLES};

fn value(kind: Kind) -> String {
    match kind {
        Kind::Text | Kind::Secret => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Choice(words) => words.join(", "),
        Kind::Switch => "true or false".to_owned(),
        Kind::Texts => "text or list of texts".to_owned(),
        Kind::List => "list of texts".to_owned(),
        Kind::Words(words) => format!("list of {}", words.join(", ")),
        Kind::Percent => "per cent, 0% to 100%".to_owned(),
        Kind::Count(min, max) => format!("whole number, {min} to {max}"),
        Kind::Share => "number, not negative".to_owned(),
        Kind::Duration(min, max) => {
            format!("duration, {} to {}", show_duration(min), show_duration(max))
        }
        Kind::Size(min, max) => format!("size, {} to {}", show_size(min), show_size(max)),
        Kind::Free => "section".to_owned(),
    }
}

fn reload(setting: &Setting) -> &'static str {
    match setting.reload {
        Reload::Applies => "yes",
        Reload::Restart => "no, restart",
    }
}

fn section(setting: &Setting) -> &'static str {
    setting.key.split(['.', '[']).next().unwrap_or_default()
}

fn settings_page() -> String {
    let mut page = String::from(PAGE_HEAD);
    let mut current = "";
    for setting in SETTINGS {
        let section = section(setting);
        if section != current {
            let list = setting.key.contains("[]");
            let title = if list {
                format!("[[{section}]]")
            } else {
                format!("[{section}]")
            };
            let _ = write!(page, "\n## `{title}`\n\n{TABLE_HEAD}");
            current = section;
        }
        let default = setting
            .default
            .map_or("–".to_owned(), |default| format!("`{default}`"));
        let known_as: Vec<_> = setting
            .known_as
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let known_as = if known_as.is_empty() {
            "–".to_owned()
        } else {
            known_as.join(", ")
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {default} | {} | {known_as} | {} |",
            setting.key,
            value(setting.kind),
            reload(setting),
            setting.meaning
        );
    }
    page.push_str(BESIDE);
    page.push_str(VARIABLES_HEAD);
    for (name, use_of) in VARIABLES {
        let _ = writeln!(page, "| `{name}` | {} |", variable(name, *use_of));
    }
    page
}

fn variable(name: &str, use_of: Use) -> String {
    match use_of {
        Use::Text(key) => format!("`{key}`"),
        Use::Seconds(key, "0s") => format!("`{key}`, in seconds"),
        Use::Seconds(key, zero) => format!("`{key}`, in seconds; 0 becomes `{zero}`"),
        Use::Milliseconds(key, zero) => format!("`{key}`, in milliseconds; 0 becomes `{zero}`"),
        Use::Switch(key) => format!("`{key}`, yes or no"),
        Use::Either(key, yes, no) => format!("`{key}`: yes becomes `{yes}`, no becomes `{no}`"),
        Use::Word(key, words) => format!("`router.{key}`: {}", words.join(", ")),
        Use::Special => special(name).to_owned(),
        Use::Ignored(why, _) => format!("no effect: {why}"),
    }
}

fn special(name: &str) -> &'static str {
    match name {
        "PGPOOL_BACKEND_NODES" => {
            "`nodes`: `number:host[:port][:weight][:data directory][:flag]`, separated by comma, \
             semicolon or blank"
        }
        "PGPOOL_PORT_NUMBER" => "port of `listen.address` on all IPv4 addresses",
        "PGPOOL_POSTGRES_USERNAME" => "a user (`postgres` if not set)",
        "PGPOOL_POSTGRES_PASSWORD" => "its password; required",
        "PGPOOL_POSTGRES_CUSTOM_USERS" => "more users, separated by comma or semicolon",
        "PGPOOL_POSTGRES_CUSTOM_PASSWORDS" => "their passwords, in the same order",
        "PGPOOL_SR_CHECK_USER" | "PGPOOL_SR_CHECK_PASSWORD" => {
            "`probe.user`, `probe.password`; without them those of the health check, then those of \
             PGPOOL_POSTGRES_USERNAME"
        }
        "PGPOOL_HEALTH_CHECK_USER" | "PGPOOL_HEALTH_CHECK_PASSWORD" => {
            "used if PGPOOL_SR_CHECK_USER is not set"
        }
        "PGPOOL_SR_CHECK_PERIOD" | "PGPOOL_HEALTH_CHECK_PERIOD" => {
            "`probe.interval`, in seconds: the shorter of the two that are set"
        }
        "PGPOOL_HEALTH_CHECK_MAX_RETRIES" => "`probe.failures_max`, which is one more",
        "PGPOOL_NUM_INIT_CHILDREN" => "`listen.clients_max`",
        "PGPOOL_MAX_POOL" => {
            "times PGPOOL_NUM_INIT_CHILDREN: `pool.connections_per_node_max`; no effect alone"
        }
        "PGPOOL_ADMIN_USERNAME" => {
            "a user of the `pcp_*` tools, for whom `pcp.listen` is 0.0.0.0:9898; and \
             `console.operators`"
        }
        "PGPOOL_ADMIN_PASSWORD" => "its password for the tools; without it there is no PCP port",
        "PGPOOL_RESERVED_CONNECTIONS" => "is subtracted from PGPOOL_NUM_INIT_CHILDREN",
        _ => "",
    }
}

fn sample() -> String {
    let mut file = String::from(SAMPLE_HEAD);
    let mut current = "";
    for setting in SETTINGS {
        let section = section(setting);
        if section != current {
            let list = setting.key.contains("[]");
            let _ = match section {
                "router" | "failover_rules" => writeln!(file),
                "pcp_users" | "pools" | "hba" => write!(file, "\n# [[{section}]]\n"),
                _ if list => write!(file, "\n[[{section}]]\n"),
                _ => write!(file, "\n[{section}]\n"),
            };
            current = section;
        }
        explain(&mut file, setting);
        assign(&mut file, setting);
        if setting.key == "nodes[].probe_retry_delay" {
            file.push_str(SAMPLE_NODES);
        }
    }
    file
}

fn explain(file: &mut String, setting: &Setting) {
    let mut text = setting.meaning.to_owned();
    let default = setting
        .default
        .map(|default| format!(" Default: {default}."));
    let _ = write!(
        text,
        " Value: {}.{}",
        value(setting.kind),
        default.unwrap_or_default()
    );
    if !setting.known_as.is_empty() {
        let _ = write!(text, " Known elsewhere as {}.", setting.known_as.join(", "));
    }
    text.push_str(match setting.reload {
        Reload::Applies => " A reload applies it.",
        Reload::Restart => " A new value takes a restart.",
    });
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > 100 {
            let _ = writeln!(file, "{line}");
            line = String::from("#");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(file, "{line}");
}

fn assign(file: &mut String, setting: &Setting) {
    let key = setting.key.rsplit('.').next().unwrap_or_default();
    let default = setting.default.unwrap_or_default();
    let _ = match (setting.key, setting.kind) {
        ("router", _) => write!(file, "{SAMPLE_ROUTER}"),
        ("failover_rules", _) => write!(file, "{SAMPLE_RULES}"),
        ("users[].name", _) => writeln!(file, "name = \"postgres\""),
        ("users[].password", _) => writeln!(file, "password = \"password\""),
        ("nodes[].host", _) => writeln!(file, "host = \"127.0.0.1\""),
        (_, _) if setting.default.is_none() => writeln!(file, "# {key} = \"\""),
        (_, Kind::Count(..) | Kind::Share | Kind::Switch | Kind::List | Kind::Words(_)) => {
            writeln!(file, "{key} = {default}")
        }
        _ => writeln!(file, "{key} = \"{default}\""),
    };
}

const PAGE_HEAD: &str = "\
# Settings

Made from the table in `crates/pgsteer-control/src/config/keys.rs`; refresh it with
`PGSTEER_UPDATE_DOCS=1 cargo test -p pgsteer-control`.

`pgsteer serve --config FILE` reads a TOML file such as `config/pgsteer.toml`. Every mistake in it is
reported at once, with the key path as it is written here. Durations and sizes are text with a unit:
`us`, `ms`, `s`, `m`, `h`, `d`; `B`, `KiB`, `MiB`, `GiB`. Relative paths start at the directory of
the file.

A reload (SIGHUP) reads the file again. If it has a mistake, nothing changes. A new value of a
setting that takes a restart is reported and left aside.
";

const TABLE_HEAD: &str = "\
| Setting | Value | Default | Reload applies it | In PgBouncer, Pgpool-II | Meaning |
|---|---|---|---|---|---|
";

const BESIDE: &str = "
## Beside a plugin

`NN-name.toml` in the plugins directory configures `NN-name.wasm`. A change of it loads the plugin
anew; if that is refused, the running one stays.

| Key | Meaning |
|---|---|
| `enabled` | `false` takes the plugin out of force. Deleting the files alone does not, so that a lost mount cannot switch off a policy. |
| `grants` | As `plugins.grants`, for this plugin alone. A list here counts instead of the one there, an empty one too. |
| `[config]` | Handed to the plugin as a JSON object. A file that replaces the built-in router gets `[router]` if it has none, one that replaces the built-in failover policy `[failover_rules]`. |
| `limits.decision_timeout`, `limits.configure_timeout`, `limits.memory_max`, `limits.functions_max`, `limits.results_max`, `limits.log_lines_max`, `limits.on_failure` | As under `[plugins]`, for this plugin alone. |
| `rollout.shadow`, `rollout.shadow_decisions`, `rollout.shadow_time`, `rollout.differences_max`, `rollout.probation`, `rollout.probation_decisions`, `rollout.refusals_max`, `rollout.slow_max` | As under `[plugins]`, for this plugin alone. A change of these alone does not load the plugin anew. |

Both files must belong to the proxy's user or to root and must not be writable by their group or by
others: whoever can write a plugin decides about every statement.

While a file named `HOLD` is in the plugins directory, nothing new is taken from it. When it is
removed, everything that changed meanwhile is one set: all of it goes live at once or none does, and
what one of the set does wrong while it is watched takes all of it back. A start takes all that is there.
";

const VARIABLES_HEAD: &str = "
## Environment variables

Without a configuration file the variables of the `bitnami/pgpool` image are the configuration. Empty
ones count as not set. Each also exists with `_FILE` at the end of its name: the value is then the
first line of the file it names. An unknown `PGPOOL_` variable is a warning that names it.
`PGSTEER_PLUGINS_DIR` is `plugins.dir`, with a file too. Without `PGSTEER_FAILOVER_PROMOTE` no replica
is promoted: Pgpool-II promotes none itself, so something else may.

| Variable | Here |
|---|---|
";

const SAMPLE_HEAD: &str = "\
# Configuration of pgsteer, with every setting at its default. Made from the table in
# crates/pgsteer-control/src/config/keys.rs, as docs/settings.md is.
#
# Nodes and the user are those of `pgsteer lab`.
";

const SAMPLE_NODES: &str = "
[[nodes]]
host = \"127.0.0.1\"
port = 5433

[[nodes]]
host = \"127.0.0.1\"
port = 5434
";

const SAMPLE_ROUTER: &str = "\
[router]
# load_balance_mode = true
# statement_level_load_balance = false
# disable_load_balance_on_write = \"transaction\"
# dml_adaptive_object_relationship_list = \"\"
# read_your_writes = \"session\"
# delay_threshold = 0
# delay_threshold_by_time = 0
# prefer_lower_delay_standby = false
# allow_sql_comments = false
# ignore_leading_white_space = true
# read_only_function_list = \"\"
# write_function_list = \"\"
# primary_routing_query_pattern_list = \"\"
# user_redirect_preference_list = \"\"
# database_redirect_preference_list = \"\"
# app_name_redirect_preference_list = \"\"
# check_temp_table = \"catalog\"
# check_unlogged_table = true
# compatibility = \"safe\"
";

const SAMPLE_RULES: &str = "\
[failover_rules]
# promotion = \"most-advanced\"
# auto_failback = true
# auto_failback_interval = 60
# detach_false_primary = false
";

/// Compares a file of the repository with what it should be, or writes it.
fn check(path: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    if std::env::var_os("PGSTEER_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(&path, expected).expect("written");
    }
    let actual = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "{} is stale: run PGSTEER_UPDATE_DOCS=1 cargo test -p pgsteer-control",
        path.display()
    );
}

#[test]
fn the_reference_page_is_fresh() {
    let page = settings_page();
    let specials = VARIABLES
        .iter()
        .filter(|(_, use_of)| *use_of == Use::Special);
    assert!(
        specials
            .map(|(name, _)| special(name))
            .all(|text| !text.is_empty())
    );
    check("docs/settings.md", &page);
}

#[test]
fn the_sample_is_fresh() {
    check("config/pgsteer.toml", &sample());
}
