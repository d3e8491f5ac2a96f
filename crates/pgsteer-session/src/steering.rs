//! Where a statement goes: tells the policies what is known of it and asks them. `balance` holds
//! their answers to the rules that no policy may break.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use pgsteer_core::policy::{
    Admission, OwnedValue, Rejection, Route, Sample, SessionFacts, StatementFacts, Value, traits,
};
use pgsteer_core::spans::SpanKind;
use pgsteer_core::{NodeId, Snapshot};
use pgsteer_sql::{Analysis, Class, Isolation};
use pgsteer_wire::{ErrorReply, SqlState};

use crate::auth::Keys;
use crate::balance::{Choice, Rule};
use crate::console::Access;
use crate::journal::Settings;
use crate::leg::Leg;
use crate::names::{self, Meaning};
use crate::policies::{SessionPolicies, Verdict};
use crate::search_path::NameSpace;
use crate::trace::Trace;
use crate::transaction::{Open, Transaction};
use crate::worker::Worker;
use crate::writes::Writes;

/// Who the client is.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Number of the session, unique in the life of the proxy.
    pub(crate) session: u64,
    pub(crate) user: Rc<str>,
    pub(crate) database: Rc<str>,
    pub(crate) application_name: Rc<str>,
    pub(crate) client_address: Rc<str>,
    /// The pool a plugin named; connections of others are not used.
    pub(crate) pool: Option<Rc<str>>,
    /// What it may do in the console, if it is connected to that.
    pub(crate) access: Option<Access>,
    /// What it logs in to servers with.
    pub(crate) keys: Rc<Keys>,
}

/// A node for a statement, and how it was found.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(crate) node: NodeId,
    /// What the policies said.
    pub(crate) verdict: Verdict,
    /// Why it is this node.
    pub(crate) rule: Rule,
    /// What is known of the statement, bits of `wit/v0.1/plugin.wit`.
    pub(crate) traits: u64,
    /// What its names mean.
    pub(crate) meaning: Rc<Meaning>,
}

impl Placement {
    /// Whether it is proven that the statement only reads, so that it may be repeated.
    pub(crate) fn is_proven_read(&self) -> bool {
        names::is_proven_read(self.traits)
    }
}

/// No node for a statement.
#[derive(Debug)]
pub(crate) enum Unplaced {
    /// A policy refused it.
    Refused(ErrorReply),
    /// No node fits now; one may later.
    NoNode,
    /// A replica that keeps the limits is worth a wait of at most so many milliseconds; until then
    /// it is this placement.
    Late(Box<Placement>, u32),
}

/// The part of a session that knows where things go.
pub(crate) struct Steering {
    pub(crate) worker: Rc<Worker>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) identity: Identity,
    pub(crate) policies: SessionPolicies,
    /// What PGPOOL SET set in this session for the plugins.
    pub(crate) overridden: Vec<(&'static str, &'static str)>,
    /// The node drawn for balanced reads of the session.
    pub(crate) balance_node: Option<NodeId>,
    /// The second, since 1970, from which on replicas may be drawn again that did not know of its
    /// database or user.
    pub(crate) replicas_from: u64,
    /// Temporary relations the session created.
    pub(crate) temporary: BTreeSet<Box<str>>,
    /// The session called `set_config`: only the primary knows what it set.
    pub(crate) tied_to_primary: bool,
    /// What the names in its statements are looked up in.
    pub(crate) names: NameSpace,
    /// What it wrote, and what its reads must not be older than.
    pub(crate) writes: Writes,
    /// Who records what becomes of the query that is under way.
    pub(crate) trace: Option<Box<Trace>>,
}

/// What a session is in when a statement is to be placed.
#[derive(Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) transaction: &'a Transaction,
    pub(crate) legs: &'a [Leg],
    /// Nodes that have just failed.
    pub(crate) avoid: &'a [NodeId],
    /// The pipeline it is part of has written there, and ends there.
    pub(crate) tied: Option<NodeId>,
}

impl Situation<'_> {
    /// Whether no server has seen anything of what the statement is part of.
    pub(crate) fn is_unseen(&self) -> bool {
        is_unseen(self.transaction, self.legs) && self.tied.is_none()
    }
}

