//! Whether a function that a statement calls is a write.

use pgsteer_plugin_sdk::{Class, Statement, Traits};

use crate::Parameters;
use crate::reason::Reason;

/// Why a function in it makes a statement a write; `None` if none does.
pub(crate) fn write_function(parameters: &Parameters, statement: &Statement) -> Option<Reason> {
    // Pgpool-II does not look into COPY (D6).
    if parameters.exact && statement.class == Class::Copy {
        return None;
    }
    let (reads, writes) = (
        &parameters.read_only_function_list,
        &parameters.write_function_list,
    );
    if !reads.is_empty() {
        // The operator's word counts for more than the catalog's.
        let unlisted = statement.functions.iter().any(|f| !reads.contains(f));
        return unlisted.then_some(Reason::NotReadOnlyFunction);
    }
    if statement.functions.iter().any(|f| writes.contains(f)) {
        return Some(Reason::WriteFunction);
    }
    match parameters.exact {
        // There the list switches the look at the catalog off (D7).
        true if !writes.is_empty() => None,
        // Any function of that name, in any schema, of any signature (D5); what writes although it
        // says that it does not is not known (D8).
        true => has(statement, Traits::VOLATILE_NAME, Reason::VolatileFunction),
        false => has(
            statement,
            Traits::VOLATILE_FUNCTION,
            Reason::VolatileFunction,
        )
        .or_else(|| has(statement, Traits::UNKNOWN_FUNCTION, Reason::UnknownFunction)),
    }
}

fn has(statement: &Statement, traits: Traits, reason: Reason) -> Option<Reason> {
    statement.traits.intersects(traits).then_some(reason)
}
