//! Each hook: asked alone, and of guests that trap, never end, or answer badly.

use pgsteer_core::NodeId;
use pgsteer_core::policy::{
    Admission, Admitted, Event, FailureClass, Grants, Hooks, PluginSource, Policy, PolicyError,
    Rewritten, Value,
};

use support::{
    BAD, Guest, check_refused, check_refused_source, everything, granted, limits, load,
    load_source, only, policy, session, source, statement,
};

mod support;

const ADMIT: &str = "session";
const REWRITER: &str = "rewriter";
const LOOP: &str = "(loop br 0)";

/// Misbehaves for sessions that have a number: those while it is tried out have none.
fn bad_admit(body: &str) -> Guest {
    let admit = format!("local.get 0 i64.const 0 i64.ne (if (then {body})) i32.const 576");
    Guest {
        admit,
        ..only(ADMIT)
    }
}

fn bad_rewrite(body: &str) -> Guest {
    let rewrite = format!("local.get 0 i64.const {BAD} i64.eq (if (then {body})) i32.const 512");
    Guest {
        rewrite,
        ..only(REWRITER)
    }
}

fn bad_observe(body: &str) -> Guest {
    let observe = format!("local.get 2 i64.const 99 i64.eq (if (then {body}))");
    Guest {
        observe,
        ..only("observer")
    }
}

/// Misbehaves for a command of three bytes.
fn bad_command(body: &str) -> Guest {
    let command = format!("local.get 1 i32.const 3 i32.eq (if (then {body})) i32.const 640");
    Guest {
        command,
        ..only("operator")
    }
}

fn rewrite(guest: &Guest) -> Result<Rewritten, PolicyError> {
    let answer = policy(guest).rewrite(&statement(BAD, "SELECT 1"));
    answer.map(|answer| answer.rewritten)
}

fn event() -> Event<'static> {
    Event {
        session: 1,
        user: "alice",
        database: "shop",
        fingerprint: 1,
        class: 1,
        traits: 1,
        node: Some(NodeId(1)),
        rows: 1,
        bytes: 2,
        microseconds: 3,
        error: Some("42P01"),
    }
}

#[track_caller]
fn check_fails<T>(
    policy: &mut dyn Policy,
    class: FailureClass,
    ask: impl Fn(&mut dyn Policy) -> Result<T, PolicyError>,
) -> String {
    let error = ask(policy).err().expect("it misbehaves");
    assert_eq!(error.class, class, "{error}");
    let again = ask(policy).err().expect("it must not be used again");
    assert!(again.reason.contains("must be replaced"), "{again}");
    error.reason
}

#[test]
fn every_hook_can_be_the_only_one() {
    for (hook, expected) in [
        ("session", Hooks::SESSION),
        ("rewriter", Hooks::REWRITER),
        ("router", Hooks::ROUTER),
        ("observer", Hooks::OBSERVER),
        ("topology-listener", Hooks::TOPOLOGY_LISTENER),
        ("operator", Hooks::OPERATOR),
    ] {
        let loaded = load(only(hook).build()).expect("a good guest");
        assert_eq!(loaded.hooks, expected);
    }
    let loaded = load(everything().build()).expect("a good guest");
    assert_eq!(loaded.hooks.names().count(), 6);
}

#[test]
fn a_hook_that_is_not_there_is_an_error_and_no_harm() {
    let mut policy = policy(&only(ADMIT));
    let error = policy.decide(&statement(1, "")).expect_err("no router");
    assert_eq!(error.class, FailureClass::Invalid);
    assert!(error.reason.contains("router"), "{error}");
    assert!(policy.admit(&session()).is_ok());
}

