//! What a statement does to the session.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    DefElem, DiscardMode, Node, OnCommitAction, RangeVar, TransactionStmt, TransactionStmtKind,
    VariableSetKind, VariableSetStmt, a_const,
};

use crate::analysis::{Effect, Isolation, PinReason, TransactionMode};
use crate::references::is_temporary_schema;

/// Appends the effects of one statement, whose own text is `text`.
pub(crate) fn collect(statement: &NodeEnum, text: &str, effects: &mut Vec<Effect>) {
    use NodeEnum as N;
    match statement {
        N::TransactionStmt(s) => effects.extend(transaction(s, text)),
        N::VariableSetStmt(s) if is_about_later_transactions(s) => {
            let set = |option| default_mode(option, s.is_local);
            effects.extend(s.args.iter().filter_map(set));
        }
        N::VariableSetStmt(s) => effects.push(set(s, text)),
        N::DiscardStmt(s) => match s.target() {
            DiscardMode::DiscardAll => effects.push(Effect::DiscardAll),
            DiscardMode::DiscardTemp
            | DiscardMode::DiscardPlans
            | DiscardMode::DiscardSequences
            | DiscardMode::Undefined => {}
        },
        N::DeallocateStmt(s) if s.isall => effects.push(Effect::DeallocateAll),
        N::DeallocateStmt(s) => effects.push(Effect::Deallocate(s.name.as_str().into())),
        N::PrepareStmt(s) => {
            let (name, text) = (s.name.as_str().into(), text.into());
            effects.push(Effect::Prepare { name, text });
        }
        N::ListenStmt(s) => effects.push(Effect::Listen(s.conditionname.as_str().into())),
        N::UnlistenStmt(s) => {
            let name = s.conditionname.as_str();
            effects.push(Effect::Unlisten((!name.is_empty()).then(|| name.into())));
        }
        N::DoStmt(s) => {
            let bodies = s.args.iter().filter_map(|arg| match arg.node.as_ref()? {
                NodeEnum::DefElem(e) if e.defname == "as" => self::text(e),
                _ => None,
            });
            if bodies.into_iter().any(|body| may_leave_something(&body)) {
                effects.push(Effect::Pin(PinReason::Code));
            }
        }
        N::LoadStmt(_) => effects.push(Effect::Pin(PinReason::Load)),
        N::DeclareCursorStmt(s) if s.options & CURSOR_OPT_HOLD != 0 => {
            effects.push(Effect::Pin(PinReason::HoldCursor));
        }
        N::CreateStmt(s) => {
            // One that is dropped at the end of the transaction keeps nobody there.
            let kept = s.oncommit() != OnCommitAction::OncommitDrop;
            if creates_temporary(s.relation.as_ref(), effects) && kept {
                effects.push(Effect::Pin(PinReason::TemporaryRelation));
            }
        }
        N::CompositeTypeStmt(s) => temporary(s.typevar.as_ref(), effects),
        N::CreateSeqStmt(s) => temporary(s.sequence.as_ref(), effects),
        N::ViewStmt(s) => temporary(s.view.as_ref(), effects),
        N::CreateTableAsStmt(s) => {
            temporary(s.into.as_ref().and_then(|i| i.rel.as_ref()), effects);
        }
        N::SelectStmt(s) => {
            temporary(s.into_clause.as_ref().and_then(|i| i.rel.as_ref()), effects);
        }
        _ => {}
    }
}

