//! What can be typed after `pgsteer plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::ProxyArgs;

/// A command about plugins.
#[derive(Clone, Debug, Args)]
pub(crate) struct PluginArgs {
    #[command(subcommand)]
    pub(crate) command: PluginCommand,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Begin a plugin: a directory with a policy in Rust, its cases and everything it needs.
    New(NewArgs),
    /// Compile a plugin written in Rust and make a component of it.
    Build(BuildArgs),
    /// Take a component through every stage that the proxy takes it through.
    Check(FileArgs),
    /// Show what a component is and wants.
    Inspect(FileArgs),
    /// Ask a plugin about one statement; shows fuel, memory and time against the limits.
    Run(RunArgs),
    /// Ask a plugin about the statements and failovers in cases.toml, and compare the answers with
    /// those expected.
    Test(TestArgs),
    /// Measure how long a plugin takes to answer.
    Bench(BenchArgs),
    /// Write the next decisions of a running proxy into a file.
    Record(RecordArgs),
    /// Ask two versions of a plugin about the decisions of a recording, and show the differences.
    Replay(ReplayArgs),
    /// Compile a component for this machine, so that the proxy finds it compiled.
    Compile(CompileArgs),
    /// Show the plugins of a running proxy.
    List(ListArgs),
    /// Back to the version before.
    Rollback(OrderArgs),
    /// Keep the version in force, whatever file is dropped.
    Pin(OrderArgs),
    /// Take newer files again.
    Unpin(OrderArgs),
    /// Take a plugin out of force, until it is enabled again.
    Disable(OrderArgs),
    /// Bring a plugin into force again, also out of quarantine.
    Enable(OrderArgs),
    /// Ask the next version of a plugin beside the one in force for a share of the statements.
    Shadow(ShadowArgs),
    /// Let the version that is asked beside the one in force decide now.
    Promote(OrderArgs),
    /// Hand a command to the plugin itself.
    Tell(TellArgs),
}

/// What a new plugin is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hook {
    /// Where a statement runs.
    Router,
    /// Whether a statement runs as it is.
    Rewriter,
    /// Who may begin a session.
    Session,
    /// What happened.
    Observer,
    /// What is done when a node fails.
    Failover,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct NewArgs {
    /// Name of the plugin, and of the directory to make: small letters, digits and dashes.
    pub(crate) name: String,
    /// What it is asked about.
    #[arg(long, value_enum, default_value = "router")]
    pub(crate) hook: Hook,
    /// Use the SDK in this directory, in place of a copy in the new directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) sdk: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BuildArgs {
    /// Directory with the Cargo.toml of the plugin.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Write the component into this file, in place of NAME.wasm in the directory.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// A component, with what belongs to it.
#[derive(Clone, Debug, Args)]
pub(crate) struct FileArgs {
    /// The component.
    pub(crate) file: PathBuf,
    /// Its configuration, limits and grants, in place of the .toml file beside it.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
}

/// A statement, and the moment it is asked about in.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) plugin: FileArgs,
    /// The statement.
    pub(crate) sql: String,
    #[command(flatten)]
    pub(crate) moment: MomentArgs,
}

/// Who asks, and when.
#[derive(Clone, Debug, Args)]
pub(crate) struct MomentArgs {
    /// User of the session.
    #[arg(long, default_value = "app")]
    pub(crate) user: String,
    /// Its database.
    #[arg(long, default_value = "app")]
    pub(crate) database: String,
    /// Its application name.
    #[arg(long, default_value = "")]
    pub(crate) application_name: String,
    /// Numeric address of its client.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) client_address: String,
    /// Inside an explicit transaction.
    #[arg(long)]
    pub(crate) in_transaction: bool,
    /// Inside a transaction that is read only.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// In the extended protocol, as drivers use it.
    #[arg(long)]
    pub(crate) extended: bool,
    /// Value of the next parameter, in text format. Implies the extended protocol.
    #[arg(long, value_name = "TEXT")]
    pub(crate) value: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TestArgs {
    /// The component, or the directory of a plugin with its component in it.
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// The cases, in place of cases.toml beside the component.
    #[arg(long, value_name = "FILE")]
    pub(crate) cases: Option<PathBuf>,
    /// Its configuration, limits and grants, in place of the .toml file beside it.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) plugin: FileArgs,
    /// The statement it is asked about.
    #[arg(default_value = "SELECT id, name FROM customers WHERE id = $1")]
    pub(crate) sql: String,
    /// How long each hook is measured.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub(crate) time: u64,
    #[command(flatten)]
    pub(crate) moment: MomentArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RecordArgs {
    /// How many decisions.
    #[arg(short = 'n', long, default_value_t = 1000)]
    pub(crate) number: u32,
    /// Write them into this file, in place of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// With literals and the values of parameters, which may be secrets.
    #[arg(long)]
    pub(crate) values: bool,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReplayArgs {
    /// What `record` wrote.
    pub(crate) recording: PathBuf,
    /// The component it is compared with.
    pub(crate) old: PathBuf,
    /// The component in question.
    pub(crate) new: PathBuf,
    /// Configuration, limits and grants of both, in place of the .toml file beside each.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
    /// How many of the differences are shown.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) show: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CompileArgs {
    #[command(flatten)]
    pub(crate) plugin: FileArgs,
    /// The directory that `plugins.state_dir` of the proxy names.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct OrderArgs {
    /// File name of the plugin, with or without the number in front.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShadowArgs {
    /// File name of the plugin, with or without the number in front.
    pub(crate) name: String,
    /// The share, such as 5%, or `off` for the configured way.
    pub(crate) share: String,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TellArgs {
    /// File name of the plugin, with or without the number in front.
    pub(crate) name: String,
    /// The command.
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
}