#[test]
fn hooks_that_misbehave_while_tried_out_are_refused() {
    let trap = || "unreachable".to_owned();
    let endless = || "(loop (result i32) br 0)".to_owned();
    for (word, body) in [("trapped", trap()), ("too slow", endless())] {
        let body = || body.clone();
        let admit = Guest {
            admit: body(),
            ..only(ADMIT)
        };
        check_refused(&admit, "canary", word);
        let open_rewriter = Guest {
            open_rewriter: body(),
            ..only(REWRITER)
        };
        check_refused(&open_rewriter, "canary", word);
        let rewrite = Guest {
            rewrite: body(),
            ..only(REWRITER)
        };
        check_refused(&rewrite, "canary", word);
        let command = Guest {
            command: body(),
            ..only("operator")
        };
        check_refused(&command, "canary", word);
        let explain = Guest {
            explain: body(),
            ..only("router")
        };
        check_refused(&explain, "canary", word);
    }
    for (word, body) in [("trapped", trap()), ("too slow", LOOP.to_owned())] {
        let observe = Guest {
            observe: body,
            ..only("observer")
        };
        check_refused(&observe, "canary", word);
    }
}

#[test]
fn hooks_that_misbehave_in_service_fail() {
    for (body, class) in [
        ("unreachable", FailureClass::Trap),
        (LOOP, FailureClass::Deadline),
    ] {
        let mut admit = policy(&bad_admit(body));
        check_fails(&mut *admit, class, |p| p.admit(&session()));
        let mut rewriter = policy(&bad_rewrite(body));
        assert!(rewriter.rewrite(&statement(1, "")).is_ok());
        check_fails(&mut *rewriter, class, |p| p.rewrite(&statement(BAD, "")));
        let mut observer = policy(&bad_observe(body));
        assert!(observer.observe(&[event()], 0).is_ok());
        check_fails(&mut *observer, class, |p| p.observe(&[event()], 99));
        let mut operator = policy(&bad_command(body));
        assert_eq!(operator.command("help").ok(), Some(Ok(String::new())));
        check_fails(&mut *operator, class, |p| p.command("bad"));
    }
}

/// An answer of `admit` with one parameter called by what is at 1100, `length` bytes of it.
fn parameter(length: usize) -> String {
    format!(
        "i32.const 604 i32.const 1024 i32.store i32.const 608 i32.const 1 i32.store
         i32.const 1024 i32.const 1100 i32.store i32.const 1028 i32.const {length} i32.store
         i32.const 1032 i32.const 16 i32.store i32.const 1036 i32.const 7 i32.store"
    )
}

#[test]
fn admissions_are_passed_on_if_they_are_well_formed() {
    let named = |field: u32, length: u32| {
        format!(
            "i32.const {field} i32.const 1 i32.store8 i32.const {} i32.const 16 i32.store
             i32.const {} i32.const {length} i32.store",
            field + 4,
            field + 8
        )
    };
    let fields = r#"(data (i32.const 1100) "work_mem; DROP TABLE t")"#;
    let ask = |body: &str| {
        let guest = Guest {
            fields: fields.to_owned(),
            ..bad_admit(body)
        };
        policy(&guest).admit(&session())
    };
    let good = format!("{} {} {}", named(580, 7), named(592, 7), parameter(8));
    let expected = Admission {
        pool: Some("hostile".to_owned()),
        role: Some("hostile".to_owned()),
        parameters: vec![("work_mem".to_owned(), "hostile".to_owned())],
        enforced: Vec::new(),
    };
    assert_eq!(ask(&good).ok(), Some(Admitted::Admit(expected)));
    // A name that ends elsewhere, one of no length, and pools and roles with zero bytes in them.
    for bad in [parameter(9), parameter(0), named(580, 64), named(592, 12)] {
        let error = ask(&bad).expect_err("it breaks a rule");
        assert_eq!(error.class, FailureClass::Invalid, "{error}");
    }
    let many = "i32.const 604 i32.const 4096 i32.store i32.const 608 i32.const 65 i32.store";
    let error = ask(many).expect_err("it breaks a rule");
    assert!(error.reason.contains("65 parameters"), "{error}");
    let unknown = ask("i32.const 576 i32.const 2 i32.store8").expect_err("no such case");
    assert_eq!(unknown.class, FailureClass::Abi, "{unknown}");
}