/// Whether code may leave something in the session that runs it, by the words in its text: a
/// parameter, a lock, a temporary table, a cursor.
#[must_use]
pub fn may_leave_something(code: &str) -> bool {
    let code = code.to_lowercase();
    if code.contains("set_config") || code.contains("advisory") {
        return true;
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    // The word or the separator before.
    let mut before = ";";
    for piece in code.split_inclusive(|c: char| !is_word(c)) {
        let word = piece.trim_end_matches(|c: char| !is_word(c));
        let begins = matches!(before, ";" | "begin" | "then" | "else" | "loop");
        match word {
            "temp" | "temporary" | "listen" | "hold" => return true,
            "set" | "reset" if begins => return true,
            "" => {}
            word => before = word,
        }
        if piece.ends_with(';') {
            before = ";";
        }
    }
    false
}

/// `CURSOR_OPT_HOLD` of PostgreSQL's parsenodes.h.
const CURSOR_OPT_HOLD: i32 = 0x0020;

/// A relation that is created for good, and keeps the session on its server if it is temporary.
fn temporary(relation: Option<&RangeVar>, effects: &mut Vec<Effect>) {
    if creates_temporary(relation, effects) {
        effects.push(Effect::Pin(PinReason::TemporaryRelation));
    }
}

/// Notes a relation that is created, if it is temporary; whether it is.
fn creates_temporary(relation: Option<&RangeVar>, effects: &mut Vec<Effect>) -> bool {
    let is = |r: &&RangeVar| r.relpersistence == "t" || is_temporary_schema(&r.schemaname);
    let Some(relation) = relation.filter(is) else {
        return false;
    };
    effects.push(Effect::CreateTemporary(relation.relname.as_str().into()));
    true
}

fn transaction(statement: &TransactionStmt, text: &str) -> Option<Effect> {
    use TransactionStmtKind as K;
    let savepoint = || Box::from(statement.savepoint_name.as_str());
    let chain = statement.chain;
    Some(match statement.kind() {
        K::TransStmtBegin | K::TransStmtStart => Effect::Begin {
            mode: mode(&statement.options),
            text: text.into(),
        },
        K::TransStmtCommit => Effect::Commit { chain },
        K::TransStmtRollback => Effect::Rollback { chain },
        K::TransStmtSavepoint => Effect::Savepoint(savepoint()),
        K::TransStmtRelease => Effect::Release(savepoint()),
        K::TransStmtRollbackTo => Effect::RollbackTo(savepoint()),
        K::TransStmtPrepare => Effect::PrepareTransaction,
        K::TransStmtCommitPrepared | K::TransStmtRollbackPrepared | K::Undefined => return None,
    })
}

fn set(statement: &VariableSetStmt, text: &str) -> Effect {
    let text = Box::from(text);
    let name = statement.name.to_lowercase();
    match (statement.kind(), name.as_str()) {
        (VariableSetKind::VarResetAll, _) => Effect::ResetAll,
        (VariableSetKind::VarSetMulti, "transaction") => Effect::SetTransaction {
            mode: mode(&statement.args),
            text,
        },
        (_, "transaction_read_only" | "transaction_isolation" | "transaction_deferrable") => {
            Effect::SetTransaction {
                mode: parameter_mode(&name, &statement.args),
                text,
            }
        }
        // One way to say it, so that it is known for what it is.
        (VariableSetKind::VarReset | VariableSetKind::VarSetDefault, _) if !statement.is_local => {
            let text = format!("RESET \"{}\"", name.replace('"', "\"\"")).into();
            let (name, local) = (name.into(), false);
            Effect::Set { name, local, text }
        }
        _ => Effect::Set {
            name: name.into(),
            local: statement.is_local,
            text,
        },
    }
}

/// Whether it is SET SESSION CHARACTERISTICS.
fn is_about_later_transactions(statement: &VariableSetStmt) -> bool {
    statement.kind() == VariableSetKind::VarSetMulti
        && statement
            .name
            .eq_ignore_ascii_case("session characteristics")
}

/// One of its options, as the parameter it is a name for: each is set by itself, and taken back.
fn default_mode(option: &Node, local: bool) -> Option<Effect> {
    let Some(NodeEnum::DefElem(option)) = &option.node else {
        return None;
    };
    let name = format!("default_{}", option.defname);
    let value = match option.defname.as_str() {
        "transaction_isolation" => format!("'{}'", text(option)?),
        _ if number(option)? == 0 => "off".to_owned(),
        _ => "on".to_owned(),
    };
    let set = if local { "SET LOCAL" } else { "SET" };
    Some(Effect::Set {
        text: format!("{set} {name} = {value}").into(),
        name: name.into(),
        local,
    })
}

/// Options of BEGIN or SET TRANSACTION.
fn mode(options: &[Node]) -> TransactionMode {
    let mut mode = TransactionMode::default();
    for option in options {
        let Some(NodeEnum::DefElem(option)) = &option.node else {
            continue;
        };
        match option.defname.as_str() {
            "transaction_isolation" => mode.isolation = text(option).map(|t| isolation(&t)),
            "transaction_read_only" => mode.read_only = number(option).map(|n| n != 0),
            _ => {}
        }
    }
    mode
}

/// `SET transaction_isolation = ...` and the like.
fn parameter_mode(name: &str, args: &[Node]) -> TransactionMode {
    let value = args
        .first()
        .and_then(constant)
        .unwrap_or_default()
        .to_lowercase();
    let mut mode = TransactionMode::default();
    match name {
        "transaction_isolation" => mode.isolation = Some(isolation(&value)),
        "transaction_read_only" => {
            mode.read_only = Some(!matches!(
                value.as_str(),
                "off" | "f" | "false" | "0" | "no"
            ));
        }
        _ => {}
    }
    mode
}

/// The value that SET, or `SELECT set_config(...)` with a literal, gives its parameter, in the form
/// `SHOW` prints lists of names: each quoted, separated by commas. `None` for RESET and DEFAULT, and
/// for what is no such statement.
#[must_use]
pub fn set_value(text: &str) -> Option<String> {
    let parsed = pg_query::parse(text, 0).ok()?;
    let statement = parsed.protobuf.stmts.first()?.stmt.as_deref()?;
    let set = match statement.node.as_ref()? {
        NodeEnum::VariableSetStmt(set) => set,
        NodeEnum::SelectStmt(select) => {
            let Some(NodeEnum::ResTarget(target)) = &select.target_list.first()?.node else {
                return None;
            };
            let Some(NodeEnum::FuncCall(call)) = &target.val.as_ref()?.node else {
                return None;
            };
            return constant(call.args.get(1)?);
        }
        _ => return None,
    };
    if set.kind() != VariableSetKind::VarSetValue {
        return None;
    }
    let quoted = |node| Some(format!("\"{}\"", constant(node)?.replace('"', "\"\"")));
    let values: Option<Vec<String>> = set.args.iter().map(quoted).collect();
    Some(values?.join(", "))
}

/// The parameters that a text sets which does nothing but `SELECT set_config(...)`, once or several
/// times and for longer than a transaction; `None` if it does something else, too, or does not say their
/// names.
#[must_use]
pub fn set_config_names(text: &str) -> Option<Vec<String>> {
    let parsed = pg_query::parse(text, 0).ok()?;
    let [statement] = parsed.protobuf.stmts.as_slice() else {
        return None;
    };
    let NodeEnum::SelectStmt(select) = statement.stmt.as_deref()?.node.as_ref()? else {
        return None;
    };
    let alone = select.from_clause.is_empty()
        && select.where_clause.is_none()
        && select.with_clause.is_none()
        && select.larg.is_none()
        && select.group_clause.is_empty()
        && select.sort_clause.is_empty();
    let name = |target: &Node| {
        let NodeEnum::ResTarget(target) = target.node.as_ref()? else {
            return None;
        };
        let NodeEnum::FuncCall(call) = target.val.as_ref()?.node.as_ref()? else {
            return None;
        };
        let [name, value, local] = call.args.as_slice() else {
            return None;
        };
        constant(local).filter(|local| local == "false")?;
        let function = call.funcname.last()?.node.as_ref()?;
        let is_it = matches!(function, NodeEnum::String(s) if s.sval == "set_config");
        // Nothing in it that could set more.
        let value = format!("{value:?}");
        let plain = !value.contains("FuncCall") && !value.contains("SubLink");
        (is_it && plain).then(|| constant(name)).flatten()
    };
    let names: Option<Vec<String>> = select.target_list.iter().map(name).collect();
    names.filter(|names| alone && !names.is_empty())
}

fn isolation(text: &str) -> Isolation {
    match text {
        "serializable" => Isolation::Serializable,
        "repeatable read" => Isolation::RepeatableRead,
        _ => Isolation::ReadCommitted,
    }
}

/// The option of this name.
pub(crate) fn option<'a>(options: &'a [Node], name: &str) -> Option<&'a DefElem> {
    options
        .iter()
        .find_map(|option| match option.node.as_ref()? {
            NodeEnum::DefElem(option) if option.defname == name => Some(&**option),
            _ => None,
        })
}

