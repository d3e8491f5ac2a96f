//! Removes the data of a cluster that a static holds.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use pgsteer_testkit::Cluster;

/// Statics are never dropped, so the data would stay behind: another process waits for the end of
/// this one and removes it. The servers end by themselves.
pub(crate) fn remove_at_the_end(cluster: &Cluster) -> Result<Child> {
    let script = "cat; until rm -rf -- \"$@\"; do :; done 2>/dev/null";
    Command::new("sh")
        .args(["-c", script, "sh"])
        .args([cluster.root(), cluster.socket_dir()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot run sh")
}