#[test]
fn rewritten_texts_are_passed_on_if_they_are_well_formed() {
    let replace = |pointer: u32, length: u32| {
        format!(
            "i32.const 512 i32.const 1 i32.store8 i32.const 516 i32.const {pointer} i32.store
             i32.const 520 i32.const {length} i32.store"
        )
    };
    // Parameters: one, number 0, where nothing is.
    let number_0 = "i32.const 524 i32.const 1 i32.store8 i32.const 528 i32.const 4096 i32.store
        i32.const 532 i32.const 1 i32.store";
    let good = rewrite(&bad_rewrite(&replace(16, 7)));
    let expected = Rewritten::Replace {
        sql: "hostile".to_owned(),
        parameters: None,
    };
    assert_eq!(good.ok(), Some(expected));
    for bad in [replace(16, 8), format!("{} {number_0}", replace(16, 7))] {
        let error = rewrite(&bad_rewrite(&bad)).expect_err("it breaks a rule");
        assert_eq!(error.class, FailureClass::Invalid, "{error}");
    }
    for (results_bytes_max, class) in [
        (1024 * 1024, FailureClass::Abi),
        (4 * 1024 * 1024, FailureClass::Invalid),
    ] {
        let mut source = source(bad_rewrite(&replace(0, 1024 * 1024 + 1)).build());
        source.limits.results_bytes_max = results_bytes_max;
        let mut loaded = load_source(&source).expect("a good guest");
        let error = loaded.instances[0].rewrite(&statement(BAD, ""));
        assert_eq!(error.expect_err("it is too long").class, class);
    }
    for (address, what) in [(512, "case"), (544, "reuse")] {
        let body = format!("i32.const {address} i32.const 3 i32.store8");
        let error = rewrite(&bad_rewrite(&body)).expect_err(what);
        assert_eq!(error.class, FailureClass::Abi, "{what}: {error}");
    }
}

#[test]
fn a_rewriter_has_the_text_whatever_it_needs() {
    let guest = bad_rewrite("local.get 9 i32.const 8 i32.ne (if (then unreachable))");
    assert_eq!(rewrite(&guest).ok(), Some(Rewritten::Keep));
}

#[test]
fn answers_to_operators_are_bounded_and_printable() {
    let answer = |pointer: u32, length: u32| {
        let body = format!(
            "i32.const 644 i32.const {pointer} i32.store i32.const 648 i32.const {length} i32.store"
        );
        let guest = Guest {
            fields: r#"(data (i32.const 1100) "a\n\1b[31mb")"#.to_owned(),
            ..bad_command(&body)
        };
        let answer = policy(&guest).command("bad").expect("an answer");
        answer.expect("the command is understood")
    };
    assert_eq!(answer(1100, 8), "a\n\\u{1b}[31mb");
    assert!(answer(65_536, 300_000).len() <= 64 * 1024);
    let refused = policy(&bad_command("i32.const 640 i32.const 1 i32.store8")).command("bad");
    assert_eq!(refused.ok(), Some(Err(String::new())));
}

#[test]
fn keys_and_waits_are_bounded() {
    // Keys at 256 + 56, the wait at 256 + 96.
    let keys = |count: u32| format!("i32.const 316 i32.const {count} i32.store");
    let wait = |ms: u32| format!("i32.const 352 i32.const {ms} i32.store");
    let ask = |body: &str| policy(&Guest::bad_decide(body)).decide(&statement(BAD, ""));
    assert_eq!(ask(&keys(16)).map(|d| d.keys.len()).ok(), Some(16));
    assert_eq!(
        ask(&wait(10_000)).map(|d| d.limits.wait_ms).ok(),
        Some(10_000)
    );
    for body in [keys(17), wait(10_001)] {
        let error = ask(&body).expect_err("it breaks a rule");
        assert_eq!(error.class, FailureClass::Invalid, "{error}");
    }
}