/// Whether no server has seen anything of a transaction, or there is none.
pub(crate) fn is_unseen(transaction: &Transaction, legs: &[Leg]) -> bool {
    transaction.is_none() || (!transaction.is_on_server() && !legs.iter().any(Leg::in_transaction))
}

/// Longer texts are not shown to plugins, in bytes.
const PLUGIN_TEXT_LEN_MAX: usize = 64 * 1024;

impl Steering {
    /// For a session that begins now.
    pub(crate) fn new(worker: Rc<Worker>, identity: Identity) -> Self {
        let shared = &worker.shared;
        let snapshot = worker.snapshot();
        // The console is no database whose catalog could be read.
        let named = match identity.access {
            Some(_) => &snapshot.settings.probe.database,
            None => &*identity.database,
        };
        let database = shared.facts.catalogs.enter(named);
        let writes = Writes::new(
            Arc::clone(&shared.facts),
            Arc::clone(&shared.relation_writes),
            Arc::clone(&database),
        );
        Self {
            snapshot,
            worker,
            identity,
            policies: SessionPolicies::default(),
            overridden: Vec::new(),
            balance_node: None,
            replicas_from: 0,
            temporary: BTreeSet::new(),
            tied_to_primary: false,
            names: NameSpace::new(database),
            writes,
            trace: None,
        }
    }

    /// Takes over the latest snapshot, unless a transaction is under way on a server, which is to
    /// see one state from beginning to end.
    pub(crate) fn refresh(&mut self, is_unseen: bool) {
        if is_unseen && self.worker.has_newer(&self.snapshot) {
            self.snapshot = self.worker.snapshot();
        }
        // Plugins are the worker's: all its sessions ask the latest ones.
        let mut policies = self.worker.policies.borrow_mut();
        policies.refresh(self.worker.subscription.borrow_mut().get());
        let facts = session_facts(&self.identity, &self.overridden);
        policies.open(&mut self.policies, &facts);
    }

    /// Whether the session may begin, and with what.
    pub(crate) fn admit(&mut self) -> Result<Admission, Rejection> {
        let mut policies = self.worker.policies.borrow_mut();
        policies.refresh(self.worker.subscription.borrow_mut().get());
        let operators = &self.snapshot.settings.operators;
        let is_operator = operators.iter().any(|user| **user == *self.identity.user);
        let facts = session_facts(&self.identity, &self.overridden);
        policies.admit(&facts, is_operator)
    }

    /// The plugins are told another value of a setting, or none, and asked anew about the session.
    pub(crate) fn override_setting(&mut self, name: &'static str, on: Option<bool>) {
        self.overridden.retain(|(known, _)| *known != name);
        let value = on.map(|on| (name, if on { "on" } else { "off" }));
        self.overridden.extend(value);
        self.policies.reopen();
    }

    /// Where a statement goes.
    pub(crate) fn place(
        &mut self,
        statement: &Statement<'_>,
        now: Situation<'_>,
    ) -> Result<Placement, Unplaced> {
        self.refresh(now.is_unseen());
        let user = &self.identity.user;
        self.names
            .refresh(&self.worker, user, now.settings, now.transaction);
        let analysis = statement.analysis;
        let named = statement.executed.unwrap_or(analysis);
        let meaning = self.names.meaning(&self.worker, named);
        let open = now.transaction.open();
        let facts = self.facts(statement, open, &meaning);
        let traits = facts.traits;
        let began = self.trace.as_ref().map(|_| Instant::now());
        let verdict = self
            .worker
            .policies
            .borrow_mut()
            .decide(&self.policies, &facts);
        self.tap(&facts, &verdict);
        if let (Some(trace), Some(began)) = (&mut self.trace, began) {
            trace.child("plugins", SpanKind::Internal, began);
        }
        if let Route::Reject(rejection) = &verdict.route {
            return Err(Unplaced::Refused(refusal(rejection)));
        }
        let Choice { node, rule } = self.choose(analysis, traits, &verdict, &meaning, now);
        let placement = |node| Placement {
            node,
            verdict,
            rule,
            traits,
            meaning,
        };
        let placed = node.map(placement).ok_or(Unplaced::NoNode)?;
        let wait_ms = placed.verdict.limits.wait_ms;
        if wait_ms > 0 && matches!(placed.rule, Rule::NoneKeepsLimits(_)) {
            return Err(Unplaced::Late(Box::new(placed), wait_ms));
        }
        Ok(placed)
    }

