//! What the failover machine sees of a node at one moment.

use std::sync::Arc;
use std::time::Duration;

use pgsteer_core::policy::Receiver;
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::{NodeId, Role};

/// A node as its probes see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sight {
    pub(crate) id: NodeId,
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) flag: NodeFlag,
    /// It was asked at least once.
    pub(crate) observed: bool,
    /// It answered the last probe, or has not failed often enough.
    pub(crate) up: bool,
    /// It failed as many probes in a row as are configured.
    pub(crate) down: bool,
    /// Failed probes in a row.
    pub(crate) failures: u32,
    /// The last of them failed because the server refused, so it lives.
    pub(crate) refuses: bool,
    /// What it said last.
    pub(crate) role: Role,
    /// How long health and role have been as they are.
    pub(crate) age: Duration,
    pub(crate) system_identifier: Option<u64>,
    pub(crate) timeline: Option<u32>,
    /// Written (primary) or replayed (replica) up to here.
    pub(crate) lsn: Option<u64>,
    /// Received up to here, if it is a replica that has received something.
    pub(crate) received: Option<u64>,
    pub(crate) receiver: Receiver,
    /// How long ago it heard from what it follows.
    pub(crate) silent: Option<Duration>,
    /// `wal_receiver_timeout`; zero for none.
    pub(crate) receiver_timeout: Option<Duration>,
    /// The node it is connected to, if that is one of ours.
    pub(crate) follows: Option<NodeId>,
    /// The primary's word about it.
    pub(crate) sync_state: String,
    /// Connections of sessions to it.
    pub(crate) connections: u32,
}

impl Sight {
    /// A node that was never asked.
    #[cfg(test)]
    pub(crate) fn new(id: u16) -> Self {
        Self {
            id: NodeId(id),
            host: format!("node{id}").into(),
            port: 5432,
            flag: NodeFlag::AllowToFailover,
            observed: false,
            up: false,
            down: false,
            failures: 0,
            refuses: false,
            role: Role::Unknown,
            age: Duration::ZERO,
            system_identifier: None,
            timeline: None,
            lsn: None,
            received: None,
            receiver: Receiver::Unknown,
            silent: None,
            receiver_timeout: None,
            follows: None,
            sync_state: String::new(),
            connections: 0,
        }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.up && self.role == Role::Primary
    }

    pub(crate) fn is_replica(&self) -> bool {
        self.up && self.role == Role::Replica
    }

    /// The position it will be at once it has replayed what it has.
    pub(crate) fn position(&self) -> Option<u64> {
        self.lsn.max(self.received)
    }

    /// Whether it may still hear from a primary that we cannot reach, and why we think so; `None` if
    /// it has lost it. A replica asks for a word after half of `wal_receiver_timeout`; if none came
    /// some time after that, it is as cut off as we are.
    pub(crate) fn hears(&self) -> Option<String> {
        if self.failures > 0 {
            return Some(format!("node {} does not answer right now", self.id));
        }
        match self.receiver {
            Receiver::None => return None,
            Receiver::Streaming => {}
            Receiver::Unknown => {
                let advice = "grant pg_monitor to the user of the probes";
                return Some(format!("node {} hides its WAL receiver: {advice}", self.id));
            }
        }
        let timeout = self.receiver_timeout.filter(|timeout| !timeout.is_zero());
        let (Some(silent), Some(timeout)) = (self.silent, timeout) else {
            return Some(format!(
                "node {} is connected to it, and with wal_receiver_timeout = 0 it never asks \
                 whether it is still there",
                self.id
            ));
        };
        let limit = timeout / 2 + ANSWER_MAX;
        (silent < limit).then(|| {
            format!(
                "node {} heard from it within {:.1} s (half of wal_receiver_timeout, and 2 s)",
                self.id,
                limit.as_secs_f64()
            )
        })
    }
}

/// How long a primary that lives may take to answer a replica that asks whether it is there (ours).
const ANSWER_MAX: Duration = Duration::from_secs(2);
