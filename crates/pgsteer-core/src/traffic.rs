//! What operators say about traffic: databases that are paused or disabled, servers that are to be
//! opened anew, clients that are to go. Workers look at it when a session wants a server, which costs
//! one atomic load while nobody says anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// What was said about one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseTraffic {
    /// Sessions that want a server wait.
    pub paused: bool,
    /// No client may log in.
    pub disabled: bool,
    /// Sessions end when they are at rest.
    pub draining: bool,
    /// Servers that were opened before the order of this number are not used again.
    pub reconnect: u64,
}

/// What holds for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Everybody {
    /// Nothing special.
    #[default]
    Active,
    /// Sessions that want a server wait.
    Paused,
    /// No session begins anything.
    Suspended,
}

/// What was said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficState {
    /// What holds for all.
    pub everybody: Everybody,
    /// No client may log in, and the proxy ends with the last one.
    pub closing: bool,
    databases: BTreeMap<Box<str>, DatabaseTraffic>,
    emptied: BTreeMap<Box<str>, Emptied>,
    reconnect: u64,
    /// Number of the last order.
    orders: u64,
}

/// A statement came that needs a database for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Emptied {
    // Number of the last such order, and when it was given.
    order: u64,
    at: Instant,
    // How many came one soon after the other.
    times: u32,
}

impl Emptied {
    fn is_recent(&self) -> bool {
        self.at.elapsed() < EMPTIED_FOR
    }
}

/// How long servers of such a database are closed; PostgreSQL waits for 5 s (`CountOtherDBBackends`).
const EMPTIED_FOR: Duration = Duration::from_secs(10);
/// So many such statements in a row are taken notice of (ours): whoever may not drop a database shall
/// not have its pools opened anew all the time.
const EMPTIED_TIMES_MAX: u32 = 4;
/// So many databases at one time (ours).
const EMPTIED_MAX: usize = 64;

impl TrafficState {
    /// Servers of this database that no session has, and that were opened before the order of this number,
    /// are closed: a statement was sent that is refused while there are any. 0 for none.
    #[must_use]
    pub fn emptied(&self, database: &str) -> u64 {
        let emptied = self.emptied.get(database).filter(|e| e.is_recent());
        emptied.map_or(0, |emptied| emptied.order)
    }

    fn empty(&mut self, database: &str) -> bool {
        self.emptied.retain(|_, emptied| emptied.is_recent());
        let before = self.emptied.get(database).map_or(0, |e| e.times);
        if before >= EMPTIED_TIMES_MAX || self.emptied.len() >= EMPTIED_MAX {
            return false;
        }
        self.orders += 1;
        let emptied = Emptied {
            order: self.orders,
            at: Instant::now(),
            times: before + 1,
        };
        self.emptied.insert(database.into(), emptied);
        true
    }

    /// What was said about a database, what holds for all included.
    #[must_use]
    pub fn of(&self, database: &str) -> DatabaseTraffic {
        let own = self.databases.get(database).copied().unwrap_or_default();
        DatabaseTraffic {
            paused: own.paused || self.everybody != Everybody::Active,
            reconnect: own.reconnect.max(self.reconnect),
            ..own
        }
    }

    /// Databases about which something was said.
    pub fn databases(&self) -> impl Iterator<Item = (&str, DatabaseTraffic)> {
        let all = self.databases.iter();
        all.map(|(name, traffic)| (&**name, *traffic))
    }

    /// Number of the last order. A server is opened after it.
    #[must_use]
    pub const fn orders(&self) -> u64 {
        self.orders
    }
}

/// Something an operator wants done about traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrafficOrder {
    /// Sessions that want a server wait, of a database or of all.
    Pause(Option<Box<str>>),
    /// They go on.
    Resume(Option<Box<str>>),
    /// Nothing begins any more, in no session.
    Suspend,
    /// Servers are opened anew before they are used again.
    Reconnect(Option<Box<str>>),
    /// Nobody may log in to the database.
    Disable(Box<str>),
    /// Clients may log in again.
    Enable(Box<str>),
    /// As `Disable`; and sessions end when they are at rest.
    Drain(Box<str>),
    /// Its clients go at once, and it is paused.
    Kill(Option<Box<str>>),
    /// Nobody may log in any more, and the proxy ends with the last client.
    Close,
}

/// Where orders about traffic are given and seen.
#[derive(Default, Debug)]
pub struct Traffic(watch::Sender<Arc<TrafficState>>);

impl Traffic {
    /// What was said so far.
    #[must_use]
    pub fn now(&self) -> Arc<TrafficState> {
        Arc::clone(&self.0.borrow())
    }

    /// A reading end.
    #[must_use]
    pub fn subscribe(&self) -> TrafficWatch {
        let mut changed = self.0.subscribe();
        let held = Arc::clone(&changed.borrow_and_update());
        TrafficWatch { changed, held }
    }

    /// Gives an order. Whoever watches sees it from now on; what it takes until everybody has
    /// followed is not waited for.
    ///
    /// # Errors
    /// It means nothing now, in PgBouncer's words.
    pub fn order(&self, order: &TrafficOrder) -> Result<(), String> {
        let mut said = Ok(());
        self.0.send_if_modified(|state| {
            let mut next = TrafficState::clone(state);
            next.orders += 1;
            said = next.apply(order);
            if said.is_ok() {
                *state = Arc::new(next);
            }
            said.is_ok()
        });
        said
    }

    /// See [`TrafficState::emptied`].
    pub fn empty(&self, database: &str) {
        self.0.send_if_modified(|state| {
            let mut next = TrafficState::clone(state);
            let is_news = next.empty(database);
            if is_news {
                *state = Arc::new(next);
            }
            is_news
        });
    }

