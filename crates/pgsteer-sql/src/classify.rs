//! From a text to its class and its effects, by PostgreSQL's grammar.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ObjectType, RawStmt};

use crate::analysis::{Analysis, Class, bits};
use crate::references::{self, References};
use crate::{
    Console, Effect, OwnState, PinReason, RelationRef, TransactionMode, console, effects,
    functions, inner, normalize, schema,
};

/// Analyses a text that is not too long.
pub(crate) fn classify(text: &str, fingerprint: u64) -> Analysis {
    let mut analysis = Analysis::opaque(fingerprint);
    analysis.traits |= text_bits(text);
    if let Some(command) = console::command(text) {
        return Analysis {
            console: Some(command),
            class: Class::Show,
            ..analysis
        };
    }
    let Ok(parsed) = pg_query::parse(text, 0) else {
        return analysis;
    };
    let statements = &parsed.protobuf.stmts;
    let Some(first) = statements.first().and_then(root) else {
        analysis.class = Class::Empty;
        analysis.traits = (analysis.traits | bits::READS) & !bits::WRITES & !bits::NOT_LIKE_A_READ;
        return analysis;
    };
    analysis.statement_count = statements.len();
    let mut found = References::default();
    for statement in statements {
        let known = root(statement).and_then(|node| {
            found.names_temporary = false;
            references::collect(node, &mut found)?;
            effects::collect(node, own_text(text, statement), &mut analysis.effects);
            // Types, functions and so on: they are there on that server only.
            let pins = Effect::Pin(PinReason::TemporaryRelation);
            let creates = found.names_temporary && class(node) == Class::SchemaChange;
            if creates && !analysis.effects.contains(&pins) {
                analysis.effects.push(pins);
            }
            analysis.changes_schema |= schema::may_change(node);
            analysis.notifies |= matches!(node, NodeEnum::NotifyStmt(_));
            Some(())
        });
        if known.is_none() {
            return Analysis::opaque(fingerprint);
        }
    }
    analysis.class = class(first);
    analysis.counts_as_ddl = rebuilds(first);
    if let NodeEnum::CopyStmt(copy) = first {
        analysis.reaches_outside = copy.is_program || !copy.filename.is_empty();
    }
    analysis.console = show(first).filter(|_| statements.len() == 1);
    analysis.executes = executed(first).map(Into::into);
    analysis.needs_alone = needs_alone(first).map(Into::into);
    if statements.len() == 1
        && let Some(inside) = inner::inner(text, analysis.class)
    {
        analysis.fingerprint = normalize::fingerprint(inside.as_bytes());
    }
    let reads = statements.len() == 1 && reads(first);
    complete(&mut analysis, found, reads);
    analysis
}

/// The name of the statement that EXECUTE runs, also inside EXPLAIN and CREATE TABLE AS.
fn executed(statement: &NodeEnum) -> Option<&str> {
    match statement {
        NodeEnum::ExecuteStmt(execute) => Some(&execute.name),
        NodeEnum::ExplainStmt(explain) => executed(node(explain.query.as_deref())?),
        NodeEnum::CreateTableAsStmt(create) => executed(node(create.query.as_deref())?),
        _ => None,
    }
}

/// The database that PostgreSQL does not touch while others are connected to it.
fn needs_alone(statement: &NodeEnum) -> Option<String> {
    match statement {
        NodeEnum::DropdbStmt(drop) => Some(drop.dbname.clone()),
        NodeEnum::RenameStmt(rename) if rename.rename_type() == ObjectType::ObjectDatabase => {
            Some(rename.subname.clone())
        }
        NodeEnum::AlterDatabaseStmt(alter) => {
            effects::option(&alter.options, "tablespace").map(|_| alter.dbname.clone())
        }
        NodeEnum::CreatedbStmt(create) => {
            effects::option(&create.options, "template").and_then(effects::text)
        }
        _ => None,
    }
}

fn looks_at(found: &References) -> Option<OwnState> {
    let calls = |name: &str| found.functions.iter().any(|f| &*f.name == name);
    let reads = |name: &str| found.relations.iter().any(|r| &*r.name == name);
    if calls("lastval") || calls("currval") {
        Some(OwnState::Sequences)
    } else if reads("pg_prepared_statements") || calls("pg_prepared_statement") {
        Some(OwnState::Statements)
    } else {
        None
    }
}

/// Takes over what the tree refers to, and judges by it.
fn complete(analysis: &mut Analysis, mut found: References, reads: bool) {
    if let Some(local) = found.set_config {
        analysis.effects.push(Effect::SetByFunction { local });
    }
    if found.functions.iter().any(functions::takes_session_lock) {
        analysis.effects.push(Effect::Pin(PinReason::AdvisoryLock));
    }
    analysis.looks_at = looks_at(&found);
    // Outside queries the class says it all.
    let text_bits = analysis.traits & !bits::WRITES;
    analysis.traits = text_bits | if reads { found.traits } else { 0 };
    if reads {
        analysis.traits |= found
            .functions
            .iter()
            .fold(0, |all, f| all | functions::bit(f));
        let is_catalog = |r: &RelationRef| match &r.schema {
            Some(schema) => &**schema == "pg_catalog",
            None => r.name.starts_with("pg_"),
        };
        if found.relations.iter().any(is_catalog) {
            analysis.traits |= bits::CATALOG;
        }
    }
    if analysis.traits & bits::WRITES == 0 {
        analysis.traits |= if reads {
            bits::READS
        } else {
            writes(analysis.class)
        };
    }
    let prepares = analysis.effects.contains(&Effect::PrepareTransaction);
    let about_prepared = analysis.class == Class::Transaction && analysis.effects.is_empty();
    if prepares || about_prepared {
        analysis.traits |= bits::WRITES;
    }
    if analysis.statement_count > 1 {
        analysis.traits |= bits::SEVERAL | bits::WRITES;
    }
    analysis.traits |= analysis.effects.first().map_or(0, effect_bits);
    if found.parameter_count > 0 {
        analysis.traits |= bits::PARAMETERS;
    }
    if !reads && matches!(analysis.class, Class::Copy) {
        // The target of COPY FROM has no statement of its own in the tree.
        found.relations.iter_mut().for_each(|r| r.written = true);
    }
    analysis.parameter_count = found.parameter_count;
    analysis.notifies |= found.functions.iter().any(|f| &*f.name == "pg_notify");
    (analysis.relations, analysis.functions) = (found.relations, found.functions);
}

