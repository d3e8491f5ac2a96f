//! From an accepted socket to a session that is ready for its first statement.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use pgsteer_core::NodeId;
use pgsteer_pool::{Channel, Stream};
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::{ErrorReply, Severity, SqlState, encode};
use tokio::time::timeout;

use crate::application_name::{reported, shortened};
use crate::auth::{Asked, authenticate};
use crate::cancel::Registered;
use crate::console::{Options, WELCOME, access, is_console};
use crate::effects::ties_to_primary;
use crate::end::{End, with_severity};
use crate::flow::Flow;
use crate::handshake::{self, Wish};
use crate::hold::{Attempts, Denied};
use crate::journal::{Settings, quote_literal};
use crate::listener::Counted;
use crate::meter::Meter;
use crate::need::{Haste, LegError};
use crate::observe::NOTICE_ROUTE;
use crate::portals::Portals;
use crate::replication::{Replication, Wanted};
use crate::session::Session;
use crate::sql_prepared::SqlPrepared;
use crate::statements::ParseParameters;
use crate::steering::{Identity, Steering, refusal};
use crate::transaction::Transaction;
use crate::whereabouts::About;
use crate::worker::{Control, Welcome, Worker};

/// What a client has got once it is logged in.
enum Served {
    Session(Box<Session>),
    Replication(Box<Replication>),
}

/// Who a client is, and what it begins with.
struct Checked {
    identity: Identity,
    /// The replication connection it wants in place of a session.
    replication: Option<Wanted>,
    startup: Vec<(Box<str>, Box<str>)>,
}

/// Serves one connection from its first byte to its last.
pub(crate) fn serve(
    client: Counted,
    (stream, address): (Stream, Option<SocketAddr>),
) -> impl Future<Output = ()> {
    let limit = client.0.snapshot().settings.login_timeout;
    let login = log_in(Rc::clone(&client.0), Channel::new(stream), address);
    // The future of a login is large and short-lived: it does not stay with the session, nor does
    // what the login began with.
    let login = Box::pin(async move { timeout(limit, login).await });
    async move {
        if let Ok(Some(served)) = login.await {
            serve_on(served, &client.0).await;
        }
    }
}

/// Serves a client that is logged in.
async fn serve_on(served: Served, worker: &Rc<Worker>) {
    let session = match served {
        Served::Session(session) => session,
        Served::Replication(replication) => return Box::pin(replication.run(worker)).await,
    };
    let id = session.steering.identity.session;
    worker.controls.borrow_mut().insert(
        id,
        (
            Rc::clone(&session.control),
            Arc::clone(&session.cancel.slot),
        ),
    );
    // Published while the client logged in: nobody told this session.
    session.control.drain.set(worker.snapshot().draining);
    session.control.leave.set(true);
    worker.tell_traffic(&session.control, &session.cancel.slot);
    session.run().await;
    worker.controls.borrow_mut().remove(&id);
}

async fn log_in(
    worker: Rc<Worker>,
    mut client: Channel,
    address: Option<SocketAddr>,
) -> Option<Served> {
    let settings = Arc::clone(&worker.snapshot().settings);
    let (minor, parameters) = match handshake::wish(&mut client, &settings.tls).await.ok()? {
        Wish::Session { minor, parameters } => (minor, parameters),
        Wish::Cancel { pid, key } => {
            worker.shared.cancel(pid, &key, &settings.pool.tls).await;
            return None;
        }
        Wish::Nothing => return None,
    };
    let started = start(worker, client, (minor, parameters), address).await;
    match started {
        Ok(served) => Some(served),
        Err((mut client, end)) => {
            match end {
                End::Fatal(reply) => encode::error(&mut client.output, &reply),
                End::Message(message) => client.output.extend_from_slice(&message),
                End::Terminated | End::ClientGone | End::Broken => {}
            }
            client.close().await;
            None
        }
    }
}

