//! The memory of a process in which a proxy replaces one misbehaving plugin by the next.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::load::Load;
use super::{bodies, put_in_force, wait_for_its_deeds};

use crate::support::{Running, database, runtime};

/// Set in the process that does nothing else than this test.
const ALONE: &str = "PGSTEER_TEST_ALONE";

/// Rounds before the first look: until then pools, caches and the allocator fill.
const ROUNDS_BEFORE: usize = 3;
const ROUNDS: usize = 8;

/// What a round may add to the memory in use, on average. Seen were 40 KiB.
const ROUND_KIB_MAX: i64 = 256;

/// What all rounds together may add to the addresses in use. An instance takes 4 GiB of them, of
/// which it uses next to nothing: sixteen more instances than before are too many, and a round makes
/// some dozens of them, because every failure costs one.
const ADDRESSES_KIB_MAX: i64 = 16 * 4 * 1024 * 1024;

/// Memory and addresses in use by this process, in KiB.
fn usage() -> Result<(i64, i64)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = |field: &str| -> Result<i64> {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.with_context(|| field.to_owned())?.parse()?)
    };
    Ok((kib("VmRSS:")?, kib("VmSize:")?))
}

#[test]
fn memory_stays_flat_whatever_plugins_do() -> Result<()> {
    if std::env::var_os(ALONE).is_some() {
        return alone();
    }
    // Other tests of this process would be measured too.
    let name = "hostile::memory::memory_stays_flat_whatever_plugins_do";
    let output = Command::new(std::env::current_exe()?)
        .args([name, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()?;
    let (out, err) = (&output.stdout, &output.stderr);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    );
    ensure!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    Ok(())
}

fn alone() -> Result<()> {
    const PLUGINS: &str = "grants = [\"log\", \"metrics\", \"kv\"]\nprobation = \"0s\"";
    runtime().block_on(async {
        drop(database("hostile_memory", "").await?);
        let proxy = super::options(PLUGINS).start();
        let load = Load::new(&proxy, "hostile_memory").await?;
        let rounds = async {
            for _ in 0..ROUNDS_BEFORE {
                round(&proxy).await?;
            }
            let mut seen = vec![usage()?];
            for _ in 0..ROUNDS {
                round(&proxy).await?;
                seen.push(usage()?);
            }
            load.end();
            let ((memory, addresses), after) = (seen[0], seen[ROUNDS]);
            let max = ROUND_KIB_MAX * i64::try_from(ROUNDS)?;
            ensure!(after.0 - memory < max, "memory is not flat: {seen:?}");
            ensure!(
                after.1 - addresses < ADDRESSES_KIB_MAX,
                "instances are not given back: {seen:?}"
            );
            anyhow::Ok(())
        };
        tokio::try_join!(rounds, load.run())?;
        load.check("hostile_memory").await
    })
}

/// One plugin after the other comes, misbehaves, and goes.
async fn round(proxy: &Running) -> Result<()> {
    for hostile in bodies::some() {
        // What it keeps in its store would be there when it is tried out again.
        if hostile.what == "traps in changed" {
            continue;
        }
        let report = put_in_force(proxy, &hostile).await?;
        if let Some(plugin) = &report.plugin {
            wait_for_its_deeds(plugin, &hostile).await?;
        }
    }
    Ok(())
}
