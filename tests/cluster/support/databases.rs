//! Databases of the shared cluster, one for each test that needs its own, and what its servers log.

use anyhow::Result;
use pgsteer_testkit::{Cluster, Node};
use tokio_postgres::Client;

use super::{DEADLINE, Wire, cluster};

/// Creates a database with what `setup` makes in it, and waits until all nodes have it.
pub(crate) async fn database(name: &str, setup: &str) -> Result<Client> {
    let cluster = cluster();
    cluster
        .primary()
        .sql(&format!("CREATE DATABASE {name}"))
        .await?;
    let client = cluster.primary().connect(name).await?;
    client.batch_execute(setup).await?;
    cluster.wait_until_caught_up(DEADLINE).await?;
    Ok(client)
}

/// Waits until a proxy knows the catalog of a database, as it is now.
pub(crate) fn wait_for_catalog(port: u16, database: &str) {
    Wire::connect(port, database).wait_for_catalog();
}

/// All that a node has logged.
fn log_of(cluster: &Cluster, node: &Node) -> String {
    let path = cluster.root().join(format!("{}.log", node.name()));
    let bytes = std::fs::read(path).expect("the node has a log");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The nodes that logged a statement with this mark in it, by their numbers. The database must have
/// `log_statement = all`; a server writes the line before it runs the statement, and for one it
/// cannot parse with the error.
pub(crate) fn marked_nodes(mark: &str) -> Vec<usize> {
    let cluster = cluster();
    let has_it = |node: &&Node| {
        let log = log_of(cluster, node);
        log.contains(mark)
    };
    let nodes = cluster.nodes().iter();
    let numbered = nodes.enumerate().filter(|(_, node)| has_it(node));
    numbered.map(|(number, _)| number).collect()
}
