//! Making a node a replica of another one, whatever it was before.

use anyhow::{Context, Result, ensure};

use crate::account::DeathSignal;
use crate::node::{Mode, Node};
use crate::replication::{
    base_backup, can_stream, ensure_roles_and_slots, follow, is_replica, remove_dir,
};
use crate::setup::{run, set_aside, write_file};

/// What it took to make a node a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejoined {
    /// Nothing: it streams from that primary.
    Already,
    /// Its data was taken back to where the histories part (`pg_rewind`), if they do.
    Rewound,
    /// Its data was replaced by a copy of the primary's, because it could not be taken back for
    /// this reason.
    Copied(String),
}

impl Node {
    /// Makes this node a replica of `primary` and waits until it streams. What it has and the
    /// primary has not is lost. A node that runs is stopped for it, also a paused one.
    ///
    /// # Errors
    /// The primary does not answer, or the node does not stream from it in the end.
    pub async fn rejoin(&self, primary: &Self) -> Result<Rejoined> {
        ensure!(
            self.name != primary.name,
            "{} cannot follow itself",
            self.name
        );
        let _alone = self.surgery.lock().await;
        if self.streams_from(primary).await {
            return Ok(Rejoined::Already);
        }
        ensure_roles_and_slots(primary, &[self.number]).await?;
        // pg_rewind looks at the control file, which has the new timeline after a checkpoint only.
        primary.sql("CHECKPOINT").await?;
        let mode = if is_replica(&self.data_dir) {
            Mode::Fast
        } else {
            Mode::Immediate
        };
        self.stop(mode).await?;
        let reason = match self.rewind(primary).await {
            Ok(()) => {
                self.start_as_replica(primary).await?;
                if can_stream(primary, self).await {
                    self.drop_idle_slots().await;
                    return Ok(Rejoined::Rewound);
                }
                self.stop(Mode::Immediate).await?;
                "it did not stream".to_owned()
            }
            Err(error) => format!("{error:#}"),
        };
        if self.keeps_data {
            set_aside(&self.data_dir)?;
        } else {
            remove_dir(&self.data_dir)?;
        }
        base_backup(primary, self).await?;
        self.start_as_replica(primary).await?;
        ensure!(
            can_stream(primary, self).await,
            "{} does not stream from {}:\n{}",
            self.name,
            primary.name,
            self.log_tail()
        );
        Ok(Rejoined::Copied(reason))
    }

    /// Whether it runs and `primary` sends it WAL.
    pub async fn streams_from(&self, primary: &Self) -> bool {
        let question = format!(
            "SELECT EXISTS (SELECT FROM pg_stat_replication \
             WHERE application_name = '{}' AND state = 'streaming')",
            self.name
        );
        self.pid().is_some()
            && primary
                .value(&question)
                .await
                .is_ok_and(|answer| answer == "t")
    }

    async fn start_as_replica(&self, primary: &Self) -> Result<()> {
        // A copy of the primary's data has the primary's configuration too.
        self.write_configuration()?;
        follow(primary, self)?;
        write_file(&self.account, &self.data_dir.join("standby.signal"), "")?;
        self.start().await
    }

    async fn rewind(&self, primary: &Self) -> Result<()> {
        let source = format!(
            "host={} port={} user=postgres dbname=postgres",
            primary.socket_dir.display(),
            primary.port
        );
        let program = self.bin_dir.join("pg_rewind");
        let mut command = self.account.command(&program, DeathSignal::Kill);
        command
            .arg("--target-pgdata")
            .arg(&self.data_dir)
            .arg(format!("--source-server={source}"))
            .arg("--no-sync");
        run(command).await.context("pg_rewind")
    }

    /// Slots of those that followed it before would keep WAL for nobody.
    async fn drop_idle_slots(&self) {
        let text = "SELECT pg_drop_replication_slot(slot_name) \
                    FROM pg_replication_slots WHERE NOT active";
        if let Err(error) = self.sql(text).await {
            tracing::info!(node = self.name, %error, "cannot drop idle slots");
        }
    }
}