    /// Hands the question over to whoever wants to ask it again, if it is its turn.
    fn tap(&self, facts: &StatementFacts<'_>, verdict: &Verdict) {
        let tap = &self.worker.shared.facts.tap;
        let every = tap.every();
        if every == 0 || !self.worker.is_turn(every) {
            return;
        }
        let values = tap.takes_values();
        let sql = if values {
            facts.sql.to_owned()
        } else {
            pgsteer_sql::without_literals(facts.sql)
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let policies = self.worker.policies.borrow();
        tap.put(Sample {
            user: self.identity.user.to_string(),
            database: self.identity.database.to_string(),
            application_name: self.identity.application_name.to_string(),
            client_address: self.identity.client_address.to_string(),
            settings: self.overridden.iter().map(owned).collect(),
            fingerprint: facts.fingerprint,
            class: facts.class,
            traits: facts.traits,
            balance_node: facts.balance_node,
            sql,
            relations: facts.relations.to_vec(),
            functions: facts.functions.to_vec(),
            values: if values {
                own_values(facts.values)
            } else {
                Vec::new()
            },
            marks: policies.all_marks(&self.policies),
            decided_by: policies.file_name(verdict.plugin).to_owned(),
            answer: verdict.route.to_string(),
        });
    }

    /// A statement is about to be sent: what it may write is remembered until it is acknowledged.
    pub(crate) fn note_writes(
        &self,
        statement: &Statement<'_>,
        placement: &Placement,
        open: Option<&mut Open>,
    ) {
        let analysis = statement.analysis;
        let meaning = &placement.meaning;
        // CREATE TABLE AS EXECUTE makes a table of what it reads.
        let executed = statement.executed.filter(|_| !analysis.changes_schema);
        let executes_a_read = executed.is_some_and(|executed| {
            names::is_proven_read(names::complete(executed, meaning)) && !meaning.calls_writer
        });
        // A replica writes nothing, whatever it was trusted with.
        let on_replica = self.is_replica(placement.node);
        if on_replica || executes_a_read || !placement.may_write(analysis) {
            return;
        }
        let also = placement.verdict.also_writes.as_deref().unwrap_or_default();
        let named = placement.meaning.relations.iter();
        let cells = named.clone().map(|r| r.oid);
        let cells = cells.chain(also.iter().map(|name| self.names.oid(name)));
        let keys = placement.verdict.keys.as_deref().unwrap_or_default();
        let is_unsigned = keys.is_empty().then(|| self.writes.unsigned_cell());
        let keys = keys.iter().map(|key| self.writes.key_cell(*key));
        // What a block of code, a procedure or a prepared transaction writes is not known.
        let unknown = matches!(
            analysis.class,
            Class::Unknown | Class::Call | Class::Transaction
        )
        .then_some(0);
        let cells = cells.chain(unknown).map(|oid| self.writes.cell(oid));
        let cells = cells.chain(keys).chain(is_unsigned);
        self.writes
            .begin(placement.node, cells, analysis.changes_schema);
        if let Some(open) = open {
            let named = named.map(|r| &*r.name);
            let also = also
                .iter()
                .map(|a| a.rsplit('.').next().unwrap_or_default());
            open.note_written(named.chain(also));
        }
    }

    pub(crate) fn facts<'a>(
        &self,
        statement: &Statement<'a>,
        open: Option<&Open>,
        meaning: &Meaning,
    ) -> StatementFacts<'a> {
        let analysis = statement.analysis;
        let mut bits = names::complete(analysis, meaning);
        if statement.extended {
            bits |= traits::EXTENDED;
        }
        if self.is_temporary(analysis) {
            bits |= traits::TEMPORARY;
        }
        if let Some(open) = open {
            bits |= transaction_bits(open, meaning);
        }
        // The analysis may be that of another text with the same normal form.
        let short = statement.text.len() <= PLUGIN_TEXT_LEN_MAX;
        let shown = short && analysis.traits & traits::TEXT_WITHHELD == 0;
        let text = std::str::from_utf8(statement.text).ok().filter(|_| shown);
        if text.is_none() {
            bits |= traits::TEXT_WITHHELD;
        }
        bits |= statement.values.bits();
        let stands_for_it = matches!(analysis.class, Class::Execute | Class::Explain);
        let executed = statement.executed.filter(|_| stands_for_it);
        let inner = executed.unwrap_or(analysis);
        StatementFacts {
            fingerprint: inner.fingerprint,
            class: analysis.class as u16,
            traits: bits,
            session_class: 0,
            balance_node: self.balance_node,
            transaction_marks: 0,
            session_marks: 0,
            sql: text.unwrap_or_default(),
            relations: &analysis.relations,
            functions: &analysis.functions,
            values: statement.values.known(),
        }
    }

    /// Whether it names a temporary relation of this session.
    fn is_temporary(&self, analysis: &Analysis) -> bool {
        let temporary = |r: &pgsteer_sql::RelationRef| match &r.schema {
            Some(schema) => schema.starts_with("pg_temp"),
            None => self.temporary.contains(&r.name),
        };
        analysis.relations.iter().any(temporary)
    }
}

