//! The writing flag: what `disable_load_balance_on_write` remembers between statements.
//!
//! The flag lives in the host, as a mark of the transaction or of the session, and is set there
//! only if the statement succeeds. As in Pgpool-II it is raised by everything that is not a read,
//! also by SET, SAVEPOINT and DECLARE. Unlike there, ROLLBACK TO does not clear it: the transaction
//! may have written before the savepoint (D2).

use pgsteer_plugin_sdk::{Class, Routed, Statement, Traits};

use crate::decide::no_read;
use crate::functions::write_function;
use crate::{DisableOnWrite, Parameters};

/// Whether earlier statements keep this read on the primary.
pub(crate) fn is_raised(parameters: &Parameters, statement: &Statement) -> bool {
    let in_transaction = statement.traits.contains(Traits::IN_TRANSACTION);
    let session_flag = statement.session_marks & FLAG != 0;
    let wrote = transaction_wrote(parameters, statement);
    match parameters.disable_load_balance_on_write {
        DisableOnWrite::Off | DisableOnWrite::DmlAdaptive | DisableOnWrite::DmlAdaptiveGlobal => {
            false
        }
        DisableOnWrite::Transaction => in_transaction && wrote,
        DisableOnWrite::TransTransaction => in_transaction && (session_flag || wrote),
        DisableOnWrite::Always => session_flag || wrote,
    }
}

/// The answer with what has to be remembered if the statement succeeds.
pub(crate) fn mark(parameters: &Parameters, statement: &Statement, answer: Routed) -> Routed {
    // Pgpool-II takes the flag back with the savepoint (D2).
    if parameters.exact
        && parameters.disable_load_balance_on_write == DisableOnWrite::Transaction
        && statement.traits.contains(Traits::ROLLBACK_TO)
    {
        return answer.clear_transaction(FLAG);
    }
    if !raises(parameters, statement) {
        return answer;
    }
    let in_transaction = statement.traits.contains(Traits::IN_TRANSACTION);
    match parameters.disable_load_balance_on_write {
        DisableOnWrite::Transaction if in_transaction => answer.mark_transaction(FLAG),
        DisableOnWrite::TransTransaction if in_transaction => answer.mark_session(FLAG),
        DisableOnWrite::Always => answer.mark_session(FLAG),
        DisableOnWrite::DmlAdaptive | DisableOnWrite::DmlAdaptiveGlobal => {
            let relationships = &parameters.dml_adaptive_object_relationship_list;
            Routed {
                also_writes: relationships.dependents(statement),
                ..answer
            }
        }
        _ => answer,
    }
}

fn transaction_wrote(parameters: &Parameters, statement: &Statement) -> bool {
    let traits = statement.traits;
    let flag = statement.transaction_marks & FLAG != 0;
    if parameters.exact {
        return flag;
    }
    // Nothing can have been written in a transaction that is read only and in which the host saw no
    // write: the flag was raised by a harmless statement such as SET TRANSACTION READ ONLY.
    let harmless = traits.contains(Traits::TRANSACTION_READ_ONLY);
    traits.contains(Traits::TRANSACTION_WROTE) || (flag && !harmless)
}

fn raises(parameters: &Parameters, statement: &Statement) -> bool {
    match statement.class {
        // Not BEGIN, COMMIT and ROLLBACK; a savepoint does.
        Class::TransactionControl => statement.traits.contains(Traits::SAVEPOINT),
        Class::SessionSetting => !statement.traits.contains(Traits::SETS_READ_ONLY),
        Class::Show | Class::Empty => false,
        // EXPLAIN runs on the primary, but does nothing unless it executes a write.
        Class::Explain | Class::Select | Class::Copy | Class::Prepare => {
            no_read(parameters, statement).is_some()
                || write_function(parameters, statement).is_some()
        }
        _ => true,
    }
}

/// The bit, both in the transaction's and in the session's marks.
const FLAG: u32 = 1 << 0;
