//! The command line. Exit codes: 0 clean, 1 failure while running, 2 bad usage or configuration;
//! `node` has more of them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pgsteer_control::client::Target;
use pgsteer_control::config::{self, ConfigErrors, Loaded, Source};

use crate::node::NodeArgs;
use crate::plugin::PluginArgs;
use crate::serve::run;
use crate::upgrade::command::UpgradeArgs;
use crate::upgrade::{Elder, elder};
use crate::{explain, import, lab, logging, node, plugin, upgrade};

/// The programmable proxy for PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "pgsteer", version, max_term_width = 100)]
struct Cli {
    /// How log lines look on standard error. What is logged is chosen by PGSTEER_LOG, for
    /// instance `PGSTEER_LOG=debug`.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy until SIGINT or SIGTERM; SIGHUP reloads the configuration, SIGUSR2 hands over
    /// to the program as it is on disk then.
    Serve(ConfigArgs),
    /// Check the configuration, say everything that is wrong with it, and do nothing else.
    Check(ConfigArgs),
    /// Turn the configuration of Pgpool-II into one for pgsteer, and say what became of every line
    /// of it.
    Import(ImportArgs),
    /// Start a real primary with two streaming replicas and the proxy in front, for trying things
    /// out. Ctrl-C stops everything.
    Lab(LabArgs),
    /// Ask a running proxy where a statement would go, and why. Nothing is executed.
    Explain(ExplainArgs),
    /// Let the program, as it is on disk now, take over from a running proxy without dropping
    /// anybody.
    Upgrade(UpgradeArgs),
    /// Ask a running proxy how its nodes are, and give orders about them.
    Node(NodeArgs),
    /// Begin, build, test and measure plugins, and give orders to those of a running proxy.
    Plugin(PluginArgs),
}

impl Command {
    /// What is logged if nobody says otherwise.
    fn usual_log(&self) -> &'static str {
        match self {
            // Lines of the plugin itself, and of others only what went wrong.
            Self::Node(_) | Self::Upgrade(_) => "warn",
            Self::Plugin(_) => {
                "warn,pgsteer_plugin_host::state=info,pgsteer_plugin_host::loader=error"
            }
            _ => "info",
        }
    }
}

/// Which proxy is asked, and about what.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The statement.
    pub sql: String,
    /// Which proxy is asked.
    #[command(flatten)]
    pub proxy: ProxyArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A running proxy, and who asks it.
#[derive(Clone, Debug, Args)]
pub struct ProxyArgs {
    /// Host of the proxy.
    #[arg(long, env = "PGHOST", default_value = "localhost")]
    pub host: String,
    /// Port of the proxy.
    #[arg(short, long, env = "PGPORT", default_value_t = 9999)]
    pub port: u16,
    /// User to log in as; its password is taken from PGPASSWORD.
    #[arg(short = 'U', long, env = "PGUSER", default_value = "postgres")]
    pub user: String,
    /// Database to log in to, by default the one named as the user.
    #[arg(short, long, env = "PGDATABASE")]
    pub dbname: Option<String>,
}

impl ProxyArgs {
    /// The same, with the password of the environment.
    pub(crate) fn target(&self) -> Target {
        Target {
            host: self.host.clone(),
            port: self.port,
            user: self.user.clone(),
            database: self.dbname.clone().unwrap_or_else(|| self.user.clone()),
            password: std::env::var("PGPASSWORD").ok(),
        }
    }
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Args)]
struct ConfigArgs {
    /// Configuration file. Without it the PGPOOL_* variables of the environment configure the
    /// proxy.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which files of Pgpool-II, PgBouncer or PgCat are imported.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// Files that are called pgpool.conf, pool_hba.conf, pool_passwd and pcp.conf, or pgbouncer.ini and
    /// userlist.txt, or pgcat.toml, with or without something behind the name. What a pgbouncer.ini
    /// includes, and its users, are read as well.
    #[arg(value_name = "FILE", required_unless_present_any = ["conf", "pgbouncer", "pgcat"])]
    pub files: Vec<PathBuf>,
    /// A pgpool.conf with another name, or a file it includes. May be given several times; where
    /// files repeat a parameter the later one counts.
    #[arg(long, value_name = "FILE")]
    pub conf: Vec<PathBuf>,
    /// A pool_hba.conf with another name.
    #[arg(long, value_name = "FILE")]
    pub hba: Vec<PathBuf>,
    /// A pool_passwd with another name.
    #[arg(long, value_name = "FILE")]
    pub passwd: Vec<PathBuf>,
    /// A pcp.conf with another name.
    #[arg(long, value_name = "FILE")]
    pub pcp: Vec<PathBuf>,
    /// A pgbouncer.ini with another name.
    #[arg(long, value_name = "FILE")]
    pub pgbouncer: Vec<PathBuf>,
    /// A userlist.txt of PgBouncer with another name.
    #[arg(long, value_name = "FILE")]
    pub userlist: Vec<PathBuf>,
    /// A pgcat.toml with another name.
    #[arg(long, value_name = "FILE")]
    pub pgcat: Vec<PathBuf>,
    /// Write the configuration into this new file instead of standard output. A file that exists is
    /// left as it is.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What the lab looks like.
#[derive(Clone, Debug, Args)]
pub struct LabArgs {
    /// Port of the proxy.
    #[arg(long, default_value_t = 9999)]
    pub port: u16,
    /// Directory for the configuration and the plugins.
    #[arg(long, value_name = "DIR", default_value = "lab")]
    pub dir: PathBuf,
    /// Keep the servers' data in this directory, to go on with it the next time. Without it the
    /// data goes to a temporary directory and is deleted at the end.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Shares of balanced reads of the primary and the two replicas.
    #[arg(long, value_name = "W,W,W", default_value = "1,1,1")]
    pub weights: String,
}

impl ConfigArgs {
    fn source(&self) -> Source {
        self.config
            .clone()
            .map_or(Source::Environment, Source::File)
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(cli.log_format, cli.command.usual_log());
    match cli.command {
        Command::Check(args) => match config::load(&args.source()) {
            Ok(loaded) => {
                report(&loaded);
                say("configuration is fine");
                ExitCode::SUCCESS
            }
            Err(errors) => refuse(&errors),
        },
        Command::Serve(args) => match elder() {
            Ok(elder) => serve(&args, elder),
            Err(error) => exit_code(Err(error)),
        },
        Command::Import(args) => import::run(&args),
        Command::Lab(args) => exit_code(lab::run(&args)),
        Command::Explain(args) => exit_code(explain::run(&args)),
        Command::Upgrade(args) => upgrade::command::run(&args),
        Command::Node(args) => node::run(&args),
        Command::Plugin(args) => plugin::run(&args),
    }
}

fn serve(args: &ConfigArgs, elder: Option<Elder>) -> ExitCode {
    match config::load(&args.source()) {
        Ok(loaded) => {
            report(&loaded);
            exit_code(run(loaded, args.source(), elder))
        }
        Err(errors) => {
            if let Some(elder) = elder {
                elder.decline(&errors.to_string());
            }
            refuse(&errors)
        }
    }
}

fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("pgsteer: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn report(loaded: &Loaded) {
    for note in &loaded.notes {
        tracing::info!("{note}");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
}

fn refuse(errors: &ConfigErrors) -> ExitCode {
    complain(&errors.to_string());
    ExitCode::from(2)
}

/// A line for the person at the terminal. A reader that has seen enough, such as `head`, is no
/// failure.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The same on standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
