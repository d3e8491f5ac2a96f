//! The writing flag: what `disable_load_balance_on_write` remembers between statements.
//!
//! The flag lives in the host, as a mark of the transaction or of the session, and is set there
//! only if the statement succeeds. As in Pgpool-II it is raised by everything that is not a read,
//! also by SET, SAVEPOINT and DECLARE. Unlike there, ROLLBACK TO does not clear it: the transaction
//! may have written before the savepoint.

use pgsteer_plugin_sdk::{Class, Routed, Statement, Traits};

use crate::decide::{NO_PLAIN_READ, is_plain_read};
use crate::{DisableOnWrite, Parameters};

/// Whether earlier statements keep this read on the primary.
pub(crate) fn is_raised(parameters: &Parameters, statement: &Statement) -> bool {
    let in_transaction = statement.traits.contains(Traits::IN_TRANSACTION);
    let session_flag = statement.session_marks & FLAG != 0;
    match parameters.disable_load_balance_on_write {
        DisableOnWrite::Off => false,
        DisableOnWrite::Transaction => in_transaction && transaction_wrote(statement),
        DisableOnWrite::TransTransaction => {
            in_transaction && (session_flag || transaction_wrote(statement))
        }
        DisableOnWrite::Always => session_flag || transaction_wrote(statement),
    }
}

/// The answer with the mark that raises the flag, if the statement raises it.
pub(crate) fn mark(parameters: &Parameters, statement: &Statement, answer: Routed) -> Routed {
    if !raises(parameters, statement) {
        return answer;
    }
    let in_transaction = statement.traits.contains(Traits::IN_TRANSACTION);
    match parameters.disable_load_balance_on_write {
        DisableOnWrite::Transaction if in_transaction => answer.mark_transaction(FLAG),
        DisableOnWrite::TransTransaction if in_transaction => answer.mark_session(FLAG),
        DisableOnWrite::Always => answer.mark_session(FLAG),
        _ => answer,
    }
}

fn transaction_wrote(statement: &Statement) -> bool {
    let traits = statement.traits;
    // Nothing can have been written in a transaction that is read only and in which the host saw no
    // write: the flag was raised by a harmless statement such as SET TRANSACTION READ ONLY.
    let harmless = traits.contains(Traits::TRANSACTION_READ_ONLY);
    traits.contains(Traits::TRANSACTION_WROTE)
        || (statement.transaction_marks & FLAG != 0 && !harmless)
}

fn raises(parameters: &Parameters, statement: &Statement) -> bool {
    match statement.class {
        // Not BEGIN, COMMIT and ROLLBACK; a savepoint does.
        Class::TransactionControl => statement.traits.contains(Traits::SAVEPOINT),
        Class::Show | Class::Empty => false,
        // Runs on the primary, but does nothing unless it executes a write.
        Class::Explain => {
            !statement.traits.contains(Traits::READS) || statement.traits.intersects(NO_PLAIN_READ)
        }
        Class::Select | Class::Copy | Class::Prepare => !is_plain_read(parameters, statement),
        _ => true,
    }
}

/// The bit, both in the transaction's and in the session's marks.
const FLAG: u32 = 1 << 0;
