//! What guests answer, in the types of `pgsteer-core`. A guest is not trusted: everything that
//! comes back is checked here.

use pgsteer_core::NodeId;
use pgsteer_core::policy::{
    Admission, Admitted, Candidate, Decision, Fallback, Limits, Marks, Opening, PolicyError,
    Rejection, Reuse, Rewriting, Rewritten, Route, Spread, Taint, fresh,
};

use super::bindings::exports::pgsteer::plugin::{rewriter, router, session};
use super::bindings::pgsteer::plugin::types;
use crate::error::{invalid, is_harmless};
use crate::limits::TEXT_BYTES_MAX;

/// `nodes` is the number of nodes the guest was told about.
pub(super) fn opening(answer: &router::Opening, nodes: usize) -> Result<Opening, PolicyError> {
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
            Err(invalid(format!("a weight of {weight} for node {node}")))
        }
    });
    Ok(Opening {
        class: answer.class,
        candidates: candidates.collect::<Result<_, _>>()?,
    })
}

/// `nodes` is the number of nodes the guest was told about.
pub(super) fn decision(
    answer: router::Routed,
    nodes: usize,
    taint: Taint,
) -> Result<Decision, PolicyError> {
    let route = match answer.route {
        router::Route::Abstain => Route::Abstain,
        router::Route::Primary => Route::Primary,
        router::Route::Balanced(router::Spread::Session) => Route::Balanced(Spread::Session),
        router::Route::Balanced(router::Spread::Statement) => Route::Balanced(Spread::Statement),
        router::Route::Node(id) => Route::Node(node_id(id, nodes)?),
        router::Route::Everywhere => Route::Everywhere,
        router::Route::Reject(rejection) => Route::Reject(self::rejection(&rejection)),
    };
    let reuse = match answer.reuse {
        router::Reuse::Never => Reuse::Never,
        router::Reuse::Statement => Reuse::Statement,
    };
    let marks = Marks {
        transaction: answer.marks.transaction,
        session: answer.marks.session,
        clear_transaction: answer.marks.clear_transaction,
    };
    bounded(
        "further relations written",
        answer.also_writes.len(),
        ALSO_WRITES_MAX,
    )?;
    bounded("keys", answer.keys.len(), KEYS_MAX)?;
    Ok(Decision {
        route,
        reuse,
        marks,
        also_writes: answer.also_writes,
        keys: answer.keys,
        reason: answer.reason,
        limits: limits(answer.limits)?,
        trusts_functions: answer.trusts_functions,
        taint,
    })
}

fn limits(limits: router::Limits) -> Result<Limits, PolicyError> {
    if limits.fresh & !fresh::ALL != 0 {
        return Err(invalid(format!(
            "limits that this proxy does not know (bits {:#x})",
            limits.fresh
        )));
    }
    if limits.wait_ms > WAIT_MS_MAX {
        return Err(invalid(format!(
            "a wait of {} ms, allowed are {WAIT_MS_MAX}",
            limits.wait_ms
        )));
    }
    Ok(Limits {
        fresh: limits.fresh,
        otherwise: match limits.otherwise {
            router::Fallback::Primary => Fallback::Primary,
            router::Fallback::Another => Fallback::Another,
            router::Fallback::LeastLag => Fallback::LeastLag,
        },
        lag_bytes: limits.lag_bytes,
        lag_ms: limits.lag_ms,
        wait_ms: limits.wait_ms,
    })
}

pub(super) fn rewriting(answer: rewriter::Answer, taint: Taint) -> Result<Rewriting, PolicyError> {
    let rewritten = match answer.rewritten {
        rewriter::Rewritten::Keep => Rewritten::Keep,
        rewriter::Rewritten::Replace(replacement) => replace(replacement)?,
        rewriter::Rewritten::Reject(rejection) => Rewritten::Reject(self::rejection(&rejection)),
    };
    let reuse = match answer.reuse {
        rewriter::Reuse::Never => Reuse::Never,
        rewriter::Reuse::Statement => Reuse::Statement,
    };
    Ok(Rewriting {
        rewritten,
        reuse,
        taint,
    })
}

fn replace(replacement: rewriter::Replacement) -> Result<Rewritten, PolicyError> {
    let rewriter::Replacement { sql, parameters } = replacement;
    if sql.len() > REWRITTEN_BYTES_MAX {
        return Err(invalid(format!(
            "a text of {} bytes, allowed are {REWRITTEN_BYTES_MAX}",
            sql.len()
        )));
    }
    if sql.contains('\0') {
        return Err(invalid("a text with a zero byte"));
    }
    if parameters.as_ref().is_some_and(|map| map.contains(&0)) {
        return Err(invalid("a parameter that takes number 0, they begin at 1"));
    }
    Ok(Rewritten::Replace { sql, parameters })
}

