//! `[databases]`: which servers are the nodes, and what the entries say besides.

use super::super::Work;
use super::super::foreign::{Found, add_node};
use super::super::report::Verdict::{CarriedOver, NotNeeded, NotThere, OtherMeaning};
use super::{Input, keys, pairs_of};

/// One entry, as far as it is about servers.
struct Entry<'a> {
    found: &'a Found,
    hosts: Vec<(String, i64)>,
    dbname: String,
}

/// Where PostgreSQL's packages put their sockets, if PgBouncer is told nothing.
const SOCKETS: &str = "/tmp";

/// Answers the section.
pub(super) fn answer(input: &Input, work: &mut Work) {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for found in input.section("databases") {
        let name = found.subject.as_str();
        let database = (name != "*").then_some(name);
        let pairs = pairs_of(found, keys::DATABASE_KEYS, (database, None), work);
        let value = |key: &str| {
            let last = pairs.iter().rfind(|(name, _)| name == key);
            last.map(|(_, value)| value.as_str())
                .filter(|value| !value.is_empty())
        };
        let sockets = input.text("unix_socket_dir").unwrap_or(SOCKETS);
        let hosts = value("host").unwrap_or(sockets).split(',').map(str::trim);
        let port: i64 = value("port")
            .and_then(|port| port.parse().ok())
            .unwrap_or(5432);
        entries.push(Entry {
            hosts: hosts.map(|host| (host.to_owned(), port)).collect(),
            dbname: value("dbname").unwrap_or(name).to_owned(),
            found,
        });
    }
    let Some(first) = entries.iter().max_by_key(|entry| standing(entry, &entries)) else {
        work.report
            .to_do
            .push("name the nodes in [[nodes]]: there is no database".to_owned());
        return;
    };
    let mut nodes = first.hosts.clone();
    // Those that lead to the same database elsewhere are most often its replicas.
    let there = |name: &str| {
        let mut all = entries.iter().filter(|entry| entry.hosts == first.hosts);
        all.any(|entry| entry.dbname == name)
    };
    let same = entries.iter().filter(|entry| there(&entry.dbname));
    for host in same.flat_map(|entry| &entry.hosts) {
        if !nodes.contains(host) {
            nodes.push(host.clone());
        }
    }
    for (host, port) in &nodes {
        add_node(&mut work.draft, host, *port);
    }
    if nodes.len() > 1 {
        let text = "the nodes are taken for one primary and its replicas; take out of [[nodes]] \
                    whatever is not: with two primaries nothing is written";
        work.report.to_do.push(text.to_owned());
    }
    for entry in &entries {
        let line = line(entry, &nodes);
        work.report.lines.push(line);
    }
}

/// The fallback first, then what most entries have.
fn standing(entry: &Entry<'_>, all: &[Entry<'_>]) -> (bool, usize, std::cmp::Reverse<usize>) {
    let alike = all
        .iter()
        .filter(|other| other.hosts == entry.hosts)
        .count();
    let position = all.iter().position(|other| std::ptr::eq(other, entry));
    let position = std::cmp::Reverse(position.unwrap_or(usize::MAX));
    (entry.found.subject == "*", alike, position)
}

fn line(entry: &Entry<'_>, nodes: &[(String, i64)]) -> super::super::Line {
    let found = entry.found;
    if !entry.hosts.iter().all(|host| nodes.contains(host)) {
        let hosts: Vec<_> = entry
            .hosts
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        let text = format!(
            "it goes to {}, which is another cluster: pgsteer fronts one, so run a second one for it",
            hosts.join(", ")
        );
        return found.warning(NotThere, text);
    }
    if entry.dbname != found.subject && found.subject != "*" {
        let text = format!(
            "there are no other names for databases: clients connect to \"{}\"",
            entry.dbname
        );
        return found.warning(NotThere, text);
    }
    let has_all = entry.hosts.len() == nodes.len();
    match (found.subject.as_str(), has_all) {
        ("*", _) => found.line(NotNeeded, "every database can be connected to"),
        (_, true) => found.line(CarriedOver, "[[nodes]] are its servers"),
        (_, false) => found.line(
            OtherMeaning,
            "[[nodes]] are its servers and more: reads go to replicas, writes to the primary",
        ),
    }
}
