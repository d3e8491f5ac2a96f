//! What a statement that ran changed about the session.

use std::rc::Rc;
use std::time::SystemTime;

use pgsteer_core::NodeId;
use pgsteer_core::counters::{Counter, NodeCounters};
use pgsteer_core::policy::{Marks, traits};
use pgsteer_core::servers::ServerCard;
use pgsteer_sql::{
    Analysis, Class, Effect, FunctionRef, PinReason, TransactionMode, set_config_names,
};
use pgsteer_wire::HEADER_LEN;
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::error_response::ErrorFields;

use crate::flow::Errors;
use crate::journal::{Journal, Settings};
use crate::listen_wishes::Wishes;
use crate::need::ends;
use crate::observe::NOTICE_ROUTE;
use crate::relay::RelayError;
use crate::reports::returns_to_startup;
use crate::session::{Rare, Session};
use crate::simple::FUNCTION_CALL_PRINT;
use crate::steering::Placement;
use crate::transaction::{Open, Transaction};
use crate::whereabouts::{Pin, without_strings};

/// Parameters that make every further transaction one that routing knows too little about.
const ISOLATION_DEFAULTS: [&str; 2] = ["default_transaction_isolation", "transaction_isolation"];

/// Whether the startup packet sets one of them.
pub(crate) fn ties_to_primary(startup: &[(Box<str>, Box<str>)]) -> bool {
    let mut names = startup.iter().map(|(name, _)| &**name);
    names.any(|name| ISOLATION_DEFAULTS.contains(&name))
}

/// Bytes of a statement that pins its session that are kept.
const TEXT_SHOWN_MAX: usize = 512;

/// Whether a statement may take a value from a sequence.
fn may_use_sequences(analysis: &Analysis, placement: &Placement) -> bool {
    match analysis.class {
        Class::Insert | Class::Merge | Class::Copy | Class::Call | Class::Unknown => true,
        Class::Select | Class::Update | Class::Delete | Class::Execute | Class::Explain => {
            let takes = |f: &FunctionRef| matches!(&*f.name, "nextval" | "setval");
            placement.meaning.runs_code || analysis.functions.iter().any(takes)
        }
        _ => false,
    }
}

/// A parameter was set, until the end of the transaction only (`local`) or for longer, by this text.
fn note_set(
    transaction: &mut Transaction,
    settings: &mut Settings,
    (name, local, text): (&str, bool, &str),
) {
    match transaction.open_mut() {
        Some(open) => open.journal.note(&Effect::Set {
            name: name.into(),
            local,
            text: text.into(),
        }),
        None if local => {}
        None => settings.set(name, text),
    }
}

/// Whether it calls `set_config` for longer than a transaction.
pub(crate) fn sets_by_function(analysis: &Analysis) -> bool {
    let sets = |e: &Effect| matches!(e, Effect::SetByFunction { local: false });
    analysis.effects.iter().any(sets)
}

/// Where a statement is counted: as Pgpool-II does it, but for texts that no grammar knows, which
/// it takes for DELETE.
fn counter<'a>(counters: &'a NodeCounters, analysis: &Analysis) -> &'a Counter {
    match analysis.class {
        Class::Select | Class::Empty => &counters.selects,
        Class::Insert => &counters.inserts,
        Class::Update => &counters.updates,
        Class::Delete => &counters.deletes,
        Class::SchemaChange | Class::Copy | Class::Call | Class::Cursor | Class::Merge => {
            &counters.ddl
        }
        Class::Utility if analysis.counts_as_ddl => &counters.ddl,
        Class::Unknown
        | Class::Transaction
        | Class::Setting
        | Class::Utility
        | Class::Explain
        | Class::Show
        | Class::Prepare
        | Class::Execute
        | Class::Deallocate
        | Class::Notify
        | Class::Lock => &counters.others,
    }
}

impl Session {
    /// A statement was sent to a leg.
    pub(crate) fn count(&mut self, node: NodeId, analysis: &Analysis) {
        if let Some(counters) = self.steering.worker.counters().nodes.get(node.index()) {
            counter(counters, analysis).add(1);
        }
        if analysis.notifies
            && let Some(server) = self.held(node).map(|leg| leg.peek().key.pid)
        {
            self.note_notifier(server);
        }
        self.portals.note(analysis);
        if let Some(database) = &analysis.needs_alone {
            self.empty(database);
        }
        let wrote = analysis.traits & traits::WRITES != 0;
        if let Some(open) = self.transaction.open_mut().filter(|_| wrote) {
            open.wrote = true;
        }
    }