/// What the transaction it is part of says about a statement.
fn transaction_bits(open: &Open, meaning: &Meaning) -> u64 {
    let when = |condition, bit| if condition { bit } else { 0 };
    let written = meaning.relations.iter().any(|r| open.has_written(&r.name));
    traits::IN_TRANSACTION
        | when(open.is_read_only(), traits::TRANSACTION_READ_ONLY)
        | when(open.wrote, traits::TRANSACTION_WROTE)
        | when(open.pinned.is_some(), traits::PINNED)
        | when(written, traits::WRITTEN_RELATION)
        | match open.mode.isolation {
            Some(Isolation::Serializable) => traits::SERIALIZABLE,
            Some(Isolation::RepeatableRead) => traits::REPEATABLE_READ,
            _ => 0,
        }
}

/// A statement that is to be placed.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub(crate) analysis: &'a Analysis,
    /// What EXECUTE in it runs, if that is known.
    pub(crate) executed: Option<&'a Analysis>,
    pub(crate) text: &'a [u8],
    pub(crate) extended: bool,
    pub(crate) values: Values<'a>,
}

/// What is known of the values of a statement's parameters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Values<'a> {
    /// It has none, or nobody asked for them.
    #[default]
    None,
    /// It is parsed, and will be bound later.
    NotYet,
    /// They are too long to be shown.
    Withheld,
    /// These.
    Known(&'a [Value<'a>]),
}

impl<'a> Values<'a> {
    fn bits(self) -> u64 {
        match self {
            Self::None | Self::Known(_) => 0,
            Self::NotYet => traits::VALUES_UNKNOWN,
            Self::Withheld => traits::VALUES_WITHHELD,
        }
    }

    fn known(self) -> &'a [Value<'a>] {
        match self {
            Self::Known(values) => values,
            _ => &[],
        }
    }
}

fn session_facts<'a>(
    identity: &'a Identity,
    settings: &'a [(&'a str, &'a str)],
) -> SessionFacts<'a> {
    SessionFacts {
        id: identity.session,
        user: &identity.user,
        database: &identity.database,
        application_name: &identity.application_name,
        client_address: &identity.client_address,
        settings,
    }
}

/// What a client is told when a plugin refuses.
pub(crate) fn refusal(rejection: &Rejection) -> ErrorReply {
    let sqlstate = SqlState::from_text(&rejection.sqlstate);
    let sqlstate = sqlstate.unwrap_or(SqlState::INSUFFICIENT_PRIVILEGE);
    let mut reply = ErrorReply::error(sqlstate, rejection.message.clone());
    reply.hint.clone_from(&rejection.hint);
    reply
}

fn own_values(values: &[Value<'_>]) -> Vec<OwnedValue> {
    let own = |value: &Value<'_>| match value {
        Value::Null => OwnedValue::Null,
        Value::Text(text) => OwnedValue::Text((*text).to_owned()),
        Value::Binary(bytes) => OwnedValue::Binary((*bytes).to_vec()),
    };
    values.iter().map(own).collect()
}
