//! What operators tell the control plane through the console, and how it answers.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::NodeId;

/// Something an operator wants done about plugins. Plugins are named by file, with or without the
/// number in front.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Back to the version before.
    Rollback(String),
    /// The version in force stays, whatever is dropped.
    Pin(String),
    /// Newer files are taken again.
    Unpin(String),
    /// Out of force, until `Enable`.
    Disable(String),
    /// In force again; out of quarantine.
    Enable(String),
    /// The next version of its file is asked beside the one in force, for this share of the
    /// statements, between 0 and 1; 0 for the configured way.
    Shadow(String, f64),
    /// A shadow is to decide now.
    Promote(String),
    /// The next decisions, as many, with literals and values or without.
    Record(u32, bool),
}

/// Most decisions of one recording; ours.
pub const RECORD_MAX: u32 = 100_000;

impl Order {
    /// Reads what follows `PGSTEER` in the console, if it is an order; the error is for the
    /// operator.
    ///
    /// # Errors
    /// It is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let is = |word: &str, expected: &str| word.eq_ignore_ascii_case(expected);
        match words.as_slice() {
            [record, count, rest @ ..] if is(record, "record") => {
                let values = match rest {
                    [] => false,
                    [with, values] if is(with, "with") && is(values, "values") => true,
                    _ => return Err(USAGE.to_owned()),
                };
                let count = count.parse().ok().filter(|n| (1..=RECORD_MAX).contains(n));
                let count = count.ok_or_else(|| format!("record 1 to {RECORD_MAX} decisions"))?;
                Ok(Self::Record(count, values))
            }
            [plugin, name, verb, rest @ ..] if is(plugin, "plugin") => {
                let name = name.trim_matches('\'').to_owned();
                match (verb.to_ascii_lowercase().as_str(), rest) {
                    ("rollback", []) => Ok(Self::Rollback(name)),
                    ("pin", []) => Ok(Self::Pin(name)),
                    ("unpin", []) => Ok(Self::Unpin(name)),
                    ("disable", []) => Ok(Self::Disable(name)),
                    ("enable", []) => Ok(Self::Enable(name)),
                    ("promote", []) => Ok(Self::Promote(name)),
                    ("shadow", [share]) => Ok(Self::Shadow(name, parse_share(share)?)),
                    _ => Err(USAGE.to_owned()),
                }
            }
            _ => Err(USAGE.to_owned()),
        }
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(0.0);
    }
    let percent = text.strip_suffix('%').and_then(|n| n.parse::<f64>().ok());
    let share = percent.map(|p| p / 100.0).filter(|s| *s > 0.0 && *s <= 1.0);
    share.ok_or_else(|| format!("\"{text}\" is no share: write 0.1% to 100%, or OFF"))
}

/// What the console understands.
pub const USAGE: &str = "use PGSTEER PLUGIN name ROLLBACK | PIN | UNPIN | DISABLE | ENABLE | \
    SHADOW 1% | SHADOW OFF | PROMOTE | TELL 'text', or PGSTEER RECORD 1000 [WITH VALUES]";

/// Something an operator wants done about nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeOrder {
    /// It may serve again.
    Attach(NodeId),
    /// It is taken out; sessions leave it when they are at rest.
    Detach(NodeId),
    /// It becomes the primary although there is none: promoted, or followed if it is one already.
    Promote(NodeId),
    /// It takes over from the primary, which is demoted first.
    Switchover(NodeId),
}

impl NodeOrder {
    /// Reads what follows `PGSTEER NODE` in the console; the error is for the operator.
    ///
    /// # Errors
    /// It is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [number, verb] = words.as_slice() else {
            return Err(NODE_USAGE.to_owned());
        };
        let id = number.parse().map(NodeId);
        let id = id.map_err(|_| format!("\"{number}\" is no node: write its number, from 0"))?;
        match verb.to_ascii_lowercase().as_str() {
            "attach" => Ok(Self::Attach(id)),
            "detach" => Ok(Self::Detach(id)),
            "promote" => Ok(Self::Promote(id)),
            "switchover" => Ok(Self::Switchover(id)),
            _ => Err(NODE_USAGE.to_owned()),
        }
    }

    /// The node it is about.
    #[must_use]
    pub fn node(&self) -> NodeId {
        let (Self::Attach(id) | Self::Detach(id) | Self::Promote(id) | Self::Switchover(id)) = self;
        *id
    }
}

/// What the console understands about nodes.
pub const NODE_USAGE: &str = "use PGSTEER NODE number ATTACH | DETACH | PROMOTE | SWITCHOVER";

