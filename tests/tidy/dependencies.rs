//! Which crate may depend on which, and who owns a third-party dependency.

use toml::{Table, Value};

use crate::{File, Violations};

/// Checks every manifest of the repository.
pub(crate) fn check(files: &[File], found: &mut Violations) {
    for file in files
        .iter()
        .filter(|file| file.path.ends_with("Cargo.toml"))
    {
        let manifest: Table = match file.text.parse() {
            Ok(manifest) => manifest,
            Err(error) => {
                found.add(&file.path, 1, error);
                continue;
            }
        };
        let package = manifest
            .get("package")
            .and_then(|package| package.get("name"));
        let Some(package) = package.and_then(Value::as_str) else {
            continue;
        };
        for Dependency { name, is_dev } in dependencies(&manifest) {
            let line = line_of(&file.text, &name);
            if let Some(reason) = edge_violation(&file.path, package, &name, is_dev) {
                found.add(&file.path, line, reason);
            }
            if let Some(reason) = owner_violation(package, &name) {
                found.add(&file.path, line, reason);
            }
        }
    }
}

struct Dependency {
    name: String,
    is_dev: bool,
}

/// Collects the dependencies of all kinds, also those for some targets only, by their real names.
fn dependencies(manifest: &Table) -> Vec<Dependency> {
    let mut all = Vec::new();
    let targets = manifest.get("target").and_then(Value::as_table);
    let tables = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    for table in std::iter::once(manifest).chain(tables) {
        for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let Some(listed) = table.get(kind).and_then(Value::as_table) else {
                continue;
            };
            for (key, value) in listed {
                let name = value
                    .get("package")
                    .and_then(Value::as_str)
                    .unwrap_or(key)
                    .to_owned();
                all.push(Dependency {
                    name,
                    is_dev: kind == "dev-dependencies",
                });
            }
        }
    }
    all
}

fn edge_violation(path: &str, package: &str, name: &str, is_dev: bool) -> Option<String> {
    let target = name.strip_prefix("pgsteer-")?;
    let source = package.strip_prefix("pgsteer-").unwrap_or(package);
    let allowed = if path.starts_with("plugins/") {
        // Examples and defaults are compiled as anybody's plugin is.
        target == "plugin-sdk"
    } else if path.starts_with("fuzz/") {
        // Decoders, wherever they are.
        ["control", "sql", "wire"].contains(&target)
    } else if is_dev && target == "testkit" {
        TESTED_ON_SERVERS.contains(&source)
    } else {
        EDGES
            .iter()
            .any(|(from, to)| *from == source && to.contains(&target))
    };
    (!allowed).then(|| format!("{package} must not depend on {name}"))
}

fn owner_violation(package: &str, name: &str) -> Option<String> {
    let (_, owners) = OWNERS.iter().find(|(dependency, _)| *dependency == name)?;
    let source = package.strip_prefix("pgsteer-")?;
    (!owners.contains(&source))
        .then(|| format!("{name} belongs to {}, not to {package}", owners.join(", ")))
}

fn line_of(text: &str, name: &str) -> usize {
    let line = text.lines().position(|line| {
        line.trim_start().starts_with(name) || line.contains(&format!("\"{name}\""))
    });
    line.map_or(1, |index| index + 1)
}

/// Every edge between crates of the workspace, without the prefix.
const EDGES: [(&str, &[&str]); 7] = [
    ("core", &["wire", "sql", "tls"]),
    ("pool", &["core", "wire", "tls"]),
    ("session", &["pool", "core", "sql", "wire", "tls"]),
    // `sql` for the names of relations and functions in a recording.
    ("control", &["core", "sql", "tls"]),
    ("plugin-host", &["core", "sql"]),
    // `testkit` for the subcommand `lab` only, which starts a cluster.
    (
        "proxy",
        &[
            "session",
            "control",
            "plugin-host",
            "pool",
            "core",
            // To say what a statement is without a proxy: `pgsteer plugin run` and its relatives.
            "sql",
            "testkit",
        ],
    ),
    // `control` reads the configurations of the tests, `core` shows what the proxy knows, `session`
    // is also tested without a control plane.
    (
        "tests",
        &[
            "testkit", "proxy", "control", "session", "core", "wire", "tls",
        ],
    ),
];

/// Crates whose own tests may start servers.
const TESTED_ON_SERVERS: [&str; 5] = ["pool", "session", "control", "plugin-host", "proxy"];

/// Third-party crates that shape a design, and their homes.
const OWNERS: [(&str, &[&str]); 19] = [
    ("regex-lite", &["core"]),
    ("pgwire", &["wire"]),
    ("pg_query", &["sql"]),
    ("wasmtime", &["plugin-host"]),
    ("wasmtime-wasi", &["plugin-host"]),
    ("wit-bindgen", &["plugin-sdk"]),
    // `proxy` reads the cases of plugins, `tests` reads manifests for these very rules.
    ("toml", &["control", "proxy", "tests"]),
    ("notify", &["control"]),
    // `proxy` in its tests.
    ("tokio-postgres", &["control", "proxy", "testkit", "tests"]),
    // Not `wire` and `sql`: they are values and functions, without a runtime.
    (
        "tokio",
        &[
            "core", "pool", "session", "control", "proxy", "testkit", "tests",
        ],
    ),
    // `tls` makes what `pool` shakes hands with.
    ("rustls", &["tls", "pool", "tests"]),
    // For the driver of the probes; `pool` has a layer of its own.
    ("tokio-rustls", &["control"]),
    ("anyhow", &["proxy", "testkit", "tests"]),
    ("clap", &["proxy"]),
    (
        "tracing",
        &[
            "core",
            "pool",
            "session",
            "control",
            "plugin-host",
            "proxy",
            "testkit",
            "tests",
        ],
    ),
    ("tracing-subscriber", &["proxy", "tests"]),
    ("hyper", &["control"]),
    ("hyper-util", &["control"]),
    ("http-body-util", &["control"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<String> {
        let mut found = Violations::default();
        check(
            &[File {
                path: path.to_owned(),
                text: text.to_owned(),
            }],
            &mut found,
        );
        found.0
    }

    #[test]
    fn forbidden_edges_and_strangers_are_found() {
        let text = "[package]\nname = \"pgsteer-session\"\n[dependencies]\n\
                    pgsteer-control.workspace = true\n\
                    db = { package = \"tokio-postgres\", version = \"1\" }\n\
                    pgsteer-pool.workspace = true\n";
        let found = violations("crates/pgsteer-session/Cargo.toml", text);
        assert_eq!(
            found,
            [
                "crates/pgsteer-session/Cargo.toml:5: tokio-postgres belongs to control, proxy, \
                 testkit, tests, not to pgsteer-session",
                "crates/pgsteer-session/Cargo.toml:4: pgsteer-session must not depend on \
                 pgsteer-control",
            ]
        );
    }

    #[test]
    fn plugins_know_the_sdk_only() {
        let text = "[package]\nname = \"x\"\n[dependencies]\npgsteer-core = \"1\"\n\
                    pgsteer-plugin-sdk = \"1\"\n";
        assert_eq!(violations("plugins/x/Cargo.toml", text).len(), 1);
    }
}
