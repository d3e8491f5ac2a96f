//! The plots of the page.

use crate::plot::{Line, bars, lines};
use crate::results::Results;
use crate::scenarios::{CLIENTS, PROTOCOLS};

/// Names of the files, without their ending, and what is in them.
pub(crate) fn all(results: &Results) -> Vec<(String, String)> {
    let mut all = vec![
        ("select-throughput".to_owned(), select_throughput(results)),
        ("select-cpu".to_owned(), select_cpu(results)),
        ("contenders-cpu".to_owned(), contenders_cpu(results)),
    ];
    for (name, curve) in &results.curves {
        let places: Vec<String> = curve.at.iter().map(f64::to_string).collect();
        let of_curve: Vec<Line> = curve.lines.clone().into_iter().collect();
        let title = format!("{} by {}", curve.y, curve.x);
        let svg = lines(&title, (&curve.x, &curve.y), &places, &of_curve);
        all.push((name.clone(), svg));
    }
    all
}

fn select_throughput(results: &Results) -> String {
    let ratios = PROTOCOLS.map(|protocol| {
        let ratio = |clients: usize| {
            let name = format!("select-{protocol}-{clients}");
            let tps = |who| {
                results
                    .of(&name, who)
                    .map_or(f64::NAN, |figures| figures.tps)
            };
            let bouncer = tps("pgbouncer");
            tps("pgsteer") / bouncer
        };
        (protocol.to_owned(), CLIENTS.map(ratio).to_vec())
    });
    let title = "Transactions per second of pgsteer, PgBouncer's being 1";
    lines(title, ("clients", "ratio"), &clients(), &ratios)
}

fn select_cpu(results: &Results) -> String {
    let mut of_each = Vec::new();
    for (who, shown) in [("pgbouncer", "PgBouncer"), ("pgsteer", "pgsteer")] {
        for protocol in ["simple", "prepared"] {
            let cpu = |clients: usize| {
                let found = results.of(&format!("select-{protocol}-{clients}"), who);
                found.map_or(f64::NAN, |figures| figures.cpu_us)
            };
            of_each.push((format!("{shown}, {protocol}"), CLIENTS.map(cpu).to_vec()));
        }
    }
    let title = "CPU of the proxy per transaction";
    lines(title, ("clients", "µs"), &clients(), &of_each)
}

fn contenders_cpu(results: &Results) -> String {
    let names = ["haproxy", "pgbouncer", "pgsteer", "pgpool"];
    let of_each = names.map(|who| {
        let cpu = |protocol: &str| {
            let found = results.of(&format!("select-{protocol}-32"), who);
            found.map_or(f64::NAN, |figures| figures.cpu_us)
        };
        (who.to_owned(), PROTOCOLS.map(cpu).to_vec())
    });
    let title = "CPU of each proxy per transaction, select-only, 32 clients";
    let places = PROTOCOLS.map(str::to_owned);
    bars(title, ("protocol", "µs"), &places, &of_each)
}

fn clients() -> Vec<String> {
    CLIENTS.iter().map(usize::to_string).collect()
}
