//! Which statements may write.

use pgsteer_plugin_sdk::{Class, Statement, Traits};

use crate::settings::Settings;

/// Whether a read-only time refuses it.
pub(crate) fn may_write(settings: &Settings, statement: &Statement) -> bool {
    let traits = statement.traits;
    if traits.intersects(Traits::WRITES | Traits::LOCKING) {
        return true;
    }
    match statement.class {
        Class::TransactionControl
        | Class::SessionSetting
        | Class::Show
        | Class::Empty
        | Class::Deallocate
        | Class::Listen
        // What it holds is asked about when it is executed.
        | Class::Prepare => false,
        Class::Select | Class::Copy | Class::Execute | Class::Explain | Class::Cursor => {
            // A view may call them as well.
            let functions =
                Traits::VOLATILE_FUNCTION | Traits::UNKNOWN_FUNCTION | Traits::THROUGH_VIEW;
            let calls = traits.intersects(functions) && !settings.allow_volatile_functions;
            // FETCH and CLOSE are about a query that was asked about.
            let is_proven = traits.contains(Traits::READS) || statement.class == Class::Cursor;
            calls || !is_proven
        }
        // Also what a newer proxy may add.
        _ => true,
    }
}
