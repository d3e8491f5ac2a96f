//! The task that keeps the plugins in force equal to what the directory holds and operators order.
//! It decides nothing itself: the registry does.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsteer_core::admin::{Order, Request};
use pgsteer_core::policy::{LoadContext, LoadError, LoadedPlugin, PluginLoader, Sample};
use pgsteer_core::{Facts, Publisher, Settings, Topology};
use tokio::sync::{Notify, mpsc, watch as channel};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant as Clock;
use tracing::{error, info, warn};

use super::Embedded;
use super::directory::{Directory, Look, Scan};
use super::plan::Work;
use super::registry::Registry;
use super::rollout::in_words;
use super::said::Said;
use super::samples::Samples;
use super::state::State;
use super::swap::Loaded;
use super::watch::Hints;

/// Keeps the plugins in force equal to what the directory holds.
pub(crate) struct Supervisor {
    registry: Registry,
    // Empty while a look is under way on another thread, and without a directory.
    directory: Option<Directory>,
    loader: Arc<dyn PluginLoader>,
    workers: usize,
    settings: channel::Receiver<Arc<Settings>>,
    publisher: Arc<Publisher>,
    hints: Hints,
    said: Said,
    // Components that may be loaded, as of the latest look.
    allow: Vec<String>,
    state_dir: Option<PathBuf>,
    facts: Arc<Facts>,
    orders: Option<mpsc::Receiver<Request<Order>>>,
    samples: Samples,
    // Wakes it: a plugin failed, or a shadow has news.
    wake: Arc<Notify>,
    // One batch at a time; orders and rollbacks do not wait for it.
    loading: Option<Loading>,
    next_judge: Clock,
    // Why the state could not be written, and when that is tried again.
    unsaved: Option<(String, Clock)>,
}

type Loading = Pin<Box<dyn Future<Output = Vec<Loaded>> + Send>>;

/// What happened.
enum Event {
    /// Something happened in the directory.
    Hint,
    /// It is time for a look at the directory.
    Look,
    /// Something is to be judged, or its time has come.
    Judge,
    /// There are new settings.
    Settings,
    /// Loads have ended.
    Loaded(Vec<Loaded>),
    /// Somebody orders something.
    Order(Request<Order>),
    /// Samples came.
    Samples,
    /// A recording has lasted long enough.
    Recorded,
    /// The control plane is gone.
    End,
}

impl Supervisor {
    /// Reads what was kept.
    ///
    /// # Errors
    /// It is there and cannot be read: what was disabled must not come back for that.
    pub(crate) fn new(
        embedded: Vec<Embedded>,
        loader: Arc<dyn PluginLoader>,
        workers: usize,
        settings: channel::Receiver<Arc<Settings>>,
        publisher: Arc<Publisher>,
        facts: &Arc<Facts>,
    ) -> Result<Self, String> {
        let (directory, state_dir, allow) = {
            let settings = settings.borrow();
            let plugins = &settings.plugins;
            (
                plugins.dir.clone(),
                plugins.state_dir.clone(),
                plugins.allow.clone(),
            )
        };
        let state = state_dir.as_deref().map(State::load).transpose()?;
        let state = state.unwrap_or_default();
        let wake = Arc::new(Notify::new());
        Ok(Self {
            registry: Registry::new(embedded, state, Arc::clone(&wake)),
            directory: directory.map(Directory::new),
            loader,
            workers,
            settings,
            publisher,
            hints: Hints::new(),
            said: Said::default(),
            allow,
            state_dir,
            facts: Arc::clone(facts),
            orders: facts.desk.take(),
            samples: Samples::new(facts),
            wake,
            loading: None,
            next_judge: Clock::now(),
            unsaved: None,
        })
    }

    /// Loads everything that is there now.
    ///
    /// # Errors
    /// Which embedded plugin was refused, and why. Refused files are logged and left out.
    pub(crate) async fn first_round(&mut self) -> Result<(), (String, String)> {
        let settings = Arc::clone(&self.settings.borrow_and_update());
        let _pause = self.look(&settings, Duration::ZERO).await;
        let works = self.registry.plan(&settings);
        let results = self.load(works).await;
        self.registry.loaded(results, &settings, Instant::now());
        self.advance(&settings).await;
        self.registry.watch();
        self.registry
            .embedded_refusal()
            .map_or(Ok(()), |(name, reason)| {
                Err((name.to_owned(), reason.to_owned()))
            })
    }

