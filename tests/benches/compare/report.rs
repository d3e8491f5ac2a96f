//! The page for operators, made from the figures that are kept, with its plots beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::pictures;
use crate::results::{Figures, Measured, Results};
use crate::scaling;
use crate::scenarios::{CLIENTS, COPY_BYTES, PIPELINED, PROTOCOLS, ROW_BYTES};
use crate::tables;
use crate::targets;

/// Writes the page, its plots, and the page about larger machines.
///
/// # Errors
/// They cannot be written.
pub(crate) fn write(results: &Results, page: &Path) -> Result<()> {
    let dir = page.with_extension("");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (name, svg) in pictures::all(results) {
        fs::write(dir.join(format!("{name}.svg")), svg)?;
    }
    let mut text = introduction(results);
    if !results.note.is_empty() {
        let _ = writeln!(text, "**{}**\n", results.note);
    }
    text += &targets::table(results);
    text += &select_only(results);
    text += &latency(results);
    text += &transaction_mode(results);
    text += &other_work(results);
    text += &idle_clients(results);
    text += &tables::routing(results);
    text += &tables::instructions();
    text += &tables::syscalls(results);
    text += &tables::memory(results);
    text += &tables::curves(results);
    fs::write(page.with_file_name("scaling.md"), scaling::page(results))?;
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn introduction(results: &Results) -> String {
    let site = &results.site;
    let days = results.scenarios.values().map(|m| m.made.as_str());
    let (first, last) = (days.clone().min(), days.max());
    let (first, last) = (first.unwrap_or("never"), last.unwrap_or("never"));
    let when = if first == last {
        first.to_owned()
    } else {
        format!("{first} to {last}")
    };
    let rounds = results.scenarios.values().map(|m| m.rounds).min();
    let seconds = results.scenarios.values().map(|m| m.seconds).min();
    let (rounds, seconds) = (rounds.unwrap_or(0), seconds.unwrap_or(0));
    format!(
        "# Performance\n\n\
         Made by `make bench` on {when}: at least {rounds} rounds of {seconds} seconds, in which the contenders \
         take turns; medians. `make bench ARGS=\"--only select-simple-32\"` measures a part, \
         `ARGS=--list` says which there are. All figures are in [performance.json](performance.json) too; what \
         larger machines can be expected to do is in [scaling.md](scaling.md), what plugins cost in \
         [plugin-costs.md](plugin-costs.md).\n\n\
         Everything runs on one machine: clients, servers and proxy share its processors, and a proxy that \
         needs less leaves more to the others. Trust the ratios: the times belong to this machine and to what \
         else it did. All contenders use the primary only, over TCP; pgsteer analyses and routes every \
         statement with its built-in router. \"CPU\" is user and system time of the proxy's own processes \
         for a transaction, memory is resident, with pages that several processes share counted once.\n\n\
         - machine: {} cores, {}, Linux {}\n\
         - {}, release profile, one worker per core\n\
         - {}, {}; {}, tcp, one thread; {}; {}\n\n",
        site.cores,
        site.model,
        site.kernel,
        site.pgsteer,
        site.postgres,
        site.pgbouncer,
        site.haproxy,
        site.pgpool,
        site.pgbench,
    )
}

/// pgbench select-only, in session mode.
fn select_only(results: &Results) -> String {
    let mut text = "## Select-only, session pooling\n\n\
        `pgbench -S`, one read of a row by its key per transaction.\n\n\
        ![throughput against PgBouncer](performance/select-throughput.svg)\n\n\
        ![CPU per transaction](performance/select-cpu.svg)\n\n\
        ![CPU of all contenders](performance/contenders-cpu.svg)\n\n"
        .to_owned();
    for protocol in PROTOCOLS {
        let _ = writeln!(
            text,
            "### {protocol} protocol\n\n\
             | clients | direct, transactions/s | PgBouncer | pgsteer | pgsteer of direct | pgsteer of PgBouncer \
             | PgBouncer, CPU | pgsteer, CPU |\n|---:|---:|---:|---:|---:|---:|---:|---:|"
        );
        for clients in CLIENTS {
            let name = format!("select-{protocol}-{clients}");
            let of = |who| results.of(&name, who);
            let (Some(direct), Some(bouncer), Some(steer)) =
                (of("direct"), of("pgbouncer"), of("pgsteer"))
            else {
                continue;
            };
            let _ = writeln!(
                text,
                "| {clients} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} µs | {:.1} µs |",
                direct.tps,
                bouncer.tps,
                steer.tps,
                steer.tps / direct.tps,
                steer.tps / bouncer.tps,
                bouncer.cpu_us,
                steer.cpu_us
            );
        }
        text.push('\n');
        let name = format!("select-{protocol}-32");
        if let Some(measured) = results.scenarios.get(&name) {
            let _ = writeln!(text, "With 32 clients, all contenders:\n");
            text += &contenders(measured, None);
        }
    }
    text
}

/// What one client waits longer than with a direct connection.
fn latency(results: &Results) -> String {
    let mut text = "## Latency for one client\n\n\
        Time of a select-only transaction with one client, and what the proxy adds to a direct connection.\n\n\
        | protocol | direct | PgBouncer adds | pgsteer adds |\n|---|---:|---:|---:|\n"
        .to_owned();
    for protocol in PROTOCOLS {
        let us = |who| {
            let figures = results.of(&format!("select-{protocol}-1"), who)?;
            Some(1e6 / figures.tps)
        };
        if let (Some(direct), Some(bouncer), Some(steer)) =
            (us("direct"), us("pgbouncer"), us("pgsteer"))
        {
            let _ = writeln!(
                text,
                "| {protocol} | {direct:.0} µs | {:.0} µs | {:.0} µs |",
                bouncer - direct,
                steer - direct
            );
        }
    }
    text.push('\n');
    text
}

fn transaction_mode(results: &Results) -> String {
    let mut text = "## Select-only, transaction pooling\n\n\
        32 clients share up to 64 server connections. PgBouncer of this version knows no prepared statements \
        in this mode.\n\n"
        .to_owned();
    for protocol in PROTOCOLS {
        if let Some(measured) = results.scenarios.get(&format!("transaction-{protocol}-32")) {
            let _ = writeln!(text, "{protocol} protocol:\n");
            text += &contenders(measured, None);
        }
    }
    text
}

fn other_work(results: &Results) -> String {
    let mut text = "## Other work\n\n".to_owned();
    for (name, title, unit) in [
        (
            "pipeline",
            "Pipelines: 32 clients, transactions of 10 statements in the extended protocol that are \
                      sent at once. CPU is per statement.",
            Some((PIPELINED, "statement")),
        ),
        (
            "tpcb",
            "TPC-B-like: 32 clients, seven statements in a transaction that writes.",
            None,
        ),
        (
            "large-rows",
            "Rows of 1 MB: 4 clients read one in each transaction. CPU is per GB.",
            Some((ROW_BYTES / 1e9, "GB")),
        ),
        (
            "copy-out",
            "COPY of 100 MB to one client. CPU is per GB.",
            Some((COPY_BYTES / 1e9, "GB")),
        ),
        (
            "copy-in",
            "COPY of 100 MB from one client into a table. CPU is per GB.",
            Some((COPY_BYTES / 1e9, "GB")),
        ),
        (
            "connect",
            "A connection for each transaction: 16 clients log in with SCRAM-SHA-256 each time.",
            None,
        ),
    ] {
        if let Some(measured) = results.scenarios.get(name) {
            let _ = writeln!(text, "### {title}\n");
            text += &contenders(measured, unit);
        }
    }
    text
}

fn idle_clients(results: &Results) -> String {
    let Some(measured) = results.scenarios.get("idle-clients") else {
        return String::new();
    };
    let title = format!(
        "## {} idle clients beside 32 active ones\n\nTransaction pooling, select-only, simple protocol.\n\n",
        measured.idle
    );
    title + &contenders(measured, None)
}

/// One row for each contender. With a unit, CPU is for that, of which a transaction has so many.
pub(crate) fn contenders(measured: &Measured, unit: Option<(f64, &str)>) -> String {
    let (each, unit) = unit.unwrap_or((1.0, "transaction"));
    let of = |name: &str| measured.results.get(name).copied();
    let direct = of("direct").map(|figures| figures.tps);
    let bouncer = of("pgbouncer").map(|figures| figures.tps);
    let mut text = format!(
        "| through | transactions/s | least to most | of direct | of PgBouncer | CPU per {unit} | memory |\n\
         |---|---:|---:|---:|---:|---:|---:|\n"
    );
    for name in &measured.order {
        let Some(figures) = of(name) else {
            continue;
        };
        let Figures {
            tps,
            tps_least,
            tps_most,
            ..
        } = figures;
        let ratio = |to: Option<f64>| to.map_or_else(String::new, |to| format!("{:.2}", tps / to));
        let own = if name == "direct" {
            " | ".to_owned()
        } else {
            let memory = figures.memory / 1024.0 / 1024.0;
            format!("{} | {memory:.1} MiB", time(figures.cpu_us / each))
        };
        let _ = writeln!(
            text,
            "| {name} | {} | {} to {} | {} | {} | {own} |",
            count(tps),
            count(tps_least),
            count(tps_most),
            ratio(direct),
            ratio(bouncer)
        );
    }
    text.push('\n');
    text
}

/// Microseconds, or what suits.
pub(crate) fn time(us: f64) -> String {
    if us < 10_000.0 {
        format!("{us:.1} µs")
    } else {
        format!("{:.0} ms", us / 1000.0)
    }
}

fn count(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}
