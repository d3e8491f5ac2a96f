//! Tables of the page that are not about contenders in a scenario.

use std::fmt::Write as _;

use crate::report::{contenders, time};
use crate::results::Results;

/// What the decision costs.
pub(crate) fn routing(results: &Results) -> String {
    let Some(measured) = results.scenarios.get("routing") else {
        return String::new();
    };
    "## What routing costs\n\n\
     32 clients, simple protocol, session pooling, all statements to the primary. A router is always asked, \
     and those there are, the built-in one included, are WebAssembly components: the rows are the built-in \
     router with its answers remembered (the default), the smallest component there can be, remembered and \
     asked about every statement, and the built-in router with a list of patterns, so that it must look at \
     texts and is asked about each text anew. What a decision takes without any router, and in one compiled \
     for the processor, is some nanoseconds, which cannot be seen beside a whole transaction: \
     [plugin-costs.md](plugin-costs.md) has them.\n\n"
        .to_owned()
        + &contenders(measured, None)
}

/// System calls per transaction.
pub(crate) fn syscalls(results: &Results) -> String {
    if results.syscalls.is_empty() {
        return "## System calls\n\nNot measured: there was no strace.\n\n".to_owned();
    }
    let mut text = "## System calls\n\n\
        Of the threads that serve clients, for a transaction in the steady state, by `strace -c`; logins and all \
        that happens once are left out. The control plane and the clock that limits plugins have threads of their own, which no query waits for; they are not in the table. Under strace everything is slower, so fewer events come together in one \
        `epoll_wait` than in practice.\n\n\
        | select-only | reads | writes | epoll_wait | futex | others |\n|---|---:|---:|---:|---:|---|\n"
        .to_owned();
    for (name, found) in &results.syscalls {
        let sum = |names: &[&str]| {
            let calls = names.iter().filter_map(|name| found.calls.get(*name));
            // The sum of nothing is a negative zero.
            calls.sum::<f64>() + 0.0
        };
        let reads = sum(READS);
        let writes = sum(WRITES);
        let (waits, futex) = (sum(WAITS), sum(&["futex"]));
        let known = [READS, WRITES, WAITS, &["futex"]].concat();
        let others = found.calls.iter();
        let others =
            others.filter(|(name, each)| !known.contains(&name.as_str()) && **each >= 0.005);
        let others: Vec<String> = others
            .map(|(name, each)| format!("{name} {each:.2}"))
            .collect();
        let _ = writeln!(
            text,
            "| {name} | {reads:.2} | {writes:.2} | {waits:.2} | {futex:.3} | {} |",
            others.join(", ")
        );
    }
    text.push('\n');
    text
}

const READS: &[&str] = &["read", "readv", "recvfrom", "recvmsg"];
const WRITES: &[&str] = &["write", "writev", "sendto", "sendmsg"];
const WAITS: &[&str] = &["epoll_wait", "epoll_pwait", "epoll_pwait2", "poll"];

/// What each thing takes.
pub(crate) fn memory(results: &Results) -> String {
    let mut text = "## Memory\n\n\
        Resident memory that one more of each takes: the difference that many make, divided by their number. \
        What the kernel keeps for a connection is not in it.\n\n\
        | one more | bytes | measured with |\n|---|---:|---:|\n"
        .to_owned();
    if results.memory.costs.is_empty() {
        return String::new();
    }
    for (name, cost) in &results.memory.costs {
        let _ = writeln!(text, "| {name} | {:.0} | {} |", cost.bytes, cost.count);
    }
    text.push('\n');
    text
}

/// Plots of what grows.
pub(crate) fn curves(results: &Results) -> String {
    let mut text = "## What the cost grows with\n\n\
        CPU of the proxy per transaction, 32 clients, simple protocol, session pooling.\n\n"
        .to_owned();
    if results.curves.is_empty() {
        return String::new();
    }
    for (name, curve) in &results.curves {
        let about = ABOUT.iter().find(|(known, _)| known == name);
        let about = about.map_or("", |(_, about)| about);
        let _ = writeln!(
            text,
            "### {}\n\n{about}\n\n![{}](performance/{name}.svg)\n",
            heading(&curve.x),
            curve.x
        );
        let names: Vec<&str> = curve.lines.keys().map(String::as_str).collect();
        let columns = "---:|".repeat(names.len());
        let _ = writeln!(
            text,
            "| {} | {} |\n|---:|{columns}",
            curve.x,
            names.join(" | ")
        );
        for (index, at) in curve.at.iter().enumerate() {
            let values = curve
                .lines
                .values()
                .map(|line| line.get(index).map_or_else(String::new, |v| time(*v)));
            let _ = writeln!(
                text,
                "| {at} | {} |",
                values.collect::<Vec<_>>().join(" | ")
            );
        }
        text.push('\n');
    }
    text
}

fn heading(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().collect::<String>());
    first.unwrap_or_default() + letters.as_str()
}

const ABOUT: [(&str, &str); 5] = [
    (
        "curve-literals",
        "The same statement with so many different numbers in its text.",
    ),
    (
        "curve-shapes",
        "So many statements that differ in more than their literals, drawn at random.",
    ),
    (
        "curve-nodes",
        "All reads go to the first node. Beyond three the two replicas are named again under other \
      addresses of this machine, so that each is one more node to probe and to choose from.",
    ),
    (
        "curve-plugins",
        "The built-in router decides; the components before it have no opinion. Remembered answers \
      are those of the whole chain.",
    ),
    (
        "curve-reloads",
        "The configuration changes and is reloaded so often while statements run.",
    ),
];

/// What `make test` keeps an eye on.
pub(crate) fn instructions() -> String {
    let mut text = "## Instructions\n\n\
        Instructions of the worker for a statement, counted by callgrind with one client. They are the same on a \
        busy machine and on a quiet one; `make test` fails when one grows by more than 3 %. They are counted in \
        a build without link-time optimisation, which takes some more than a release. Instructions of the kernel, \
        which are most of all there are, are not in them.\n\n\
        | mode, protocol | instructions |\n|---|---:|\n"
        .to_owned();
    for line in include_str!("../../instructions/bounds.toml").lines() {
        if let Some((name, bound)) = line.split_once(" = ") {
            let _ = writeln!(text, "| {} | {bound} |", name.replacen('-', ", ", 1));
        }
    }
    text.push('\n');
    text
}