    /// Closes connections to a database that wait in pools: the server would refuse the statement that
    /// comes because of them. It waits some seconds for them to go.
    fn empty(&self, database: &str) {
        let facts = &self.steering.worker.shared.facts;
        let is_its = |card: &ServerCard| &*card.about.database == database;
        // What a client makes up is not remembered.
        if facts.servers.count(is_its) > 0 {
            facts.traffic.empty(database);
        }
    }

    /// Counts the errors of an exchange with a node, those too that ended it.
    pub(crate) fn count_errors(&mut self, node: NodeId, ended: Option<&RelayError>) {
        let mut seen = std::mem::take(&mut self.flow.errors);
        if let Some(RelayError::ServerLeaving(message)) = ended {
            let body = message.get(HEADER_LEN..).unwrap_or_default();
            seen.add(ErrorFields::new(body).severity());
        }
        if seen == Errors::default() {
            return;
        }
        if let Some(counters) = self.steering.worker.counters().nodes.get(node.index()) {
            counters.panics.add(seen.panics.into());
            counters.fatals.add(seen.fatals.into());
            counters.errors.add(seen.errors.into());
        }
    }

    /// A server said something of this severity while nothing was going on.
    pub(crate) fn count_error(&mut self, node: NodeId, severity: &str) {
        self.flow.errors.add(severity);
        self.count_errors(node, None);
    }

    /// A statement succeeded on a leg.
    pub(crate) fn apply(&mut self, analysis: &Rc<Analysis>, node: NodeId, rolled_back: bool) {
        let mut failed = self.flow.began_failed;
        for effect in &analysis.effects {
            // The tag is that of the last of several statements.
            let rolled_back = match effect {
                Effect::Rollback { .. } => true,
                _ if analysis.statement_count > 1 => failed,
                _ => rolled_back,
            };
            failed &= !ends(effect);
            if let Effect::Prepare { name, text } = effect {
                self.note_sql_prepared(node, analysis, (name, text));
            }
            self.apply_effect(effect, node, rolled_back);
        }
        self.set_startup(&analysis.effects);
        self.note_unknown(analysis, node);
        // Which of several statements wrote is not known: the transaction stays where they ran.
        if analysis.statement_count > 1
            && let Some(open) = self.transaction.open_mut()
        {
            open.wrote = true;
            open.pinned = open.pinned.or(Some(node));
        }
    }

    /// A statement was prepared in SQL: it is remembered, so that EXECUTE is known for what it is
    /// and other servers can be told. One that is not counts as a write, and stays on its server.
    fn note_sql_prepared(&mut self, node: NodeId, analysis: &Rc<Analysis>, of: (&str, &str)) {
        let (name, text) = of;
        let remembered = self.sql_prepared.insert(name, analysis, text);
        let seen = self.sql_prepared.seen(self.steering.identity.session);
        if !remembered {
            self.pin(node, PinReason::SqlPrepare);
        } else if let Some(leg) = self.held(node) {
            leg.told().sql = seen;
        }
    }

    /// Whether somebody will ask how a statement was placed: it has marks to set, or is observed.
    pub(crate) fn is_looked_at_later(&self, placement: &Placement) -> bool {
        placement.verdict.marks != Marks::default() || self.is_observed()
    }

    /// The marks a policy wanted set when this statement has succeeded.
    pub(crate) fn apply_marks(&mut self, placement: &Placement) {
        let in_transaction = !self.transaction.is_none();
        self.steering
            .policies
            .mark(&placement.verdict, in_transaction);
    }

