//! Between the types of `pgsteer-core` and those of the interface. What a guest answers is not
//! trusted: everything that comes back is checked here.

use pgsteer_core::policy::{
    Candidate, Decision, Fallback, Limits, Marks, Opening, PolicyError, Rejection, Reuse, Route,
    SessionFacts, Spread, StatementFacts, fresh, needs, traits,
};
use pgsteer_core::{Node, NodeId, Role};

use crate::bindings::exports::pgsteer::plugin::router as guest;
use crate::bindings::pgsteer::plugin::types;
use crate::error::{invalid, is_harmless};
use crate::limits::{SQL_BYTES_MAX, TEXT_BYTES_MAX};

pub(crate) fn session<'a>(facts: &SessionFacts<'a>) -> types::Session<'a> {
    types::Session {
        user: facts.user,
        database: facts.database,
        application_name: facts.application_name,
        client_address: facts.client_address,
        settings: facts.settings,
    }
}

/// Names of a statement in the form the interface takes them; empty, and free, unless asked for.
#[derive(Default)]
pub(crate) struct Names<'a> {
    relations: Vec<types::Relation<'a>>,
    functions: Vec<types::Function<'a>>,
}

/// The names a plugin with these needs is told.
pub(crate) fn names<'a>(facts: &StatementFacts<'a>, needs: u64) -> Names<'a> {
    let mut names = Names::default();
    if needs & needs::RELATIONS != 0 {
        let told = |r: &'a pgsteer_sql::RelationRef| types::Relation {
            schema: r.schema.as_deref(),
            name: &r.name,
            written: r.written,
        };
        names.relations = facts.relations.iter().map(told).collect();
    }
    if needs & needs::FUNCTIONS != 0 {
        let told = |f: &'a pgsteer_sql::FunctionRef| types::Function {
            schema: f.schema.as_deref(),
            name: &f.name,
        };
        names.functions = facts.functions.iter().map(told).collect();
    }
    names
}

/// Copies nothing: the text goes straight into the guest's memory.
pub(crate) fn statement<'a>(
    facts: &StatementFacts<'a>,
    needs: u64,
    names: &'a Names<'a>,
) -> types::Statement<'a> {
    let (sql, withheld) = match needs & needs::SQL != 0 {
        true if facts.sql.len() <= SQL_BYTES_MAX => (Some(facts.sql), 0),
        true => (None, traits::TEXT_WITHHELD),
        false => (None, 0),
    };
    types::Statement {
        fingerprint: facts.fingerprint,
        class: facts.class,
        traits: facts.traits | withheld,
        session_class: facts.session_class,
        balance_node: facts.balance_node.map(|node| u32::from(node.0)),
        transaction_marks: facts.transaction_marks,
        session_marks: facts.session_marks,
        parameter_count: facts.parameter_count,
        sql,
        relations: &names.relations,
        functions: &names.functions,
    }
}

pub(crate) fn node(node: &Node) -> types::Node<'_> {
    types::Node {
        id: u32::from(node.id.0),
        host: &node.host,
        port: node.port,
        role: match node.role {
            Role::Unknown => 0,
            Role::Primary => 1,
            Role::Replica => 2,
        },
        usable: node.is_usable(),
        weight: node.weight,
        lag_bytes: node.lag_bytes,
    }
}

/// `nodes` is the number of nodes the guest was told about.
pub(crate) fn opening(answer: &guest::Opening, nodes: usize) -> Result<Opening, PolicyError> {
    if answer.candidates.len() > nodes {
        return Err(invalid(format!(
            "{} candidates of {nodes} nodes",
            answer.candidates.len()
        )));
    }
    let candidates = answer.candidates.iter().map(|candidate| {
        let (node, weight) = (node_id(candidate.node, nodes)?, candidate.weight);
        if weight.is_finite() && weight >= 0.0 {
            Ok(Candidate { node, weight })
        } else {
            Err(invalid(format!("weight {weight} for node {node}")))
        }
    });
    Ok(Opening {
        class: answer.class,
        candidates: candidates.collect::<Result<_, _>>()?,
    })
}