async fn start(
    worker: Rc<Worker>,
    mut client: Channel,
    (minor, parameters): (u16, BTreeMap<String, String>),
    address: Option<SocketAddr>,
) -> Result<Served, (Channel, End)> {
    let began = Instant::now();
    let checked = check(&worker, &mut client, parameters, address).await;
    let Checked {
        identity,
        replication,
        mut startup,
    } = match checked {
        Ok(checked) => checked,
        Err(end) => return Err((client, end)),
    };
    let about = about(&worker, &identity, &client, address);
    let key_len = if minor >= 2 { KEY_LEN } else { KEY_LEN_OLD };
    let Some(cancel) = worker.shared.cancels.register(about, key_len) else {
        let text = "no random numbers from the operating system";
        return Err((
            client,
            End::Fatal(ErrorReply::fatal(SqlState::INTERNAL_ERROR, text)),
        ));
    };
    let settings = worker.settings();
    let allowed =
        crate::client_limits::check(&settings, &worker.shared.cancels, &cancel.slot.about);
    if let Err(end) = allowed {
        return Err((client, end));
    }
    let mut steering = Steering::new(worker, identity);
    let is_console = steering.identity.access.is_some();
    if is_console {
        startup.clear();
    }
    let admitted = match is_console {
        true => Ok(None),
        false => admit(&mut steering, &mut startup),
    };
    let enforced = match admitted {
        Ok(enforced) => enforced,
        Err(end) => return Err((client, end)),
    };
    if let Some(wanted) = replication {
        let begun = Replication::begin(steering, client, cancel, wanted).await;
        return begun.map(|it| Served::Replication(Box::new(it)));
    }
    let mut session = logged_in(client, steering, cancel, (startup, enforced));
    match session.greet().await {
        Ok(()) => {
            let worker = Rc::clone(&session.steering.worker);
            session.meter.logged_in(&worker, began);
            Ok(Served::Session(Box::new(session)))
        }
        Err(end) => Err((session.client, end)),
    }
}

/// A session that has done nothing yet.
fn logged_in(
    client: Channel,
    mut steering: Steering,
    cancel: Registered,
    (startup, enforced): (Startup, Option<Rc<str>>),
) -> Session {
    let identity = &steering.identity;
    let meter = Meter::new(&steering.worker, &identity.database, &identity.user);
    let mut settings = Settings::default();
    for (name, text) in &startup {
        settings.set(name, text);
    }
    let knows_notice_route = startup.iter().any(|(name, _)| &**name == NOTICE_ROUTE);
    steering.tied_to_primary = ties_to_primary(&startup);
    let pool = &steering.snapshot.settings.pool;
    let mode = pool.mode_of(&steering.identity.database, &steering.identity.user);
    let identity = &steering.identity;
    let follows_sequences = steering
        .worker
        .knows_sequences(&identity.database, &identity.user);
    Session {
        client,
        steering,
        legs: Vec::new(),
        flow: Flow::default(),
        transaction: Transaction::None,
        settings,
        startup,
        prepared: HashMap::default(),
        prepared_bytes: 0,
        sql_prepared: SqlPrepared::default(),
        portals: Portals::default(),
        unfinished: None,
        mode,
        learns: Vec::new(),
        is_refused: false,
        follows_sequences,
        last_text: String::new(),
        parse_parameters: ParseParameters::default(),
        cancel,
        listening: None,
        control: Rc::new(Control::default()),
        meter,
        console: None,
        options: Options::default(),
        knows_notice_route,
        idle_deadline: None,
        busy: false,
        ended_with: None,
        enforced,
    }
}