    fn apply_effect(&mut self, effect: &Effect, node: NodeId, rolled_back: bool) {
        match effect {
            Effect::Savepoint(_) | Effect::Release(_) | Effect::RollbackTo(_) => {
                if let Some(open) = self.transaction.open_mut() {
                    open.journal.note(effect);
                }
                self.told(node);
            }
            Effect::SetTransaction { mode, .. } => {
                if let Some(open) = self.transaction.open_mut() {
                    open.journal.note(effect);
                    open.set_mode(*mode);
                }
                self.told(node);
            }
            Effect::Set { name, local, text } => self.apply_set(node, (name, *local, text)),
            Effect::ResetAll => {
                match self.transaction.open_mut() {
                    Some(open) => open.journal.note(effect),
                    None => self.settings.reset_all(),
                }
                self.told(node);
            }
            Effect::SetByFunction { local } => self.set_by_function(node, *local),
            Effect::DiscardAll => self.discard_all(node),
            Effect::CreateTemporary(name) => {
                self.steering.temporary.insert(name.clone());
            }
            Effect::Pin(reason) => self.pin(node, *reason),
            // It was part of a string, or of a session that has its server for itself.
            Effect::Listen(_) => self.pin(node, PinReason::Listen),
            Effect::Unlisten(_) => match self.transaction.open_mut() {
                Some(open) => open.journal.note(effect),
                None => self.note_unlisten(effect),
            },
            // Noted already, with its analysis.
            Effect::Prepare { .. } => {}
            Effect::Deallocate(name) => {
                self.sql_prepared.remove(name);
                let seen = self.sql_prepared.seen(self.steering.identity.session);
                if let Some(leg) = self.held(node) {
                    leg.told().sql = seen;
                }
                self.forget_prepared(name.as_bytes(), Some(node));
            }
            Effect::DeallocateAll => {
                self.sql_prepared.clear();
                self.forget_all_prepared(node);
                if let Some(leg) = self.held(node) {
                    leg.told().sql = None;
                    leg.told().statements.clear();
                }
            }
            Effect::Commit { chain: true } | Effect::Rollback { chain: true } => {
                self.chain_transaction(node, rolled_back);
            }
            Effect::Commit { chain: false }
            | Effect::Rollback { chain: false }
            | Effect::PrepareTransaction => self.end_transaction(node, rolled_back),
            Effect::Begin { mode, text } => self.note_begin(node, *mode, text),
        }
    }

    fn note_begin(&mut self, node: NodeId, mode: TransactionMode, text: &str) {
        match self.transaction.open_mut() {
            // It meant the options only.
            Some(open) => {
                let text = text.into();
                open.journal.note(&Effect::SetTransaction { mode, text });
                open.set_mode(mode);
            }
            // It was sent to a server, as part of a batch that had begun there.
            None => {
                let mut open = Open::on_server(node);
                open.mode = mode;
                self.transaction = Transaction::Open(open);
            }
        }
        self.told(node);
    }

    fn set_by_function(&mut self, node: NodeId, local: bool) {
        if !local && !self.learns.is_empty() {
            // What it set is asked for when it has ended.
            return;
        }
        if let Some(open) = self.transaction.open_mut() {
            open.tied_to_primary = true;
        }
        if !local {
            self.steering.tied_to_primary = true;
            self.pin(node, PinReason::SetByFunction);
        }
    }

    pub(crate) fn apply_set(&mut self, node: NodeId, set: (&str, bool, &str)) {
        let (name, local, _) = set;
        note_set(&mut self.transaction, &mut self.settings, set);
        if ISOLATION_DEFAULTS.contains(&name) {
            // Two nodes have no common snapshot, and a standby refuses serializable.
            self.steering.tied_to_primary = true;
        }
        self.knows_notice_route |= name == NOTICE_ROUTE;
        if name == "session_authorization" {
            // Whoever becomes another user is that user, whatever the role was.
            let role = ("role", local, "RESET ROLE");
            note_set(&mut self.transaction, &mut self.settings, role);
        }
        self.told(node);
    }

    /// AND CHAIN: the next transaction begins where the last one ended, with the same options.
    fn chain_transaction(&mut self, node: NodeId, rolled_back: bool) {
        let mode = self
            .transaction
            .open()
            .map(|open| open.mode)
            .unwrap_or_default();
        let begin = self
            .transaction
            .open()
            .map_or("BEGIN".into(), |o| o.begin.clone());
        self.end_transaction(node, rolled_back);
        self.transaction = Transaction::Open(Open::new(&begin, mode));
        self.told(node);
    }

    /// Parameters that were reset: to the client's mind they have the value of its startup packet,
    /// which the servers do not know.
    fn set_startup(&mut self, effects: &[Effect]) {
        if effects.contains(&Effect::DiscardAll) {
            return;
        }
        for (name, text) in self
            .startup
            .iter()
            .filter(|(name, _)| returns_to_startup(effects, name) == Some(true))
        {
            let set = (&**name, false, &**text);
            note_set(&mut self.transaction, &mut self.settings, set);
        }
    }

