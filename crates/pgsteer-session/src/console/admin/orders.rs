//! What operators order in the console about traffic and the program. The answer comes when it was
//! done: PAUSE waits until the servers are closed, as PgBouncer does.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgsteer_core::Facts;
use pgsteer_core::admin::{NodeOrder, ProcessOrder};
use pgsteer_core::facts::Ending;
use pgsteer_core::servers::ServerCard;
use pgsteer_core::traffic::TrafficOrder;
use pgsteer_wire::{ErrorReply, SqlState};
use tracing::info;

use super::command::{Command, Shutdown};
use super::{Reply, is_console};
use crate::session::Session;

/// PgBouncer's SQLSTATE for what it refuses is that of a broken protocol; this says more.
fn refused(why: impl Into<String>) -> ErrorReply {
    ErrorReply::error(SqlState::NOT_IN_PREREQUISITE_STATE, why.into())
}

/// That something was done, and what is to be said of it.
fn told(tag: &str, lines: &[String]) -> Reply {
    let notice = (!lines.is_empty()).then(|| ErrorReply::notice(lines.join("\n")));
    Reply::Done(notice, tag.to_owned())
}

impl Session {
    /// Carries out what an operator orders.
    pub(super) async fn carry_out(&mut self, command: Command) -> Result<Reply, ErrorReply> {
        let facts = Arc::clone(&self.steering.worker.shared.facts);
        let user = Rc::clone(&self.steering.identity.user);
        match &command {
            // What is refused may be a secret.
            Command::Set(name, _) => info!(name, user = &*user, "an operator changes a setting"),
            _ => info!(?command, user = &*user, "an operator orders"),
        }
        match command {
            Command::Traffic(order) => self.order_traffic(&facts, order).await,
            Command::WaitClose(name) => {
                self.check_name("wait in", name.as_deref())?;
                let stamp = facts.servers.newest();
                let left = |card: &ServerCard| card.id <= stamp && is_of(card, name.as_deref());
                self.or_gone(facts.servers.none_left(left)).await?;
                Ok(Reply::done("WAIT_CLOSE"))
            }
            Command::KillClient(id) => {
                let ends = facts.end_sessions(&Ending::Session(id));
                match ends {
                    0 => Err(refused("client not found")),
                    _ => Ok(Reply::done("KILL_CLIENT")),
                }
            }
            Command::DrainNode(node) => {
                let done = facts.node_desk.ask(NodeOrder::Detach(node), &user).await;
                done.map(|_| Reply::done("DRAIN")).map_err(refused)
            }
            Command::Reload => {
                let done = facts.process_desk.ask(ProcessOrder::Reload, &user).await;
                let failed = |why: String| {
                    let text = "RELOAD failed, see logs for additional details";
                    ErrorReply::error(SqlState::CONFIG_FILE_ERROR, text).with_detail(why)
                };
                Ok(told("RELOAD", &done.map_err(failed)?))
            }
            Command::Shutdown(how) => shut_down(&facts, how, &user).await,
            Command::Set(name, value) => {
                let order = ProcessOrder::Set { name, value };
                let done = facts.process_desk.ask(order, &user).await;
                let failed = |why: String| {
                    let state = SqlState::CANT_CHANGE_RUNTIME_PARAM;
                    ErrorReply::error(state, "SET failed").with_detail(why)
                };
                Ok(told("SET", &done.map_err(failed)?))
            }
            Command::Nothing
            | Command::Show(_)
            | Command::Parameter(..)
            | Command::SetParameter => Ok(Reply::Nothing),
        }
    }

    async fn order_traffic(
        &mut self,
        facts: &Facts,
        order: TrafficOrder,
    ) -> Result<Reply, ErrorReply> {
        let (tag, verb, name) = match &order {
            TrafficOrder::Pause(name) => ("PAUSE", "pause", name.as_deref()),
            TrafficOrder::Resume(name) => ("RESUME", "resume", name.as_deref()),
            TrafficOrder::Suspend => ("SUSPEND", "", None),
            TrafficOrder::Reconnect(name) => ("RECONNECT", "reconnect", name.as_deref()),
            TrafficOrder::Disable(name) => ("DISABLE", "disable", Some(&**name)),
            TrafficOrder::Enable(name) => ("ENABLE", "enable", Some(&**name)),
            TrafficOrder::Drain(name) => ("DRAIN", "drain", Some(&**name)),
            TrafficOrder::Kill(name) => ("KILL", "kill", name.as_deref()),
            TrafficOrder::Close => ("SHUTDOWN", "", None),
        };
        self.check_name(verb, name)?;
        facts.traffic.order(&order).map_err(refused)?;
        match &order {
            TrafficOrder::Pause(name) => {
                let left = |card: &ServerCard| is_of(card, name.as_deref());
                self.or_gone(facts.servers.none_left(left)).await?;
            }
            TrafficOrder::Suspend => {
                let cancels = Arc::clone(&self.steering.worker.shared.cancels);
                self.or_gone(cancels.none_active()).await?;
            }
            TrafficOrder::Kill(name) => {
                facts.end_sessions(&match name {
                    Some(name) => Ending::Database(name.clone()),
                    None => Ending::All,
                });
                let left = |card: &ServerCard| is_of(card, name.as_deref());
                self.or_gone(facts.servers.none_left(left)).await?;
            }
            _ => {}
        }
        Ok(Reply::done(tag))
    }

    /// The console itself is no database of that kind.
    fn check_name(&self, verb: &str, name: Option<&str>) -> Result<(), ErrorReply> {
        let settings = &self.steering.worker.snapshot().settings;
        match name {
            Some(name) if is_console(settings, name) => {
                Err(refused(format!("cannot {verb} admin db: {name}")))
            }
            _ => Ok(()),
        }
    }

    /// Waits for something, unless the client goes away or cancels: then what was ordered holds, and
    /// nobody waits for it.
    async fn or_gone(&mut self, done: impl Future<Output = ()>) -> Result<(), ErrorReply> {
        let mut done = std::pin::pin!(done);
        let cancelled = Arc::clone(&self.cancel.slot);
        let finished = poll_fn(|cx| {
            if done.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(true);
            }
            self.poll_gone(cx).map(|()| false)
        });
        let finished = tokio::select! {
            // Both branches are cancel safe.
            finished = finished => finished,
            () = cancelled.unwanted() => false,
        };
        if finished {
            return Ok(());
        }
        let text = "canceling statement due to user request";
        let reply = ErrorReply::error(SqlState::QUERY_CANCELED, text);
        Err(reply.with_hint("What was ordered holds all the same: RESUME takes it back."))
    }
}

/// Whether it is one that an order about this database waits for. What carries replication or
/// notifications goes on.
fn is_of(card: &ServerCard, name: Option<&str>) -> bool {
    let dedicated = card.dedicated.load(Ordering::Relaxed);
    !dedicated && name.is_none_or(|name| *card.about.database == *name)
}

async fn shut_down(facts: &Facts, how: Shutdown, user: &str) -> Result<Reply, ErrorReply> {
    let order = match how {
        Shutdown::AtOnce => ProcessOrder::StopNow,
        Shutdown::WaitForServers => ProcessOrder::Stop,
        Shutdown::WaitForClients => {
            facts.traffic.order(&TrafficOrder::Close).map_err(refused)?;
            return Ok(Reply::done("SHUTDOWN"));
        }
    };
    let done = facts.process_desk.ask(order, user).await;
    done.map(|_| Reply::done("SHUTDOWN")).map_err(refused)
}
