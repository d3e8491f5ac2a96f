//! Which nodes the balanced reads of a session are drawn from.

use pgsteer_plugin_sdk::{Opening, Session, Topology};

use crate::{Parameters, redirect};

/// The nodes a redirect list prefers, else all usable nodes, the primary too, with the operator's
/// weights. Statements of all sessions of a class are treated alike.
pub(crate) fn open(
    parameters: &Parameters,
    class: u32,
    topology: &Topology,
    session: &Session,
) -> Opening {
    if !parameters.load_balance_mode {
        return Opening {
            class,
            ..Opening::default()
        };
    }
    // A later list overrides an earlier one: applications, then databases, then users.
    let preference = parameters
        .app_name_redirect_preference_list
        .find(&session.application_name)
        .or_else(|| {
            let databases = &parameters.database_redirect_preference_list;
            databases.find(&session.database)
        })
        .or_else(|| {
            let users = &parameters.user_redirect_preference_list;
            users.find(&session.user)
        });
    let preferred = preference.and_then(|p| redirect::candidates(p, topology));
    Opening {
        class,
        candidates: preferred.unwrap_or_else(|| topology.candidates()),
    }
}
