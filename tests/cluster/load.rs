//! pgbench, the whole of it: no client may notice the proxy.

use anyhow::Result;
use pgsteer_testkit::pgbench;

use crate::support::{Options, Running, database, runtime};

fn run(proxy: &Running, database: &str, args: &[&str]) -> Result<()> {
    let output = runtime().block_on(pgbench(&proxy.conninfo(database), args))?;
    assert!(
        output.status.success(),
        "{args:?}: {}{}",
        output.stdout,
        output.stderr
    );
    // pgbench ends with 0 when only some of its clients gave up.
    for word in ["aborted", "error", "FATAL"] {
        assert!(!output.stderr.contains(word), "{args:?}: {}", output.stderr);
    }
    if !args.contains(&"-i") {
        let failed = "number of failed transactions: 0 (0.000%)";
        assert!(
            output.stdout.contains(failed),
            "{args:?}: {}",
            output.stdout
        );
    }
    Ok(())
}

/// TPC-B in two pipelines, one of which is a transaction, and a read in a third one.
const PIPELINES: &str = "\\set aid random(1, 100000 * :scale)
\\set bid random(1, 1 * :scale)
\\set delta random(-5000, 5000)
\\startpipeline
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, :bid, :aid, :delta, now());
COMMIT;
\\endpipeline
\\startpipeline
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
SET work_mem = '5MB';
SELECT count(*) FROM pgbench_branches;
\\endpipeline
";

/// More clients than server connections.
const TRANSACTION: &str = "mode = \"transaction\"\nconnections_per_node_max = 8";

#[test]
fn pgbench_in_every_mode() -> Result<()> {
    work("load", &Options::default())
}

#[test]
fn pgbench_in_every_mode_with_transaction_pooling() -> Result<()> {
    let options = Options {
        pool: TRANSACTION,
        ..Options::default()
    };
    work("load_pooled", &options)
}

fn work(name: &str, options: &Options) -> Result<()> {
    drop(runtime().block_on(database(name, ""))?);
    let proxy = options.start();
    run(&proxy, name, &["-i", "-q", "-s", "4"])?;
    runtime().block_on(crate::support::cluster().wait_until_caught_up(crate::support::DEADLINE))?;
    // A thread for each client: pgbench waits for the answer to PREPARE, and while it does so for a
    // session that waits for a server no other client of that thread ends its transaction.
    let threads = "32";
    for mode in ["simple", "extended", "prepared"] {
        for script in ["tpcb-like", "select-only"] {
            let args = [
                "-n", "-c", "32", "-j", threads, "-T", "3", "-M", mode, "-b", script,
            ];
            run(&proxy, name, &args)?;
        }
    }
    let script = proxy.plugins().with_file_name("pipelines.sql");
    std::fs::write(&script, PIPELINES)?;
    let script = script.display().to_string();
    for mode in ["extended", "prepared"] {
        let args = [
            "-n", "-c", "32", "-j", threads, "-T", "3", "-M", mode, "-f", &script,
        ];
        run(&proxy, name, &args)?;
    }
    Ok(())
}