    /// The leg ran the statement that changed settings or journal.
    pub(crate) fn told(&mut self, node: NodeId) {
        if let Some(leg) = self.legs.iter_mut().find(|leg| leg.node == node) {
            let sets = &self.steering.worker.parameter_sets;
            leg.note_up_to_date(&self.settings, sets, &self.transaction);
        }
    }

    fn discard_all(&mut self, node: NodeId) {
        self.note_unlisten(&Effect::Unlisten(None));
        self.settings.reset(&self.startup);
        // The unnamed one is not among those that are deallocated.
        self.prepared.retain(|name, _| name.is_empty());
        self.sql_prepared.clear();
        self.prepared_bytes = self.prepared.values().map(|p| p.frame.len()).sum();
        self.portals.clear();
        self.steering.temporary.clear();
        self.steering.tied_to_primary = ties_to_primary(&self.startup);
        for other in std::mem::take(&mut self.legs) {
            if other.node == node {
                self.legs.push(other);
            } else {
                self.let_go(other);
            }
        }
        if let Some(leg) = self.legs.first_mut() {
            leg.forget_all();
        }
    }

    fn note_unlisten(&mut self, effect: &Effect) {
        let mut wishes = Wishes::default();
        wishes.note(effect);
        self.hear(wishes);
    }

    /// Ends the transaction in the session's books, by what the server's last answer said.
    fn end_transaction(&mut self, node: NodeId, rolled_back: bool) {
        self.portals.clear();
        let Transaction::Open(open) = std::mem::take(&mut self.transaction) else {
            return;
        };
        if let Some(before) = open.settings_before.as_ref().filter(|_| rolled_back) {
            self.settings.restore(before);
        }
        self.ended_with = Some(if rolled_back { "ROLLBACK" } else { "COMMIT" });
        self.doubt_others(node, &open.journal);
        if !rolled_back {
            let wishes = open.journal.commit(&mut self.settings);
            self.hear_later(wishes);
        }
        self.told(node);
        self.steering.policies.clear_transaction_marks();
    }

    /// Servers refuse the session because of what it has set, a role that it may not have any more for
    /// instance. A statement that sets something else in its place must be able to run.
    pub(crate) fn give_up_parameters(&mut self, analysis: &Analysis) {
        match analysis.sole_effect() {
            Some(Effect::Set { name, local, .. }) if !local && self.transaction.is_none() => {
                let text = format!("RESET {}", crate::journal::quote_identifier(name));
                self.settings.set(name, &text);
            }
            Some(Effect::ResetAll | Effect::DiscardAll) => self.settings.reset(&[]),
            _ => return,
        }
        self.is_refused = false;
    }

    /// Of several statements one failed: those before it may have ended a transaction and set
    /// something outside of it.
    pub(crate) fn doubt(&mut self, analysis: &Analysis, node: NodeId) {
        let unknown = analysis.class == Class::Unknown;
        let doubtful = unknown || (analysis.statement_count > 1 && !analysis.effects.is_empty());
        if let Some(leg) = self.held(node).filter(|_| doubtful) {
            leg.doubted = true;
        }
    }

    /// A text ran of which nobody knows what it did to the session: what it may have left, the session
    /// keeps.
    fn note_unknown(&mut self, analysis: &Analysis, node: NodeId) {
        let function_call = analysis.fingerprint == FUNCTION_CALL_PRINT;
        if self.shares() && analysis.class == Class::Unknown && !function_call {
            self.pin(node, PinReason::Unknown);
        }
    }

