//! `pgsteer plugin new`: a directory with a policy, its cases, and all that it needs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pgsteer_control::config;
use pgsteer_core::policy::Grants;
use serde_json::json;
use toml::{Table, Value};

use super::args::{Hook, NewArgs};
use super::lock::Subject;
use super::vendor::{SDK, vendored, versions};
use super::{Report, cases, lock, usage};

/// Runs the command.
pub(crate) fn run(args: &NewArgs) -> Result<Report> {
    check_name(&args.name)?;
    let directory = Path::new(&args.name);
    if directory.exists() {
        return Err(usage(format!("{} is there already", args.name)));
    }
    let files = files(&args.name, args.hook, args.sdk.as_deref())?;
    for (path, content) in &files {
        let path = directory.join(path);
        let parent = path.parent().unwrap_or(directory);
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
        std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report(args, &files))
}

/// Names that cargo does not take, or that would hide something.
const RESERVED: [&str; 7] = [
    "alloc",
    "build",
    "core",
    "deps",
    "pgsteer-plugin-sdk",
    "std",
    "test",
];

const NAME_LEN_MAX: usize = 40;

fn check_name(name: &str) -> Result<()> {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(usage(format!(
            "a plugin cannot be called {name}: begin with a letter; the number belongs to the file \
             that is dropped, as in 10-{}.wasm",
            name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-')
        )));
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_plain = !name.is_empty() && name.len() <= NAME_LEN_MAX && name.chars().all(fits);
    if !is_plain || name.starts_with('-') || name.ends_with('-') {
        return Err(usage(format!(
            "a plugin cannot be called \"{name}\": use small letters, digits and dashes, at most \
             {NAME_LEN_MAX}"
        )));
    }
    if RESERVED.contains(&name) {
        return Err(usage(format!(
            "a plugin cannot be called {name}: the name is taken"
        )));
    }
    Ok(())
}

/// Everything that is written, by its path in the directory.
fn files(name: &str, hook: Hook, sdk: Option<&Path>) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let template = template(hook);
    let mut files = Vec::new();
    let mut text = |path: &str, text: String| files.push((path.into(), text.into_bytes()));
    text("src/lib.rs", template.policy.to_owned());
    text("src/tests.rs", template.tests.to_owned());
    text(&format!("{name}.toml"), beside(name, &template));
    text("README.md", readme(name, hook));
    text(".gitignore", "target/\n*.wasm\n".to_owned());
    text("Cargo.toml", manifest(name, &template, sdk)?);
    if let Some(given) = template.cases {
        text("cases.toml", given.to_owned());
        let cases = cases::parse(given)?.cases;
        let config = serde_json::to_string(&template.config.parse::<Table>()?)?;
        let subject = Subject {
            file: name,
            config: &config,
            grants: Grants::default(),
        };
        if !cases.is_empty() {
            text("cases.lock.json", lock::render(&cases, subject));
        }
    }
    if sdk.is_none() {
        files.extend(vendored()?);
    }
    files.push(("Cargo.lock".into(), versions()?.to_vec()));
    Ok(files)
}

struct Template {
    policy: &'static str,
    tests: &'static str,
    cases: Option<&'static str>,
    description: &'static str,
    grants: &'static str,
    config: &'static str,
}

fn template(hook: Hook) -> Template {
    const CASES: &str = include_str!("templates/cases_tests.rs");
    match hook {
        Hook::Router => Template {
            policy: include_str!("templates/router.rs"),
            tests: CASES,
            cases: Some(include_str!("templates/router.toml")),
            description: "Statements that name some tables stay on the primary.",
            grants: "[]",
            config: "tables = [\"accounts\"]",
        },
        Hook::Rewriter => Template {
            policy: include_str!("templates/rewriter.rs"),
            tests: CASES,
            cases: Some(include_str!("templates/rewriter.toml")),
            description: "Refuses to change all rows of a table, and marks reads.",
            grants: "[]",
            config: "mark = \"pgsteer\"",
        },
        Hook::Session => Template {
            policy: include_str!("templates/session.rs"),
            tests: CASES,
            cases: Some(include_str!("templates/session.toml")),
            description: "Keeps some users out, and limits the time of statements.",
            grants: "[]",
            config: "refused = [\"postgres\"]",
        },
        Hook::Observer => Template {
            policy: include_str!("templates/observer.rs"),
            tests: include_str!("templates/observer_tests.rs"),
            cases: None,
            description: "Counts slow statements.",
            grants: "[\"log\", \"metrics\"]",
            config: "slow_ms = 1000",
        },
        Hook::Failover => Template {
            policy: include_str!("templates/failover.rs"),
            tests: include_str!("templates/failover_tests.rs"),
            cases: Some(include_str!("templates/failover.toml")),
            description: "Promotes the replica that has the most; leaves the rest to others.",
            grants: "[]",
            config: "never = []",
        },
    }
}

