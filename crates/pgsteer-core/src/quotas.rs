//! Limits and time-outs of pools and clients, and the rules that change them for a database or a
//! user. In all of them 0 stands for no limit.

use std::time::Duration;

use crate::settings::{PoolMode, PoolRule, PoolSettings};

/// Limits of the server connections, for all.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolLimits {
    /// Server connections of one pool: a database, a user and a node.
    pub size: u32,
    /// Server connections of a pool that are not closed for being unused.
    pub size_min: u32,
    /// Server connections a pool may have beyond its size.
    pub reserved: u32,
    /// How long a session waits before it gets one of those.
    pub reserve_timeout: Duration,
    /// A server connection that is older is not used again.
    pub lifetime: Duration,
    /// Share of the lifetime by which those of connections differ at most, 0 to 1.
    pub lifetime_jitter: f64,
    /// Server connections of a database.
    pub per_database_max: u32,
    /// Server connections of a user.
    pub per_user_max: u32,
    /// How long a session waits before it is told so.
    pub wait_notice: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            size: 0,
            size_min: 0,
            reserved: 0,
            reserve_timeout: Duration::from_secs(5),
            lifetime: Duration::from_secs(3600),
            lifetime_jitter: 0.1,
            per_database_max: 0,
            per_user_max: 0,
            wait_notice: Duration::from_secs(5),
        }
    }
}

/// What a rule says about limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleLimits {
    /// Server connections of each pool.
    pub size: Option<u32>,
    /// Server connections of each pool that are not closed for being unused.
    pub size_min: Option<u32>,
    /// Server connections each pool may have beyond its size.
    pub reserved: Option<u32>,
    /// Server connections of the database, or of the user.
    pub connections_max: Option<u32>,
    /// Clients of the database, or of the user.
    pub clients_max: Option<u32>,
    /// A server connection that is older is not used again.
    pub lifetime: Option<Duration>,
    /// [`Timeouts::client_idle`]
    pub client_idle: Option<Duration>,
    /// [`Timeouts::idle_in_transaction`]
    pub idle_in_transaction: Option<Duration>,
    /// [`Timeouts::transaction`]
    pub transaction: Option<Duration>,
    /// [`Timeouts::query`]
    pub query: Option<Duration>,
}

/// Limits of clients, besides the one on their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Clients of a database.
    pub per_database_max: u32,
    /// Clients of a user.
    pub per_user_max: u32,
    /// Clients from one address.
    pub per_address_max: u32,
}

/// What sessions may take. A session that takes longer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Time between two queries, outside a transaction.
    pub client_idle: Duration,
    /// Time between two queries of a transaction.
    pub idle_in_transaction: Duration,
    /// Time from the beginning of a transaction to its end.
    pub transaction: Duration,
    /// Time from a query to its answer, waits included.
    pub query: Duration,
}

impl Timeouts {
    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What holds for the pools of one database and user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolQuota {
    /// Server connections of each; 0 for no limit.
    pub size: u32,
    /// Server connections of each that are not closed for being unused.
    pub size_min: u32,
    /// Server connections beyond the size.
    pub reserved: u32,
    /// A server connection that is older is not used again; zero for never.
    pub lifetime: Duration,
}

impl PoolSettings {
    /// The first thing that a rule for these sessions says.
    fn said<T>(
        &self,
        database: &str,
        user: &str,
        read: impl Fn(&PoolRule) -> Option<T>,
    ) -> Option<T> {
        let mut fitting = self.rules.iter().filter(|r| r.fits(database, user));
        fitting.find_map(read)
    }

    /// What holds for the pools of this database and user.
    #[must_use]
    pub fn quota_of(&self, database: &str, user: &str) -> PoolQuota {
        let all = &self.limits;
        let number = |read: &dyn Fn(&RuleLimits) -> Option<u32>, otherwise| {
            let said = self.said(database, user, |rule| read(&rule.limits));
            said.unwrap_or(otherwise)
        };
        let lifetime = self.said(database, user, |rule| rule.limits.lifetime);
        PoolQuota {
            size: number(&|limits| limits.size, all.size),
            size_min: number(&|limits| limits.size_min, all.size_min),
            reserved: number(&|limits| limits.reserved, all.reserved),
            lifetime: lifetime.unwrap_or(all.lifetime),
        }
    }

    /// The rule that is about a database and nobody in particular.
    fn of_database<T>(&self, name: &str, read: impl Fn(&PoolRule) -> Option<T>) -> Option<T> {
        let about =
            |rule: &&PoolRule| rule.user.is_none() && rule.database.as_deref() == Some(name);
        self.rules.iter().filter(about).find_map(read)
    }

    /// What rules say about a user, whatever the database.
    pub fn of_user<T>(&self, name: &str, read: impl Fn(&PoolRule) -> Option<T>) -> Option<T> {
        let about =
            |rule: &&PoolRule| rule.database.is_none() && rule.user.as_deref() == Some(name);
        self.rules.iter().filter(about).find_map(read)
    }

    /// The mode that a rule gives a database.
    #[must_use]
    pub fn mode_of_database(&self, name: &str) -> Option<PoolMode> {
        self.of_database(name, |rule| rule.mode)
    }

    /// Server connections that a database may have; 0 for no limit.
    #[must_use]
    pub fn connections_of_database_max(&self, name: &str) -> u32 {
        let said = self.of_database(name, |rule| rule.limits.connections_max);
        said.unwrap_or(self.limits.per_database_max)
    }

    /// Server connections that a user may have; 0 for no limit.
    #[must_use]
    pub fn connections_of_user_max(&self, name: &str) -> u32 {
        let said = self.of_user(name, |rule| rule.limits.connections_max);
        said.unwrap_or(self.limits.per_user_max)
    }

    /// Clients that a database may have; 0 for no limit.
    #[must_use]
    pub fn clients_of_database_max(&self, name: &str, all: &ClientLimits) -> u32 {
        let said = self.of_database(name, |rule| rule.limits.clients_max);
        said.unwrap_or(all.per_database_max)
    }

    /// Clients that a user may have; 0 for no limit.
    #[must_use]
    pub fn clients_of_user_max(&self, name: &str, all: &ClientLimits) -> u32 {
        let said = self.of_user(name, |rule| rule.limits.clients_max);
        said.unwrap_or(all.per_user_max)
    }

    /// What sessions of this database and user may take.
    #[must_use]
    pub fn timeouts_of(&self, database: &str, user: &str, all: &Timeouts) -> Timeouts {
        let time = |read: &dyn Fn(&RuleLimits) -> Option<Duration>, otherwise| {
            let said = self.said(database, user, |rule| read(&rule.limits));
            said.unwrap_or(otherwise)
        };
        Timeouts {
            client_idle: time(&|limits| limits.client_idle, all.client_idle),
            idle_in_transaction: time(
                &|limits| limits.idle_in_transaction,
                all.idle_in_transaction,
            ),
            transaction: time(&|limits| limits.transaction, all.transaction),
            query: time(&|limits| limits.query, all.query),
        }
    }
}
