//! The failover hook: what it is told, and guests that trap, never end, or answer badly.

use std::sync::Arc;

use pgsteer_core::policy::{
    Crisis, FailureClass, Hooks, Occasion, PastEvent, PolicyError, Receiver, Remedy, Witness,
};
use pgsteer_core::settings::NodeFlag;
use pgsteer_core::topology::{Health, Standing};
use pgsteer_core::{NodeId, Role};

use support::{Guest, check_refused, load, only, policy, statement};

mod support;

const LOOP: &str = "(loop br 0)";

/// The guest misbehaves after so long: nothing a plugin is tried out with has taken as long.
const BAD_MS: u64 = 2989;

fn bad(body: &str) -> Guest {
    let decide = format!("local.get 5 i64.const {BAD_MS} i64.eq (if (then {body})) i32.const 704");
    Guest::failover(&decide)
}

/// An answer: which case, and the 32 bits that go with it.
fn answer(case: u32, value: u32) -> String {
    format!("i32.const 704 i32.const {case} i32.store8 i32.const 708 i32.const {value} i32.store")
}

fn witness(id: u16) -> Witness {
    Witness {
        id: NodeId(id),
        host: "db".into(),
        port: 5432,
        flag: NodeFlag::AlwaysPrimary,
        role: Role::Replica,
        health: Health::Up,
        failures: 7,
        standing: Standing::Fenced,
        since_ms: 1,
        system_identifier: Some(u64::MAX),
        timeline: Some(3),
        lsn: Some(4),
        received_lsn: None,
        receiver: Receiver::Streaming,
        silent_ms: None,
        follows: Some(NodeId(0)),
        behind_bytes: None,
        sync_state: "quorum".to_owned(),
    }
}

fn crisis(for_ms: u64) -> Crisis {
    Crisis {
        occasion: Occasion::PrimaryLost,
        subject: Some(NodeId(0)),
        primary: None,
        for_ms,
        nodes: vec![witness(0), witness(1)],
        history: vec![PastEvent {
            ago_ms: 5,
            node: NodeId(1),
            what: "promotion-failed",
        }],
        refused: "too late".to_owned(),
    }
}

fn ask(body: &str) -> Result<Remedy, PolicyError> {
    policy(&bad(body)).remedy(&crisis(BAD_MS))
}

#[test]
fn it_can_be_the_only_hook() {
    let loaded = load(Guest::failover("i32.const 704").build()).expect("a good guest");
    assert_eq!(loaded.hooks, Hooks::FAILOVER);
    let mut policy = policy(&bad(""));
    assert_eq!(policy.remedy(&crisis(1)).ok(), Some(Remedy::Abstain));
    let error = policy.decide(&statement(1, "")).expect_err("no router");
    assert_eq!(error.class, FailureClass::Invalid);
    assert!(policy.remedy(&crisis(1)).is_ok(), "that did no harm");
}

#[test]
fn a_plugin_without_it_says_so() {
    let mut router = policy(&only("router"));
    let error = router.remedy(&crisis(1)).expect_err("no such hook");
    assert_eq!(error.class, FailureClass::Invalid);
    assert!(error.reason.contains("failover"), "{error}");
    assert!(router.decide(&statement(1, "")).is_ok());
}

#[test]
fn every_answer_is_passed_on() {
    let node = || NodeId(1);
    for (case, value, expected) in [
        (0, 0, Remedy::Abstain),
        (1, 250, Remedy::Wait(250)),
        (2, 1, Remedy::Promote(node())),
        (3, 1, Remedy::Follow(node())),
        (4, 1, Remedy::Detach(node())),
        (5, 1, Remedy::Reattach(node())),
    ] {
        assert_eq!(ask(&answer(case, value)).ok(), Some(expected));
    }
    // Text and length of what is at 16.
    let reason = format!("{} i32.const 712 i32.const 7 i32.store", answer(6, 16));
    let expected = Remedy::GiveUp("hostile".to_owned());
    assert_eq!(ask(&reason).ok(), Some(expected));
}

