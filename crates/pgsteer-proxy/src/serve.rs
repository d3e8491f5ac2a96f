//! The life of the program: what signals and operators ask of a running proxy.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use pgsteer_control::config::{self, Changes, ConfigErrors, Files, Loaded, Source};
use pgsteer_core::admin::{ProcessOrder, Request as Order};
use pgsteer_core::topology::Activity;
use tokio::sync::mpsc::Receiver;
use tracing::{error, info, warn};

use crate::open_files;
use crate::run::Proxy;
use crate::signals::{Request, Signals};
use crate::upgrade::{Elder, Heard, Heir, Notice, Program, notify, retire};

/// Stack of a thread besides what guests may use, in bytes.
const OWN_STACK_BYTES: usize = 2 << 20;

/// How this process came to be.
pub(crate) enum Calling {
    /// `pgsteer serve`; perhaps to take over from a process that serves.
    Serve(Option<Elder>),
    /// `pgsteer lab`, whose servers end with it.
    Lab,
}

/// Runs a proxy with what was loaded from `source` until a signal stops it.
///
/// # Errors
/// It cannot start, or its control plane failed.
pub(crate) fn run(loaded: Loaded, source: Source, elder: Option<Elder>) -> Result<()> {
    open_files::raise();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Plugins are tried out on its blocking threads.
        .thread_stack_size(OWN_STACK_BYTES + loaded.settings.plugins.stack_bytes_max)
        .build()?;
    let ended = runtime.block_on(serve(loaded, source, |_| Ok(()), Calling::Serve(elder)));
    // Threads that wait for sessions that never end must not keep the process.
    runtime.shutdown_background();
    ended
}

/// [`run`] on the runtime of the caller. `ready` is told when clients can connect.
pub(crate) async fn serve(
    loaded: Loaded,
    source: Source,
    ready: impl FnOnce(&Proxy) -> Result<()>,
    calling: Calling,
) -> Result<()> {
    let mut signals = Signals::new()?;
    let (mut elder, is_lab) = match calling {
        Calling::Serve(elder) => (elder, false),
        Calling::Lab => (None, true),
    };
    let Loaded {
        settings, files, ..
    } = loaded;
    let starting = Proxy::start_after(settings, elder.as_mut());
    // A signal during start-up stops it: nobody should have to wait for it to finish.
    let started = tokio::select! {
        started = starting => started,
        Request::Stop = signals.next() => return Ok(()),
    };
    let mut proxy = match started {
        Ok(proxy) => proxy,
        Err(error) => {
            if let Some(elder) = elder {
                elder.decline(&format!("{error:#}"));
            }
            return Err(error);
        }
    };
    drop(elder);
    proxy.announce();
    notify(Notice::Ready);
    ready(&proxy)?;
    let orders = proxy.facts().process_desk.take();
    let orders = orders.context("somebody else takes the orders of operators")?;
    let mut desk = Desk {
        signals,
        orders,
        source,
        files,
        changes: Changes::default(),
    };
    match desk.until_end(&mut proxy, is_lab).await? {
        End::Now => {
            warn!("stopped at once");
            proxy.stop_now().await;
        }
        End::Stop => {
            notify(Notice::Stopping);
            desk.stop(proxy).await;
        }
        End::Retired(heir) => desk.retire(proxy, heir).await?,
    }
    Ok(())
}

/// Where it is said what the process is to do.
struct Desk {
    signals: Signals,
    orders: Receiver<Order<ProcessOrder>>,
    source: Source,
    /// What the configuration was read from last.
    files: Files,
    /// What operators changed since the configuration was read.
    changes: Changes,
}

/// How serving ends.
enum End {
    Stop,
    Now,
    Retired(Box<Heir>),
}

impl Desk {
    /// Does as it is told until it is told to end.
    async fn until_end(&mut self, proxy: &mut Proxy, is_lab: bool) -> Result<End> {
        loop {
            // All branches are cancel safe: signals and orders stay until they are taken.
            let (wish, order) = tokio::select! {
                request = self.signals.next() => (request, None),
                Some(order) = self.orders.recv() => match &order.order {
                    ProcessOrder::Reload => (Request::Reload, Some(order)),
                    ProcessOrder::Set { name, value } => {
                        let answer = self.change(proxy, name, value);
                        reply(Some(order), answer);
                        continue;
                    }
                    ProcessOrder::Upgrade => (Request::Upgrade, Some(order)),
                    ProcessOrder::Stop => {
                        stopping(order, "sessions may finish their transactions");
                        (Request::Stop, None)
                    }
                    ProcessOrder::StopNow => {
                        stopping(order, "at once");
                        return Ok(End::Now);
                    }
                },
                () = proxy.control.failed() => {
                    bail!("a task of the control plane ended by itself")
                }
            };
            let answer = match wish {
                Request::Stop => return Ok(End::Stop),
                Request::Reload => self.reload(proxy),
                Request::Upgrade => match self.upgrade(proxy, is_lab).await {
                    Upgraded::No(why) => Err(why),
                    Upgraded::Stopped => return Ok(End::Stop),
                    Upgraded::Yes(heir, lines) => {
                        reply(order, Ok(lines));
                        return Ok(End::Retired(heir));
                    }
                },
            };
            reply(order, answer);
        }
    }

