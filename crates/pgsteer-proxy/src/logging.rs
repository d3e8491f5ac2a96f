//! Log lines on standard error: constant text with fields.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Starts logging, of what `PGSTEER_LOG` says, or `usual`. A second call does nothing.
pub(crate) fn init(format: LogFormat, usual: &str) {
    let filter = EnvFilter::try_from_env("PGSTEER_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // An error means that a logger is there already, which is what was wanted.
    let _ = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
