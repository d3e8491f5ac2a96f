//! Settings that cannot be wrong: made by `pgsteer-control` after it checked everything.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pgsteer_tls::{ClientTls, ServerTls};

use crate::NodeId;
use crate::auth::{AuthSettings, User};
use crate::policy::Grants;
use crate::quotas::{ClientLimits, PoolLimits, RuleLimits, Timeouts};

/// What a failover may do to a node (Pgpool-II's `backend_flag`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeFlag {
    /// It may be replaced as primary, promoted and taken out.
    #[default]
    AllowToFailover,
    /// Nobody replaces it, promotes it or takes it out but an operator.
    DisallowToFailover,
    /// It is the primary whatever it says; nothing is promoted and nothing followed.
    AlwaysPrimary,
}

/// A node as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSettings {
    /// Host name, address, or directory of a Unix socket (starts with `/`).
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// Share of balanced reads; `0 <= weight`.
    pub weight: f64,
    /// What a failover may do to it.
    pub flag: NodeFlag,
    /// Its data directory, for commands; may be empty.
    pub data_dir: Arc<str>,
    /// How it is watched.
    pub probe: ProbeSettings,
}

impl NodeSettings {
    /// A node with nothing special about it.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            weight: 1.0,
            flag: NodeFlag::AllowToFailover,
            data_dir: "".into(),
            probe: ProbeSettings::default(),
        }
    }
}

/// How long a session keeps a server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// As long as it lasts.
    Session,
    /// For a transaction; what the session set and prepared follows it to the next server.
    Transaction,
    /// For a statement; there are no transactions of several.
    Statement,
}

/// What holds for the sessions of a database, a user, or both, instead of what holds for all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolRule {
    /// Name of the database; none for any.
    pub database: Option<Arc<str>>,
    /// Name of the user; none for any.
    pub user: Option<Arc<str>>,
    /// How long its sessions keep a server connection; none: as everybody's.
    pub mode: Option<PoolMode>,
    /// Their limits.
    pub limits: RuleLimits,
}

impl PoolRule {
    /// Whether it is about these sessions.
    #[must_use]
    pub fn fits(&self, database: &str, user: &str) -> bool {
        let same = |rule: &Option<Arc<str>>, name| rule.as_deref().is_none_or(|r| r == name);
        same(&self.database, database) && same(&self.user, user)
    }
}

/// Limits and waits of the server connections.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// How long a session keeps a server connection.
    pub mode: PoolMode,
    /// Exceptions, the first that fits counts.
    pub rules: Vec<PoolRule>,
    /// How many there may be, and how old.
    pub limits: PoolLimits,
    /// Server connections of the whole proxy to one node.
    pub connections_per_node_max: u32,
    /// Sessions that may wait for a server connection, per worker.
    pub waiters_max: usize,
    /// How long a session waits for a server connection.
    pub checkout_timeout: Duration,
    /// How long opening a server connection may take, authentication included.
    pub connect_timeout: Duration,
    /// An unused server connection is closed after this time.
    pub idle_timeout: Duration,
    /// Statement that makes a used server connection fit for the next session.
    pub reset_query: Arc<str>,
    /// Sockets to the nodes; those to clients have the same.
    pub tcp: TcpSettings,
    /// Whether and how server connections are encrypted.
    pub tls: ServerTls,
}

/// How soon a peer is noticed whose machine went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// Whether an idle peer is asked for a sign of life.
    pub keepalive: bool,
    /// After so long a silence; zero for what the system has.
    pub keepidle: Duration,
    /// So long after the question before; zero for what the system has.
    pub keepintvl: Duration,
    /// So many times before the connection counts as lost; 0 for what the system has.
    pub keepcnt: u32,
    /// How long what was sent may stay unacknowledged; zero for what the system has.
    pub user_timeout: Duration,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            keepalive: true,
            keepidle: Duration::from_secs(60),
            keepintvl: Duration::from_secs(10),
            keepcnt: 0,
            user_timeout: Duration::ZERO,
        }
    }
}

/// Unix sockets for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocketSettings {
    /// The directory; a socket for each port of `listen.address` is made there.
    pub dir: PathBuf,
    /// Permissions of the socket files.
    pub mode: u32,
}

impl PoolSettings {
    /// How long sessions of this database and user keep a server connection.
    #[must_use]
    pub fn mode_of(&self, database: &str, user: &str) -> PoolMode {
        let mut fitting = self.rules.iter().filter(|r| r.fits(database, user));
        fitting.find_map(|rule| rule.mode).unwrap_or(self.mode)
    }
}

/// The console as a database of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSettings {
    /// Names under which clients connect to it.
    pub databases: Vec<String>,
    /// Users who may look there, besides operators.
    pub watchers: Vec<String>,
}

