//! The limit of open files: two for each client that has a server connection.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Raises the limit as far as this process may. What it starts itself (commands of a failover) gets
/// the higher limit too.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => debug!(from = ?current, to = ?maximum, "raised the limit of open files"),
        Err(error) => warn!(%error, ?current, "cannot raise the limit of open files"),
    }
}