    /// Reads the configuration again; what was changed since is as it says from then on.
    fn reload(&mut self, proxy: &Proxy) -> Result<Vec<String>, String> {
        let mut loaded = config::load(&self.source);
        let files = loaded
            .as_mut()
            .map(|loaded| std::mem::take(&mut loaded.files));
        let files = files.unwrap_or_default();
        let mut lines = apply(proxy, loaded)?;
        self.files = files;
        let forgotten = std::mem::take(&mut self.changes);
        for key in forgotten.keys() {
            info!(key, "what SET changed is again as the configuration has it");
            lines.push(format!("{key}: again as the configuration has it"));
        }
        Ok(lines)
    }

    /// Gives a setting another value until the configuration is read again.
    fn change(&mut self, proxy: &Proxy, name: &str, value: &str) -> Result<Vec<String>, String> {
        let changes = self.changes.with(name, value)?;
        let loaded = config::load_changed(&self.source, &changes, &self.files)
            .map_err(|errors| errors.to_string())?;
        let lines = apply(proxy, Ok(loaded))?;
        info!(
            name,
            value, "a setting has another value until the configuration is read again"
        );
        self.changes = changes;
        Ok(lines)
    }

    /// Starts the process that takes over, and hands everything over to it.
    async fn upgrade(&mut self, proxy: &mut Proxy, is_lab: bool) -> Upgraded {
        let program = match possible(proxy, is_lab) {
            Ok(program) => program,
            Err(why) => return Upgraded::no(why),
        };
        info!("upgrading: another process of the program is started");
        proxy
            .facts()
            .refuse_orders(Some("an upgrade is under way: repeat it when that is over"));
        let before = proxy.standings();
        let started = tokio::select! {
            started = Heir::start(&program, proxy.sockets()) => started,
            // What the new process has done so far ends with it.
            Request::Stop = self.signals.next() => return Upgraded::Stopped,
        };
        let done = match started {
            Ok(_) if proxy.standings() != before => {
                let why = "a node changed while the new process started: repeat it";
                Err(why.to_owned())
            }
            Ok(mut heir) => match proxy.hand_over(&mut heir).await {
                Ok(()) => Ok(heir),
                Err(error) => Err(format!("{error:#}")),
            },
            Err(why) => Err(why),
        };
        match done {
            Ok(heir) => {
                let (pid, clients) = (heir.pid, proxy.shared.counters.clients());
                info!(
                    pid,
                    clients, "another process has taken over, sessions that are here go on"
                );
                notify(Notice::Heir(pid));
                let line = format!(
                    "process {pid} has taken over; {clients} clients of process {} go on in it",
                    std::process::id()
                );
                proxy
                    .facts()
                    .refuse_orders(Some("another process has taken over: connect anew"));
                let changed = self.changes.keys();
                let forgotten =
                    changed.map(|key| format!("{key}: as the configuration has it there"));
                let lines = std::iter::once(line).chain(forgotten).collect();
                Upgraded::Yes(Box::new(heir), lines)
            }
            Err(why) => {
                proxy.facts().refuse_orders(None);
                Upgraded::no(why)
            }
        }
    }