/// What the kind of an effect says.
fn effect_bits(effect: &Effect) -> u64 {
    let read_only = TransactionMode {
        read_only: Some(true),
        isolation: None,
    };
    match effect {
        Effect::Savepoint(_) | Effect::Release(_) => bits::SAVEPOINT,
        Effect::RollbackTo(_) => bits::SAVEPOINT | bits::ROLLBACK_TO,
        Effect::SetTransaction { mode, .. } if *mode == read_only => bits::SETS_READ_ONLY,
        _ => 0,
    }
}

/// The part of the text that is this statement; a length of zero means up to the end.
fn own_text<'a>(text: &'a str, statement: &RawStmt) -> &'a str {
    let start = usize::try_from(statement.stmt_location).unwrap_or(0);
    let rest = text.get(start..).unwrap_or(text);
    let len = usize::try_from(statement.stmt_len).unwrap_or(0);
    let own = if len == 0 {
        rest
    } else {
        rest.get(..len).unwrap_or(rest)
    };
    own.trim().trim_end_matches(';')
}

fn root(statement: &RawStmt) -> Option<&NodeEnum> {
    node(statement.stmt.as_deref())
}

fn node(node: Option<&Node>) -> Option<&NodeEnum> {
    node.and_then(|n| n.node.as_ref())
}

fn class(statement: &NodeEnum) -> Class {
    use NodeEnum as N;
    match statement {
        N::SelectStmt(_) => Class::Select,
        N::InsertStmt(_) => Class::Insert,
        N::UpdateStmt(_) => Class::Update,
        N::DeleteStmt(_) => Class::Delete,
        N::MergeStmt(_) => Class::Merge,
        N::CopyStmt(_) => Class::Copy,
        N::TransactionStmt(_) => Class::Transaction,
        N::VariableSetStmt(_) | N::DiscardStmt(_) => Class::Setting,
        N::VariableShowStmt(_) => Class::Show,
        N::CallStmt(_) | N::DoStmt(_) => Class::Call,
        N::ExplainStmt(_) => Class::Explain,
        N::DeclareCursorStmt(_) | N::FetchStmt(_) | N::ClosePortalStmt(_) => Class::Cursor,
        N::PrepareStmt(_) => Class::Prepare,
        N::ExecuteStmt(_) => Class::Execute,
        N::DeallocateStmt(_) => Class::Deallocate,
        N::ListenStmt(_) | N::UnlistenStmt(_) | N::NotifyStmt(_) => Class::Notify,
        N::LockStmt(_) => Class::Lock,
        N::VacuumStmt(_)
        | N::CheckPointStmt(_)
        | N::LoadStmt(_)
        | N::ConstraintsSetStmt(_)
        | N::ReindexStmt(_)
        | N::ClusterStmt(_)
        | N::RefreshMatViewStmt(_) => Class::Utility,
        _ => Class::SchemaChange,
    }
}

/// Utilities that act on a relation as a schema change does.
fn rebuilds(statement: &NodeEnum) -> bool {
    use NodeEnum as N;
    matches!(
        statement,
        N::ConstraintsSetStmt(_) | N::ReindexStmt(_) | N::ClusterStmt(_) | N::RefreshMatViewStmt(_)
    )
}

/// Whether the grammar alone allows it to be a read.
fn reads(statement: &NodeEnum) -> bool {
    use NodeEnum as N;
    match statement {
        N::SelectStmt(_) | N::VariableShowStmt(_) => true,
        N::ExplainStmt(explain) => node(explain.query.as_deref()).is_some_and(reads),
        N::PrepareStmt(prepare) => node(prepare.query.as_deref()).is_some_and(reads),
        N::CopyStmt(copy) => {
            let to_client = !copy.is_from && !copy.is_program && copy.filename.is_empty();
            let query = copy.query.as_deref();
            to_client && query.is_none_or(|q| node(Some(q)).is_some_and(reads))
        }
        _ => false,
    }
}

/// The bit of a statement that is no read. Statements that only concern the session write nothing.
fn writes(class: Class) -> u64 {
    match class {
        Class::Transaction | Class::Setting | Class::Deallocate | Class::Show => 0,
        _ => bits::WRITES,
    }
}

fn show(statement: &NodeEnum) -> Option<Console> {
    match statement {
        NodeEnum::VariableShowStmt(show) => Console::show(&show.name),
        _ => None,
    }
}

/// What the first characters look like, as Pgpool-II tests them.
fn text_bits(text: &str) -> u64 {
    let trimmed = text.trim_start();
    let mut found = 0;
    if trimmed.len() != text.len() {
        found |= bits::LEADING_SPACE;
    }
    if trimmed.starts_with("/*") || trimmed.starts_with("--") {
        found |= bits::LEADING_COMMENT;
    }
    let like_a_read = matches!(
        trimmed.bytes().next(),
        None | Some(b's' | b'S' | b'(' | b'w' | b'W' | b't' | b'T' | b';')
    );
    if !like_a_read {
        found |= bits::NOT_LIKE_A_READ;
    }
    found
}

#[cfg(test)]
mod tests;