/// Asks the plugins whether the session may begin, and takes over what it begins with. Answers the
/// statements that every transaction begins with.
fn admit(
    steering: &mut Steering,
    startup: &mut Vec<(Box<str>, Box<str>)>,
) -> Result<Option<Rc<str>>, End> {
    let admission = steering.admit().map_err(|rejection| {
        let reply = refusal(&rejection);
        End::Fatal(ErrorReply {
            severity: Severity::Fatal,
            ..reply
        })
    })?;
    steering.identity.pool = admission.pool.map(Into::into);
    let role = admission.role.map(|role| ("role".to_owned(), role));
    // What is enforced is part of what the session begins with, too, and of its books.
    let enforced_too = admission.enforced.iter().cloned();
    let all = admission
        .parameters
        .into_iter()
        .chain(role)
        .chain(enforced_too);
    for (name, value) in all {
        startup.retain(|(known, _)| **known != *name);
        let text = set_text(&name, &value);
        startup.push((name.into_boxed_str(), text.into_boxed_str()));
    }
    let enforced = admission.enforced.iter();
    let texts: Vec<_> = enforced
        .map(|(name, value)| set_text(name, value))
        .collect();
    Ok((!texts.is_empty()).then(|| texts.join(";").into()))
}

fn about(
    worker: &Worker,
    identity: &Identity,
    client: &Channel,
    address: Option<SocketAddr>,
) -> About {
    let shared = |name: &str| worker.name(name).1;
    About {
        user: shared(&identity.user),
        database: shared(&identity.database),
        client_host: shared(address.map_or("[local]", |_| &identity.client_address)),
        client_port: address.map_or(0, |a| a.port()),
        local: client.stream().local_addr(),
        application_name: shared(&identity.application_name),
        session: identity.session,
        is_encrypted: client.tls().is_some(),
        is_console: identity.access.is_some(),
        started: SystemTime::now(),
    }
}

/// Bytes of the secret in a client's cancel key: since protocol 3.2 as PostgreSQL has it, and before.
const KEY_LEN: usize = 32;
const KEY_LEN_OLD: usize = 4;

/// Parameters of the startup packet, with the statements that set them.
type Startup = Vec<(Box<str>, Box<str>)>;

/// Everything that is checked before a server is asked.
async fn check(
    worker: &Worker,
    client: &mut Channel,
    mut parameters: BTreeMap<String, String>,
    address: Option<SocketAddr>,
) -> Result<Checked, End> {
    let fatal = |state, text: String| Err(End::Fatal(ErrorReply::fatal(state, text)));
    let snapshot = worker.snapshot();
    if snapshot.draining {
        return fatal(
            SqlState::CANNOT_CONNECT_NOW,
            "the proxy is shutting down".into(),
        );
    }
    let clients = usize::try_from(worker.shared.counters.clients()).unwrap_or(usize::MAX);
    if clients > snapshot.settings.clients_max {
        return fatal(
            SqlState::TOO_MANY_CONNECTIONS,
            "sorry, too many clients already".into(),
        );
    }
    let user = parameters.remove("user").filter(|user| !user.is_empty());
    let Some(user) = user else {
        let text = "no PostgreSQL user name specified in startup packet";
        return fatal(SqlState::INVALID_AUTHORIZATION, text.into());
    };
    let replication = Wanted::take_from(&mut parameters).map_err(End::Fatal)?;
    let database = parameters.remove("database").filter(|d| !d.is_empty());
    let database = database.unwrap_or_else(|| user.clone());
    let asked = Asked {
        user: &user,
        database: &database,
        is_physical_replication: replication.as_ref().is_some_and(Wanted::is_physical),
        address,
    };
    let proven = authenticate(client, worker, &snapshot.settings, &asked).await?;
    let (user, _) = worker.name(&user);
    let settings = &snapshot.settings;
    let access = match is_console(settings, &database) {
        true => Some(access(settings, &user, &database)?),
        false => {
            Session::check_traffic(worker, &database)?;
            None
        }
    };
    let mut application_name = worker.name("").0;
    if let Some(name) = parameters.get_mut("application_name") {
        let (kept, notice) = shortened(std::mem::take(name));
        if let Some(notice) = notice {
            encode::error(&mut client.output, &notice);
        }
        application_name = worker.name(&kept).0;
        *name = kept;
    }
    let client_address = address.map(|a| a.ip().to_string()).unwrap_or_default();
    let identity = Identity {
        session: worker.next_session().0,
        keys: worker.keyring.borrow_mut().enter(&user, proven),
        user,
        database: worker.name(&database).0,
        application_name,
        client_address: worker.name(&client_address).0,
        pool: None,
        access,
    };
    let (replication, startup) = match replication {
        Some(wanted) => (Some(wanted.with(parameters)), Vec::new()),
        None => (None, statements(parameters)),
    };
    Ok(Checked {
        identity,
        replication,
        startup,
    })
}