/// The file beside the component, to begin with.
fn beside(name: &str, template: &Template) -> String {
    let (grants, given) = (template.grants, template.config);
    let usual = |key: &str| {
        let mut settings = config::SETTINGS.iter();
        let setting = settings.find(|s| s.key.strip_prefix("plugins.") == Some(key));
        setting.and_then(|s| s.default).unwrap_or_default()
    };
    let (timeout, memory) = (usual("decision_timeout"), usual("memory_max"));
    format!(
        "# Goes beside the component, as 10-{name}.toml beside 10-{name}.wasm. All of it is optional.\n\
         \n\
         # What it may do besides answering; some of: log, metrics, clock, catalog, kv, values,\n\
         # rewrite-any, wasi-stubs.\n\
         grants = {grants}\n\
         \n\
         # Handed to `configure`.\n\
         [config]\n\
         {given}\n\
         \n\
         [limits]\n\
         decision_timeout = \"{timeout}\"\n\
         memory_max = \"{memory}\"\n\
         # skip: as if it had no opinion; reject: the statement is refused; last-good: its last answer.\n\
         on_failure = \"skip\"\n"
    )
}

fn readme(name: &str, hook: Hook) -> String {
    let cases = match hook {
        Hook::Observer => "cargo test            # natively: src/tests.rs",
        Hook::Failover => {
            "pgsteer plugin test   # goes through the failovers in cases.toml; `cargo test` asks single questions"
        }
        _ => {
            "pgsteer plugin test   # asks it about the statements in cases.toml; `cargo test` does it natively"
        }
    };
    format!(
        "# {name}\n\
         \n\
         A plugin for [pgsteer](https://github.com/pgsteer/pgsteer). The policy is src/lib.rs.\n\
         \n\
         ```sh\n\
         pgsteer plugin build  # makes {name}.wasm\n\
         {cases}\n\
         cp {name}.wasm /path/to/plugins/10-{name}.wasm   # goes live within a second\n\
         ```\n\
         \n\
         {name}.toml goes beside the component under the same name, if you want to configure it.\n"
    )
}

fn manifest(name: &str, template: &Template, sdk: Option<&Path>) -> Result<String> {
    let sdk = match sdk {
        None => format!("sdk/{SDK}"),
        Some(path) => {
            let found = path.join("Cargo.toml").is_file();
            let whole = std::fs::canonicalize(path).ok().filter(|_| found);
            let whole = whole.ok_or_else(|| {
                usage(format!(
                    "--sdk {}: there is no Cargo.toml in it",
                    path.display()
                ))
            })?;
            whole.display().to_string()
        }
    };
    let (description, sdk) = (quoted(template.description), quoted(&sdk));
    Ok(format!(
        "[package]\n\
         name = \"{name}\"\n\
         version = \"0.1.0\"\n\
         description = {description}\n\
         edition = \"2024\"\n\
         publish = false\n\
         \n\
         [lib]\n\
         crate-type = [\"cdylib\"]\n\
         \n\
         [dependencies]\n\
         pgsteer-plugin-sdk = {{ path = {sdk} }}\n\
         \n\
         [profile.release]\n\
         opt-level = \"s\"\n\
         lto = true\n\
         codegen-units = 1\n\
         panic = \"abort\"\n\
         strip = true\n\
         \n\
         # On its own, wherever the directory lies.\n\
         [workspace]\n"
    ))
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn report(args: &NewArgs, files: &[(PathBuf, Vec<u8>)]) -> Report {
    let name = &args.name;
    let shown = |path: &&PathBuf| !path.starts_with("sdk");
    let paths: Vec<String> = files
        .iter()
        .map(|(path, _)| path)
        .filter(shown)
        .map(|path| path.display().to_string())
        .collect();
    let test = match args.hook {
        Hook::Observer => format!("cargo test --manifest-path {name}/Cargo.toml"),
        _ => format!("pgsteer plugin test {name}"),
    };
    let next = [
        format!("pgsteer plugin build {name}"),
        test,
        format!("cp {name}/{name}.wasm /path/to/plugins/10-{name}.wasm"),
    ];
    let text = format!(
        "{name}/src/lib.rs is the policy{}\n\nnext:\n  {}",
        match args.hook {
            Hook::Observer => String::new(),
            _ => format!(", {name}/cases.toml what it should answer"),
        },
        next.join("\n  ")
    );
    Report::good(
        text,
        json!({ "directory": name, "files": paths, "next": next }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOKS: [Hook; 5] = [
        Hook::Router,
        Hook::Rewriter,
        Hook::Session,
        Hook::Observer,
        Hook::Failover,
    ];

    #[test]
    fn names_are_those_of_packages() {
        for name in ["a", "my-plugin", "x2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(NAME_LEN_MAX + 1);
        for name in [
            "", "My", "a_b", "-a", "a-", "../x", "test", "10-mine", &long,
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        let error = check_name("10-mine").expect_err("a number").to_string();
        assert!(error.contains("10-mine.wasm"), "{error}");
    }

    #[test]
    fn policies_are_short() {
        for hook in HOOKS {
            let lines = template(hook).policy.lines().count();
            assert!(lines < 40, "{hook:?} has {lines} lines");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for hook in HOOKS {
            for (path, content) in files("mine", hook, None).expect("files") {
                let path = path.display().to_string();
                let text = String::from_utf8(content).expect("text");
                assert!(
                    text.ends_with('\n') || path.ends_with("Cargo.toml"),
                    "{path}"
                );
                if path.ends_with(".toml") {
                    let table = text.parse::<Table>().expect(&path);
                    let empty = |(_, v): (_, &Value)| v.as_str() == Some("");
                    let limits = table.get("limits").and_then(Value::as_table);
                    assert!(!limits.into_iter().flatten().any(empty), "{text}");
                }
            }
        }
    }
}
