//! Where a statement runs, by what kind of statement it is. First match wins, in the order of
//! Pgpool-II.

use pgsteer_plugin_sdk::{Class, Fallback, Fresh, Limits, Routed, Spread, Statement, Traits};

use crate::functions::write_function;
use crate::parameters::{CheckTempTable, DisableOnWrite, ReadYourWrites};
use crate::reason::Reason;
use crate::{Parameters, writing};

/// The answer for a statement. It depends on nothing but the arguments, so it may be remembered.
pub(crate) fn decide(parameters: &Parameters, statement: &Statement) -> Routed {
    let answer = route(parameters, statement).reusable();
    writing::mark(parameters, statement, answer)
}

fn route(parameters: &Parameters, statement: &Statement) -> Routed {
    // A string of several statements runs in one piece, whatever they are.
    if statement.traits.contains(Traits::SEVERAL) {
        return primary(Reason::SeveralStatements);
    }
    match statement.class {
        Class::SessionSetting | Class::TransactionControl | Class::Deallocate => {
            Routed::everywhere().because(Reason::SessionState.code())
        }
        Class::Select | Class::Copy | Class::Show | Class::Empty => {
            match needs_primary(parameters, statement) {
                Some(reason) => primary(reason),
                None => balanced(parameters, statement),
            }
        }
        // Everything else, and what a newer host may add. PREPARE goes where EXECUTE will look for it.
        _ => primary(Reason::NotARead),
    }
}

fn primary(reason: Reason) -> Routed {
    Routed::primary().because(reason.code())
}

fn balanced(parameters: &Parameters, statement: &Statement) -> Routed {
    // Two nodes have no common snapshot: a repeatable-read transaction keeps its one node.
    let one_node = statement.traits.contains(Traits::REPEATABLE_READ) && !parameters.exact;
    let spread = if parameters.statement_level_load_balance && !one_node {
        Spread::Statement
    } else {
        Spread::Session
    };
    Routed::balanced(spread)
        .because(Reason::Balanced.code())
        .within(limits(parameters))
        // Who lists the functions that only read is believed.
        .trusting_functions(parameters.exact || !parameters.read_only_function_list.is_empty())
}

/// What a replica must keep. One that lags too far is replaced as Pgpool-II does it; one that has
/// not replayed a write yet by any other that has.
fn limits(parameters: &Parameters) -> Limits {
    let fresh = match parameters.read_your_writes {
        ReadYourWrites::Off => Fresh::ANY,
        ReadYourWrites::Session => Fresh::SESSION,
        ReadYourWrites::Global => Fresh::SESSION.and(Fresh::DATABASE),
    };
    let global = parameters.disable_load_balance_on_write == DisableOnWrite::DmlAdaptiveGlobal;
    let (lag_bytes, lag_ms) = (
        parameters.delay_threshold,
        parameters.delay_threshold_by_time,
    );
    let has_threshold = lag_bytes > 0 || lag_ms > 0;
    Limits {
        fresh: if global {
            fresh.and(Fresh::RELATIONS)
        } else {
            fresh
        },
        otherwise: if parameters.prefer_lower_delay_standby {
            Fallback::LeastLag
        } else if has_threshold || parameters.exact {
            Fallback::Primary
        } else {
            Fallback::Another
        },
        lag_bytes,
        lag_ms,
        wait_ms: 0,
    }
}

/// The first rule that keeps a statement of a kind that may be balanced on the primary.
fn needs_primary(parameters: &Parameters, statement: &Statement) -> Option<Reason> {
    if !parameters.load_balance_mode {
        return Some(Reason::LoadBalanceMode);
    }
    if let Some(reason) = no_read(parameters, statement) {
        return Some(reason);
    }
    if writing::is_raised(parameters, statement) {
        return Some(Reason::WritingFlag);
    }
    if isolation_needs_primary(parameters, statement.traits) {
        return Some(Reason::Isolation);
    }
    objects(parameters, statement)
        .or_else(|| {
            let patterns = &parameters.primary_routing_query_pattern_list;
            let listed = !statement.sql.is_empty() && patterns.match_text(&statement.sql);
            listed.then_some(Reason::Pattern)
        })
        .or_else(|| write_function(parameters, statement))
        .or_else(|| written_relation(parameters, statement))
}