/// The statements that set the parameters of a startup packet. A value is parsed as PostgreSQL
/// parses it there: `search_path=a,b` is a list, which SET would take for one name.
fn statements(mut parameters: BTreeMap<String, String>) -> Vec<(Box<str>, Box<str>)> {
    let options = parameters.remove("options").unwrap_or_default();
    parameters.retain(|name, _| !name.starts_with("_pq_."));
    let from_options = parse_options(&options);
    let all = parameters.into_iter().chain(from_options);
    let set = |(name, value): (String, String)| {
        let text = set_text(&name, &value);
        (name.to_lowercase().into_boxed_str(), text.into_boxed_str())
    };
    all.map(set).collect()
}

/// The statement that sets a parameter for the session.
pub(crate) fn set_text(name: &str, value: &str) -> String {
    let (name, value) = (quote_literal(name), quote_literal(value));
    format!("SELECT pg_catalog.set_config({name},{value},false)")
}

/// `-c name=value` and `--name=value`, with backslash before a blank that belongs to a value, as
/// PostgreSQL's `pg_split_opts` does it. Other options are left out: they concern a server process.
pub(crate) fn parse_options(options: &str) -> Vec<(String, String)> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let mut found = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(long), _) => Some(long.to_owned()),
            (None, Some("")) => words.next(),
            (None, Some(short)) => Some(short.to_owned()),
            (None, None) => None,
        };
        let pair = setting.as_deref().and_then(|s| s.split_once('='));
        found.extend(pair.map(|(name, value)| (name.replace('-', "_"), value.to_owned())));
    }
    found
}

impl Session {
    /// Tells the client what it must know before its first statement. The first session with the
    /// same user, database and parameters asks a server; the others get what it said.
    async fn greet(&mut self) -> Result<(), End> {
        if self.steering.identity.access.is_some() {
            return self.greet_at_console().await;
        }
        let welcome = self.welcome().await?;
        self.steering.worker.note_pool(&self.steering.identity);
        let identity = &self.steering.identity;
        let writable = self.steering.snapshot.topology.primary().is_some();
        let version = welcome.iter().find(|(name, _)| name == "server_version");
        let version = version.map_or("", |(_, version)| version);
        let application_name = reported(&identity.application_name, version);
        for (name, value) in &*welcome {
            let value = match name.as_str() {
                "application_name" => &application_name,
                // Through the proxy a client can write, whichever node answered.
                "in_hot_standby" if writable => "off",
                _ => value,
            };
            encode::parameter_status(&mut self.client.output, name, value);
            let lower = name.to_lowercase();
            if self.startup.iter().any(|(known, _)| **known == *lower) {
                self.flow.reports.add(name, value);
            }
        }
        encode::backend_key(&mut self.client.output, self.cancel.pid, &self.cancel.key());
        encode::ready(&mut self.client.output, TransactionStatus::Idle);
        Ok(self.client.flush().await?)
    }

    /// The same for a client of the console, which no server takes part in.
    async fn greet_at_console(&mut self) -> Result<(), End> {
        let application_name = &self.steering.identity.application_name;
        let out = &mut self.client.output;
        for (name, value) in WELCOME {
            encode::parameter_status(out, name, value);
        }
        encode::parameter_status(out, "application_name", application_name);
        encode::backend_key(out, self.cancel.pid, &self.cancel.key());
        encode::ready(out, TransactionStatus::Idle);
        Ok(self.client.flush().await?)
    }