#[test]
fn values_take_a_grant() {
    // Traps unless there are as many values.
    let expects = |count: u32| {
        Guest::bad_decide(&format!(
            "local.get 15 i32.const {count} i32.ne (if (then unreachable))"
        ))
    };
    let values = [Value::Null, Value::Text("x"), Value::Binary(b"y")];
    let ask = |policy: &mut dyn Policy, values: &[Value<'_>]| {
        let mut asked = statement(BAD, "");
        asked.values = values;
        policy.decide(&asked)
    };
    assert!(ask(&mut *policy(&expects(0)), &values).is_ok());
    let needs = "i32.const 88 i64.const 8 i64.store i32.const 64";
    let wants = |count| Guest {
        describe: needs.to_owned(),
        ..expects(count)
    };
    let text = r#"not granted: add grants = ["log", "values"] to 10-hostile.toml"#;
    check_refused(&wants(3), "configure", text);
    let both = Grants::LOG.with(Grants::VALUES);
    assert!(ask(&mut *granted(&wants(3), both), &values).is_ok());
    // Too long in all: none are shown, and bit 31 says so.
    let long = "x".repeat(40_000);
    let long = [Value::Text(&long), Value::Text(&long)];
    assert!(ask(&mut *granted(&wants(0), both), &long).is_ok());
    let withheld = Guest {
        describe: needs.to_owned(),
        ..Guest::bad_decide(
            "local.get 2 i64.const 31 i64.shr_u i32.wrap_i64 (if (then unreachable))",
        )
    };
    assert!(ask(&mut *granted(&withheld, both), &values).is_ok());
    assert!(ask(&mut *granted(&withheld, both), &long).is_err());
}

#[test]
fn names_of_events_are_passed_only_if_asked_for() {
    // Traps if there is a user.
    let guest = bad_observe("local.get 0 i32.load offset=12 (if (then unreachable))");
    assert!(policy(&guest).observe(&[event()], 99).is_ok());
    let guest = Guest {
        describe: "i32.const 88 i64.const 16 i64.store i32.const 64".to_owned(),
        ..guest
    };
    assert!(policy(&guest).observe(&[event()], 99).is_err());
}

#[test]
fn instances_wear_out() {
    let mut busy = policy(&Guest::default());
    assert!(!busy.is_worn());
    assert_eq!(busy.memory_bytes(), 32 * 65_536);
    for _ in 0..999_999 {
        assert!(busy.explain(0).is_ok());
    }
    assert!(!busy.is_worn());
    assert!(busy.explain(0).is_ok());
    assert!(busy.is_worn(), "after a million calls");

    // 200 of the 256 pages it may have.
    let mut full = policy(&Guest::bad_decide("i32.const 168 memory.grow drop"));
    assert!(!full.is_worn());
    assert!(full.decide(&statement(BAD, "")).is_ok());
    assert_eq!(full.memory_bytes(), 200 * 65_536);
    assert!(full.is_worn());
    // One that is that large from the start is not worn by it.
    let large = Guest {
        memory: r#"(memory (export "memory") 200)"#.to_owned(),
        ..Guest::default()
    };
    assert!(!policy(&large).is_worn());
}

#[test]
fn limits_are_those_of_the_plugin() {
    let plain = || source(Guest::default().build());
    let mut few = plain();
    few.limits.functions_max = 3;
    check_refused_source(&few, "inspect", "functions, allowed are 3");
    let mut small = plain();
    small.limits.memory_bytes_max = 65_536;
    check_refused_source(&small, "inspect", "bytes of memory, allowed are 65536");
    let table = r#"(memory (export "memory") 32) (table 20001 funcref)"#;
    let guest = Guest {
        memory: table.to_owned(),
        ..Guest::default()
    };
    let mut more = source(guest.build());
    assert!(load_source(&more).is_err());
    more.limits.functions_max = 30_000;
    assert!(load_source(&more).is_ok());
    let mut results = PluginSource {
        limits: limits(),
        ..source(
            bad_rewrite(
                "i32.const 512 i32.const 1 i32.store8 i32.const 520 i32.const 600 i32.store",
            )
            .build(),
        )
    };
    results.limits.results_bytes_max = 500;
    // It may say who it is, and no more.
    let mut loaded = load_source(&results).expect("a good guest");
    let error = loaded.instances[0].rewrite(&statement(BAD, ""));
    assert_eq!(error.expect_err("too much").class, FailureClass::Abi);
}
