//! Server connections that there may be of a database, a user, or a pool, counted for all workers
//! together. Looked at when one is opened or closed; a release looks at one number while nobody waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgsteer_core::NodeId;
use pgsteer_core::settings::PoolSettings;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::PoolKey;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Database(Box<str>),
    User(Box<str>),
    Pool(Box<str>, Box<str>, NodeId),
}

#[derive(Debug, Default)]
struct Count {
    open: u32,
    waiting: u32,
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    counts: Mutex<HashMap<Name, Count>>,
    waiting: AtomicUsize,
    freed: Notify,
}

/// How many there may be for one key; 0 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    database: u32,
    user: u32,
    pool: u32,
}

impl Allowed {
    /// For this key; with those that are reserved for sessions that have waited, if it has.
    pub(crate) fn of(settings: &PoolSettings, key: &PoolKey, has_waited: bool) -> Self {
        let quota = settings.quota_of(&key.database, &key.user);
        let reserved = if has_waited { quota.reserved } else { 0 };
        Self {
            database: settings.connections_of_database_max(&key.database),
            user: settings.connections_of_user_max(&key.user),
            pool: match quota.size {
                0 => 0,
                size => size.saturating_add(reserved),
            },
        }
    }
}

fn names(key: &PoolKey) -> [Name; 3] {
    [
        Name::Database((*key.database).into()),
        Name::User((*key.user).into()),
        Name::Pool((*key.database).into(), (*key.user).into(), key.node),
    ]
}

fn is_full(counts: &HashMap<Name, Count>, names: &[Name; 3], allowed: Allowed) -> bool {
    let limits = [allowed.database, allowed.user, allowed.pool];
    names.iter().zip(limits).any(|(name, max)| {
        let open = counts.get(name).map_or(0, |count| count.open);
        max > 0 && open >= max
    })
}

impl Quotas {
    fn counts(&self) -> MutexGuard<'_, HashMap<Name, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more, unless there are as many as are allowed.
    pub(crate) fn take(self: &Arc<Self>, key: &PoolKey, allowed: Allowed) -> Option<Quota> {
        let names = names(key);
        let mut counts = self.counts();
        if is_full(&counts, &names, allowed) {
            return None;
        }
        for name in &names {
            counts.entry(name.clone()).or_default().open += 1;
        }
        Some(Quota {
            quotas: Arc::clone(self),
            names,
        })
    }

    /// Whether there may be one more now.
    pub(crate) fn has_room(&self, key: &PoolKey, allowed: Allowed) -> bool {
        !is_full(&self.counts(), &names(key), allowed)
    }

    /// Connections of the pool.
    pub(crate) fn of_pool(&self, key: &PoolKey) -> u32 {
        let [_, _, pool] = names(key);
        self.counts().get(&pool).map_or(0, |count| count.open)
    }

    /// Whether somebody waits who could have one more if one of this key were closed.
    pub(crate) fn is_wanted(&self, key: &PoolKey) -> bool {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let counts = self.counts();
        let waits = |name: &Name| counts.get(name).is_some_and(|count| count.waiting > 0);
        names(key).iter().any(waits)
    }

    /// Counts a session that waits for its quota, until the guard is dropped.
    pub(crate) fn wait(self: &Arc<Self>, key: &PoolKey) -> WaitingForQuota {
        let names = names(key);
        let mut counts = self.counts();
        for name in &names {
            counts.entry(name.clone()).or_default().waiting += 1;
        }
        drop(counts);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        WaitingForQuota {
            quotas: Arc::clone(self),
            names,
        }
    }

    /// Resolves when one was closed after this call.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    fn change(&self, names: &[Name; 3], change: impl Fn(&mut Count)) {
        let mut counts = self.counts();
        for name in names {
            if let Some(count) = counts.get_mut(name) {
                change(count);
                if count.open == 0 && count.waiting == 0 {
                    counts.remove(name);
                }
            }
        }
    }
}

/// One connection that counts; it does not any more when this is dropped.
#[derive(Debug)]
pub(crate) struct Quota {
    quotas: Arc<Quotas>,
    names: [Name; 3],
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.quotas.change(&self.names, |count| {
            count.open = count.open.saturating_sub(1)
        });
        self.quotas.freed.notify_waiters();
    }
}

/// A session that waits.
#[derive(Debug)]
pub(crate) struct WaitingForQuota {
    quotas: Arc<Quotas>,
    names: [Name; 3],
}

impl Drop for WaitingForQuota {
    fn drop(&mut self) {
        self.quotas.waiting.fetch_sub(1, Ordering::Relaxed);
        self.quotas.change(&self.names, |count| {
            count.waiting = count.waiting.saturating_sub(1);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(database: &str, user: &str, node: u16) -> PoolKey {
        PoolKey {
            pool: None,
            user: user.into(),
            database: database.into(),
            node: NodeId(node),
        }
    }

    #[test]
    fn each_limit_counts_by_itself_and_what_is_closed_is_free_again() {
        let quotas = Arc::new(Quotas::default());
        let allowed = Allowed {
            database: 3,
            user: 0,
            pool: 2,
        };
        let take = |key: &PoolKey| quotas.take(key, allowed);
        let (a0, a1, b) = (key("a", "u", 0), key("a", "u", 1), key("b", "u", 0));
        let one = take(&a0).expect("room");
        let _two = take(&a0).expect("room");
        assert!(take(&a0).is_none(), "the pool is full");
        let _three = take(&a1).expect("another pool");
        assert!(take(&a1).is_none(), "the database is full");
        let _four = take(&b).expect("another database");
        assert!(!quotas.is_wanted(&a1));
        let waiting = quotas.wait(&a0);
        assert!(quotas.is_wanted(&a1), "one of the same database would help");
        drop(waiting);
        assert!(!quotas.is_wanted(&a1));
        drop(one);
        assert_eq!(quotas.of_pool(&a0), 1);
        assert!(take(&a0).is_some());
    }
}
