//! 32 clients of pgbench in every mode, which check what they are answered.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use pgsteer_testkit::{ClientOutput, pgbench, wait_until};

use crate::support::{DEADLINE, Running, cluster};

/// Clients of each mode; there are four.
const CLIENTS: u64 = 8;

/// Names of the modes, what pgbench calls them, and their scripts.
const MODES: [(&str, &str, &str); 4] = [
    ("simple", "simple", ONE_BY_ONE),
    ("extended", "extended", ONE_BY_ONE),
    ("prepared", "prepared", ONE_BY_ONE),
    ("pipelined", "prepared", PIPELINED),
];

/// A wrong answer is a division by zero.
const ONE_BY_ONE: &str = r"
\set aid random(1, 100000)
\set delta random(-5000, 5000)
SELECT :aid + 1 AS next \gset
SELECT 1 / (:next = :aid + 1)::int AS good;
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :aid, :delta, now());
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
END;
";

const PIPELINED: &str = r"
\set aid random(1, 100000)
\set delta random(-5000, 5000)
\startpipeline
SELECT 1 / (:aid::int + 1 > :aid::int)::int AS good;
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :aid, :delta, now());
END;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
\endpipeline
";

/// The clients, and what they have done.
pub(super) struct Load {
    conninfo: String,
    dir: PathBuf,
    done: AtomicBool,
    /// Runs that have ended, by mode.
    runs: [AtomicU64; MODES.len()],
    transactions: AtomicU64,
}

impl Load {
    /// Makes the tables in a database that is there, and writes the scripts.
    pub(super) async fn new(proxy: &Running, database: &str) -> Result<Self> {
        let conninfo = proxy.conninfo(database);
        let made = pgbench(&conninfo, &["-i", "-q", "-s", "1"]).await?;
        made.success()?;
        cluster().wait_until_caught_up(DEADLINE).await?;
        let dir = proxy.plugins().parent().context("a directory")?.to_owned();
        for (name, _, script) in MODES {
            std::fs::write(dir.join(name), script)?;
        }
        Ok(Self {
            conninfo,
            dir,
            done: AtomicBool::new(false),
            runs: [const { AtomicU64::new(0) }; MODES.len()],
            transactions: AtomicU64::new(0),
        })
    }

    /// Lets all clients work until [`Load::end`], or until one of them fails.
    pub(super) async fn run(&self) -> Result<()> {
        let [a, b, c, d] = [0, 1, 2, 3].map(|mode| self.keep_running(mode));
        tokio::try_join!(a, b, c, d)?;
        Ok(())
    }

    /// They stop after their present run.
    pub(super) fn end(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    async fn keep_running(&self, mode: usize) -> Result<()> {
        const TRANSACTIONS: u64 = 4;
        while !self.done.load(Ordering::Relaxed) {
            let output = run(&self.conninfo, &self.dir, mode, TRANSACTIONS).await?;
            let failed = "number of failed transactions: 0 (0.000%)";
            let well = output.status.success()
                && !output.stderr.contains("error")
                && output.stdout.contains(failed);
            let name = MODES[mode].0;
            ensure!(well, "{name}: {}{}", output.stdout, output.stderr);
            let count = CLIENTS * TRANSACTIONS;
            self.transactions.fetch_add(count, Ordering::Relaxed);
            self.runs[mode].fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits until clients of every mode have come, worked and gone once more.
    pub(super) async fn whole_run(&self, what: &str) -> Result<()> {
        let runs = || {
            self.runs
                .each_ref()
                .map(|runs| runs.load(Ordering::Relaxed))
        };
        let before = runs();
        let is_over = || {
            let pairs = runs().into_iter().zip(before);
            // The first to end may have begun before.
            pairs.into_iter().all(|(now, before)| now >= before + 2)
        };
        wait_until(DEADLINE, what, || async { is_over() }).await
    }

    /// Every transaction has left what it should, once.
    pub(super) async fn check(&self, database: &str) -> Result<()> {
        let client = cluster().primary().connect(database).await?;
        let sums = "SELECT (SELECT sum(abalance)::bigint FROM pgbench_accounts),
            (SELECT sum(delta)::bigint FROM pgbench_history),
            (SELECT count(*) FROM pgbench_history),
            to_regclass('must_not_be') IS NULL";
        let row = client.query_one(sums, &[]).await?;
        let (balances, deltas): (i64, i64) = (row.get(0), row.get(1));
        assert_eq!(balances, deltas);
        let count = u64::try_from(row.get::<_, i64>(2))?;
        assert_eq!(count, self.transactions.load(Ordering::Relaxed));
        assert!(row.get::<_, bool>(3), "a rewritten text has run");
        Ok(())
    }

    /// Lets all clients run once, whatever comes of it; answers what they print about errors.
    pub(super) async fn errors(&self) -> Result<Vec<String>> {
        let [a, b, c, d] = [0, 1, 2, 3].map(|mode| run(&self.conninfo, &self.dir, mode, 2));
        let (a, b, c, d) = tokio::try_join!(a, b, c, d)?;
        let lines = [a, b, c, d].map(|output| output.stderr);
        Ok(lines
            .iter()
            .flat_map(|text| text.lines())
            .map(str::to_owned)
            .collect())
    }
}

async fn run(conninfo: &str, dir: &Path, mode: usize, count: u64) -> Result<ClientOutput> {
    let (name, protocol, _) = MODES[mode];
    let script = dir.join(name);
    let script = script.to_str().context("a path in UTF-8")?;
    let (clients, count) = (CLIENTS.to_string(), count.to_string());
    let args = [
        "-n", "-M", protocol, "-c", &clients, "-t", &count, "-f", script,
    ];
    pgbench(conninfo, &args).await
}
