//! Looks up users that are not in the settings: `auth.query`, asked over a connection of the control
//! plane's own. Nothing a client sends is part of that connection but the name, as a parameter: no
//! client's `search_path` changes what the query means (CVE-2025-12819).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pgsteer_core::auth::{AuthQuery, Found, Lookup, Secret, User};
use pgsteer_core::settings::ProbeSettings;
use pgsteer_core::{Facts, NodeId, Role, Settings, Subscription, Topology};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_postgres::Statement;
use tracing::{debug, warn};

use crate::connection::Connection;
use crate::probe::Fault;

/// Questions that are asked at once.
const BATCH_MAX: usize = 64;

/// Users that are remembered; ours. With more all are forgotten.
const REMEMBERED_MAX: usize = 10_000;

/// How long it is remembered that there is no such user, at most.
const NOBODY_FOR: Duration = Duration::from_secs(1);

/// A connection that nobody needed for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The same trouble is said again after this time.
const SAID_FOR: Duration = Duration::from_secs(10);

/// What the server's own views show.
const NAME: &str = "pgsteer auth_query";

/// Why a user was not looked up.
#[derive(Debug, Error)]
enum Trouble {
    #[error("{0}")]
    Node(#[from] Fault),
    #[error("no node is usable")]
    NoNode,
    #[error("the query has {0} parameters, not the name alone")]
    Parameters(usize),
    #[error("the query has {0} columns, not a name and a password")]
    Columns(usize),
    #[error("the second column of the query is no text")]
    NoText,
    #[error("the password that is stored of \"{0}\" is a broken SCRAM verifier")]
    Broken(String),
}

/// Answers questions until the control plane ends.
pub(crate) async fn run(
    facts: Arc<Facts>,
    subscription: Subscription,
    settings: watch::Receiver<Arc<Settings>>,
) {
    let Some(mut lookups) = facts.lookups.take() else {
        // Somebody else answers, which only happens in tests.
        return std::future::pending().await;
    };
    let mut desk = Desk {
        subscription,
        settings,
        asked: None,
        remembered: HashMap::new(),
        line: None,
        said: None,
    };
    let mut batch = Vec::new();
    loop {
        // Cancel safe: nothing is taken if the time is up.
        match timeout(IDLE_MAX, lookups.recv_many(&mut batch, BATCH_MAX)).await {
            Ok(0) => return std::future::pending().await,
            Ok(_) => desk.answer(&mut batch).await,
            Err(_) => desk.line = None,
        }
        // Whoever asked while nobody could be asked gets the same answer, not a wait of its own.
        if desk.said.as_ref().is_some_and(|said| said.is_fresh) {
            desk.refuse_waiting(&mut lookups);
        }
    }
}

struct Desk {
    subscription: Subscription,
    settings: watch::Receiver<Arc<Settings>>,
    /// How what is remembered was asked for.
    asked: Option<AuthQuery>,
    remembered: HashMap<String, (Found, Instant)>,
    line: Option<Line>,
    said: Option<Said>,
}

/// A connection with the query prepared.
struct Line {
    node: NodeId,
    connection: Connection,
    statement: Statement,
}

/// The trouble the log was told of last.
struct Said {
    text: String,
    at: Instant,
    /// It came of the latest batch.
    is_fresh: bool,
}

impl Desk {
    async fn answer(&mut self, batch: &mut Vec<Lookup>) {
        let settings = Arc::clone(&self.settings.borrow_and_update());
        if let Some(said) = &mut self.said {
            said.is_fresh = false;
        }
        if self.asked != settings.auth.query {
            self.asked.clone_from(&settings.auth.query);
            self.remembered.clear();
            self.line = None;
        }
        let Some(query) = self.asked.clone() else {
            batch.clear();
            return;
        };
        let mut wanted: HashMap<String, Vec<Lookup>> = HashMap::new();
        for lookup in batch.drain(..) {
            if lookup.is_stale {
                self.remembered.remove(&lookup.user);
            } else if let Some(found) = self.recall(&lookup.user, query.cache) {
                let _ = lookup.reply.send(found);
            } else {
                wanted.entry(lookup.user.clone()).or_default().push(lookup);
            }
        }
        if wanted.is_empty() {
            return;
        }
        let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
        let answers = self.ask(&query, &settings, &names).await;
        let answers: Vec<(String, Found)> = match answers {
            Ok(answers) => answers,
            Err(trouble) => {
                self.say(&trouble);
                names
                    .iter()
                    .map(|n| ((*n).to_owned(), Found::Failed))
                    .collect()
            }
        };
        for (name, found) in answers {
            for lookup in wanted.remove(&name).unwrap_or_default() {
                let _ = lookup.reply.send(found.clone());
            }
            self.remember(name, found);
        }
    }

    fn recall(&self, user: &str, cache: Duration) -> Option<Found> {
        let (found, at) = self.remembered.get(user)?;
        let limit = match found {
            Found::User(_) => cache,
            _ => cache.min(NOBODY_FOR),
        };
        (at.elapsed() < limit).then(|| found.clone())
    }

    fn remember(&mut self, user: String, found: Found) {
        if matches!(found, Found::Failed) {
            return;
        }
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(user, (found, Instant::now()));
    }