/// How nodes are watched.
#[derive(Clone, PartialEq)]
pub struct ProbeSettings {
    /// Role that asks the nodes; needs `pg_monitor` to see replication details.
    pub user: String,
    /// Its password.
    pub password: Arc<str>,
    /// Database it connects to.
    pub database: String,
    /// Time between two probes of a node.
    pub interval: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// Failed probes in a row after which a node is down; `1 <= failures_max`.
    pub failures_max: u32,
    /// Time between a failed probe and the next one while a node is being judged; zero for
    /// `interval / failures_max`.
    pub retry_delay: Duration,
    /// Whether and how its connections are encrypted.
    pub tls: ServerTls,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            user: "postgres".to_owned(),
            password: "".into(),
            database: "postgres".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            failures_max: 3,
            retry_delay: Duration::ZERO,
            tls: ServerTls::default(),
        }
    }
}

impl std::fmt::Debug for ProbeSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            user,
            interval,
            timeout,
            ..
        } = self;
        write!(
            f,
            "ProbeSettings {{ user: {user:?}, interval: {interval:?}, timeout: {timeout:?}, .. }}"
        )
    }
}

/// What happens when the primary fails or is to be replaced. Which node takes over is decided by a
/// plugin; these are the rules it cannot break, and how what it decided is done.
#[derive(Clone, Debug, PartialEq)]
pub struct FailoverSettings {
    /// Whether a replica may be promoted without an operator's order. Off where something else
    /// does that: it is followed all the same.
    pub promote: bool,
    /// A replica that lacks more bytes than this of what the primary is known to have written is
    /// not promoted.
    pub lag_bytes_max: u64,
    /// As many other nodes must answer and say that they have lost the primary too.
    pub witnesses_min: u32,
    /// How long a promotion may take before it counts as failed.
    pub promote_timeout: Duration,
    /// Whether replicas are made to follow a new primary by SQL.
    pub repoint: bool,
    /// A session that cannot reach a node has it probed at once.
    pub on_backend_error: bool,
    /// A server that says it is shutting down is probed at once.
    pub on_backend_shutdown: bool,
    /// How long a statement waits for a primary.
    pub hold_timeout: Duration,
    /// Statements of the whole proxy that may wait for a primary at one time.
    pub hold_max: usize,
    /// In a switchover, how long transactions may go on before they are ended.
    pub drain_timeout: Duration,
    /// Shell command that is run when a node was taken out, or empty.
    pub failover_command: String,
    /// Shell command that is run when a node came back, or empty.
    pub failback_command: String,
    /// Shell command that is run for every other node when there is a new primary, or empty.
    pub follow_primary_command: String,
    /// Shell command that stops or demotes the old primary in a switchover, or empty.
    pub demote_command: String,
    /// How long a command may run before it is killed.
    pub command_timeout: Duration,
    /// Directory for what must outlive a restart, if any.
    pub state_dir: Option<PathBuf>,
    /// File to which each decision is appended, if any.
    pub audit_log: Option<PathBuf>,
    /// Configuration of the embedded failover policy as a JSON object.
    pub rules: String,
}

/// How catalogs are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogSettings {
    /// A catalog is read again after this time, whether something passed through that may have
    /// changed it or not.
    pub refresh_interval: Duration,
    /// Relations of a database, and likewise functions, above which its catalog is not read.
    pub relations_max: usize,
}

/// Limits of one plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginLimits {
    /// Bytes it may hand to the host in one call, results included.
    pub results_bytes_max: usize,
    /// Lines an instance may write to the log in a second.
    pub log_lines_max: u32,
    /// Functions in the file; compile time grows with them.
    pub functions_max: u32,
    /// Wall-clock limit of one question.
    pub decision_timeout: Duration,
    /// Wall-clock limit of `configure` and `self-test`.
    pub configure_timeout: Duration,
    /// Linear memory in bytes.
    pub memory_bytes_max: usize,
    /// Size of the component file in bytes.
    pub file_bytes_max: usize,
    /// What happens to a statement when the plugin fails.
    pub on_failure: OnFailure,
}

/// What happens to a statement when a plugin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// As if the plugin had abstained.
    Skip,
    /// The statement is refused with SQLSTATE 58000.
    Reject,
    /// The plugin's last answer to such a statement counts, if there is one; else as `Skip`.
    LastGood,
}

/// How a new version of a plugin gets into force.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Share of the statements of which the version in force and the new one are compared before
    /// the new one decides, between 0 and 1; 0 for none.
    pub shadow_share: f64,
    /// As many statements are compared,
    pub shadow_decisions: u64,
    /// or for as long.
    pub shadow_time: Duration,
    /// The greatest share that may be answered in another way, between 0 and 1.
    pub differences_max: f64,
    /// How long a new version is watched after it has begun to decide; zero: not at all.
    pub probation_time: Duration,
    /// And for how many decisions at least.
    pub probation_decisions: u64,
    /// The greatest share of statements that may be refused by it and were not by the one before,
    /// while it is watched, between 0 and 1.
    pub refusals_max: f64,
    /// The slowest that one answer in a hundred may be while it is watched.
    pub slow_max: Duration,
}