    /// Waits for the end of the sessions that are here, or until nobody waits any longer.
    async fn retire(mut self, mut proxy: Proxy, mut heir: Box<Heir>) -> Result<()> {
        proxy.let_go().await;
        let shared = std::sync::Arc::clone(&proxy.shared);
        let limit = proxy.control.current().settings.upgrade_timeout;
        let deadline = tokio::time::Instant::now() + limit;
        let mut heard = None;
        let mut hearing = std::pin::pin!(retire(&mut heir, &shared, proxy.subscribe()));
        loop {
            // Cancel safe: a signal stays until it is taken, the end of sessions can be waited for
            // again, and what is heard of the other process goes on in its own future.
            tokio::select! {
                () = proxy.sessions.ended() => {
                    info!("the last session has ended");
                    proxy.control.shutdown().await;
                    return Ok(());
                }
                request = self.signals.next() => match request {
                    Request::Stop => break,
                    Request::Reload => {
                        let _ = self.reload(&proxy);
                    }
                    Request::Upgrade => warn!("another process has taken over already"),
                },
                // Over sessions that are still here: operators reach the other process.
                Some(order) = self.orders.recv() => match order.order {
                    ProcessOrder::Reload => reply(Some(order), self.reload(&proxy)),
                    ProcessOrder::Upgrade | ProcessOrder::Set { .. } => {
                        let why = "another process has taken over already";
                        reply(Some(order), Err(why.to_owned()));
                    }
                    ProcessOrder::Stop => {
                        stopping(order, "sessions may finish their transactions");
                        break;
                    }
                    ProcessOrder::StopNow => {
                        stopping(order, "at once");
                        proxy.stop_now().await;
                        return Ok(());
                    }
                },
                said = &mut hearing, if heard.is_none() => {
                    if said == Heard::Stop {
                        break;
                    }
                    warn!("the process that took over is gone, sessions that are here go on");
                    heard = Some(said);
                }
                () = tokio::time::sleep_until(deadline), if limit > Duration::ZERO => {
                    warn!("sessions that are still here end (listen.upgrade_timeout)");
                    break;
                }
                () = proxy.control.failed() => {
                    bail!("a task of the control plane ended by itself")
                }
            }
        }
        self.stop(proxy).await;
        Ok(())
    }

    /// Stops, at once if that is said again.
    async fn stop(&mut self, proxy: Proxy) {
        info!("stopping: sessions may finish their transactions; a second signal stops at once");
        tokio::select! {
            () = proxy.stop() => {}
            () = self.told_again() => warn!("stopped at once"),
        }
    }

    /// Waits, while the proxy stops already, for a signal or an order not to wait any longer.
    async fn told_again(&mut self) {
        loop {
            tokio::select! {
                request = self.signals.next() => if request == Request::Stop {
                    return;
                },
                Some(order) = self.orders.recv() => match order.order {
                    ProcessOrder::Reload | ProcessOrder::Upgrade | ProcessOrder::Set { .. } => {
                        reply(Some(order), Err("the proxy is stopping".to_owned()));
                    }
                    ProcessOrder::Stop => {
                        stopping(order, "sessions may finish their transactions");
                    }
                    ProcessOrder::StopNow => {
                        stopping(order, "at once");
                        return;
                    }
                },
            }
        }
    }
}

/// What became of an upgrade.
enum Upgraded {
    Yes(Box<Heir>, Vec<String>),
    No(String),
    Stopped,
}

impl Upgraded {
    fn no(why: impl Into<String>) -> Self {
        let why = why.into();
        error!(why, "no upgrade, this process goes on");
        Self::No(format!("no upgrade, this process goes on: {why}"))
    }
}

/// The program to start, unless it would do harm.
fn possible(proxy: &Proxy, is_lab: bool) -> Result<Program, String> {
    if is_lab {
        return Err("the servers of a lab end with it: stop it and start it again".to_owned());
    }
    if std::process::id() == 1 {
        return Err(
            "this is process 1, with which its container ends: start another container".to_owned(),
        );
    }
    if proxy.standings().activity != Activity::None {
        return Err("a failover is under way: repeat it when that is over".to_owned());
    }
    Program::own().ok_or_else(|| "nobody said how the program is called".to_owned())
}

/// Tells whoever has given an order what became of it.
fn reply(order: Option<Order<ProcessOrder>>, answer: Result<Vec<String>, String>) {
    if let Some(order) = order {
        // They may have gone.
        let _ = order.reply.send(answer);
    }
}

/// Tells an operator that the proxy does as told.
fn stopping(order: Order<ProcessOrder>, how: &str) {
    info!(user = order.user, "an operator stops the proxy");
    reply(Some(order), Ok(vec![format!("stopping: {how}")]));
}

/// Applies a configuration, and says what became of it: what is worth knowing, or every mistake.
fn apply(proxy: &Proxy, loaded: Result<Loaded, ConfigErrors>) -> Result<Vec<String>, String> {
    match loaded {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                warn!("{warning}");
            }
            let waiting = proxy.reload(loaded.settings).into_iter();
            let waiting = waiting.map(|key| format!("{key}: takes a restart, the old value stays"));
            Ok(loaded.warnings.into_iter().chain(waiting).collect())
        }
        Err(errors) => {
            error!("configuration was not reloaded, the old one stays");
            for line in errors.to_string().lines() {
                error!("{line}");
            }
            Err(format!(
                "configuration was not reloaded, the old one stays\n{errors}"
            ))
        }
    }
}
