//! `pgsteer node`: how the nodes of a running proxy are, and orders about them, over its admin
//! socket. Exit codes: 0 done, 1 refused or failed, 2 bad usage, 3 the proxy cannot be reached,
//! 4 nobody knows what became of the order.

mod ask;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use pgsteer_control::admin::{Reply, Request};
use pgsteer_control::config::{self, Source};
use serde_json::json;

use crate::cli::{complain, say};
use ask::{AskError, ask};

/// Which proxy is asked, and what.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
    /// Admin socket of the proxy.
    #[arg(long, global = true, value_name = "PATH", env = "PGSTEER_ADMIN_SOCKET")]
    socket: Option<PathBuf>,
    /// Configuration of the proxy, to read `admin.socket` from it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Seconds to wait for an answer; after that nobody knows what became of the order.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

#[derive(Clone, Debug, Subcommand)]
enum NodeCommand {
    /// Show the nodes, and what is being done about the primary.
    List,
    /// Let a node serve again.
    Attach(NodeId),
    /// Take a node out; sessions leave it when they are at rest.
    Detach(NodeId),
    /// Make a node the primary although there is none.
    Promote(NodeId),
    /// Hand the work of the primary to this node; the primary is demoted first.
    Switchover(NodeId),
}

#[derive(Clone, Debug, Args)]
struct NodeId {
    /// Number of the node, from 0, as `pgsteer node list` shows it.
    #[arg(value_name = "NODE")]
    node: u16,
}

/// Asks, and shows the answer.
pub(crate) fn run(args: &NodeArgs) -> ExitCode {
    let socket = match socket(args) {
        Ok(socket) => socket,
        Err(why) => return failed(args, USAGE, "usage", &why),
    };
    let request = match args.command {
        NodeCommand::List => Request::List,
        NodeCommand::Attach(NodeId { node }) => Request::Attach { node },
        NodeCommand::Detach(NodeId { node }) => Request::Detach { node },
        NodeCommand::Promote(NodeId { node }) => Request::Promote { node },
        NodeCommand::Switchover(NodeId { node }) => Request::Switchover { node },
    };
    match ask(&socket, &request, Duration::from_secs(args.timeout)) {
        Ok(reply) => show(args, &reply),
        Err(AskError::Unreachable(why)) => failed(args, UNREACHABLE, "unreachable", &why),
        // To look changes nothing, so nothing is in doubt.
        Err(AskError::Lost(why)) if request == Request::List => {
            failed(args, UNREACHABLE, "unreachable", &why)
        }
        Err(AskError::Lost(why)) => failed(args, UNKNOWN, "unknown", &why),
    }
}

fn show(args: &NodeArgs, reply: &Reply) -> ExitCode {
    match reply {
        Reply::Listed(listed) if args.json => say(&json!(listed).to_string()),
        Reply::Listed(listed) => say(&table::nodes(listed)),
        Reply::Done(lines) if args.json => {
            say(&json!({ "outcome": "done", "lines": lines }).to_string());
        }
        Reply::Done(lines) if lines.is_empty() => say("done"),
        Reply::Done(lines) => say(&lines.join("\n")),
        Reply::Refused(why) => return failed(args, REFUSED, "refused", why),
        Reply::Unknown(why) => return failed(args, UNKNOWN, "unknown", why),
    }
    ExitCode::SUCCESS
}

fn failed(args: &NodeArgs, code: u8, outcome: &str, why: &str) -> ExitCode {
    if args.json {
        say(&json!({ "outcome": outcome, "error": why }).to_string());
    } else {
        complain(&format!("pgsteer: {why}"));
    }
    ExitCode::from(code)
}

/// Where the proxy is asked.
fn socket(args: &NodeArgs) -> Result<PathBuf, String> {
    if let Some(socket) = &args.socket {
        return Ok(socket.clone());
    }
    let Some(file) = &args.config else {
        return Err(
            "which proxy? Name its admin socket with --socket or PGSTEER_ADMIN_SOCKET, or \
                    its configuration with --config"
                .to_owned(),
        );
    };
    let loaded = config::load(&Source::File(file.clone()));
    let loaded = loaded.map_err(|errors| errors.to_string())?;
    let missing = || {
        let file = file.display();
        format!("{file} sets no `admin.socket`: set it, and restart the proxy")
    };
    loaded.settings.admin.socket.ok_or_else(missing)
}

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;
const UNKNOWN: u8 = 4;
