//! Whole imports from PgBouncer and PgCat: what comes out for what goes in.

use std::path::Path;

use pgsteer_core::settings::PoolMode;
use proptest::prelude::*;

use super::*;
use crate::config::Loaded;

fn file(name: &str, text: &str) -> InputFile {
    InputFile {
        name: name.to_owned(),
        kind: FileKind::of_name(name).expect("a known name"),
        text: text.to_owned(),
    }
}

fn imported(files: &[(&str, &str)]) -> Import {
    let files: Vec<_> = files.iter().map(|(name, text)| file(name, text)).collect();
    import(&files).unwrap_or_else(|errors| panic!("{errors}"))
}

fn loaded(toml: &str) -> Loaded {
    let source = Source::File("pgsteer.toml".into());
    // Files that it names are somewhere else.
    let read = |path: &Path| {
        let main = path.ends_with("pgsteer.toml");
        Ok(if main {
            toml.to_owned()
        } else {
            "\"postgres\" \"p\"\n".to_owned()
        })
    };
    config::load_with(&source, &config::Changes::default(), [], &read, 1)
        .unwrap_or_else(|errors| panic!("{errors}\n{toml}"))
}

fn line<'a>(import: &'a Import, subject: &str) -> &'a Line {
    let mut lines = import.report.lines.iter();
    lines
        .find(|line| line.subject == subject)
        .unwrap_or_else(|| panic!("{subject}\n{}", import.report))
}

const INI: &str = "\
;; a comment
[databases]
app = host=10.0.0.1 port=5433 pool_size=7 pool_mode=session
app_ro = host=10.0.0.2 port=5433 dbname=app
other = host=10.9.9.9
* = host=10.0.0.1 port=5433
[users]
batch = pool_mode=statement max_user_connections=3 query_timeout=30
[peers]
1 = host=a
[pgbouncer]
listen_addr = *
listen_port = 6432
auth_type = md5
admin_users = postgres, root
stats_users = watcher
pool_mode = transaction
max_client_conn = 500
default_pool_size = 15
reserve_pool_size = 2
reserve_pool_timeout = 3
server_idle_timeout = 0
query_wait_timeout = 12.5
idle_transaction_timeout = 60
client_idle_timeout = 0
server_round_robin = 1
disable_pqexec = 1
speling = 1
";

#[test]
fn a_whole_pgbouncer_ini_is_carried_over() {
    let import = imported(&[
        ("pgbouncer.ini", INI),
        (
            "userlist.txt",
            "\"postgres\" \"p\"\n\"hashed\" \"md5d41d8cd98f00b204e9800998ecf8427e\"\n",
        ),
    ]);
    let settings = loaded(&import.toml).settings;
    assert_eq!(
        settings.listen,
        ["0.0.0.0:6432".parse().expect("an address")]
    );
    assert_eq!(settings.clients_max, 500);
    assert_eq!(settings.pool.mode, PoolMode::Transaction);
    assert_eq!(settings.pool.mode_of("app", "x"), PoolMode::Session);
    assert_eq!(settings.pool.mode_of("app2", "batch"), PoolMode::Statement);
    assert_eq!(settings.pool.quota_of("app", "x").size, 7);
    assert_eq!(settings.pool.quota_of("x", "x").size, 15);
    assert_eq!(settings.pool.limits.reserved, 2);
    assert_eq!(settings.pool.connections_of_user_max("batch"), 3);
    assert_eq!(settings.pool.checkout_timeout.as_millis(), 12_500);
    assert_eq!(settings.pool.idle_timeout.as_secs(), 30 * 86_400);
    assert_eq!(settings.timeouts.idle_in_transaction.as_secs(), 60);
    assert!(settings.timeouts.client_idle.is_zero());
    assert_eq!(settings.operators, ["postgres", "root"]);
    assert_eq!(settings.console.watchers, ["watcher"]);
    assert!(!settings.failover.promote);
    let nodes: Vec<_> = settings.nodes.iter().map(|n| (&*n.host, n.port)).collect();
    assert_eq!(nodes, [("10.0.0.1", 5433), ("10.0.0.2", 5433)]);
    // What cannot be had is said, and is a warning where it matters.
    assert!(line(&import, "other").is_warning);
    assert!(
        line(&import, "app_ro")
            .text
            .contains("clients connect to \"app\"")
    );
    assert!(line(&import, "disable_pqexec").is_warning);
    assert_eq!(
        line(&import, "server_round_robin").verdict,
        Verdict::NotThere
    );
    assert_eq!(
        line(&import, "client_idle_timeout").verdict,
        Verdict::NotNeeded
    );
    assert_eq!(line(&import, "speling").verdict, Verdict::Unknown);
    assert_eq!(line(&import, "1").verdict, Verdict::NotNeeded);
}

