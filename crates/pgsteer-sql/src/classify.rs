//! From a text to its class and its effects, by PostgreSQL's grammar.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, RawStmt};

use crate::analysis::{Analysis, Class, Console, bits};
use crate::{Effect, effects, tokens};

/// Analyses a text that is not too long.
pub(crate) fn classify(text: &str, fingerprint: u64) -> Analysis {
    let mut analysis = Analysis::opaque(fingerprint);
    analysis.traits |= text_bits(text);
    let Ok(parsed) = pg_query::parse(text, 0) else {
        return analysis;
    };
    let Some(found) = tokens::scan(text) else {
        return analysis;
    };
    let statements = &parsed.protobuf.stmts;
    analysis.statement_count = statements.len();
    analysis.parameter_count = found.parameter_count;
    let Some(first) = statements.first().and_then(inner) else {
        analysis.class = Class::Empty;
        analysis.statement_count = 1;
        analysis.traits = (analysis.traits | bits::READS) & !bits::WRITES & !bits::NOT_LIKE_A_READ;
        return analysis;
    };
    analysis.class = class(first);
    analysis.console = console(first).filter(|_| statements.len() == 1);
    for statement in statements {
        if let Some(node) = inner(statement) {
            effects::collect(node, own_text(text, statement), &mut analysis.effects);
        }
    }
    if let Some(local) = found.set_config {
        analysis.effects.push(Effect::SetByFunction { local });
    }
    if found.session_lock {
        analysis
            .effects
            .push(Effect::Pin(crate::PinReason::AdvisoryLock));
    }
    let reads = statements.len() == 1 && reads(first);
    // Outside queries the class says it all, and a parenthesis is no sign of a function.
    let from_tokens = if reads { found.traits } else { 0 };
    analysis.traits = text_bits(text) | from_tokens;
    if analysis.traits & bits::WRITES == 0 {
        analysis.traits |= if reads {
            bits::READS
        } else {
            writes(analysis.class)
        };
    }
    if statements.len() > 1 {
        analysis.traits |= bits::SEVERAL | bits::WRITES;
    }
    let savepoint = |e: &Effect| {
        matches!(
            e,
            Effect::Savepoint(_) | Effect::Release(_) | Effect::RollbackTo(_)
        )
    };
    if analysis.effects.first().is_some_and(savepoint) {
        analysis.traits |= bits::SAVEPOINT;
    }
    if analysis.class == Class::Transaction && analysis.effects.is_empty() {
        // COMMIT PREPARED and ROLLBACK PREPARED.
        analysis.traits |= bits::WRITES;
    }
    if analysis.effects.contains(&Effect::PrepareTransaction) {
        analysis.traits |= bits::WRITES;
    }
    if found.parameter_count > 0 {
        analysis.traits |= bits::PARAMETERS;
    }
    analysis.names = found.names;
    analysis
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

fn inner(statement: &RawStmt) -> Option<&NodeEnum> {
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

fn console(statement: &NodeEnum) -> Option<Console> {
    let NodeEnum::VariableShowStmt(show) = statement else {
        return None;
    };
    match show.name.as_str() {
        "pool_nodes" => Some(Console::PoolNodes),
        "pool_plugins" => Some(Console::PoolPlugins),
        "pool_version" => Some(Console::PoolVersion),
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
