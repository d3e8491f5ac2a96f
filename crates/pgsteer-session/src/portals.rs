//! Portals of the extended protocol: where each one lives, as long as it does.

use std::rc::Rc;

use pgsteer_core::NodeId;
use pgsteer_sql::{Analysis, Class};
use pgsteer_wire::{ErrorReply, SqlState};

use crate::need::ends;
use crate::session::ByName;

/// Where a portal lives.
#[derive(Debug, Clone)]
pub(crate) struct Portal {
    /// Its node, or none if the proxy answers itself.
    pub(crate) node: Option<NodeId>,
    pub(crate) analysis: Option<Rc<Analysis>>,
    /// What was known of it when it was bound.
    pub(crate) traits: u64,
    /// Its text, if somebody wanted to see it when it was made.
    pub(crate) text: Option<Rc<[u8]>>,
    /// The proxy has executed it, and it can be executed once only.
    pub(crate) is_done: bool,
}

impl Portal {
    /// One that a server has.
    pub(crate) fn on(
        node: NodeId,
        analysis: Option<Rc<Analysis>>,
        traits: u64,
        text: Option<Rc<[u8]>>,
    ) -> Self {
        Self {
            node: Some(node),
            analysis,
            traits,
            text,
            is_done: false,
        }
    }

    /// One that the proxy answers itself.
    pub(crate) fn local(analysis: Option<Rc<Analysis>>) -> Self {
        Self {
            node: None,
            analysis,
            traits: 0,
            text: None,
            is_done: false,
        }
    }
}

/// The portals of a session.
#[derive(Debug, Default)]
pub(crate) struct Portals {
    // The one nearly everybody uses.
    unnamed: Option<Portal>,
    by_name: ByName<Portal>,
    /// A statement may have closed some of them.
    in_doubt: bool,
}

impl Portals {
    /// The one of this name.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Portal> {
        match name {
            b"" => self.unnamed.as_ref(),
            name => self.by_name.get(name),
        }
    }

    /// One was made, in the place of another of its name.
    pub(crate) fn insert(&mut self, name: Box<[u8]>, portal: Portal) {
        if name.is_empty() {
            self.unnamed = Some(portal);
        } else {
            self.by_name.insert(name, portal);
        }
    }

    /// One was closed.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Portal> {
        match name {
            b"" => self.unnamed.take(),
            name => self.by_name.remove(name),
        }
    }

    /// Whether there are some that outlive the next Bind.
    pub(crate) fn has_named(&self) -> bool {
        !self.by_name.is_empty()
    }

    /// The transaction has ended on this node, and its portals with it.
    pub(crate) fn forget_on(&mut self, node: NodeId) {
        self.unnamed.take_if(|portal| portal.node == Some(node));
        self.by_name.retain(|_, portal| portal.node != Some(node));
    }

    /// The transaction has ended, and all portals with it.
    pub(crate) fn clear(&mut self) {
        self.unnamed = None;
        if !self.by_name.is_empty() {
            self.by_name.clear();
        }
        self.in_doubt = false;
    }

    /// A statement runs that may close portals behind the back of the protocol.
    pub(crate) fn note(&mut self, analysis: &Analysis) {
        self.in_doubt |= analysis.class == Class::Cursor || analysis.effects.iter().any(ends);
    }

    /// Checks that a portal of this name can be made on a node (none: by the proxy itself). Servers
    /// check it too, but each knows its own portals only.
    ///
    /// # Errors
    /// Another one lives elsewhere: PostgreSQL's words for it.
    pub(crate) fn check_free(&self, name: &[u8], node: Option<NodeId>) -> Result<(), ErrorReply> {
        // The unnamed one makes room for the next.
        if name.is_empty() || self.in_doubt {
            return Ok(());
        }
        let elsewhere = |portal: &Portal| node.is_none() || portal.node != node;
        if !self.by_name.get(name).is_some_and(elsewhere) {
            return Ok(());
        }
        let name = String::from_utf8_lossy(name);
        let text = format!("cursor \"{name}\" already exists");
        Err(ErrorReply::error(SqlState::DUPLICATE_CURSOR, text))
    }
}

/// PostgreSQL's words for a portal that has done what it can.
pub(crate) fn cannot_be_run(portal: &[u8]) -> ErrorReply {
    let name = String::from_utf8_lossy(portal);
    let text = format!("portal \"{name}\" cannot be run");
    ErrorReply::error(SqlState::NOT_IN_PREREQUISITE_STATE, text)
}

/// PostgreSQL's words for one that does not exist.
pub(crate) fn no_portal(portal: &[u8]) -> ErrorReply {
    let name = String::from_utf8_lossy(portal);
    let text = format!("portal \"{name}\" does not exist");
    ErrorReply::error(SqlState::INVALID_CURSOR_NAME, text)
}
