//! What a plugin can be asked about. Each hook is a trait, named in [`export!`](crate::export).

use crate::{
    Admitted, Crisis, Event, Opening, Plugin, Remedy, Rewriting, Routed, Session, Statement,
};

/// Decides who may begin a session, and with what.
pub trait Gatekeeper: Plugin {
    /// Asked once, when the client has proven who it is. The first plugin that refuses decides; of
    /// several that name a pool, a role or a parameter the first counts.
    fn admit(&mut self, session: &Session) -> Admitted;
}

/// Decides whether a statement runs as it is.
pub trait Rewriter: Plugin {
    /// A session begins, or this instance is new to it. Comes back as
    /// [`Statement::session_class`]. Give sessions that you treat alike the same number.
    fn classify(&mut self, session: &Session) -> u32 {
        let _ = session;
        0
    }

    /// Asked once for each text: a simple query, or a Parse. The new text is analysed, and the next
    /// plugin sees it.
    fn rewrite(&mut self, statement: &Statement) -> Rewriting;
}

/// Decides where a statement runs.
pub trait Router: Plugin {
    /// A session begins, this instance is new to it, or it has changed its settings.
    fn open(&mut self, session: &Session) -> Opening {
        let _ = session;
        Opening::default()
    }

    /// Where a statement runs.
    fn decide(&mut self, statement: &Statement) -> Routed;

    /// The rule behind [`Routed::reason`], in a few words for people.
    fn explain(&self, reason: u32) -> String {
        let _ = reason;
        String::new()
    }
}

/// Is told what happened; cannot change it, and nobody waits for it.
pub trait Observer: Plugin {
    /// Some statements that have ended, in order, within a second. `dropped` others were left out
    /// since the last call because the plugin was too slow for them.
    fn observe(&mut self, events: &[Event], dropped: u64);
}

/// Takes commands from operators: `PGSTEER PLUGIN name TELL 'text'` on the console.
pub trait Operator: Plugin {
    /// Does what the text says; any instance may be asked, so what others shall know goes into
    /// [`kv`](crate::kv). Answers what is shown.
    ///
    /// # Errors
    /// What was wrong with the command.
    fn command(&mut self, text: &str) -> Result<String, String>;
}

/// Decides what is done when the primary fails, when somebody else promoted a node, and when a node
/// is lost or comes back.
pub trait Failover: Plugin {
    /// Asked by the control plane, never by a client's session; of several plugins the first that
    /// does not abstain decides. There is one instance for this, which may be replaced by a fresh
    /// one at any time: what was done before is in [`Crisis::history`].
    fn decide(&mut self, crisis: &Crisis) -> Remedy;
}
