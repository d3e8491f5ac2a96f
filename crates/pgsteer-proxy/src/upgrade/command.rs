//! `pgsteer upgrade`: the order to a running proxy that the program, as it is on disk now, takes over.

use std::process::ExitCode;

use clap::Args;
use pgsteer_control::admin::Request;

use crate::admin::AdminArgs;

/// Which proxy is to be upgraded.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    admin: AdminArgs,
}

/// Orders it, and says what became of it.
pub(crate) fn run(args: &UpgradeArgs) -> ExitCode {
    args.admin.order(&Request::Upgrade)
}