#[test]
fn what_pgbouncer_does_without_being_told_is_written_down() {
    let import = imported(&[(
        "pgbouncer.ini",
        "[databases]\n* = host=/run user=x\n[pgbouncer]\n[nonsense]\na = b\n",
    )]);
    let settings = toml::from_str::<toml::Table>(&import.toml).expect("TOML");
    assert_eq!(settings["pool"]["size"].as_integer(), Some(20));
    assert_eq!(settings["listen"]["clients_max"].as_integer(), Some(100));
    assert!(line(&import, "* user").is_warning);
    assert_eq!(line(&import, "a").verdict, Verdict::Unknown);
}

#[test]
fn lines_that_cannot_be_read_stop_the_import_and_show_no_secret() {
    let files = [
        file("pgbouncer.ini", "[databases]\nsecret\n"),
        file("userlist.txt", "secret\n"),
    ];
    let errors = import(&files).expect_err("mistakes").to_string();
    assert_eq!(errors.lines().count(), 2, "{errors}");
    assert!(!errors.contains("secret"), "{errors}");
    assert!(import(&[file("pgcat.toml", "[general\n")]).is_err());
}

const PGCAT: &str = "\
[general]
host = \"0.0.0.0\"
port = 6433
connect_timeout = 5000
idle_timeout = 30000
worker_threads = 3
admin_username = \"admin\"
admin_password = \"secret\"
ban_time = 60
enable_prometheus_exporter = true

[pools.app]
pool_mode = \"transaction\"
query_parser_enabled = true
primary_reads_enabled = false
sharding_function = \"pg_bigint_hash\"
nonsense = 1

[pools.app.users.0]
username = \"simple\"
password = \"user\"
pool_size = 9
statement_timeout = 2000

[pools.app.shards.0]
servers = [[\"10.0.0.1\", 5432, \"primary\"], [\"10.0.0.2\", 5432, \"replica\"]]
database = \"app\"

[pools.app.shards.1]
servers = [[\"10.0.0.3\", 5432, \"primary\"]]
database = \"shard1\"

[pools.far.shards.0]
servers = [[\"10.9.9.9\", 5432, \"primary\"]]
database = \"far\"
";

#[test]
fn a_whole_pgcat_toml_is_carried_over() {
    let import = imported(&[("pgcat.toml", PGCAT)]);
    let toml = import
        .toml
        .replace("[router]", "[probe]\npassword = \"p\"\n[router]");
    let toml = if toml.contains("[probe]") {
        toml
    } else {
        format!("{toml}\n[probe]\npassword = \"p\"\n")
    };
    let settings = loaded(&toml).settings;
    assert_eq!(
        settings.listen,
        ["0.0.0.0:6433".parse().expect("an address")]
    );
    assert_eq!(settings.workers, 3);
    assert_eq!(
        settings.pool.mode_of("app", "simple"),
        PoolMode::Transaction
    );
    assert_eq!(settings.pool.quota_of("app", "simple").size, 9);
    let timeouts = settings
        .pool
        .timeouts_of("app", "simple", &settings.timeouts);
    assert_eq!(timeouts.query.as_secs(), 2);
    let password = settings.users["simple"].password();
    assert_eq!(password.map(|text| &**text), Some("user"));
    assert_eq!(settings.operators, ["admin"]);
    let nodes: Vec<_> = settings.nodes.iter().map(|n| &*n.host).collect();
    assert_eq!(nodes, ["10.0.0.1", "10.0.0.2"]);
    assert!(line(&import, "pools.app.shards.1.servers").is_warning);
    assert!(line(&import, "pools.far.shards.0.servers").is_warning);
    assert_eq!(
        line(&import, "pools.app.nonsense").verdict,
        Verdict::Unknown
    );
    assert!(line(&import, "pools.app.primary_reads_enabled").is_warning);
    assert!(!import.report.to_string().contains("secret"));
}

#[test]
fn no_key_stands_twice_and_every_setting_is_there_or_says_that_it_is_not() {
    use super::foreign::Key;
    use super::pgbouncer::keys::{DATABASE_KEYS, KEYS, USER_KEYS};
    for keys in [KEYS, DATABASE_KEYS, USER_KEYS, pgcat::KEYS] {
        let mut seen = std::collections::HashSet::new();
        let names = keys.iter().map(|key: &Key| key.name);
        names.for_each(|name| assert!(seen.insert(name), "{name}"));
    }
}

proptest! {
    #[test]
    fn whatever_stands_there_nothing_is_dropped(text in "(\\[[a-z]{1,9}\\]|[a-z_]{1,12} ?= ?[ -~]{0,20}|[ -~]{0,30}\n){0,12}") {
        let input = file("pgbouncer.ini", &text);
        let (entries, _) = {
            let mut lines = 0;
            for written in text.lines().map(str::trim) {
                let says = !written.is_empty() && !written.starts_with([';', '#', '[']);
                lines += usize::from(says);
            }
            (lines, ())
        };
        if let Ok(import) = import(&[input]) {
            prop_assert!(import.report.lines.len() >= entries);
        }
    }
}
