//! Which nodes the balanced reads of a session are drawn from.

use pgsteer_plugin_sdk::{Opening, Session, Topology};

use crate::Parameters;

/// All usable nodes, the primary too, with the operator's weights. All sessions are alike until
/// the redirect lists are read here.
pub(crate) fn open(parameters: &Parameters, topology: &Topology, _session: &Session) -> Opening {
    let candidates = if parameters.load_balance_mode {
        topology.candidates()
    } else {
        Vec::new()
    };
    Opening {
        class: 0,
        candidates,
    }
}
