//! What is measured: each scenario is a work and those who do it.

use crate::components::{Answer, component};
use crate::contenders::{Contender, Pooling, Settings};
use crate::curves;
use crate::load::Load;

/// One row of measurements.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) contenders: Vec<Contender>,
}

/// What is done over and over.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// pgbench.
    Bench(Load),
    /// The same while so many clients are connected that do nothing.
    AmongIdle(Load, usize),
    /// The same while the configuration changes so many times in a second.
    AmongReloads(Load, u32),
    /// `COPY ... TO STDOUT` of so many megabytes, by one client.
    CopyOut,
    /// The same in the other direction.
    CopyIn,
}

/// Clients of the select-only scenarios.
pub(crate) const CLIENTS: [usize; 5] = [1, 8, 32, 128, 512];
/// Ways pgbench can ask.
pub(crate) const PROTOCOLS: [&str; 3] = ["simple", "extended", "prepared"];
/// As many idle clients as are asked for; fewer if files are limited.
pub(crate) const IDLE_CLIENTS: usize = 10_000;

/// All there are, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for protocol in PROTOCOLS {
        for clients in CLIENTS {
            let contenders = match clients {
                32 => everybody(),
                _ => vec![Contender::Direct, bouncer(), pgsteer(Settings::default())],
            };
            let name = format!("select-{protocol}-{clients}");
            all.push(bench(&name, select(protocol, clients), contenders));
        }
    }
    for protocol in PROTOCOLS {
        let mut contenders = vec![Contender::Direct];
        // Before 1.21 PgBouncer knows no prepared statements in this mode.
        if protocol != "prepared" {
            contenders.push(Contender::PgBouncer(Pooling::Transaction));
        }
        contenders.push(pgsteer(Settings::transaction()));
        let name = format!("transaction-{protocol}-32");
        all.push(bench(&name, select(protocol, 32), contenders));
    }
    all.extend(works());
    all.push(routing());
    all
}

/// Names of all that can be asked for with `--only`.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = all().into_iter().map(|scenario| scenario.name).collect();
    names.extend(["syscalls".to_owned(), "memory".to_owned()]);
    names.extend(curves::ALL.iter().map(|(name, _)| (*name).to_owned()));
    names
}

/// Other work than select-only.
fn works() -> Vec<Scenario> {
    let relays = || {
        let pgsteer = pgsteer(Settings::default());
        vec![Contender::Direct, Contender::Haproxy, bouncer(), pgsteer]
    };
    let script = |text: &str, args: &[&str], clients| Load {
        clients,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        script: Some(text.to_owned()),
        connects: false,
    };
    let pipeline = script(PIPELINE, &["-M", "extended"], 32);
    let tpcb = Load {
        clients: 32,
        args: vec!["-b".to_owned(), "tpcb-like".to_owned()],
        ..Load::default()
    };
    let rows = script("SELECT body FROM big WHERE id = 1;\n", &[], 4);
    let connects = Load {
        connects: true,
        ..select("simple", 16)
    };
    let idle = Scenario {
        name: "idle-clients".to_owned(),
        work: Work::AmongIdle(select("simple", 32), IDLE_CLIENTS),
        contenders: vec![
            Contender::PgBouncer(Pooling::Transaction),
            pgsteer(Settings::transaction()),
        ],
    };
    let copy = |name: &str, work| Scenario {
        name: name.to_owned(),
        work,
        contenders: relays(),
    };
    vec![
        bench("pipeline", pipeline, relays()),
        bench("tpcb", tpcb, everybody()),
        bench("large-rows", rows, relays()),
        copy("copy-out", Work::CopyOut),
        copy("copy-in", Work::CopyIn),
        bench("connect", connects, everybody()),
        idle,
    ]
}

/// What the decision costs. A router is always there, and it is a component; what can be varied is
/// which one, and whether its answers may be remembered.
fn routing() -> Scenario {
    let labelled = |label: &str, router, components| {
        pgsteer(Settings {
            label: label.to_owned(),
            router,
            components,
            ..Settings::default()
        })
    };
    let contenders = vec![
        labelled("built-in, remembered", "", Vec::new()),
        labelled(
            "smallest, remembered",
            "",
            vec![component(10, Answer::Primary)],
        ),
        labelled(
            "smallest, asked each time",
            "",
            vec![component(10, Answer::PrimaryOnce)],
        ),
        labelled("built-in, asked for each text", PATTERN, Vec::new()),
    ];
    bench("routing", select("simple", 32), contenders)
}

fn bench(name: &str, load: Load, contenders: Vec<Contender>) -> Scenario {
    Scenario {
        name: name.to_owned(),
        work: Work::Bench(load),
        contenders,
    }
}

pub(crate) fn select(protocol: &str, clients: usize) -> Load {
    Load {
        clients,
        args: ["-S", "-M", protocol].map(str::to_owned).to_vec(),
        ..Load::default()
    }
}

pub(crate) fn everybody() -> Vec<Contender> {
    vec![
        Contender::Direct,
        Contender::Haproxy,
        bouncer(),
        pgsteer(Settings::default()),
        Contender::Pgpool,
    ]
}

fn bouncer() -> Contender {
    Contender::PgBouncer(Pooling::Session)
}

fn pgsteer(settings: Settings) -> Contender {
    Contender::Pgsteer(settings)
}

/// Statements of a transaction of the scenario `pipeline`.
pub(crate) const PIPELINED: f64 = 10.0;

pub(crate) const PIPELINE: &str = "\\set aid random(1, 1000000)\n\\startpipeline\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
\\endpipeline\n";

/// With a list of patterns the built-in router looks at the text.
const PATTERN: &str = "primary_routing_query_pattern_list = \"SELECT .* FROM secrets.*\"";

/// Bytes of a COPY, as they travel.
pub(crate) const COPY_BYTES: f64 = 100_000.0 * 1001.0;

/// Bytes of a large row.
pub(crate) const ROW_BYTES: f64 = 1e6;
