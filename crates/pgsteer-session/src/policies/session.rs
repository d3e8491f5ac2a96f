//! What the plugins know of one session.

use std::sync::Arc;
use std::time::Instant;

use pgsteer_core::Generation;
use pgsteer_core::policy::{Candidate, Marks, Opening, Plugin};

use super::Verdict;

/// What one plugin knows of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct PluginSession {
    /// The plugin, which marks belong to.
    pub(super) plugin: Option<Arc<Plugin>>,
    pub(super) opening: Opening,
    /// It was told that the session begins, as a router.
    pub(super) router_opened: bool,
    /// What `rewriter.open` said.
    pub(super) rewriter_class: u32,
    /// It was told that the session begins, as a rewriter.
    pub(super) rewriter_opened: bool,
    pub(super) marks: Marks,
}

/// What the plugins know of one session. Opened again when plugins or topology changed.
#[derive(Debug, Default)]
pub(crate) struct SessionPolicies {
    pub(super) generation: Option<(Generation, u64)>,
    pub(super) plugins: Vec<PluginSession>,
    // What the plugins were told about the session has changed.
    pub(super) changed: bool,
    // Some plugin could not be told that the session begins; it is tried again then.
    pub(super) again_at: Option<Instant>,
}

impl SessionPolicies {
    /// The session is to be opened again before the next question; its marks stay.
    pub(crate) fn reopen(&mut self) {
        self.changed = true;
    }

    /// Nodes for balanced reads, as the plugin that said so named them.
    pub(crate) fn candidates(&self, plugin: usize) -> &[Candidate] {
        self.plugins
            .get(plugin)
            .map_or(&[], |p| &p.opening.candidates)
    }

    /// The first plugin that names nodes for balanced reads.
    pub(crate) fn first_candidates(&self) -> &[Candidate] {
        let named = |p: &&PluginSession| !p.opening.candidates.is_empty();
        self.plugins
            .iter()
            .find(named)
            .map_or(&[], |p| &p.opening.candidates)
    }

    /// Marks of one plugin: of the transaction, of the session.
    pub(crate) fn marks(&self, plugin: usize) -> (u32, u32) {
        let own = self.plugins.get(plugin);
        own.map_or((0, 0), |p| (p.marks.transaction, p.marks.session))
    }

    /// A statement succeeded: its marks hold from now on.
    pub(crate) fn mark(&mut self, verdict: &Verdict, in_transaction: bool) {
        if self.generation.map(|(plugins, _)| plugins) != Some(verdict.chain) {
            // Other plugins are in force by now, and the position is that of another one.
            return;
        }
        if let Some(plugin) = self.plugins.get_mut(verdict.plugin) {
            plugin.marks.session |= verdict.marks.session;
            if in_transaction {
                plugin.marks.transaction |= verdict.marks.transaction;
                plugin.marks.transaction &= !verdict.marks.clear_transaction;
            }
        }
    }

    /// The transaction ended.
    pub(crate) fn clear_transaction_marks(&mut self) {
        for plugin in &mut self.plugins {
            plugin.marks.transaction = 0;
        }
    }

    /// One number for all that the answers of routers may depend on.
    pub(super) fn class(&self) -> u64 {
        self.fold(|p| p.opening.class)
    }

    /// The same for rewriters.
    pub(super) fn rewriter_class(&self) -> u64 {
        self.fold(|p| p.rewriter_class)
    }

    fn fold(&self, class: impl Fn(&PluginSession) -> u32) -> u64 {
        self.plugins.iter().fold(0, |all, p| {
            let marks = u64::from(p.marks.transaction) << 32 | u64::from(p.marks.session);
            (all.rotate_left(17) ^ marks).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(class(p))
        })
    }
}