    async fn welcome(&mut self) -> Result<Welcome, End> {
        let key = self.welcome_key();
        if let Some(known) = self.steering.worker.welcomes.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        let mut attempts = Attempts::default();
        let mut failed = None;
        loop {
            self.steering.refresh(true);
            let Some(node) = self.steering.login_node(&attempts.avoid) else {
                attempts.avoid.clear();
                if failed.as_ref().is_some_and(is_full) {
                    return Err(End::Fatal(no_node_at_login()));
                }
                let held = self.hold(&mut attempts, failed.take()).await;
                held.map_err(no_login)?;
                continue;
            };
            match self.need_fresh(node).await {
                Ok(()) => {
                    let reported = self.held(node).map(|leg| leg.peek().parameters.clone());
                    let welcome = reported.unwrap_or_default();
                    self.steering.worker.remember_welcome(key, &welcome);
                    return Ok(welcome);
                }
                Err(LegError::NodeFailed(reply)) => {
                    attempts.avoid.push(node);
                    failed = Some(reply);
                }
                Err(LegError::Moved) => self.after_move(&mut attempts).await.map_err(no_login)?,
                Err(LegError::Ended(end)) => return Err(end),
                Err(LegError::Reply(reply)) => {
                    return Err(End::Fatal(ErrorReply {
                        severity: Severity::Fatal,
                        ..reply
                    }));
                }
                Err(LegError::Refused(body)) => {
                    return Err(End::Message(with_severity(&body, Severity::Fatal)));
                }
            }
        }
    }

    /// A leg of which it is known what parameters it has, from its server's own words.
    async fn need_fresh(&mut self, node: NodeId) -> Result<(), LegError> {
        self.lease(node).await?;
        if let Some(leg) = self.held(node) {
            // It was told of changes that nobody noted; when they are undone they are reported.
            leg.note_parameters(None);
        }
        self.need(node, Haste::Waits).await
    }

    fn welcome_key(&self) -> String {
        let identity = &self.steering.identity;
        let mut key = format!("{}\0{}", identity.user, identity.database);
        for (_, text) in self
            .startup
            .iter()
            .filter(|(name, _)| &**name != "application_name")
        {
            key.push('\0');
            key.push_str(text);
        }
        key
    }
}

/// The node is there and works; that it has no room is for the operator to know.
fn is_full(reply: &ErrorReply) -> bool {
    reply.sqlstate == SqlState::TOO_MANY_CONNECTIONS
}

fn no_login(denied: Denied) -> End {
    match denied {
        Denied::End(end) => end,
        Denied::Reply(_) => End::Fatal(no_node_at_login()),
    }
}

fn no_node_at_login() -> ErrorReply {
    let text = "no node of the cluster accepts connections now";
    ErrorReply::fatal(SqlState::CANNOT_CONNECT_NOW, text)
        .with_hint("See the proxy's log for each node.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_as_postgresql_does() {
        let pairs = parse_options(r"-c geqo=off --search-path=a\ b  -cwork_mem=1MB -q");
        let expected = [("geqo", "off"), ("search_path", "a b"), ("work_mem", "1MB")];
        let expected = expected.map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(pairs, expected);
    }

    #[test]
    fn an_error_at_login_is_fatal() {
        let message = with_severity(b"SERROR\0VERROR\0C3D000\0Mno\0\0", Severity::Fatal);
        assert_eq!(&message[5..], b"SFATAL\0VFATAL\0C3D000\0Mno\0\0");
        // A server that says no SQLSTATE does not leave the client without one.
        let message = with_severity(b"SERROR\0Mno\0\0", Severity::Fatal);
        assert_eq!(&message[5..], b"SFATAL\0Mno\0CXX000\0\0");
    }
}
