//! Requests whose answers are due, and what is left undone when they do not come.

use std::rc::Rc;

use pgsteer_sql::Analysis;

use crate::events::Watched;
use crate::lost::Sent;
use crate::session::Prepared;

/// A request whose answer is due.
#[derive(Debug)]
pub(crate) enum Request {
    Parse {
        /// What the client calls it.
        name: Box<[u8]>,
        /// What servers call it.
        own: Rc<[u8]>,
        id: u64,
        /// What the client called so before.
        before: Option<Rc<Prepared>>,
    },
    /// Bind of a statement, which is named if servers call it otherwise than the client.
    Bind {
        renamed: Option<Rc<Prepared>>,
    },
    Describe {
        /// The text was put in the place of another: for each of its parameters the client's.
        map: Option<Rc<[u16]>>,
        /// The statement, if it is to be known what the client is told of it.
        of: Option<Rc<Prepared>>,
    },
    /// Bind, perhaps Describe, Execute and Sync of a statement without effects on the session, all at
    /// once: answered to the end, as a query is.
    Run {
        /// As in [`Request::Bind`].
        renamed: Option<Rc<Prepared>>,
    },
    Execute {
        /// The statement, if it has effects.
        analysis: Option<Rc<Analysis>>,
        /// It may make the server take copied data.
        copies: bool,
        /// What it may have done to a transaction if its answer never comes.
        sent: Sent,
    },
    Close {
        /// A statement that this server must lose, because the session or the pool has no use for it.
        stale: Option<Box<[u8]>>,
    },
    Query,
    Sync,
    /// A query of the proxy's own, in front of what the client asked.
    Prologue,
    /// A Close of nothing, whose answer becomes that to a Parse of what the server has already.
    InPlaceOfParse {
        name: Box<[u8]>,
        id: u64,
        before: Option<Rc<Prepared>>,
    },
    /// Something that fails on purpose, so that the server undoes what came before it.
    Abort,
}

impl Request {
    /// The statement that is bound, if servers call it otherwise than the client.
    pub(crate) fn renamed(&self) -> Option<&Prepared> {
        match self {
            Self::Bind { renamed } | Self::Run { renamed } => renamed.as_deref(),
            _ => None,
        }
    }

    /// Whether it is over with ReadyForQuery, whatever comes before that.
    pub(crate) fn ends_with_ready(&self) -> bool {
        matches!(self, Self::Run { .. } | Self::Sync | Self::Query)
    }

    /// Whether it may change what the session is to know.
    pub(crate) fn may_change_session(&self) -> bool {
        let analysis = match self {
            Self::Execute { analysis, .. } => analysis.as_ref(),
            _ => None,
        };
        analysis.is_some()
    }
}

/// A request that failed, or came after something that failed, and that was to change what
/// statements the server has.
#[derive(Debug)]
pub(crate) enum Lost {
    Parse {
        name: Box<[u8]>,
        /// What the server calls it, if it was sent there.
        own: Option<Rc<[u8]>>,
        id: u64,
        /// What the client calls so again, because the server never looked at the Parse.
        before: Option<Rc<Prepared>>,
        /// The proxy repeated it for the client, who had its ParseComplete long ago.
        hidden: bool,
    },
    /// The server still has it.
    Close { name: Box<[u8]> },
}

/// A request that was sent.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) request: Request,
    /// The proxy asked, not the client: the answer is dropped.
    pub(crate) hidden: bool,
    /// Somebody wants to know what becomes of it.
    pub(crate) watched: Option<Box<Watched>>,
}

impl Expected {
    /// What it leaves undone, as far as that must be known.
    pub(crate) fn into_lost(self) -> Option<Lost> {
        let hidden = self.hidden;
        match self.request {
            Request::Parse {
                name,
                own,
                id,
                before,
            } => Some(Lost::Parse {
                name,
                own: Some(own),
                id,
                before,
                hidden,
            }),
            Request::InPlaceOfParse { name, id, before } => Some(Lost::Parse {
                name,
                own: None,
                id,
                before,
                hidden,
            }),
            Request::Close { stale: Some(name) } => Some(Lost::Close { name }),
            _ => None,
        }
    }
}