/// A replica refuses serializable transactions, even if they are read only. A repeatable-read
/// transaction that may write must see its own writes and its first snapshot on the same node.
fn isolation_needs_primary(parameters: &Parameters, traits: Traits) -> bool {
    let repeatable =
        traits.contains(Traits::REPEATABLE_READ) && !traits.contains(Traits::TRANSACTION_READ_ONLY);
    traits.contains(Traits::SERIALIZABLE) || (repeatable && !parameters.exact)
}

/// Why it is no read for Pgpool-II: something in it writes or locks or, for SELECT, the text does
/// not look like one.
pub(crate) fn no_read(parameters: &Parameters, statement: &Statement) -> Option<Reason> {
    if matches!(statement.class, Class::Show | Class::Empty) {
        return None;
    }
    let traits = statement.traits;
    let writes = Traits::WRITES | Traits::LOCKING | Traits::SEVERAL;
    if !traits.contains(Traits::READS) || traits.intersects(writes) {
        return Some(Reason::Writes);
    }
    let unlike = statement.class == Class::Select && !looks_like_a_read(parameters, traits);
    unlike.then_some(Reason::LeadingText)
}

fn looks_like_a_read(parameters: &Parameters, traits: Traits) -> bool {
    if parameters.allow_sql_comments {
        return true;
    }
    let leading_space =
        traits.contains(Traits::LEADING_SPACE) && !parameters.ignore_leading_white_space;
    !leading_space && !traits.intersects(Traits::LEADING_COMMENT | Traits::NOT_LIKE_A_READ)
}

/// What the relations in it say.
fn objects(parameters: &Parameters, statement: &Statement) -> Option<Reason> {
    // Pgpool-II looks at those of a bare SELECT only (D6), by name (D5) and not through views.
    if parameters.exact && statement.class != Class::Select {
        return None;
    }
    let traits = statement.traits;
    let by_name = parameters.exact && parameters.check_temp_table == CheckTempTable::Catalog;
    let temporary = if by_name {
        Traits::TEMPORARY | Traits::TEMPORARY_NAME
    } else {
        Traits::TEMPORARY
    };
    let catalog = if parameters.exact {
        Traits::CATALOG | Traits::CATALOG_NAME
    } else {
        Traits::CATALOG
    };
    let rules = [
        (catalog, true, Reason::Catalog),
        (
            temporary,
            parameters.check_temp_table != CheckTempTable::None,
            Reason::Temporary,
        ),
        (
            Traits::UNLOGGED,
            parameters.check_unlogged_table,
            Reason::Unlogged,
        ),
        (
            Traits::UNKNOWN_RELATION,
            !parameters.exact,
            Reason::UnknownRelation,
        ),
        (Traits::THROUGH_VIEW, !parameters.exact, Reason::ThroughView),
    ];
    let mut applying = rules.into_iter().filter(|(_, applies, _)| *applies);
    let found = applying.find(|(bits, _, _)| traits.intersects(*bits));
    found.map(|(_, _, reason)| reason)
}

/// In the modes that look at single relations: the transaction wrote one that the statement names.
fn written_relation(parameters: &Parameters, statement: &Statement) -> Option<Reason> {
    let by_relation = matches!(
        parameters.disable_load_balance_on_write,
        DisableOnWrite::DmlAdaptive | DisableOnWrite::DmlAdaptiveGlobal
    );
    let written = statement.traits.contains(Traits::WRITTEN_RELATION);
    // Pgpool-II looks at those of a bare SELECT only (D6).
    let looks = !parameters.exact || statement.class == Class::Select;
    (by_relation && looks && written).then_some(Reason::WrittenRelation)
}
