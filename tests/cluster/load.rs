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

#[test]
fn pgbench_in_every_mode() -> Result<()> {
    drop(runtime().block_on(database("load", ""))?);
    let proxy = Options::default().start();
    run(&proxy, "load", &["-i", "-q", "-s", "4"])?;
    runtime().block_on(crate::support::cluster().wait_until_caught_up(crate::support::DEADLINE))?;
    for mode in ["simple", "extended", "prepared"] {
        for script in ["tpcb-like", "select-only"] {
            let args = [
                "-n", "-c", "32", "-j", "2", "-T", "3", "-M", mode, "-b", script,
            ];
            run(&proxy, "load", &args)?;
        }
    }
    Ok(())
}
