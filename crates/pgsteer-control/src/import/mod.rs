//! Turns the configuration of Pgpool-II, PgBouncer or PgCat into one of pgsteer, and says of every
//! line what became of it. No I/O: files come as texts, and the TOML and the report go back as values.

mod backends;
mod conf;
#[cfg(test)]
mod docs;
mod draft;
mod failover;
mod foreign;
#[cfg(test)]
mod foreign_tests;
mod hba;
mod items;
mod keys;
mod listen;
mod pgbouncer;
mod pgcat;
mod probe;
mod report;
mod rules;
#[cfg(test)]
mod tests;
mod tls;
mod users;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{self, ConfigError, ConfigErrors, Source};

pub(crate) use foreign::switch as switch_value;
pub(crate) use pgbouncer::known_setting as pgbouncer_setting;
pub use report::{Line, Report, Verdict};

use draft::Draft;
use items::Items;

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `pgpool.conf`, or a file it includes.
    Conf,
    /// `pool_hba.conf`.
    Hba,
    /// `pool_passwd`.
    Passwd,
    /// `pcp.conf`.
    Pcp,
    /// `pgbouncer.ini`, or a file it includes.
    PgbouncerIni,
    /// PgBouncer's `userlist.txt`.
    Userlist,
    /// `pgcat.toml`.
    Pgcat,
}

impl FileKind {
    /// What a file of this name is, if it is called as Pgpool-II calls it.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let names: [(&str, Self); 7] = [
            ("pgpool.conf", Self::Conf),
            ("pool_hba.conf", Self::Hba),
            ("pool_passwd", Self::Passwd),
            ("pcp.conf", Self::Pcp),
            ("pgbouncer.ini", Self::PgbouncerIni),
            ("userlist.txt", Self::Userlist),
            ("pgcat.toml", Self::Pgcat),
        ];
        let found = names.iter().find(|(known, _)| name.starts_with(known));
        found.map(|(_, kind)| *kind)
    }
}

/// One file of the input.
#[derive(Clone, Debug)]
pub struct InputFile {
    /// Its name in the report.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// What is in it.
    pub text: String,
}

/// What comes out.
#[derive(Clone, Debug)]
pub struct Import {
    /// The configuration; it holds the passwords that were found.
    pub toml: String,
    /// What became of every line.
    pub report: Report,
}

/// Imports the files. Of several of a kind the later ones count where they repeat a parameter.
///
/// # Errors
/// Every line and every value that cannot be understood.
pub fn import(files: &[InputFile]) -> Result<Import, ConfigErrors> {
    let has = |kind: FileKind| files.iter().any(|file| file.kind == kind);
    if has(FileKind::PgbouncerIni) {
        return pgbouncer::import(files);
    }
    if has(FileKind::Pgcat) {
        return pgcat::import(files);
    }
    import_pgpool(files)
}

/// Files that a file names, with what they are: those it includes, and users. A relative path
/// starts where the program was started, or beside the file.
#[must_use]
pub fn references(file: &InputFile) -> Vec<(String, FileKind)> {
    match file.kind {
        FileKind::PgbouncerIni => pgbouncer::references(&file.text),
        _ => Vec::new(),
    }
}

fn import_pgpool(files: &[InputFile]) -> Result<Import, ConfigErrors> {
    let mut work = Work::default();
    let items = Items::read(files, &mut work.mistakes);
    let hba = hba::read(files, &mut work.mistakes);
    let passwords = users::read(files, &mut work.mistakes);

    users::answer(&passwords, &mut work);
    let pcp_users = users::pcp(files, &mut work.draft);
    listen::answer(&items, &mut work);
    tls::answer(&items, &mut work);
    backends::answer(&items, &mut work);
    probe::answer(&items, &mut work);
    failover::answer(&items, &mut work);
    hba::answer(&items, hba, &mut work);
    users::answer_keys(&items, files, &mut work);
    rules::answer(&items, &mut work);
    // It knows nothing else, and its users count on it.
    work.draft.set("pool.mode", "session");

    if !work.mistakes.is_empty() {
        return Err(ConfigErrors(work.mistakes));
    }
    let toml = work.draft.toml();
    work.report
        .lines
        .splice(0..0, items.lines(&work.answers, &work.draft));
    work.report.lines.extend(pcp_users);
    work.report.to_do.extend(complaints(&toml));
    notes(&items, &mut work.report);
    Ok(Import {
        toml,
        report: work.report,
    })
}

/// What is gathered on the way.
#[derive(Default)]
struct Work {
    draft: Draft,
    answers: items::Answers,
    report: Report,
    mistakes: Vec<ConfigError>,
    /// Names of users by the place they were found at, where passwords stand elsewhere.
    names: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
}

/// What `pgsteer check` will say about the file.
fn complaints(toml: &str) -> Vec<String> {
    let source = Source::File(Path::new("pgsteer.toml").to_path_buf());
    let read = |_: &Path| Ok(toml.to_owned());
    match config::load_with(&source, &config::Changes::default(), [], &read, 1) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .0
            .iter()
            .map(|e| {
                format!(
                    "`pgsteer check` says: {}: {}; {}",
                    e.place, e.problem, e.advice
                )
            })
            .collect(),
    }
}

fn notes(items: &Items, report: &mut Report) {
    let mut note = |text: &str| report.notes.push(text.to_owned());
    note(
        "the router's safer rules are on; `compatibility = \"exact\"` in [router] brings back \
         Pgpool-II's quirks in routing (D2, D5 to D9 in docs/differences.md)",
    );
    note(
        "`read_your_writes` in [router] is new: by default (\"session\") a session sees what it wrote",
    );
    note(
        "`pool.mode = \"session\"`, as in Pgpool-II; \"transaction\" lets many clients share few \
         server connections (docs/pooling.md)",
    );
    if items.get("num_init_children").is_none() {
        note(
            "num_init_children is not given: Pgpool-II takes 32 clients then, `listen.clients_max` is 10000",
        );
    }
    if items.get("listen_addresses").is_none() {
        note(
            "listen_addresses is not given: as in Pgpool-II only clients of this machine may come",
        );
    }
    note(
        "lines that are comments were not looked at; what is not given has the defaults of docs/settings.md",
    );
}

/// A mistake at a line of the input.
fn mistake(file: &str, line: usize, problem: impl Into<String>, advice: &str) -> ConfigError {
    ConfigError {
        file: Some(file.to_owned()),
        place: format!("line {line}"),
        problem: problem.into(),
        advice: advice.to_owned(),
    }
}
