//! Where a statement runs, by what kind of statement it is. First match wins.

use pgsteer_plugin_sdk::{Class, Routed, Spread, Statement, Traits};

use crate::{Parameters, writing};

/// The answer for a statement. It depends on nothing but the arguments, so it may be remembered.
pub(crate) fn decide(parameters: &Parameters, statement: &Statement) -> Routed {
    let answer = route(parameters, statement).reusable();
    writing::mark(parameters, statement, answer)
}

fn route(parameters: &Parameters, statement: &Statement) -> Routed {
    // A string of several statements runs in one piece, whatever they are.
    if statement.traits.contains(Traits::SEVERAL) {
        return Routed::primary();
    }
    match statement.class {
        Class::SessionSetting | Class::TransactionControl => Routed::everywhere(),
        Class::Select | Class::Copy | Class::Prepare | Class::Execute => {
            if is_plain_read(parameters, statement) && needs_no_primary(statement) {
                balanced(parameters, statement)
            } else {
                Routed::primary()
            }
        }
        Class::Show | Class::Empty => balanced(parameters, statement),
        // Everything else, and what a newer host may add.
        _ => Routed::primary(),
    }
}

fn balanced(parameters: &Parameters, statement: &Statement) -> Routed {
    let stays_on_primary = !parameters.load_balance_mode
        || writing::is_raised(parameters, statement)
        || isolation_needs_primary(statement.traits);
    if stays_on_primary {
        return Routed::primary();
    }
    // Two nodes have no common snapshot: a repeatable-read transaction keeps its one node.
    let one_node = statement.traits.contains(Traits::REPEATABLE_READ);
    let every_time = parameters.statement_level_load_balance && !one_node;
    Routed::balanced(if every_time {
        Spread::Statement
    } else {
        Spread::Session
    })
}

/// A replica refuses serializable transactions, even if they are read only. A repeatable-read
/// transaction that may write must see its own writes and its first snapshot on the same node.
fn isolation_needs_primary(traits: Traits) -> bool {
    traits.contains(Traits::SERIALIZABLE)
        || (traits.contains(Traits::REPEATABLE_READ)
            && !traits.contains(Traits::TRANSACTION_READ_ONLY))
}

/// Whether it is a read for Pgpool-II: nothing in it writes, locks or might, and for SELECT the
/// text looks like one too.
pub(crate) fn is_plain_read(parameters: &Parameters, statement: &Statement) -> bool {
    statement.traits.contains(Traits::READS)
        && !statement.traits.intersects(NO_PLAIN_READ)
        && (statement.class != Class::Select || looks_like_a_read(parameters, statement.traits))
}

fn looks_like_a_read(parameters: &Parameters, traits: Traits) -> bool {
    if parameters.allow_sql_comments {
        return true;
    }
    let leading_space =
        traits.contains(Traits::LEADING_SPACE) && !parameters.ignore_leading_white_space;
    !leading_space && !traits.intersects(Traits::LEADING_COMMENT | Traits::NOT_LIKE_A_READ)
}

/// Temporary relations exist only on the primary; catalogs change there first.
fn needs_no_primary(statement: &Statement) -> bool {
    !statement
        .traits
        .intersects(Traits::TEMPORARY.union(Traits::CATALOG))
}

/// Findings that make a statement something else than a read.
pub(crate) const NO_PLAIN_READ: Traits = Traits::WRITES
    .union(Traits::LOCKING)
    .union(Traits::VOLATILE_FUNCTION)
    .union(Traits::SEVERAL)
    .union(Traits::UNKNOWN_FUNCTION);