#[test]
fn reasons_to_give_up_are_bounded_and_printable() {
    let reason = |length: u32| {
        let body = format!(
            "{} i32.const 712 i32.const {length} i32.store",
            answer(6, 1100)
        );
        let guest = Guest {
            fields: r#"(data (i32.const 1100) "a\0a\1b[31mb")"#.to_owned(),
            ..bad(&body)
        };
        match policy(&guest).remedy(&crisis(BAD_MS)) {
            Ok(Remedy::GiveUp(reason)) => reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason(8), "a\\n\\u{1b}[31mb");
    assert!(reason(60_000).len() <= 1024);
}

#[test]
fn nodes_that_do_not_exist_and_cases_that_are_none_fail() {
    for case in 2..=5 {
        for id in [2, 65_536, u32::MAX] {
            let error = ask(&answer(case, id)).expect_err("no such node");
            assert_eq!(error.class, FailureClass::Invalid, "{case} {id}: {error}");
        }
    }
    let error = ask(&answer(7, 0)).expect_err("no such case");
    assert_eq!(error.class, FailureClass::Abi, "{error}");
    // The text lies outside of its memory.
    let outside = format!("{} i32.const 712 i32.const -1 i32.store", answer(6, 16));
    let error = ask(&outside).expect_err("no such text");
    assert_ne!(error.class, FailureClass::Invalid, "{error}");
}

#[test]
fn a_guest_that_misbehaves_in_service_fails_and_is_not_asked_again() {
    for (body, class) in [
        ("unreachable", FailureClass::Trap),
        (LOOP, FailureClass::Deadline),
        (
            "i32.const 1000 memory.grow i32.const -1 i32.eq (if (then unreachable))",
            FailureClass::Memory,
        ),
    ] {
        let mut policy = policy(&bad(body));
        assert!(policy.remedy(&crisis(1)).is_ok(), "{body}");
        let error = policy.remedy(&crisis(BAD_MS)).expect_err("it misbehaves");
        assert_eq!(error.class, class, "{body}: {error}");
        let again = policy.remedy(&crisis(1)).expect_err("it is gone");
        assert!(again.reason.contains("must be replaced"), "{again}");
    }
}

#[test]
fn a_guest_that_misbehaves_while_tried_out_is_refused() {
    for (body, word) in [
        ("unreachable", "trapped"),
        ("(loop (result i32) br 0)", "too slow"),
    ] {
        check_refused(&Guest::failover(body), "canary", word);
    }
    // Node 2 is not there in each of the crises.
    let always = format!("{} i32.const 704", answer(2, 2));
    check_refused(&Guest::failover(&always), "canary", "one replica");
    // Only with no nodes, and only when the last answer was refused.
    let no_nodes = "local.get 7 i32.eqz (if (then unreachable)) i32.const 704";
    check_refused(&Guest::failover(no_nodes), "canary", "no nodes");
    let refused = "local.get 11 i32.const 0 i32.ne (if (then unreachable)) i32.const 704";
    check_refused(&Guest::failover(refused), "canary", "was refused");
}

/// Traps unless this holds.
fn expects(condition: &str) -> String {
    format!("{condition} (if (then) (else unreachable))")
}

#[test]
fn it_is_told_everything() {
    // The offsets are those of a record `witness` in the canonical ABI; local 6 is the list.
    let of = |load: &str, offset: u32, value: i64| {
        let kind = load.get(..3).expect("a type");
        expects(&format!(
            "local.get 6 {load} offset={} {kind}.const {value} {kind}.eq",
            WITNESS_BYTES + offset
        ))
    };
    let second = [
        of("i32.load", 0, 1),
        of("i32.load", 8, 2),
        of("i32.load16_u", 12, 5432),
        of("i32.load8_u", 14, 2),
        of("i32.load8_u", 15, 2),
        of("i32.load8_u", 16, 1),
        of("i32.load", 20, 7),
        of("i32.load8_u", 24, 3),
        of("i64.load", 32, 1),
        of("i32.load8_u", 40, 1),
        of("i64.load", 48, -1),
        of("i32.load8_u", 56, 1),
        of("i32.load", 60, 3),
        of("i32.load8_u", 64, 1),
        of("i64.load", 72, 4),
        of("i32.load8_u", 80, 0),
        of("i32.load8_u", 96, 2),
        of("i32.load8_u", 104, 0),
        of("i32.load8_u", 120, 1),
        of("i32.load", 124, 0),
        of("i32.load8_u", 128, 0),
        of("i32.load", 148, 6),
    ];
    let rest = [
        expects("local.get 0 i32.const 1 i32.eq"),
        expects("local.get 1 i32.const 1 i32.eq"),
        expects("local.get 3 i32.eqz"),
        expects("local.get 7 i32.const 2 i32.eq"),
        expects("local.get 9 i32.const 1 i32.eq"),
        expects("local.get 8 i64.load i64.const 5 i64.eq"),
        expects("local.get 8 i32.load offset=8 i32.const 1 i32.eq"),
        expects("local.get 8 i32.load offset=16 i32.const 16 i32.eq"),
        expects("local.get 11 i32.const 8 i32.eq"),
    ];
    let body: String = second.into_iter().chain(rest).collect();
    assert_eq!(ask(&body).ok(), Some(Remedy::Abstain));
}

#[test]
fn many_nodes_are_told_within_the_limits() {
    let mut asked = crisis(1);
    asked.nodes = (0..128).map(witness).collect();
    asked.history = vec![asked.history.remove(0); 64];
    let host: Arc<str> = "x".repeat(255).into();
    asked
        .nodes
        .iter_mut()
        .for_each(|node| node.host = Arc::clone(&host));
    let mut policy = policy(&bad(""));
    assert_eq!(policy.remedy(&asked).ok(), Some(Remedy::Abstain));
}

/// Size of a record `witness`.
const WITNESS_BYTES: u32 = 152;
