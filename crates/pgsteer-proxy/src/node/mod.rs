//! `pgsteer node`: how the nodes of a running proxy are, and orders about them, over its admin
//! socket.

mod table;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use pgsteer_control::admin::Request;

use crate::admin::AdminArgs;

pub(crate) use table::nodes;

/// Which proxy is asked, and what.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
    #[command(flatten)]
    admin: AdminArgs,
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
    args.admin.order(&match args.command {
        NodeCommand::List => Request::List,
        NodeCommand::Attach(NodeId { node }) => Request::Attach { node },
        NodeCommand::Detach(NodeId { node }) => Request::Detach { node },
        NodeCommand::Promote(NodeId { node }) => Request::Promote { node },
        NodeCommand::Switchover(NodeId { node }) => Request::Switchover { node },
    })
}
