//! `docs/metrics.md` is made from the table, and the dashboard asks for nothing that is not in it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::families::{FAMILIES, Kind};

fn repository() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("crates/pgsteer-control is two below it")
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for family in FAMILIES {
        let kind = match family.kind {
            Kind::Histogram => "histogram",
            kind => kind.name(),
        };
        let labels: Vec<_> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = if labels.is_empty() {
            "–".to_owned()
        } else {
            labels.join(", ")
        };
        let (name, help) = (family.name, family.help);
        let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {help} |");
    }
    page
}

const HEAD: &str = "\
# Metrics

Made from the table in `crates/pgsteer-control/src/metrics/families.rs`; refresh it with
`PGSTEER_UPDATE_DOCS=1 cargo test -p pgsteer-control`. [Observability](observability.md) says how to
switch them on and what to look at.

A family is on the page even while it has no values. Of a histogram Prometheus sees `_bucket`, `_sum`
and `_count`. `node` is the number of a node in the configuration, `plugin` the name of its file.

| name | kind | labels | meaning |
|---|---|---|---|
";

#[test]
fn the_reference_is_fresh() {
    let path = repository().join("docs/metrics.md");
    if std::env::var_os("PGSTEER_UPDATE_DOCS").is_some() {
        std::fs::write(&path, page()).expect("written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page(), "docs/metrics.md is stale; see its head");
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    let mut seen = BTreeSet::new();
    for family in FAMILIES {
        let name = family.name;
        assert!(seen.insert(name), "{name} is there twice");
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
        let is_total = name.ends_with("_total") || name == "pgsteer_snapshot_generation";
        assert_eq!(is_total, family.kind == Kind::Counter, "{name}");
        let is_time = name.ends_with("_seconds") || family.kind != Kind::Histogram;
        assert!(is_time, "{name}");
        assert!(family.help.ends_with('.'), "{name}");
        assert!(!family.help.contains(['\\', '\n']), "{name}");
    }
}

/// Names of metrics in the queries of a dashboard.
fn asked_for(dashboard: &str) -> BTreeSet<String> {
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
    let mut names = BTreeSet::new();
    let mut rest = vec![&dashboard];
    while let Some(value) = rest.pop() {
        match value {
            serde_json::Value::Object(fields) => {
                for (key, value) in fields {
                    match value.as_str() {
                        Some(query) if ["expr", "query", "definition"].contains(&key.as_str()) => {
                            let words =
                                query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                            let ours = words
                                .filter(|w| w.starts_with("pgsteer_") || w.starts_with("process_"));
                            names.extend(ours.map(str::to_owned));
                        }
                        _ => rest.push(value),
                    }
                }
            }
            serde_json::Value::Array(values) => rest.extend(values),
            _ => {}
        }
    }
    names
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let path = repository().join("docs/grafana-dashboard.json");
    let asked = asked_for(&std::fs::read_to_string(path).expect("a dashboard"));
    assert!(asked.len() > 15, "{asked:?}");
    let mut known = BTreeSet::new();
    for family in FAMILIES {
        match family.kind {
            Kind::Histogram => {
                known.extend(
                    ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name)),
                );
            }
            _ => _ = known.insert(family.name.to_owned()),
        }
    }
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "nobody shows {unknown:?}");
}
