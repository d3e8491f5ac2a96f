//! The databases that sessions use, with the catalog each has now.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

use super::Catalog;
use crate::freshness::{LatestMoment, Moment};

/// One database. What the data plane looks at per statement are atomics.
#[derive(Debug)]
pub struct Database {
    name: Arc<str>,
    // Grows with every statement that may change the catalog.
    schema_epoch: AtomicU64,
    // Grows with every change of what `catalog` would answer.
    version: AtomicU64,
    current: RwLock<Option<Arc<Catalog>>>,
    sessions: AtomicUsize,
    // Its catalog was loaded, so it exists.
    exists: AtomicBool,
    last_write: LatestMoment,
    wanted: Arc<Notify>,
}

impl Database {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A statement that may change the catalog was sent, or has ended: what is known so far is not
    /// relied upon until it was loaded again. To be called at both times, for a load that begins
    /// in between may or may not see the change.
    pub fn schema_changed(&self) {
        self.schema_epoch.fetch_add(1, Ordering::AcqRel);
        self.version.fetch_add(1, Ordering::AcqRel);
        self.wanted.notify_one();
    }

    /// How often the schema may have changed since the start; to be read before a load begins.
    #[must_use]
    pub fn schema_epoch(&self) -> u64 {
        self.schema_epoch.load(Ordering::Acquire)
    }

    /// Grows with every change of [`Database::catalog`].
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The catalog, if there is one that no statement may have made wrong since.
    #[must_use]
    pub fn catalog(&self) -> Option<Arc<Catalog>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let current = current.as_ref()?;
        (current.epoch == self.schema_epoch()).then(|| Arc::clone(current))
    }

    /// Delivers a catalog. One that says what the last one said changes nothing, so that whoever
    /// remembers answers by [`Database::version`] keeps them.
    pub fn publish(&self, catalog: Catalog) {
        self.exists.store(true, Ordering::Release);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|known| **known == catalog) {
            return;
        }
        let old = current.replace(Arc::new(catalog));
        drop(current);
        self.version.fetch_add(1, Ordering::AcqRel);
        // Outside the lock: it may be large.
        drop(old);
    }

    /// What is known is not relied upon any more: it is too old, and could not be loaded again.
    pub fn withdraw(&self) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let old = current.take();
        drop(current);
        if old.is_some() {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether any session uses it.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.sessions.load(Ordering::Acquire) > 0
    }

    /// A write was acknowledged to a session of this database.
    pub fn note_write(&self, at: Moment) {
        self.last_write.raise(at);
    }

    /// The last write acknowledged to any session of this database.
    #[must_use]
    pub fn last_write(&self) -> Moment {
        self.last_write.get()
    }
}

/// All databases that a session has used since the start.
#[derive(Debug, Default)]
pub struct Catalogs {
    databases: RwLock<HashMap<Arc<str>, Arc<Database>>>,
    wanted: Arc<Notify>,
}

impl Catalogs {
    /// A session of this database begins. Takes a lock: for logins, not for statements.
    #[must_use]
    pub fn enter(&self, name: &str) -> Arc<Database> {
        let mut databases = self
            .databases
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        self.wanted.notify_one();
        if let Some(known) = databases.get(name) {
            known.sessions.fetch_add(1, Ordering::AcqRel);
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        let database = Arc::new(Database {
            name: Arc::clone(&name),
            schema_epoch: AtomicU64::new(1),
            version: AtomicU64::new(1),
            current: RwLock::default(),
            sessions: AtomicUsize::new(1),
            exists: AtomicBool::new(false),
            last_write: LatestMoment::default(),
            wanted: Arc::clone(&self.wanted),
        });
        databases.insert(name, Arc::clone(&database));
        database
    }

    /// A session that entered ends. A database that nobody uses and of which nothing was ever known
    /// is forgotten: names of databases that do not exist must not pile up.
    pub fn leave(&self, database: &Database) {
        let mut databases = self
            .databases
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let last = database.sessions.fetch_sub(1, Ordering::AcqRel) == 1;
        let exists = database.exists.load(Ordering::Acquire);
        if last && !exists && database.last_write() == Moment::NEVER {
            databases.remove(&database.name);
        }
    }

    /// The one of this name, if a session has used it.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Arc<Database>> {
        let databases = self.databases.read();
        let databases = databases.unwrap_or_else(PoisonError::into_inner);
        databases.get(name).map(Arc::clone)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Database>> {
        let databases = self
            .databases
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        databases.values().map(Arc::clone).collect()
    }

    /// Waits until a database may need its catalog loaded.
    ///
    /// # Cancel safety
    /// Cancel safe: a wish that nobody waited for is kept.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::CatalogBuilder;
    use super::*;

    #[test]
    fn what_is_known_holds_until_something_may_have_changed_it() {
        let database = Catalogs::default().enter("app");
        assert!(database.catalog().is_none());
        let load = || CatalogBuilder::new(database.schema_epoch()).build();
        database.publish(load());
        assert!(database.catalog().is_some());
        let version = database.version();
        database.publish(load());
        assert_eq!(database.version(), version, "nothing new");

        let early = load();
        database.schema_changed();
        assert!(database.catalog().is_none());
        database.publish(early);
        assert!(
            database.catalog().is_none(),
            "it may not have seen the change"
        );
        database.publish(load());
        assert!(database.catalog().is_some());
        let version = database.version();
        database.withdraw();
        database.withdraw();
        assert!(database.catalog().is_none());
        assert_eq!(database.version(), version + 1);
    }

    #[test]
    fn databases_that_may_not_exist_are_forgotten() {
        let catalogs = Catalogs::default();
        let same = |a: &Arc<Database>, b: &Arc<Database>| Arc::ptr_eq(a, b);
        let first = catalogs.enter("app");
        assert!(same(&first, &catalogs.enter("app")));
        catalogs.leave(&first);
        assert!(same(&first, &catalogs.enter("app")), "one session is left");
        catalogs.leave(&first);
        catalogs.leave(&first);
        assert!(catalogs.all().is_empty());

        let second = catalogs.enter("app");
        second.publish(CatalogBuilder::new(second.schema_epoch()).build());
        catalogs.leave(&second);
        assert!(same(&second, &catalogs.enter("app")), "it was loaded");
        let third = catalogs.enter("other");
        third.note_write(Moment(1));
        catalogs.leave(&third);
        assert!(same(&third, &catalogs.enter("other")), "it was written to");
    }
}