    /// Has everybody look again, although nothing was said.
    pub fn nudge(&self) {
        self.0.send_modify(|_| {});
    }
}

impl TrafficState {
    fn database(&mut self, name: &str) -> &mut DatabaseTraffic {
        self.databases.entry(name.into()).or_default()
    }

    fn apply(&mut self, order: &TrafficOrder) -> Result<(), String> {
        let active = self.everybody == Everybody::Active;
        let orders = self.orders;
        match order {
            TrafficOrder::Pause(_) | TrafficOrder::Kill(_) | TrafficOrder::Suspend if !active => {
                return Err("already suspended/paused".to_owned());
            }
            TrafficOrder::Pause(None) => self.everybody = Everybody::Paused,
            TrafficOrder::Pause(Some(name)) => self.database(name).paused = true,
            TrafficOrder::Suspend => {
                if self.databases.values().any(|database| database.paused) {
                    return Err("cannot suspend with paused databases".to_owned());
                }
                self.everybody = Everybody::Suspended;
            }
            TrafficOrder::Resume(None) => self.resume_all()?,
            TrafficOrder::Resume(Some(name)) => {
                let database = self.database(name);
                if !database.paused {
                    return Err(format!("database {name} is not paused"));
                }
                database.paused = false;
            }
            TrafficOrder::Reconnect(None) => self.reconnect = orders,
            TrafficOrder::Reconnect(Some(name)) => self.database(name).reconnect = orders,
            TrafficOrder::Disable(name) => self.database(name).disabled = true,
            TrafficOrder::Enable(name) => {
                let database = self.database(name);
                (database.disabled, database.draining) = (false, false);
            }
            TrafficOrder::Drain(name) => {
                let database = self.database(name);
                (database.disabled, database.draining) = (true, true);
            }
            TrafficOrder::Kill(None) => self.everybody = Everybody::Paused,
            TrafficOrder::Kill(Some(name)) => self.database(name).paused = true,
            TrafficOrder::Close => self.closing = true,
        }
        Ok(())
    }

    fn resume_all(&mut self) -> Result<(), String> {
        if self.closing {
            return Err("pooler is shutting down".to_owned());
        }
        if self.everybody == Everybody::Active {
            return Err("pooler is not paused/suspended".to_owned());
        }
        self.everybody = Everybody::Active;
        Ok(())
    }
}

/// What was said, as one worker sees it. Looking costs one atomic load while nothing new was said.
#[derive(Clone, Debug)]
pub struct TrafficWatch {
    changed: watch::Receiver<Arc<TrafficState>>,
    held: Arc<TrafficState>,
}

impl TrafficWatch {
    /// What was said so far.
    pub fn get(&mut self) -> &Arc<TrafficState> {
        if self.changed.has_changed().unwrap_or(false) {
            self.held = Arc::clone(&self.changed.borrow_and_update());
        }
        &self.held
    }

    /// Waits until something new was said; for ever if nobody can say anything any more.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.held = Arc::clone(&self.changed.borrow_and_update());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_taken_and_refused_as_pgbouncer_does() {
        let traffic = Traffic::default();
        let mut watch = traffic.subscribe();
        let name = || Some(Box::<str>::from("a"));
        let not_paused = Err("pooler is not paused/suspended".to_owned());
        assert_eq!(traffic.order(&TrafficOrder::Resume(None)), not_paused);
        assert_eq!(watch.get().orders(), 0, "what was refused was not said");
        assert_eq!(
            traffic.order(&TrafficOrder::Resume(name())),
            Err("database a is not paused".to_owned())
        );
        assert_eq!(traffic.order(&TrafficOrder::Pause(name())), Ok(()));
        let seen = watch.get();
        assert!(seen.of("a").paused && !seen.of("b").paused);
        assert!(traffic.order(&TrafficOrder::Suspend).is_err());
        assert_eq!(traffic.order(&TrafficOrder::Resume(name())), Ok(()));
        assert_eq!(traffic.order(&TrafficOrder::Pause(None)), Ok(()));
        assert!(watch.get().of("b").paused);
        assert!(traffic.order(&TrafficOrder::Pause(name())).is_err());
        assert_eq!(traffic.order(&TrafficOrder::Resume(None)), Ok(()));
        assert!(!watch.get().of("b").paused);
        assert_eq!(traffic.order(&TrafficOrder::Reconnect(name())), Ok(()));
        let now = watch.get();
        assert_eq!(now.of("a").reconnect, now.orders());
        assert_eq!(now.of("b").reconnect, 0);
        assert_eq!(traffic.order(&TrafficOrder::Drain("a".into())), Ok(()));
        assert!(watch.get().of("a").disabled);
        assert_eq!(traffic.order(&TrafficOrder::Enable("a".into())), Ok(()));
        assert!(!watch.get().of("a").draining);
    }

    #[test]
    fn a_database_is_emptied_for_a_while_and_not_again_and_again() {
        let traffic = Traffic::default();
        let mut watch = traffic.subscribe();
        let orders: Vec<u64> = (0..6)
            .map(|_| {
                traffic.empty("a");
                watch.get().emptied("a")
            })
            .collect();
        assert_eq!(orders, [1, 2, 3, 4, 4, 4]);
        traffic.empty("b");
        let now = watch.get();
        assert_eq!((now.emptied("b"), now.emptied("c")), (5, 0));
        assert_eq!(now.of("a"), DatabaseTraffic::default());
    }
}
