//! A cluster that all tests of a process share.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use pgsteer_testkit::Cluster;
use tokio::runtime::Runtime;

/// Runs what a test awaits.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("threads can be started")
}

/// Started by the first test that asks and kept until this process ends.
pub(crate) struct Shared(OnceLock<(Cluster, Child)>);

impl Shared {
    /// Not started yet.
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The cluster, which `start` starts.
    pub(crate) fn get<F>(&self, start: fn() -> F) -> &Cluster
    where
        F: Future<Output = Result<Cluster>> + 'static,
    {
        let started = move || {
            let cluster = runtime().block_on(start())?;
            let remover = remove_at_the_end(&cluster)?;
            anyhow::Ok((cluster, remover))
        };
        // On a thread of its own: the test that comes first may already be inside a runtime.
        let site = self.0.get_or_init(|| {
            let started = std::thread::spawn(started).join();
            started
                .expect("no panic at the start")
                .expect("PostgreSQL can be started")
        });
        &site.0
    }
}

/// Statics are never dropped, so the data would stay behind: another process waits for the end of
/// this one and removes it. The servers end by themselves.
fn remove_at_the_end(cluster: &Cluster) -> Result<Child> {
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