    /// A statement is about to run on a leg: if it runs code of which nobody knows what it does, others
    /// must not find what it leaves there.
    pub(crate) fn note_code(&mut self, analysis: &Analysis, placement: &Placement, text: &[u8]) {
        if analysis
            .effects
            .contains(&Effect::Pin(PinReason::AdvisoryLock))
        {
            // It outlives an error.
            self.pin(placement.node, PinReason::AdvisoryLock);
        }
        if !self.shares() {
            // It keeps its servers anyway, but what it set is on this one alone.
            let known = !self.steering.names.is_awaited();
            self.steering.tied_to_primary |= known && placement.meaning.may_leave_something;
            return;
        }
        self.last_text.clear();
        if self.may_pin(analysis, placement) {
            let shown = text.get(..TEXT_SHOWN_MAX).unwrap_or(text);
            self.last_text.push_str(&String::from_utf8_lossy(shown));
        }
        if sets_by_function(analysis) {
            let names = std::str::from_utf8(text).ok().and_then(set_config_names);
            self.learns = names.unwrap_or_default();
        }
        let meaning = &placement.meaning;
        let unknown = matches!(analysis.class, Class::Call | Class::Unknown);
        let session = self.steering.identity.session;
        if let Some(leg) = self
            .held(placement.node)
            .filter(|_| unknown || meaning.runs_code)
        {
            leg.told().stained_by = Some(session);
        }
        if may_use_sequences(analysis, placement) {
            if let Some(leg) = self.held(placement.node) {
                leg.told().wrote.add(session);
            }
            if self.follows_sequences {
                self.pin(placement.node, PinReason::Sequence);
            }
        }
        if meaning.may_leave_something {
            self.pin(placement.node, PinReason::Code);
        }
    }

    /// The session keeps its server on this node until it ends.
    pub(crate) fn pin(&mut self, node: NodeId, reason: PinReason) {
        if matches!(reason, PinReason::Code | PinReason::Unknown) {
            // What it set, only that server knows, whatever else the session keeps it for.
            self.steering.tied_to_primary = true;
        }
        let Some(leg) = self.held(node).filter(|leg| leg.pinned.is_none()) else {
            return;
        };
        leg.pinned = Some(reason);
        if self.shares() {
            let text = without_strings(&self.last_text);
            self.cancel.slot.note_pin(Pin {
                node,
                reason,
                text,
                since: SystemTime::now(),
            });
        }
    }

    /// Whether a statement may pin the session, so that its text is kept for those who ask why.
    pub(crate) fn may_pin(&self, analysis: &Analysis, placement: &Placement) -> bool {
        let unknown = matches!(analysis.class, Class::Call | Class::Unknown);
        let by_code = placement.meaning.may_leave_something || self.follows_sequences;
        self.shares() && (!analysis.effects.is_empty() || unknown || by_code)
    }

    /// What a transaction sets for the session may have been set on its other legs too, in part; when
    /// it is committed there nobody knows what they have.
    fn doubt_others(&mut self, node: NodeId, journal: &Journal) {
        if journal.sets_for_session() {
            let others = self.legs.iter_mut().filter(|leg| leg.node != node);
            others.for_each(|leg| leg.note_parameters(None));
        }
    }

    /// Compares the session's books with what the server says after an exchange.
    pub(crate) async fn reconcile(&mut self, node: NodeId) {
        let Some(leg) = self.held(node) else { return };
        let (status, took_part) = (leg.status(), leg.took_part);
        if status == TransactionStatus::Idle {
            leg.note_transaction_end();
        }
        leg.took_part = leg.in_transaction();
        leg.begins = false;
        match (&self.transaction, status) {
            (Transaction::None, TransactionStatus::Idle) => {}
            (Transaction::None, _) => {
                self.transaction = Transaction::Open(Open::on_server(node));
                self.told(node);
            }
            // A leg that BEGIN has not reached yet has nothing to say about the transaction.
            (Transaction::Open(_), TransactionStatus::Idle) if took_part => {
                let rolled_back = self.flow.error || self.flow.command_tag() == b"ROLLBACK";
                self.end_transaction(node, rolled_back);
            }
            (Transaction::Open(_), _) => {}
        }
        if let Some(sql) = self.ended_with.take() {
            self.finish_others(node, sql).await;
        }
    }

    /// Ends the transaction on all legs but this one, which only read: what becomes of it there
    /// changes nothing for anybody. One that takes too long is closed.
    pub(crate) fn finish_others<'a>(&'a mut self, node: NodeId, sql: &'a str) -> Rare<'a, ()> {
        Box::pin(async move {
            let mut kept = Vec::with_capacity(self.legs.len());
            for mut leg in std::mem::take(&mut self.legs) {
                if leg.node != node && leg.in_transaction() {
                    if !leg.ends_in_time(sql).await || leg.in_transaction() {
                        self.cancel.slot.remove(leg.node);
                        continue;
                    }
                    leg.note_transaction_end();
                    leg.took_part = false;
                    self.portals.forget_on(leg.node);
                }
                kept.push(leg);
            }
            self.legs = kept;
        })
    }
}