pub(crate) fn text(option: &DefElem) -> Option<String> {
    option.arg.as_deref().and_then(constant)
}

fn number(option: &DefElem) -> Option<i64> {
    option
        .arg
        .as_deref()
        .and_then(constant)
        .and_then(|t| t.parse().ok())
}

fn constant(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => Some(match constant.val.as_ref()? {
            a_const::Val::Sval(s) => s.sval.clone(),
            a_const::Val::Ival(i) => i.ival.to_string(),
            a_const::Val::Fval(f) => f.fval.clone(),
            a_const::Val::Boolval(b) => b.boolval.to_string(),
            a_const::Val::Bsval(b) => b.bsval.clone(),
        }),
        NodeEnum::String(s) => Some(s.sval.clone()),
        NodeEnum::Integer(i) => Some(i.ival.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{may_leave_something, set_config_names};

    #[test]
    fn names_of_parameters_are_read_where_they_are_all() {
        let names = |text| set_config_names(text).map(|names| names.join(" "));
        let text = "SELECT set_config('a.b', $1, false), pg_catalog.set_config('c', 'd', false)";
        assert_eq!(names(text).as_deref(), Some("a.b c"));
        for text in [
            "SELECT set_config($1, 'a', false)",
            "SELECT set_config('a', 'b', false), set_config('c', 'd', true)",
            "SELECT set_config('a', 'b', $1)",
            "SELECT set_config('a', f(), false)",
            "SELECT set_config('a', 'b', false), f()",
            "SELECT set_config('a', 'b', false) FROM t",
            "SELECT set_config('a', 'b', false); SELECT 1",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
    }

    #[test]
    fn code_says_by_its_words_whether_it_may_leave_something() {
        for code in [
            "begin set work_mem = '1MB'; end",
            "BEGIN\n  PERFORM set_config('a', 'b', false); END",
            "begin if true then reset all; end if; end",
            "create temp table t(a int)",
            "perform pg_advisory_lock(1)",
            "execute 'declare c cursor with hold for select 1'",
            "select 1; set role x",
        ] {
            assert!(may_leave_something(code), "{code}");
        }
        for code in [
            "begin update t set a = 1; end",
            "insert into temperature values (1) on conflict do update set a = 2",
            "begin perform f(1); return new; end",
        ] {
            assert!(!may_leave_something(code), "{code}");
        }
    }
}