    /// Goes on for ever.
    pub(crate) async fn run(mut self) {
        let mut looked = Clock::now();
        let mut next_look = looked + POLL;
        let mut batch = Vec::new();
        loop {
            let event = self.next(next_look, &mut batch).await;
            let settings = Arc::clone(&self.settings.borrow_and_update());
            match event {
                Event::End => return,
                Event::Look | Event::Settings => {
                    if self.allow != settings.plugins.allow {
                        self.allow.clone_from(&settings.plugins.allow);
                        self.registry.forget_allowed();
                    }
                    looked = Clock::now();
                    next_look = looked + self.look(&settings, settings.plugins.settle).await;
                }
                Event::Hint => {
                    // Not at every hint: a copy writes many times.
                    next_look = next_look.min(looked + look_pause(&settings));
                    continue;
                }
                Event::Judge => {}
                Event::Loaded(results) => {
                    self.registry.loaded(results, &settings, Instant::now());
                }
                Event::Order(request) => self.obey(request, &settings).await,
                Event::Samples => {
                    self.samples.hand_out(&mut batch);
                    // Nothing in the registry changed.
                    continue;
                }
                Event::Recorded => self.samples.finish_recording(),
            }
            self.advance(&settings).await;
        }
    }

    /// Waits for something to happen.
    async fn next(&mut self, next_look: Clock, batch: &mut Vec<Sample>) -> Event {
        let recorded = self.samples.recording_until();
        let watching = self.registry.is_watching();
        let loading = async {
            match &mut self.loading {
                Some(loading) => loading.await,
                None => std::future::pending().await,
            }
        };
        let order = async {
            match &mut self.orders {
                Some(orders) => orders.recv().await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            // Every branch is cancel safe: timers; a notice, a hint, a change, an order and samples
            // stay until they are taken; a load goes on when it is waited for again.
            () = self.wake.notified() => Event::Judge,
            results = loading => Event::Loaded(results),
            request = order => request.map_or(Event::End, Event::Order),
            changed = self.settings.changed() => {
                if changed.is_err() { Event::End } else { Event::Settings }
            }
            () = self.hints.next() => Event::Hint,
            () = tokio::time::sleep_until(next_look) => Event::Look,
            () = tokio::time::sleep_until(self.next_judge), if watching => Event::Judge,
            () = tokio::time::sleep_until(recorded.unwrap_or(next_look)), if recorded.is_some() => {
                Event::Recorded
            }
            () = self.samples.next(batch) => Event::Samples,
        };
        if matches!(event, Event::Loaded(_)) {
            self.loading = None;
        }
        event
    }

    /// Does what follows from what is known: steps, loads, publication.
    async fn advance(&mut self, settings: &Arc<Settings>) {
        self.registry.forgive(settings);
        self.registry.step(settings, Instant::now());
        if self.loading.is_none() && self.registry.watches {
            let works = self.registry.plan(settings);
            if !works.is_empty() {
                self.loading = Some(Box::pin(self.load(works)));
            }
        }
        self.publish(settings);
        let shadows = self.registry.shadows();
        self.samples
            .follow(&shadows, &self.publisher.current(), &self.wake);
        let rests = self
            .unsaved
            .as_ref()
            .is_some_and(|(_, at)| *at > Clock::now());
        if !rests {
            self.save().await;
        }
        self.next_judge = Clock::now() + JUDGE;
    }

    fn publish(&mut self, settings: &Settings) {
        let Some(changes) = self.registry.take_changes(settings, Instant::now()) else {
            return;
        };
        self.publisher.publish(|snapshot| {
            if let Some(set) = changes.set {
                snapshot.policies = Arc::new(set);
            }
            snapshot.plugin_reports = Arc::new(changes.reports);
        });
    }

    /// Looks at the directory. Says when to look again.
    async fn look(&mut self, settings: &Settings, settle: Duration) -> Duration {
        let Some(mut directory) = self.directory.take() else {
            return POLL;
        };
        let path = directory.path().to_owned();
        self.hints.watch(&path);
        let look = Look {
            now: Instant::now(),
            settle,
            file_bytes_max: settings.plugins.limits.file_bytes_max,
            was_held: self.hints.take_held(),
        };
        let looked = spawn_blocking(move || {
            let scan = directory.scan(look);
            (directory, scan)
        });
        let (directory, scan) = match looked.await {
            Ok(looked) => looked,
            Err(failure) => {
                error!(error = %failure, "looking at the plugins directory failed");
                (Directory::new(path), nothing())
            }
        };
        if scan.unreadable.is_some() {
            self.hints.forget();
        }
        self.said.say(directory.path(), &scan);
        self.directory = Some(directory);
        let pause = match (scan.settling, scan.settles_in) {
            (false, _) => POLL,
            (true, None) => look_pause(settings),
            (true, Some(left)) => left.clamp(LOOK_MIN, look_pause(settings)),
        };
        self.registry.take_in(scan);
        pause
    }

    /// Loads one after the other, each on a thread that may block.
    fn load(&self, works: Vec<Work>) -> impl Future<Output = Vec<Loaded>> + Send + use<> {
        let loader = Arc::clone(&self.loader);
        let topology = Arc::clone(&self.publisher.current().topology);
        let golden: Arc<[Sample]> = self.samples.golden().into();
        let workers = self.workers;
        async move {
            let mut results = Vec::new();
            for work in works {
                let own = (
                    Arc::clone(&loader),
                    Arc::clone(&topology),
                    Arc::clone(&golden),
                );
                let job = work.clone();
                let job = spawn_blocking(move || load_one(&job, workers, own));
                results.push((work, within(LOAD_MAX, job).await));
            }
            results
        }
    }

    async fn obey(&mut self, request: Request<Order>, settings: &Settings) {
        if let Order::Record(count, values) = request.order {
            let user = &request.user;
            info!(count, values, user, "recording of decisions ordered");
            self.samples.record(count, values, request);
            return;
        }
        let now = Instant::now();
        let mut answer = self
            .registry
            .obey(&request.order, &request.user, settings, now);
        // Whoever was told that it is done sees that it is, and finds it done after a restart.
        self.registry.step(settings, now);
        self.publish(settings);
        self.save().await;
        if let (Ok(lines), Some((error, _))) = (&mut answer, &self.unsaved) {
            lines.push(format!("done, but not kept over a restart: {error}"));
        }
        // Nobody waits any more: the order was carried out all the same.
        let _gone = request.reply.send(answer);
    }

    async fn save(&mut self) {
        if !self.facts.succession.is_in_charge() {
            // The file is another process's; what was said so far is kept when this one takes over.
            return;
        }
        let Some(state) = self.registry.take_state() else {
            return;
        };
        let Some(directory) = self.state_dir.clone() else {
            return;
        };
        let dir = directory.display().to_string();
        let error = match spawn_blocking(move || state.save(&directory)).await {
            Ok(Ok(())) => {
                self.unsaved = None;
                return;
            }
            Ok(Err(error)) => format!("{dir} cannot be written: {error}"),
            Err(failure) => format!("{dir} cannot be written: {failure}"),
        };
        if self.unsaved.as_ref().is_none_or(|(old, _)| *old != error) {
            let consequence = "until it can, a restart forgets what operators said about plugins";
            warn!(
                error,
                consequence, "the state of plugins could not be written"
            );
        }
        self.unsaved = Some((error, Clock::now() + POLL));
        self.registry.keep_again();
    }
}

/// What became of a load that may never end; its thread cannot be stopped.
async fn within(
    limit: Duration,
    job: JoinHandle<Result<LoadedPlugin, LoadError>>,
) -> Result<LoadedPlugin, LoadError> {
    let reason = match tokio::time::timeout(limit, job).await {
        Ok(Ok(loaded)) => return loaded,
        Ok(Err(failure)) => format!("the loader itself failed: {failure}"),
        Err(_) => {
            let limit = in_words(limit);
            format!("it was not loaded within {limit}; its code may be too much to compile")
        }
    };
    let stage = "compile";
    Err(LoadError { stage, reason })
}

fn load_one(
    work: &Work,
    workers: usize,
    (loader, topology, golden): (Arc<dyn PluginLoader>, Arc<Topology>, Arc<[Sample]>),
) -> Result<LoadedPlugin, LoadError> {
    let context = LoadContext {
        workers,
        topology: &topology,
        golden: &golden,
        previous: work.previous.as_ref().map(|plugin| plugin.factory()),
    };
    loader.load(&work.source, &context)
}

/// As if the directory could not be read: nothing changes.
fn nothing() -> Scan {
    Scan {
        unreadable: Some(String::new()),
        ..Scan::default()
    }
}

/// How long to wait before a file that has not settled is looked at again.
fn look_pause(settings: &Settings) -> Duration {
    let quarter = settings.plugins.settle / 4;
    quarter.clamp(LOOK_MIN, LOOK_MAX)
}

/// Between two looks at a file that has not settled (ours).
const LOOK_MIN: Duration = Duration::from_millis(1);
const LOOK_MAX: Duration = Duration::from_millis(50);

/// How often the directory is looked at without a hint (ours; a swap is live within a second).
const POLL: Duration = Duration::from_secs(1);

/// How often what is watched is judged without anything having happened (ours).
const JUDGE: Duration = Duration::from_millis(100);

/// For one load (ours; the largest components take seconds).
const LOAD_MAX: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_never_returns_is_refused() {
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let job = spawn_blocking(move || {
            let _gone = ends.recv();
            let (stage, reason) = ("configure", String::new());
            Err(LoadError { stage, reason })
        });
        let loaded = within(Duration::from_millis(1), job).await;
        let error = loaded.err().expect("refused");
        drop(end);
        assert_eq!(error.stage, "compile");
        assert!(error.reason.contains("not loaded within 1 ms"), "{error}");
    }
}
