//! One primary and one replica that log every statement, and both proxies in front of them.

#[path = "../support/proxy.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod proxy;
#[path = "../support/shared.rs"]
mod shared;
#[path = "../support/wire.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod wire;

use std::time::Duration;

use anyhow::{Context, Result};
use pgsteer_testkit::Cluster;
use pgsteer_testkit::pgpool::Pgpool;

use crate::settings::{Rules, Setting, for_pgpool, for_router};
use proxy::{Options, Running};
use shared::Shared;
pub(crate) use shared::runtime;
pub(crate) use wire::{Frame, Login, Wire, msg};

/// The two nodes, started by the first test that asks and kept until this process ends.
pub(crate) fn cluster() -> &'static Cluster {
    SITE.get(start)
}

static SITE: Shared = Shared::new();

async fn start() -> Result<Cluster> {
    Cluster::builder()
        .fast(true)
        .replicas(1)
        .hba_line("host all all 127.0.0.1/32 trust")
        // Each message of a statement is a line of its own, written before the client is answered.
        .conf_line("log_min_duration_statement = 0")
        // Nothing but the statement itself: the text of a PREPARE would come again with EXECUTE.
        .conf_line("log_error_verbosity = terse")
        // The databases of the tests ask for `remote_apply`.
        .conf_line("synchronous_standby_names = 'node1'")
        .conf_line("synchronous_commit = local")
        .conf_line("max_prepared_transactions = 10")
        .start()
        .await
}

/// Creates a database with what `setup` makes in it, on both nodes.
pub(crate) fn create_database(name: &str, setup: &str) -> Result<()> {
    runtime().block_on(async {
        let primary = cluster().primary();
        primary.sql(&format!("CREATE DATABASE {name}")).await?;
        // No read is stale, so that the same statements fail through both proxies.
        let fresh = format!("ALTER DATABASE {name} SET synchronous_commit = 'remote_apply'");
        primary.sql(&fresh).await?;
        primary.connect(name).await?.batch_execute(setup).await?;
        cluster().wait_until_caught_up(DEADLINE).await
    })
}

/// Both proxies with the same settings; pgsteer once with each set of rules.
pub(crate) struct Lab {
    pgpool: Pgpool,
    pgsteer: Vec<(Rules, Running)>,
    pub(crate) database: &'static str,
    pub(crate) shown: String,
}

impl Lab {
    /// Starts them in front of the shared nodes.
    pub(crate) fn start(
        database: &'static str,
        weights: [u32; 2],
        settings: &'static [Setting],
    ) -> Result<Self> {
        let shown = format!(
            "{}weights {weights:?}, database {database}",
            for_router(settings)
        );
        let values = for_pgpool(settings);
        let values: Vec<_> = values
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let pgpool = runtime().block_on(Pgpool::start(cluster(), &weights, &values));
        let mut pgsteer = Vec::new();
        for rules in [Rules::Safer, Rules::Exact] {
            let options = Options {
                // As long as the process, like the table of settings it is made from.
                router: (for_router(settings) + rules.line()).leak(),
                // As Pgpool-II, which knows nothing else: LISTEN is a server's business then.
                pool: "mode = \"session\"",
                ..Options::weights([weights[0], weights[1], 0])
            };
            pgsteer.push((rules, options.start_for(cluster())));
        }
        Ok(Self {
            pgpool: pgpool.with_context(|| format!("with {shown}"))?,
            pgsteer,
            database,
            shown,
        })
    }

    /// The port of Pgpool-II.
    pub(crate) fn pgpool(&self) -> u16 {
        self.pgpool.port()
    }

    /// The ports of pgsteer, one per set of rules.
    pub(crate) fn pgsteer(&self) -> impl Iterator<Item = (Rules, u16)> {
        self.pgsteer
            .iter()
            .map(|(rules, proxy)| (*rules, proxy.port()))
    }
}

/// How long a test waits for something that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