/// Something an operator wants done about the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessOrder {
    /// The configuration is read again, and what was changed since is forgotten.
    Reload,
    /// A setting has another value until then.
    Set {
        /// Its key, or the name PgBouncer has for it.
        name: Box<str>,
        /// The value as the operator wrote it.
        value: Box<str>,
    },
    /// Sessions end after their transaction, then the program does.
    Stop,
    /// The program ends at once.
    StopNow,
    /// Another process of the program, as it is on disk now, takes over.
    Upgrade,
}

/// An order on its way.
#[derive(Debug)]
pub struct Request<O> {
    /// What is wanted.
    pub order: O,
    /// Who wants it.
    pub user: String,
    /// Lines for the operator, or why it was not done.
    pub reply: oneshot::Sender<Result<Vec<String>, String>>,
}

/// Where orders of one kind are handed in.
#[derive(Debug)]
pub struct Desk<O> {
    sender: mpsc::Sender<Request<O>>,
    receiver: Mutex<Option<mpsc::Receiver<Request<O>>>>,
    refusal: Mutex<Option<&'static str>>,
}

/// Orders of a kind that may wait; ours.
const ORDERS_WAITING_MAX: usize = 16;

impl<O> Default for Desk<O> {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(ORDERS_WAITING_MAX);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            refusal: Mutex::new(None),
        }
    }
}

impl<O> Desk<O> {
    /// The end at which orders are taken, once.
    pub fn take(&self) -> Option<mpsc::Receiver<Request<O>>> {
        let receiver = self.receiver.lock();
        receiver.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Orders are refused with this reason from now on; without one they are taken again.
    pub fn refuse(&self, why: Option<&'static str>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn refusal(&self) -> Option<&'static str> {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an order in and waits until it was carried out.
    ///
    /// # Errors
    /// Why it was not.
    ///
    /// # Cancel safety
    /// An order that was handed in is carried out all the same.
    pub async fn ask(&self, order: O, user: &str) -> Result<Vec<String>, String> {
        if let Some(why) = self.refusal() {
            return Err(why.to_owned());
        }
        let (reply, answer) = oneshot::channel();
        let user = user.to_owned();
        let request = Request { order, user, reply };
        let gone = "nobody takes orders: the proxy is shutting down";
        let sent = self.sender.send(request).await;
        sent.map_err(|_| gone.to_owned())?;
        answer.await.map_err(|_| gone.to_owned())?
    }
}

#[cfg(test)]
mod tests {
    use super::{NODE_USAGE, NodeOrder, Order, USAGE};
    use crate::NodeId;

    #[test]
    fn orders_about_nodes_are_read() {
        for (text, expected) in [
            ("0 ATTACH", Ok(NodeOrder::Attach(NodeId(0)))),
            (" 1  detach ", Ok(NodeOrder::Detach(NodeId(1)))),
            ("2 Promote", Ok(NodeOrder::Promote(NodeId(2)))),
            ("2 switchover", Ok(NodeOrder::Switchover(NodeId(2)))),
            ("2", Err(NODE_USAGE.to_owned())),
            ("2 attach now", Err(NODE_USAGE.to_owned())),
            ("2 explode", Err(NODE_USAGE.to_owned())),
            ("", Err(NODE_USAGE.to_owned())),
        ] {
            assert_eq!(NodeOrder::parse(text), expected, "{text}");
        }
        assert!(NodeOrder::parse("-1 attach").is_err());
        assert!(NodeOrder::parse("99999999 attach").is_err());
    }

    #[test]
    fn orders_are_read() {
        let name = || "10-mine".to_owned();
        for (text, expected) in [
            ("PLUGIN 10-mine ROLLBACK", Ok(Order::Rollback(name()))),
            ("plugin '10-mine' disable", Ok(Order::Disable(name()))),
            ("PLUGIN 10-mine SHADOW 5%", Ok(Order::Shadow(name(), 0.05))),
            ("PLUGIN 10-mine SHADOW OFF", Ok(Order::Shadow(name(), 0.0))),
            ("RECORD 10", Ok(Order::Record(10, false))),
            ("record 10 with values", Ok(Order::Record(10, true))),
            ("PLUGIN 10-mine", Err(USAGE.to_owned())),
            ("PLUGIN 10-mine explode", Err(USAGE.to_owned())),
            ("", Err(USAGE.to_owned())),
        ] {
            assert_eq!(Order::parse(text), expected, "{text}");
        }
        assert!(Order::parse("RECORD 0").is_err());
        assert!(Order::parse("PLUGIN x SHADOW 500%").is_err());
    }
}
