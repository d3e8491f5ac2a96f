//! Renders the tables of `docs/from-*.md`. Tests hold the pages against them;
//! `PGSTEER_UPDATE_DOCS=1 cargo test -p pgsteer-control` writes the table anew.

use std::fmt::Write as _;
use std::path::Path;

use super::foreign;
use super::keys::{KEYS, Key, Numbered, Rule};

fn table() -> String {
    let mut table = String::from(HEAD);
    for key in KEYS {
        let number = match key.numbered {
            Numbered::Never => "",
            Numbered::Always => "N",
            Numbered::Perhaps => "(N)",
        };
        let old: Vec<_> = key.old.iter().map(|name| format!("`{name}`")).collect();
        let (name, old, here, note) = (key.name, old.join(", "), here(key), key.note);
        let verdict = key.verdict().words();
        let _ = writeln!(
            table,
            "| `{name}{number}` | {old} | {verdict} | {here} | {note} |"
        );
    }
    table
}

fn here(key: &Key) -> String {
    match key.rule {
        Rule::Switch | Rule::Text | Rule::Number(_) => format!("`router.{}`", key.name),
        Rule::Word(words) => format!("`router.{}`: {}", key.name, words.join(", ")),
        Rule::Duration(setting, _, "0s") => format!("`{setting}`"),
        Rule::Duration(setting, _, zero) => format!("`{setting}`; 0 becomes {zero}"),
        Rule::Special(_, setting) => setting.to_owned(),
        Rule::NotNeeded | Rule::Missing(_) | Rule::Danger(_) | Rule::Part(_) => "–".to_owned(),
    }
}

const HEAD: &str = "\
| Pgpool-II | older names | verdict | here | remark |
|---|---|---|---|---|
";
const BEGIN: &str =
    "<!-- begin of the table made from crates/pgsteer-control/src/import/keys.rs -->\n\n";
const BEGIN_FOREIGN: &str = "<!-- begin of what the import's tables of keys say -->\n\n";
const END: &str = "\n<!-- end of the table -->\n";

fn foreign_table(name: &str, keys: &[foreign::Key]) -> String {
    let mut table = format!("| {name} | verdict | here | remark |\n|---|---|---|---|\n");
    for key in keys {
        let (name, verdict, here) = (key.name, key.verdict().words(), key.here());
        let _ = writeln!(table, "| `{name}` | {verdict} | {here} | {} |", key.note);
    }
    table
}

/// Holds the part of a page between marks against what it should be, or writes it.
fn check(page: &str, begin: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(page);
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page
        .split_once(begin)
        .expect("the mark where the table begins");
    let (_, after) = rest.split_once(END).expect("the mark where it ends");
    let expected = format!("{before}{begin}{table}{END}{after}");
    if std::env::var_os("PGSTEER_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).expect("written");
        return;
    }
    assert!(
        page == expected,
        "{} is stale: run PGSTEER_UPDATE_DOCS=1 cargo test -p pgsteer-control",
        path.display()
    );
}

#[test]
fn the_page_names_every_parameter() {
    check("from-pgpool.md", BEGIN, &table());
}

#[test]
fn the_page_about_pgbouncer_names_every_key() {
    use super::pgbouncer::keys::{DATABASE_KEYS, KEYS, USER_KEYS};
    let tables = [
        ("Key of `[pgbouncer]`", KEYS),
        ("Key in `[databases]`", DATABASE_KEYS),
        ("Key in `[users]`", USER_KEYS),
    ];
    let tables = tables.map(|(name, keys)| foreign_table(name, keys));
    check("from-pgbouncer.md", BEGIN_FOREIGN, &tables.join("\n"));
}

#[test]
fn the_page_about_pgcat_names_every_key() {
    let table = foreign_table("PgCat", super::pgcat::KEYS);
    check("from-pgcat.md", BEGIN_FOREIGN, &table);
}
