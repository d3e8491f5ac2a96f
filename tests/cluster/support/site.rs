//! The cluster that tests share.

use anyhow::Result;
use pgsteer_testkit::Cluster;

use super::shared::Shared;

/// A primary and two replicas, started by the first test that asks and kept until this process
/// ends. Nobody may stop one of its servers or change a setting of all databases.
pub(crate) fn cluster() -> &'static Cluster {
    SITE.get(start)
}

static SITE: Shared = Shared::new();

async fn start() -> Result<Cluster> {
    let cluster = Cluster::builder()
        .fast(true)
        .hba_line("host all trusted 127.0.0.1/32 trust")
        .hba_line("host all plain 127.0.0.1/32 password")
        .hba_line("host all old 127.0.0.1/32 md5")
        // Commits wait for the replicas where a database asks for `remote_apply`.
        .conf_line("synchronous_standby_names = '2 (node1, node2)'")
        .conf_line("synchronous_commit = local")
        .conf_line("max_prepared_transactions = 10")
        .start()
        .await?;
    let roles = "SET password_encryption = 'md5';
                 CREATE ROLE old LOGIN PASSWORD 'old secret';
                 SET password_encryption = 'scram-sha-256';
                 CREATE ROLE plain LOGIN PASSWORD 'plain secret';
                 CREATE ROLE alice LOGIN PASSWORD 'alice''s secret';
                 CREATE ROLE trusted LOGIN";
    cluster.primary().sql(roles).await?;
    Ok(cluster)
}
