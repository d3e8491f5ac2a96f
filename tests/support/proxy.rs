//! A proxy inside the test process.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use pgsteer_control::config::{self, ConfigErrors, Source};
use pgsteer_core::spans::Spans;
use pgsteer_core::{Facts, Settings, Subscription};
use pgsteer_proxy::Proxy;
use pgsteer_testkit::{Cluster, DEFAULT_PASSWORD};
use tokio::sync::oneshot;
use tokio_postgres::{Client, NoTls};

use super::cluster;

/// What a test wants to be different from the default: everybody trusted, all nodes equal.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) weights: [u32; 3],
    pub(crate) method: &'static str,
    /// Lines of the sections `[listen]`, `[pool]`, `[plugins]` and `[router]`.
    pub(crate) listen: &'static str,
    pub(crate) pool: &'static str,
    pub(crate) plugins: &'static str,
    pub(crate) router: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            weights: [1, 1, 1],
            method: "trust",
            listen: "",
            pool: "connections_per_node_max = 60",
            plugins: "",
            router: "",
        }
    }
}

impl Options {
    pub(crate) fn weights(weights: [u32; 3]) -> Self {
        Self {
            weights,
            ..Self::default()
        }
    }

    fn configuration(&self, cluster: &Cluster) -> String {
        let Self {
            weights,
            method,
            listen,
            pool,
            plugins,
            router,
        } = self;
        let settle = if plugins.contains("settle") {
            ""
        } else {
            "settle = \"20ms\"\n"
        };
        // All tests can be run in another mode than the default.
        let mode = std::env::var("PGSTEER_TEST_POOL_MODE").ok();
        let mode = mode.filter(|_| !pool.contains("mode ="));
        let mode = mode.map_or_else(String::new, |mode| format!("mode = \"{mode}\"\n"));
        let mut text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\ndrain_timeout = \"1s\"\n{listen}\n\
             [auth]\nmethod = \"{method}\"\n[probe]\ninterval = \"200ms\"\n\
             [pool]\n{mode}{pool}\n[console]\noperators = [\"postgres\"]\nwatchers = [\"alice\"]\n\
             [plugins]\ndir = \"plugins\"\n{settle}{plugins}\n[router]\n{router}\n"
        );
        for (name, password) in USERS {
            let _ = writeln!(
                text,
                "[[users]]\nname = \"{name}\"\npassword = \"{password}\""
            );
        }
        for (node, weight) in cluster.nodes().iter().zip(weights) {
            let (host, port) = (node.host(), node.public_port());
            let _ = writeln!(
                text,
                "[[nodes]]\nhost = \"{host}\"\nport = {port}\nweight = {weight}"
            );
        }
        text
    }

    /// Starts a proxy in front of the shared cluster.
    pub(crate) fn start(&self) -> Running {
        self.start_for(cluster())
    }

    /// Starts a proxy in front of another cluster.
    pub(crate) fn start_for(&self, cluster: &Cluster) -> Running {
        self.try_start_for(cluster).expect("the proxy starts")
    }

    /// The same, for one that may not start.
    pub(crate) fn try_start_for(&self, cluster: &Cluster) -> Result<Running> {
        Running::start(self, cluster)
    }
}

/// A proxy that serves clients on a port of its own until it is dropped.
pub(crate) struct Running {
    port: u16,
    plugins: PathBuf,
    file: PathBuf,
    subscription: Subscription,
    facts: Arc<Facts>,
    settings: tokio::sync::mpsc::Sender<Settings>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(options: &Options, cluster: &Cluster) -> Result<Self> {
        Self::with_configuration(&options.configuration(cluster), cluster)
    }

    /// Starts one with this text as its configuration.
    pub(crate) fn with_configuration(text: &str, cluster: &Cluster) -> Result<Self> {
        Self::with_files(text, &[], cluster)
    }

    /// Starts one with this text as its configuration, and these files beside it.
    pub(crate) fn with_files(
        text: &str,
        files: &[(&str, String)],
        cluster: &Cluster,
    ) -> Result<Self> {
        // Below the data of the cluster, and removed with it.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = cluster.root().join(format!("proxy{number}"));
        let plugins = dir.join("plugins");
        std::fs::create_dir_all(&plugins)?;
        let file = dir.join("pgsteer.toml");
        std::fs::write(&file, text)?;
        for (name, text) in files {
            std::fs::write(dir.join(name), text)?;
        }
        let settings = config::load(&Source::File(file.clone()))?.settings;

        let (ready, started) = sync_channel(1);
        let (stop, mut stopped) = oneshot::channel();
        let (reload, mut reloaded) = tokio::sync::mpsc::channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                match Proxy::start(settings).await {
                    Ok(proxy) => {
                        let facts = Arc::clone(proxy.facts());
                        let addresses = proxy.addresses().to_vec();
                        let told = ready.send(Ok((addresses, proxy.subscribe(), facts)));
                        told.expect("the test waits");
                        loop {
                            tokio::select! {
                                _ = &mut stopped => break,
                                Some(settings) = reloaded.recv() => drop(proxy.reload(settings)),
                            }
                        }
                        proxy.stop().await;
                    }
                    Err(error) => ready.send(Err(error)).expect("the test waits"),
                }
            });
            runtime.shutdown_background();
        });
        let (addresses, subscription, facts) = started.recv()??;
        Ok(Self {
            port: addresses.first().context("an address")?.port(),
            plugins,
            file,
            subscription,
            facts,
            settings: reload,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory it watches for plugins.
    pub(crate) fn plugins(&self) -> &Path {
        &self.plugins
    }

    /// Writes a file beside its configuration.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file.with_file_name(name), text).expect("written");
    }

    /// Reads its configuration again, which takes effect a moment later.
    pub(crate) fn reload(&self) -> Result<(), ConfigErrors> {
        let settings = config::load(&Source::File(self.file.clone()))?.settings;
        let sent = self.settings.blocking_send(settings);
        sent.expect("the proxy runs");
        Ok(())
    }

    /// What it believes to be true.
    pub(crate) fn subscription(&self) -> Subscription {
        self.subscription.clone()
    }

    /// What became of the spans of traced statements.
    pub(crate) fn spans(&self) -> &Spans {
        &self.facts.spans
    }

    /// For libpq, as `postgres`.
    pub(crate) fn conninfo(&self, database: &str) -> String {
        pgsteer_testkit::conninfo(self.port, database)
    }

    /// Connects as `postgres`.
    pub(crate) async fn connect(&self, database: &str) -> Client {
        let text = format!("{} password={DEFAULT_PASSWORD}", self.conninfo(database));
        connect(&text).await.expect("the proxy lets us in")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the proxy panicked"
            );
        }
    }
}

/// Connects with a connection string of tokio-postgres.
async fn connect(conninfo: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(conninfo, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Roles of the clusters with the passwords the proxy knows.
const USERS: [(&str, &str); 5] = [
    ("postgres", DEFAULT_PASSWORD),
    ("alice", "alice's secret"),
    ("old", "old secret"),
    ("plain", "plain secret"),
    ("nobody", "is no role of the servers"),
];