/// `nodes` is the number of nodes the guest was told about.
pub(crate) fn decision(answer: guest::Routed, nodes: usize) -> Result<Decision, PolicyError> {
    let route = match answer.route {
        guest::Route::Abstain => Route::Abstain,
        guest::Route::Primary => Route::Primary,
        guest::Route::Balanced(guest::Spread::Session) => Route::Balanced(Spread::Session),
        guest::Route::Balanced(guest::Spread::Statement) => Route::Balanced(Spread::Statement),
        guest::Route::Node(id) => Route::Node(node_id(id, nodes)?),
        guest::Route::Everywhere => Route::Everywhere,
        guest::Route::Reject(rejection) => Route::Reject(self::rejection(&rejection)),
    };
    let reuse = match answer.reuse {
        guest::Reuse::Never => Reuse::Never,
        guest::Reuse::Statement => Reuse::Statement,
    };
    let marks = Marks {
        transaction: answer.marks.transaction,
        session: answer.marks.session,
        clear_transaction: answer.marks.clear_transaction,
    };
    if answer.also_writes.len() > ALSO_WRITES_MAX {
        let count = answer.also_writes.len();
        return Err(invalid(format!(
            "{count} further relations written, allowed are {ALSO_WRITES_MAX}"
        )));
    }
    Ok(Decision {
        route,
        reuse,
        marks,
        also_writes: answer.also_writes,
        reason: answer.reason,
        limits: limits(answer.limits)?,
        trusts_functions: answer.trusts_functions,
    })
}

fn limits(limits: guest::Limits) -> Result<Limits, PolicyError> {
    if limits.fresh & !fresh::ALL != 0 {
        return Err(invalid(format!(
            "limits that this proxy does not know (bits {:#x})",
            limits.fresh
        )));
    }
    Ok(Limits {
        fresh: limits.fresh,
        otherwise: match limits.otherwise {
            guest::Fallback::Primary => Fallback::Primary,
            guest::Fallback::Another => Fallback::Another,
            guest::Fallback::LeastLag => Fallback::LeastLag,
        },
        lag_bytes: limits.lag_bytes,
        lag_ms: limits.lag_ms,
    })
}

/// Relations an answer may name as written besides those of the statement.
const ALSO_WRITES_MAX: usize = 64;

fn node_id(id: u32, nodes: usize) -> Result<NodeId, PolicyError> {
    match u16::try_from(id) {
        Ok(small) if usize::from(small) < nodes => Ok(NodeId(small)),
        _ => Err(invalid(format!("node {id} of {nodes} nodes"))),
    }
}

fn rejection(rejection: &types::Rejection) -> Rejection {
    let sqlstate = &rejection.sqlstate;
    let sqlstate = if may_be_passed_on(sqlstate) {
        sqlstate
    } else {
        FALLBACK_SQLSTATE
    };
    Rejection {
        sqlstate: sqlstate.to_owned(),
        message: for_client(&rejection.message),
        hint: rejection.hint.as_deref().map(for_client),
    }
}

/// The list in `wit/v0.1/plugin.wit`: a plugin cannot pretend that the server or the transaction failed.
fn may_be_passed_on(sqlstate: &str) -> bool {
    let well_formed = sqlstate.len() == 5
        && sqlstate
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    well_formed
        && (matches!(sqlstate, "42501" | "53000" | "57P03" | "0A000" | "25006")
            || sqlstate.starts_with("P0")
            || sqlstate.starts_with("58"))
}

/// Control characters are left out: a message ends at the first zero byte of the protocol.
fn for_client(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars().filter(|character| is_harmless(*character)) {
        if kept.len() + character.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        kept.push(character);
    }
    kept
}

/// System error of an external routine: something outside of PostgreSQL refused.
const FALLBACK_SQLSTATE: &str = "58000";

#[cfg(test)]
mod tests {
    use super::{for_client, may_be_passed_on};

    #[test]
    fn only_listed_sqlstates_are_passed_on() {
        for good in [
            "42501", "53000", "57P03", "0A000", "25006", "P0001", "58030",
        ] {
            assert!(may_be_passed_on(good), "{good}");
        }
        for bad in [
            "", "00000", "40001", "25P02", "p0001", "58", "58\0\0\0", "P00011", "58é1",
        ] {
            assert!(!may_be_passed_on(bad), "{bad:?}");
        }
    }

    #[test]
    fn messages_are_clean_and_bounded() {
        assert_eq!(for_client("no\0\r\n\u{202e}entry"), "noentry");
        assert_eq!(for_client(&"€".repeat(5000)).len(), 1023);
    }
}