    /// Asks for all of them at once, a second time if the connection turns out to be lost.
    async fn ask(
        &mut self,
        query: &AuthQuery,
        settings: &Settings,
        names: &[&str],
    ) -> Result<Vec<(String, Found)>, Trouble> {
        let had_line = self.line.is_some();
        match self.ask_once(query, settings, names).await {
            Err(trouble) => {
                // What a connection is like after an error nobody knows.
                self.line = None;
                match had_line {
                    true => {
                        let again = self.ask_once(query, settings, names).await;
                        if again.is_err() {
                            self.line = None;
                        }
                        again
                    }
                    false => Err(trouble),
                }
            }
            answers => answers,
        }
    }

    async fn ask_once(
        &mut self,
        query: &AuthQuery,
        settings: &Settings,
        names: &[&str],
    ) -> Result<Vec<(String, Found)>, Trouble> {
        let node = source(&self.subscription.get().topology).ok_or(Trouble::NoNode)?;
        let probe = ProbeSettings {
            user: query.user.to_string(),
            password: Arc::clone(&query.password),
            ..settings.probe_of(node).clone()
        };
        let fits = |line: &Line| line.node == node && line.connection.fits(&probe, &query.database);
        let line = match self.line.take().filter(fits) {
            Some(line) => line,
            None => open(node, settings, &probe, query).await?,
        };
        let Line {
            connection,
            statement,
            ..
        } = &line;
        let one = |name: &str| {
            let name = name.to_owned();
            async move {
                let rows = connection.client.query(statement, &[&name]).await;
                let rows = rows.map_err(|error| Fault::from_postgres(&error))?;
                let Some(row) = rows.first() else {
                    return Ok((name, Found::Nobody));
                };
                let stored = row.try_get::<_, Option<&str>>(1);
                let stored = stored.map_err(|_| Trouble::NoText)?;
                let found = found(stored.unwrap_or_default(), &name)?;
                Ok::<_, Trouble>((name, found))
            }
        };
        let asked = join_all(names.iter().map(|name| one(name)));
        let answers = timeout(probe.timeout, asked).await;
        let answers = answers.map_err(|_| Fault::Timeout(probe.timeout))?;
        self.line = Some(line);
        let mut found = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(answer) => found.push(answer),
                // It is about one user, not about the connection.
                Err(trouble @ Trouble::Broken(_)) => {
                    let Trouble::Broken(name) = &trouble else {
                        continue;
                    };
                    found.push((name.clone(), Found::NoPassword));
                    self.say(&trouble);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        debug!(node = node.0, users = names.len(), "users looked up");
        Ok(found)
    }

    fn say(&mut self, trouble: &Trouble) {
        let text = trouble.to_string();
        let now = Instant::now();
        let is_news = self.said.as_ref().is_none_or(|said| {
            said.text != text || now.saturating_duration_since(said.at) >= SAID_FOR
        });
        if is_news {
            let advice = trouble.advice();
            warn!(
                error = text,
                advice, "a user could not be looked up with auth.query"
            );
        }
        let at = match &self.said {
            Some(said) if !is_news => said.at,
            _ => now,
        };
        let is_fresh = !matches!(trouble, Trouble::Broken(_));
        self.said = Some(Said { text, at, is_fresh });
    }

    fn refuse_waiting(&mut self, lookups: &mut mpsc::Receiver<Lookup>) {
        while let Ok(lookup) = lookups.try_recv() {
            let _ = lookup.reply.send(Found::Failed);
        }
    }
}

impl Trouble {
    fn advice(&self) -> &'static str {
        match self {
            Self::Node(Fault::Refused { .. }) => {
                "auth.query_user must be able to log in at the nodes and to read what auth.query reads"
            }
            Self::Node(_) | Self::NoNode => "it is asked again at the next login",
            Self::Parameters(_) | Self::Columns(_) | Self::NoText => {
                "write a query with $1 for the name and two columns of text: name and password"
            }
            Self::Broken(_) => "set the password of the role anew",
        }
    }
}

fn found(stored: &str, name: &str) -> Result<Found, Trouble> {
    if stored.is_empty() {
        return Ok(Found::NoPassword);
    }
    let secret = Secret::from_stored(stored).map_err(|_| Trouble::Broken(name.to_owned()))?;
    Ok(Found::User(User::new(secret)))
}

async fn open(
    node: NodeId,
    settings: &Settings,
    probe: &ProbeSettings,
    query: &AuthQuery,
) -> Result<Line, Trouble> {
    let place = settings.nodes.get(node.index()).ok_or(Trouble::NoNode)?;
    let opened = async {
        let connection = Connection::open(place, probe, &query.database, NAME).await?;
        let prepared = connection.client.prepare(&query.query).await;
        let statement = prepared.map_err(|error| Fault::from_postgres(&error))?;
        Ok::<_, Trouble>((connection, statement))
    };
    let opened = timeout(probe.timeout, opened).await;
    let (connection, statement) = opened.map_err(|_| Fault::Timeout(probe.timeout))??;
    match (statement.params().len(), statement.columns().len()) {
        (1, 2..) => Ok(Line {
            node,
            connection,
            statement,
        }),
        (1, columns) => Err(Trouble::Columns(columns)),
        (parameters, _) => Err(Trouble::Parameters(parameters)),
    }
}

/// Whom to ask: the primary, or without one a usable replica.
fn source(topology: &Topology) -> Option<NodeId> {
    let primary = topology.primary().map(|node| node.id);
    primary.or_else(|| {
        let mut nodes = topology.nodes.iter();
        let replica = nodes.find(|node| node.is_usable() && node.role == Role::Replica);
        replica.map(|node| node.id)
    })
}