/// Where plugins come from and how.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSettings {
    /// Directory of plugin files, if any.
    pub dir: Option<PathBuf>,
    /// Directory for compiled components and for what operators said, if any.
    pub state_dir: Option<PathBuf>,
    /// How long a file must stay the same before it is read.
    pub settle: Duration,
    /// Stack of a guest in bytes.
    pub stack_bytes_max: usize,
    /// SHA-256, in lower-case hexadecimal, of the components that may be loaded; empty for any.
    pub allow: Vec<String>,
    /// For plugins whose own file does not set them.
    pub limits: PluginLimits,
    /// For plugins whose own file does not name any.
    pub grants: Grants,
    /// For plugins whose own file does not say otherwise.
    pub rollout: Rollout,
}

/// Where operators give orders past any node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminSettings {
    /// Path of the Unix socket, if there is to be one.
    pub socket: Option<PathBuf>,
}

/// The port for the tools of Pgpool-II.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PcpSettings {
    /// Addresses it listens on; none are opened without users.
    pub listen: Vec<SocketAddr>,
    /// By name, the MD5 of the password in lower-case hexadecimal.
    pub users: HashMap<String, String>,
}

impl std::fmt::Debug for PcpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let users = self.users.len();
        write!(
            f,
            "PcpSettings {{ listen: {:?}, users: {users} }}",
            self.listen
        )
    }
}

/// Where what was counted can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Addresses that answer over HTTP.
    pub listen: Vec<SocketAddr>,
    /// Databases with users that are told apart; all others are counted together.
    pub pools_max: usize,
}

/// Where something is reached over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// What the paths below it begin with; empty, or begins with `/` and does not end with it.
    pub path: Arc<str>,
}

/// What becomes of statements that belong to somebody's trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracingSettings {
    /// Collector of traces, if spans are to be sent.
    pub endpoint: Option<Endpoint>,
    /// What the proxy is called in traces.
    pub service_name: Arc<str>,
}

/// Everything an operator can set, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses clients connect to.
    pub listen: Vec<SocketAddr>,
    /// Unix sockets clients connect to, if there are to be any.
    pub unix_socket: Option<UnixSocketSettings>,
    /// Threads that serve clients; `1 <= workers`.
    pub workers: usize,
    /// Client connections at one time.
    pub clients_max: usize,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How sessions get on a shutdown before they are closed.
    pub drain_timeout: Duration,
    /// How long sessions may go on in a process that another one took over from; zero: as long as
    /// they like.
    pub upgrade_timeout: Duration,
    /// Whether and how clients' connections are encrypted.
    pub tls: ClientTls,
    /// How clients prove who they are.
    pub auth: AuthSettings,
    /// Users by name.
    pub users: HashMap<String, User>,
    /// Server connections.
    pub pool: PoolSettings,
    /// Watching the nodes, and asking them other things.
    pub probe: ProbeSettings,
    /// When the primary fails.
    pub failover: FailoverSettings,
    /// Reading catalogs.
    pub catalog: CatalogSettings,
    /// Nodes, at least one.
    pub nodes: Vec<NodeSettings>,
    /// Plugins.
    pub plugins: PluginSettings,
    /// Users who may give orders in the console.
    pub operators: Vec<String>,
    /// The console as a database of its own.
    pub console: ConsoleSettings,
    /// How many clients there may be of a kind.
    pub client_limits: ClientLimits,
    /// What sessions may take.
    pub timeouts: Timeouts,
    /// Orders over a local socket.
    pub admin: AdminSettings,
    /// Orders from the tools of Pgpool-II.
    pub pcp: PcpSettings,
    /// What was counted, for Prometheus.
    pub metrics: MetricsSettings,
    /// Traces of statements.
    pub tracing: TracingSettings,
    /// Configuration of the embedded router as a JSON object.
    pub router_config: String,
}

impl Settings {
    /// Has all connections to the nodes encrypted like this from now on.
    pub fn set_server_tls(&mut self, tls: &ServerTls) {
        let probes = self.nodes.iter_mut().map(|node| &mut node.probe);
        for probe in probes.chain([&mut self.probe]) {
            probe.tls.clone_from(tls);
        }
        self.pool.tls.clone_from(tls);
    }

    /// How this node is watched, and as whom it is asked other things.
    #[must_use]
    pub fn probe_of(&self, node: NodeId) -> &ProbeSettings {
        let own = self.nodes.get(node.index()).map(|node| &node.probe);
        own.unwrap_or(&self.probe)
    }
}
