//! Asking a running proxy over its admin socket, for `pgsteer node` and `pgsteer upgrade`. Exit
//! codes: 0 done, 1 refused or failed, 2 bad usage, 3 the proxy cannot be reached, 4 nobody knows
//! what became of the order.

mod ask;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use pgsteer_control::admin::{Reply, Request};
use pgsteer_control::config::{self, Source};
use serde_json::json;

use crate::cli::{complain, say};
use crate::node::nodes;
use ask::{AskError, ask};

/// Which proxy is asked, and how its answer is shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct AdminArgs {
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

impl AdminArgs {
    /// Asks, and shows the answer.
    pub(crate) fn order(&self, request: &Request) -> ExitCode {
        let socket = match self.socket() {
            Ok(socket) => socket,
            Err(why) => return self.failed(USAGE, "usage", &why),
        };
        match ask(&socket, request, Duration::from_secs(self.timeout)) {
            Ok(reply) => self.show(&reply),
            Err(AskError::Unreachable(why)) => self.failed(UNREACHABLE, "unreachable", &why),
            // To look changes nothing, so nothing is in doubt.
            Err(AskError::Lost(why)) if *request == Request::List => {
                self.failed(UNREACHABLE, "unreachable", &why)
            }
            Err(AskError::Lost(why)) => self.failed(UNKNOWN, "unknown", &why),
        }
    }

    fn show(&self, reply: &Reply) -> ExitCode {
        match reply {
            Reply::Listed(listed) if self.json => say(&json!(listed).to_string()),
            Reply::Listed(listed) => say(&nodes(listed)),
            Reply::Done(lines) if self.json => {
                say(&json!({ "outcome": "done", "lines": lines }).to_string());
            }
            Reply::Done(lines) if lines.is_empty() => say("done"),
            Reply::Done(lines) => say(&lines.join("\n")),
            Reply::Refused(why) => return self.failed(REFUSED, "refused", why),
            Reply::Unknown(why) => return self.failed(UNKNOWN, "unknown", why),
        }
        ExitCode::SUCCESS
    }

    fn failed(&self, code: u8, outcome: &str, why: &str) -> ExitCode {
        if self.json {
            say(&json!({ "outcome": outcome, "error": why }).to_string());
        } else {
            complain(&format!("pgsteer: {why}"));
        }
        ExitCode::from(code)
    }

    /// Where the proxy is asked.
    fn socket(&self) -> Result<PathBuf, String> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let Some(file) = &self.config else {
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
}

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;
const UNKNOWN: u8 = 4;
