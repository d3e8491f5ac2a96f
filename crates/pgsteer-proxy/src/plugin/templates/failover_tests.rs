//! Single questions, natively. `pgsteer plugin test` goes through whole failovers.

use pgsteer_plugin_sdk::{Failover, NodeId, Plugin, Remedy, testing};

use super::Policy;

#[test]
fn the_replica_that_has_the_most_is_promoted() {
    let mut policy = Policy::configure(r#"{"never": ["node3"]}"#).expect("a configuration");
    let crisis = testing::cluster(3)
        .with_positions(NodeId(2), 0x0400_0000, 0x0400_0000)
        .with_positions(NodeId(3), 0x0500_0000, 0x0500_0000)
        .without_primary();
    assert_eq!(policy.decide(&crisis), Remedy::Promote(NodeId(2)));
    let nobody = crisis
        .with_down(NodeId(1))
        .with_down(NodeId(2));
    assert_eq!(policy.decide(&nobody), Remedy::Wait(1_000));
}
