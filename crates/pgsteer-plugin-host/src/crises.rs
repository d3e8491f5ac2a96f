//! The crises a new failover policy must survive before it is asked about a real one.
//!
//! Its answers are checked like all answers, and otherwise not judged.

use pgsteer_core::policy::{Crisis, Occasion, PastEvent, Receiver, Witness};
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::topology::{Health, Standing};
use pgsteer_core::{NodeId, Role};

/// Each with what it is called.
pub(crate) fn all() -> Vec<(&'static str, Crisis)> {
    let mut all = vec![
        ("a lost primary with two replicas", lost(2)),
        ("a lost primary with one replica", lost(1)),
        ("a lost primary without replicas", lost(0)),
        ("a primary that became a replica", demoted()),
        ("a second primary", other_primary()),
        ("a lost node", about(2, Occasion::NodeLost, down)),
        (
            "a node that is back",
            about(2, Occasion::NodeBack, detached),
        ),
        ("no nodes", nobody()),
        ("nodes that nothing is known about", unknown()),
    ];
    all.extend(flagged());
    all.push(("an answer that was refused", refused()));
    all
}

/// A primary, node 0, and so many replicas; all is well.
fn cluster(replicas: u16) -> Vec<Witness> {
    let nodes = (0..=replicas).map(|id| Witness {
        id: NodeId(id),
        host: "db.example".into(),
        port: 5432,
        flag: NodeFlag::AllowToFailover,
        role: if id == 0 {
            Role::Primary
        } else {
            Role::Replica
        },
        health: Health::Up,
        failures: 0,
        standing: Standing::InService,
        since_ms: 60_000,
        system_identifier: Some(7_000_000_000_000_000_001),
        timeline: Some(1),
        lsn: Some(0x0300_0060 - 16 * u64::from(id)),
        received_lsn: (id > 0).then_some(0x0300_0060),
        receiver: match id {
            0 => Receiver::Unknown,
            _ => Receiver::Streaming,
        },
        silent_ms: (id > 0).then_some(100),
        follows: (id > 0).then_some(NodeId(0)),
        behind_bytes: (id > 0).then_some(16 * u64::from(id)),
        sync_state: ["", "async", "quorum"][usize::from(id) % 3].to_owned(),
    });
    nodes.collect()
}

fn crisis(occasion: Occasion, subject: u16, nodes: Vec<Witness>) -> Crisis {
    Crisis {
        occasion,
        subject: Some(NodeId(subject)),
        primary: Some(NodeId(0)),
        for_ms: 3_000,
        nodes,
        history: Vec::new(),
        refused: String::new(),
    }
}

/// A crisis about the last of two replicas, or the primary.
fn about(subject: u16, occasion: Occasion, change: fn(&mut Witness)) -> Crisis {
    let mut nodes = cluster(2);
    nodes.iter_mut().skip(subject.into()).for_each(change);
    crisis(occasion, subject, nodes)
}

fn down(node: &mut Witness) {
    (node.health, node.failures, node.since_ms) = (Health::Down, 3, 0);
}

fn detached(node: &mut Witness) {
    node.standing = Standing::Detached;
}

fn lost(replicas: u16) -> Crisis {
    let mut nodes = cluster(replicas);
    nodes.iter_mut().take(1).for_each(down);
    for node in nodes.iter_mut().skip(1) {
        (node.receiver, node.silent_ms) = (Receiver::None, Some(3_000));
    }
    let mut asked = crisis(Occasion::PrimaryLost, 0, nodes);
    asked.primary = None;
    asked
}

fn demoted() -> Crisis {
    let mut asked = lost(2);
    for node in asked.nodes.iter_mut().take(1) {
        (node.role, node.health, node.failures) = (Role::Replica, Health::Up, 0);
    }
    asked
}

fn other_primary() -> Crisis {
    about(2, Occasion::OtherPrimary, |node| {
        (node.role, node.timeline, node.follows) = (Role::Primary, Some(2), None);
        (node.received_lsn, node.standing) = (None, Standing::Fenced);
    })
}

fn nobody() -> Crisis {
    let mut asked = crisis(Occasion::PrimaryLost, 0, Vec::new());
    (asked.subject, asked.primary) = (None, None);
    asked
}

/// As after a start with nobody there, and with extremes.
fn unknown() -> Crisis {
    let mut asked = lost(2);
    for node in &mut asked.nodes {
        (node.role, node.health, node.failures) = (Role::Unknown, Health::Unknown, u32::MAX);
        (node.system_identifier, node.timeline) = (None, None);
        (node.lsn, node.received_lsn) = (None, Some(u64::MAX));
        (node.silent_ms, node.behind_bytes) = (Some(u64::MAX), Some(u64::MAX));
        (node.follows, node.host) = (Some(NodeId(u16::MAX)), "größe \u{1f418}".into());
    }
    (asked.subject, asked.for_ms) = (Some(NodeId(u16::MAX)), u64::MAX);
    asked
}

fn flagged() -> impl Iterator<Item = (&'static str, Crisis)> {
    let with = |flag| {
        let mut asked = lost(2);
        asked.nodes.iter_mut().for_each(|node| node.flag = flag);
        asked
    };
    [
        (
            "nodes that must be left alone",
            with(NodeFlag::DisallowToFailover),
        ),
        (
            "a node that is always the primary",
            with(NodeFlag::AlwaysPrimary),
        ),
    ]
    .into_iter()
}

fn refused() -> Crisis {
    let mut asked = lost(2);
    "node 1 lacks too much \u{1f418}".clone_into(&mut asked.refused);
    let event = |what| PastEvent {
        ago_ms: 500,
        node: NodeId(1),
        what,
    };
    asked.history = [
        "lost",
        "promotion-failed",
        "promoted",
        "followed",
        "detached",
        "attached",
        "fenced",
        "back",
        "",
    ]
    .map(event)
    .into();
    asked
}
