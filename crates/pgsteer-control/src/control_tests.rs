//! Tests of the control plane as a whole, with nodes that nobody listens on.

use pgsteer_core::topology::Health;

use super::*;
use crate::testing::{self, FakeLoader, until};

async fn start(bytes: &[u8], settings: Settings) -> Result<Control, StartError> {
    let embedded = vec![testing::embedded(bytes)];
    Control::start(
        settings,
        embedded,
        Arc::new(FakeLoader::default()),
        1,
        testing::facts(),
    )
    .await
}

#[tokio::test]
async fn an_embedded_plugin_that_is_refused_prevents_the_start() {
    let error = start(b"bad", testing::settings())
        .await
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the built-in plugin 90-router was refused at stage compile: bad"
    );
}

#[tokio::test]
async fn unreachable_nodes_count_as_asked_and_go_down() {
    let mut settings = testing::settings();
    settings.probe.interval = Duration::from_millis(30);
    let control = start(b"1", settings).await.expect("starts");
    assert!(control.wait_ready(Duration::from_secs(20)).await);
    until("down", || {
        control
            .current()
            .topology
            .nodes
            .iter()
            .all(|node| node.health == Health::Down)
    })
    .await;
    control.shutdown().await;
}

#[tokio::test]
async fn draining_is_published() {
    let control = start(b"1", testing::settings()).await.expect("starts");
    let mut subscription = control.subscribe();
    assert!(!subscription.get().draining);
    control.drain();
    assert!(subscription.get().draining);
    control.shutdown().await;
}

#[tokio::test]
async fn a_reload_applies_what_it_can() {
    let control = start(b"1", testing::settings()).await.expect("starts");
    let mut new = testing::settings();
    new.nodes[1].weight = 3.0;
    new.pool.connections_per_node_max = 5;
    new.router_config = "{\"x\":1}".to_owned();
    assert_eq!(control.reload(new), Vec::<&str>::new());
    until("weight", || {
        control.current().topology.nodes[1].weight == 3.0
    })
    .await;
    until("router", || {
        control.current().policies.plugins[0].generation == Generation(2)
    })
    .await;
    assert_eq!(control.current().settings.pool.connections_per_node_max, 5);
    control.shutdown().await;
}

#[test]
fn what_takes_a_restart_is_named_and_stays() {
    let current = testing::settings();
    let mut new = testing::settings();
    new.listen.clear();
    new.unix_socket = Some(pgsteer_core::settings::UnixSocketSettings {
        dir: "z".into(),
        mode: 0o700,
    });
    new.workers += 1;
    new.clients_max += 1;
    new.plugins.dir = Some("x".into());
    new.plugins.state_dir = Some("y".into());
    new.plugins.stack_bytes_max += 1;
    new.nodes[0].port = 3;
    new.nodes[1].weight = 9.0;
    new.login_timeout = Duration::from_secs(1);
    let (merged, waiting) = merge(&current, new);
    let keys = [
        "listen.address",
        "listen.unix_socket_dir",
        "listen.workers",
        "listen.clients_max",
        "plugins.dir",
        "plugins.state_dir",
        "plugins.stack_max",
        "nodes",
    ];
    assert_eq!(waiting, keys);
    let restart = |key: &&str| {
        crate::config::SETTINGS.iter().any(|setting| {
            setting.key.starts_with(*key) && setting.reload == crate::config::Reload::Restart
        })
    };
    assert!(keys.iter().all(restart), "the reference says so too");
    assert_eq!(merged.nodes, current.nodes);
    assert_eq!(merged.login_timeout, Duration::from_secs(1));
}