pub(super) fn admitted(answer: session::Admitted) -> Result<Admitted, PolicyError> {
    let admission = match answer {
        session::Admitted::Admit(admission) => admission,
        session::Admitted::Refuse(rejection) => {
            return Ok(Admitted::Refuse(self::rejection(&rejection)));
        }
    };
    let parameters = admission.parameters.len() + admission.enforced.len();
    bounded("parameters", parameters, PARAMETERS_MAX)?;
    for (name, value) in admission.parameters.iter().chain(&admission.enforced) {
        check_parameter(name, value)?;
    }
    for (what, name) in [("pool", &admission.pool), ("role", &admission.role)] {
        if let Some(name) = name {
            check_name(what, name)?;
        }
    }
    if admission.role.as_deref() == Some("none") {
        // SET ROLE takes this word, quoted or not, for the role the client logged in with.
        return Err(invalid("a role called none, which stands for no role"));
    }
    Ok(Admitted::Admit(Admission {
        pool: admission.pool,
        role: admission.role,
        parameters: admission.parameters,
        enforced: admission.enforced,
    }))
}

fn check_name(what: &str, name: &str) -> Result<(), PolicyError> {
    let length = name.len();
    if length == 0 || length > NAME_BYTES_MAX || !name.chars().all(is_harmless) {
        return Err(invalid(format!(
            "the name of a {what} of {length} bytes: it must have 1 to {NAME_BYTES_MAX}, and no \
             control characters"
        )));
    }
    Ok(())
}

fn check_parameter(name: &str, value: &str) -> Result<(), PolicyError> {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let further = |byte: u8| first(byte) || byte.is_ascii_digit() || byte == b'.';
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(first);
    if !starts_well || !bytes.all(further) || name.len() > NAME_BYTES_MAX {
        let name: String = name.chars().take(NAME_BYTES_MAX).collect();
        return Err(invalid(format!(
            "a parameter called \"{}\": names have at most {NAME_BYTES_MAX} of a to z, 0 to 9, _ \
             and .",
            name.escape_default()
        )));
    }
    if value.len() > PARAMETER_BYTES_MAX || value.contains('\0') {
        return Err(invalid(format!(
            "a value of parameter {name} with a zero byte, or with more than \
             {PARAMETER_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

fn bounded(what: &str, count: usize, max: usize) -> Result<(), PolicyError> {
    if count > max {
        return Err(invalid(format!("{count} {what}, allowed are {max}")));
    }
    Ok(())
}

pub(super) fn node_id(id: u32, nodes: usize) -> Result<NodeId, PolicyError> {
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

/// Relations an answer may name as written besides those of the statement.
const ALSO_WRITES_MAX: usize = 64;

/// These two are promised in `wit/v0.1/plugin.wit`.
const KEYS_MAX: usize = 16;
const WAIT_MS_MAX: u32 = 10_000;

/// Ours: a text that a statement of 64 KiB may become.
const REWRITTEN_BYTES_MAX: usize = 1024 * 1024;

/// Of one admission, both kinds together; ours.
const PARAMETERS_MAX: usize = 64;

/// Ours; PostgreSQL has no limit, a startup packet has 10,000 bytes.
const PARAMETER_BYTES_MAX: usize = 8 * 1024;

/// `NAMEDATALEN - 1`.
const NAME_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn names_of_parameters_are_plain() {
        for good in ["work_mem", "app.tenant_id", "_x1"] {
            assert!(check_parameter(good, "value ' \n").is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", "1a", ".a", "A", "a b", "a;b", "a\0", "é", "a-b", &long] {
            assert!(check_parameter(bad, "").is_err(), "{bad:?}");
        }
        assert!(check_parameter("a", "x\0").is_err());
        assert!(check_parameter("a", &"x".repeat(9000)).is_err());
    }

    #[test]
    fn admissions_are_checked() {
        fn parameter() -> (String, String) {
            ("a".to_owned(), "b".to_owned())
        }
        let admit = |change: fn(&mut session::Admission)| {
            let mut admission = session::Admission {
                pool: None,
                role: None,
                parameters: Vec::new(),
                enforced: Vec::new(),
            };
            change(&mut admission);
            admitted(session::Admitted::Admit(admission)).is_ok()
        };
        assert!(admit(|_| {}));
        assert!(admit(|a| a.pool = Some("x".repeat(63))));
        assert!(!admit(|a| a.pool = Some("x".repeat(64))));
        assert!(!admit(|a| a.pool = Some(String::new())));
        assert!(!admit(|a| a.role = Some("a\nb".to_owned())));
        assert!(!admit(|a| a.role = Some("none".to_owned())));
        assert!(admit(|a| a.enforced = vec![parameter(); 64]));
        assert!(!admit(|a| {
            a.enforced = vec![parameter(); 32];
            a.parameters = vec![parameter(); 33];
        }));
    }

    #[test]
    fn new_texts_are_checked() {
        let ask = |sql: String, parameters| {
            let replacement = rewriter::Replacement { sql, parameters };
            let answer = rewriter::Answer {
                rewritten: rewriter::Rewritten::Replace(replacement),
                reuse: rewriter::Reuse::Never,
            };
            rewriting(answer, Taint::default()).is_ok()
        };
        assert!(ask("SELECT $1".to_owned(), Some(vec![1])));
        assert!(!ask("SELECT $1".to_owned(), Some(vec![1, 0])));
        assert!(!ask("SELECT\0".to_owned(), None));
        assert!(ask("x".repeat(1024 * 1024), None));
        assert!(!ask("x".repeat(1024 * 1024 + 1), None));
    }
}
