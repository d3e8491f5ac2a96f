//! Renders the table of `docs/from-pgpool.md`. A test holds the page against it;
//! `PGSTEER_UPDATE_DOCS=1 cargo test -p pgsteer-control` writes the table anew.

use std::fmt::Write as _;
use std::path::Path;

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
        Rule::Duration(setting, _, "") => format!("`{setting}`"),
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
const END: &str = "\n<!-- end of the table -->\n";

#[test]
fn the_page_names_every_parameter() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/from-pgpool.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the mark where the table begins");
    let (_, after) = rest.split_once(END).expect("the mark where it ends");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
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
