//! Guests that do what they must not. Each is refused, or answered with an error of the right
//! class within its limit.

use std::time::Instant;

use pgsteer_core::NodeId;
use pgsteer_core::policy::{
    Decision, FailureClass, Hooks, PluginLoader as _, PolicyError, Rejection, Reuse, Route,
};

use support::{
    BAD, Guest, WIT, check_refused, check_refused_source, context, dummy, limits, load,
    load_source, loader, policy, session, source, statement, topology,
};

mod support;

fn ask(guest: &Guest) -> Result<Decision, PolicyError> {
    policy(guest).decide(&statement(BAD, ""))
}

#[track_caller]
fn check_decide(body: &str, class: FailureClass) -> String {
    let mut router = policy(&Guest::bad_decide(body));
    assert!(
        router.decide(&statement(1, "")).is_ok(),
        "{body}: behaves as a rule"
    );
    let error = router.decide(&statement(BAD, "")).expect_err("misbehaves");
    assert_eq!(error.class, class, "{body}: {error}");
    let again = router.decide(&statement(1, ""));
    assert!(
        again.is_err(),
        "{body}: the instance must not be used again"
    );
    error.reason
}

#[track_caller]
fn check_refused_bytes(bytes: Vec<u8>, stage: &str, word: &str) {
    check_refused_source(&source(bytes), stage, word);
}

#[test]
fn well_behaved_guest_loads() {
    let loaded = loader().load(&source(Guest::default().build()), &context(&topology(), 3));
    let mut loaded = loaded.expect("a good guest");
    assert_eq!(
        (&*loaded.name, &*loaded.version, loaded.instances.len()),
        ("hostile", "1", 3)
    );
    assert_eq!(loaded.hooks, Hooks::ROUTER.with(Hooks::TOPOLOGY_LISTENER));
    let router = &mut loaded.instances[0];
    assert!(router.open(&session()).is_ok());
    let decision = router
        .decide(&statement(BAD, "SELECT 1"))
        .expect("an answer");
    assert_eq!(decision.route, Route::Primary);
    let mut further = loaded.factory.instantiate().expect("a further instance");
    assert!(further.decide(&statement(BAD, "SELECT 1")).is_ok());
}

#[test]
fn endless_loop_in_decide_is_stopped_in_time() {
    let mut router = policy(&Guest::bad_decide(LOOP));
    let start = Instant::now();
    let error = router
        .decide(&statement(BAD, ""))
        .expect_err("it never ends");
    let taken = start.elapsed();
    assert_eq!(error.class, FailureClass::Deadline, "{error}");
    // Time on a processor is what counts: on a busy machine it takes longer.
    assert!(taken >= limits().decision_timeout, "{taken:?}");
}

#[test]
fn endless_tail_calls_are_stopped_in_time() {
    let mut guest = Guest::bad_decide("call $again");
    "(func $again return_call $again)".clone_into(&mut guest.fields);
    let error = ask(&guest).expect_err("it never ends");
    assert_eq!(error.class, FailureClass::Deadline, "{error}");
}

#[test]
fn large_copies_are_stopped_in_time() {
    let body = "i32.const 224 memory.grow drop
        (loop i32.const 0 i32.const 0 i32.const 16777216 memory.copy br 0)";
    check_decide(body, FailureClass::Deadline);
}

#[test]
fn asynchronous_functions_are_refused() {
    let wit = WIT.replace("explain: func(", "explain: async func(");
    check_refused_bytes(dummy(&wit, "router-plugin"), "inspect", "async");
}

/// A component that is instantiated so often in the one around it, and that again, and so on.
fn nested(levels: u32, times: usize) -> String {
    (0..levels).fold("(component)".to_owned(), |inner, level| {
        let inner = inner.replacen("(component", &format!("(component $inner{level}"), 1);
        let instances = format!("(instance (instantiate $inner{level}))").repeat(times);
        format!("(component {inner} {instances})")
    })
}

#[track_caller]
fn check_refused_wat(wat: &str, word: &str) {
    let bytes = wat::parse_str(wat).expect("a component");
    check_refused_bytes(bytes, "inspect", word);
}

#[test]
fn a_small_file_of_nested_components_does_not_take_all_memory() {
    let word = "expand to more than 1000 instances";
    check_refused_wat(&nested(4, 1_000), word);
    check_refused_wat(&nested(80, 2), word);
    // Side by side, each made of the one before.
    let mut side_by_side = "(component $c0)".to_owned();
    for level in 1..40 {
        let last = level - 1;
        side_by_side += &format!(
            "(component $c{level} (alias outer 1 $c{last} (component $c))
                (instance (instantiate $c)) (instance (instantiate $c)))"
        );
    }
    let wat = format!("(component {side_by_side} (instance (instantiate $c39)))");
    check_refused_wat(&wat, word);
    // Under another index, which exporting gives.
    let exported = format!(
        "(component {side_by_side} (export $e \"e\" (component $c39)) (instance (instantiate $e)))"
    );
    check_refused_wat(&exported, word);
}

#[test]
fn a_large_component_is_not_taken_many_times() {
    let word = "expand to more than 200000 items";
    let alias = "(alias outer 1 $t (type))".repeat(1_000);
    let instances = "(instance (instantiate $c))".repeat(500);
    check_refused_wat(
        &format!("(component (type $t u8) (component $c {alias}) {instances})"),
        word,
    );
    let imports = r#"(import "a" "b" (func))"#.repeat(1_000);
    let instances = r#"(core instance (instantiate $m (with "a" (instance $a))))"#.repeat(500);
    check_refused_wat(
        &format!(
            r#"(component (core module $f (func (export "b"))) (core instance $a (instantiate $f))
                (core module $m {imports}) {instances})"#
        ),
        word,
    );
}

#[test]
fn components_that_are_handed_over_are_not_instantiated() {
    let wat = "(component
        (component $twice (import \"c\" (component $c))
            (instance (instantiate $c)) (instance (instantiate $c)))
        (component $c)
        (instance (instantiate $twice (with \"c\" (component $c)))))";
    check_refused_wat(wat, "instantiates a component or module that it is handed");
}

#[test]
fn components_of_interpreters_are_not_too_large() {
    // As many core instances as Python has, a few components beside each other, two levels deep.
    let core = "(core instance (instantiate $m))".repeat(38);
    let part = format!("(component $part (core module $m) {core} {})", {
        let shims = "(instance (instantiate $shim))".repeat(8);
        format!("(component $shim) {shims}")
    });
    let parts = "(instance (instantiate $part))".repeat(10);
    // It comes as far as to what is wrong with it.
    check_refused_wat(&format!("(component {part} {parts})"), "does not export");
}

#[test]
fn endless_loops_elsewhere_are_refused() {
    let ok = Guest::default;
    check_refused(
        &Guest {
            configure: endless("i32"),
            ..ok()
        },
        "configure",
        "too slow",
    );
    check_refused(
        &Guest {
            describe: endless("i32"),
            ..ok()
        },
        "describe",
        "too slow",
    );
    check_refused(
        &Guest {
            self_test: endless("i32"),
            ..ok()
        },
        "self-test",
        "too slow",
    );
    check_refused(
        &Guest {
            open: endless("i32"),
            ..ok()
        },
        "canary",
        "too slow",
    );
    check_refused(
        &Guest {
            decide: endless("i32"),
            ..ok()
        },
        "canary",
        "too slow",
    );
    check_refused(
        &Guest {
            changed: LOOP.to_owned(),
            ..ok()
        },
        "canary",
        "too slow",
    );
    check_refused(
        &Guest {
            realloc: endless("i32"),
            ..ok()
        },
        "configure",
        "too slow",
    );
    let fields = format!("(func $main {LOOP}) (start $main)");
    check_refused(&Guest { fields, ..ok() }, "link", "too slow");
}

#[test]
fn traps_are_reported_with_the_place() {
    let reason = check_decide("unreachable", FailureClass::Trap);
    assert!(reason.contains("unreachable"), "{reason}");
    assert!(reason.contains("decide"), "the frame is named: {reason}");
    check_decide("i32.const 1 i32.const 0 i32.div_u drop", FailureClass::Trap);
    check_decide("i32.const -4 i32.load drop", FailureClass::Trap);
    // Recursion without end meets the stack's limit before the time limit.
    let reason = check_decide(RECURSION, FailureClass::Trap);
    assert!(reason.contains("call stack exhausted"), "{reason}");
}

#[test]
fn traps_while_loading_are_refused() {
    let (ok, trap) = (Guest::default, || "unreachable".to_owned());
    check_refused(
        &Guest {
            describe: trap(),
            ..ok()
        },
        "describe",
        "trapped",
    );
    check_refused(
        &Guest {
            configure: trap(),
            ..ok()
        },
        "configure",
        "trapped",
    );
    check_refused(
        &Guest {
            self_test: trap(),
            ..ok()
        },
        "self-test",
        "trapped",
    );
    check_refused(
        &Guest {
            changed: trap(),
            ..ok()
        },
        "canary",
        "trapped",
    );
    check_refused(
        &Guest {
            open: trap(),
            ..ok()
        },
        "canary",
        "trapped",
    );
    check_refused(
        &Guest {
            decide: trap(),
            ..ok()
        },
        "canary",
        "class 0",
    );
    check_refused(
        &Guest {
            realloc: trap(),
            ..ok()
        },
        "configure",
        "trapped",
    );
    let fields = "(func $main unreachable) (start $main)".to_owned();
    check_refused(&Guest { fields, ..ok() }, "link", "trapped");
}

#[test]
fn growth_without_bound_is_stopped() {
    // It copes with the refusal: memory.grow answers -1.
    assert!(ask(&Guest::bad_decide("i32.const 60000 memory.grow drop")).is_ok());
    let until_refused = "(loop i32.const 16 memory.grow i32.const -1 i32.ne br_if 0)";
    assert!(ask(&Guest::bad_decide(until_refused)).is_ok());
    // It does not cope.
    check_decide(
        &format!("{until_refused} unreachable"),
        FailureClass::Memory,
    );
}

#[test]
fn values_that_do_not_fit_are_errors() {
    let long_message = "i32.const 256 i32.const 5 i32.store8
        i32.const 264 i32.const 0 i32.store
        i32.const 268 i32.const 0 i32.store
        i32.const 272 i32.const 1048577 i32.store";
    let rows = [
        ("pointer out of range", "i32.const 0x7ffffff0 return"),
        ("pointer not aligned", "i32.const 257 return"),
        ("unknown route", "i32.const 256 i32.const 17 i32.store8"),
        ("unknown reuse", "i32.const 288 i32.const 9 i32.store8"),
        (
            "invalid UTF-8",
            "i32.const 256 i32.const 5 i32.store8
            i32.const 20 i32.const 0xff i32.store8
            i32.const 260 i32.const 20 i32.store i32.const 264 i32.const 1 i32.store",
        ),
        (
            "length 2^32-1",
            "i32.const 256 i32.const 5 i32.store8
            i32.const 264 i32.const -1 i32.store",
        ),
        ("more than the host takes", long_message),
    ];
    for (name, body) in rows {
        let reason = check_decide(body, FailureClass::Abi);
        assert!(!reason.is_empty(), "{name}");
    }
}

#[test]
fn answers_that_break_a_rule_are_errors() {
    let node_7 = "i32.const 256 i32.const 3 i32.store8 i32.const 260 i32.const 7 i32.store";
    let reason = check_decide(node_7, FailureClass::Invalid);
    assert!(reason.contains("node 7 of 2"), "{reason}");
    let node_1 = "i32.const 256 i32.const 3 i32.store8 i32.const 260 i32.const 1 i32.store";
    assert_eq!(
        ask(&Guest::bad_decide(node_1)).map(|d| d.route).ok(),
        Some(Route::Node(NodeId(1)))
    );

    // One candidate at 320: node 0 with a weight of -1, NaN, or of node 9.
    for (node, weight) in [(0, "-1"), (0, "nan"), (0, "inf"), (9, "1")] {
        let open = format!(
            "i32.const 196 i32.const 320 i32.store i32.const 200 i32.const 1 i32.store
             i32.const 320 i32.const {node} i32.store
             i32.const 328 f64.const {weight} f64.store i32.const 192"
        );
        check_refused(
            &Guest {
                open,
                ..Guest::default()
            },
            "canary",
            "breaks a rule",
        );
    }
    let many = "i32.const 200 i32.const 50 i32.store i32.const 192".to_owned();
    check_refused(
        &Guest {
            open: many,
            ..Guest::default()
        },
        "canary",
        "50 candidates",
    );
}

#[test]
fn rejections_are_cleaned() {
    let reject = r"i32.const 256 i32.const 5 i32.store8
        i32.const 260 i32.const 400 i32.store i32.const 264 i32.const 5 i32.store
        i32.const 268 i32.const 408 i32.store i32.const 272 i32.const 4000 i32.store";
    let fields = r#"(data (i32.const 400) "40001") (data (i32.const 408) "no\00\0aentry")"#;
    let mut guest = Guest::bad_decide(reject);
    fields.clone_into(&mut guest.fields);
    let decision = ask(&guest).expect("a rejection is an answer");
    let message = "noentry".to_owned();
    let expected = Rejection {
        sqlstate: "58000".to_owned(),
        message,
        hint: None,
    };
    assert_eq!(decision.route, Route::Reject(expected));
}

#[test]
fn other_versions_of_the_interface_are_refused() {
    let major = WIT.replace("pgsteer:plugin@0.1.0", "pgsteer:plugin@0.2.0");
    check_refused_bytes(dummy(&major, "router-plugin"), "inspect", "interface 0.2.0");
    let older = WIT.replace("pgsteer:plugin@0.1.0", "pgsteer:plugin@0.0.9");
    check_refused_bytes(dummy(&older, "router-plugin"), "inspect", "interface 0.0.9");
    let minor = WIT.replace("pgsteer:plugin@0.1.0", "pgsteer:plugin@0.1.9");
    check_refused_bytes(dummy(&minor, "router-plugin"), "describe", "trapped");
    let wrong = WIT.replace("{ never, statement }", "{ never, statement, forever }");
    check_refused_bytes(
        dummy(&wrong, "router-plugin"),
        "link",
        "hook router has the wrong type",
    );
    let wrong = WIT.replace("epoch: u64", "epoch: u32");
    check_refused_bytes(
        dummy(&wrong, "router-plugin"),
        "link",
        "hook topology-listener",
    );
    let neither = WIT.replace(
        "world host-api {",
        "world bare { export lifecycle; } world host-api {",
    );
    check_refused_bytes(dummy(&neither, "bare"), "inspect", "does not export a hook");
}

#[test]
fn topology_listener_is_optional() {
    let wit = WIT.replacen("  export topology-listener;\n", "", 1);
    let loaded = load(
        Guest {
            wit,
            ..Guest::default()
        }
        .build(),
    );
    let loaded = loaded.expect("a good guest");
    assert_eq!(loaded.hooks, Hooks::ROUTER);
}

#[test]
fn what_is_not_a_component_is_refused() {
    let module = wat::parse_str("(module)").expect("valid");
    check_refused_bytes(module, "inspect", "core module");
    check_refused_bytes(Vec::new(), "inspect", "not a WebAssembly component");
    check_refused_bytes(
        b"#!/bin/sh\n".to_vec(),
        "inspect",
        "not a WebAssembly component",
    );
    let mut limited = source(Guest::default().build());
    limited.limits.file_bytes_max = 100;
    let error = load_source(&limited).err().expect("it is larger");
    assert!(error.reason.contains("allowed are 100"), "{error}");
}

#[test]
fn damaged_files_are_refused_or_harmless() {
    // Without its last hook, which is optional, a truncated component could be whole.
    let wit = WIT.replacen("  export topology-listener;\n", "", 1);
    let whole = Guest {
        wit,
        ..Guest::default()
    }
    .build();
    let survivors = (0..whole.len())
        .filter(|&length| load(&whole[..length]).is_ok())
        .count();
    assert!(
        survivors <= 3,
        "only debugging sections may be missing: {survivors}"
    );
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..200 {
        let mut damaged = whole.clone();
        for _ in 0..=random.below(4) {
            let position = random.below(damaged.len());
            damaged[position] ^= 1 << random.below(8);
        }
        // Refused or not, it returns.
        drop(load(damaged));
    }
    for _ in 0..200 {
        let mut noise = b"\0asm\x0d\0\x01\0".to_vec();
        noise.extend((0..random.below(300)).map(|_| random.below(256) as u8));
        drop(load(noise));
    }
}

#[test]
fn too_much_from_the_start_is_refused() {
    let with = |memory: &str| Guest {
        memory: memory.to_owned(),
        ..Guest::default()
    };
    check_refused(
        &with(r#"(memory (export "memory") 65536)"#),
        "inspect",
        "bytes of memory",
    );
    check_refused(
        &with(r#"(memory (export "memory") 32) (memory 1)"#),
        "inspect",
        "memories",
    );
    let table = r#"(memory (export "memory") 32) (table 20001 funcref)"#;
    check_refused(&with(table), "inspect", "tables");
    let threads = r#"(memory (export "memory") 32 64 shared)"#;
    check_refused(&with(threads), "inspect", "threads");
}

#[test]
fn manifests_are_checked() {
    let with = |describe: &str| Guest {
        describe: format!("{describe} i32.const 64"),
        ..Guest::default()
    };
    check_refused(
        &with("i32.const 68 i32.const 0 i32.store"),
        "describe",
        "name",
    );
    check_refused(
        &with("i32.const 88 i64.const 0x60 i64.store"),
        "describe",
        "bits 0x60",
    );
    check_refused(
        &with("i32.const 16 i32.const 10 i32.store8"),
        "describe",
        "name",
    );
}

#[test]
fn configuration_errors_are_passed_on() {
    let configure = "i32.const 128 i32.const 1 i32.store8
        i32.const 132 i32.const 16 i32.store i32.const 136 i32.const 7 i32.store i32.const 128";
    let guest = Guest {
        configure: configure.to_owned(),
        ..Guest::default()
    };
    check_refused(&guest, "configure", "hostile");
}

#[test]
fn text_is_passed_only_if_asked_for() {
    // Traps if there is a text, or if the bit says that it was withheld.
    let misbehave = "local.get 9 local.get 2 i64.const 19 i64.shr_u i32.wrap_i64 i32.const 1
        i32.and i32.or (if (then unreachable))";
    let mut guest = Guest::bad_decide(misbehave);
    assert!(ask_text(&guest, "SELECT 1").is_ok());
    assert!(ask_text(&guest, &"x".repeat(100_000)).is_ok());
    "i32.const 88 i64.const 1 i64.store i32.const 64".clone_into(&mut guest.describe);
    assert!(ask_text(&guest, "SELECT 1").is_err(), "the text is there");
    assert!(
        ask_text(&guest, &"x".repeat(100_000)).is_err(),
        "the bit is there"
    );
}

#[test]
fn answers_are_remembered_only_with_the_promise() {
    let mut guest = Guest::bad_decide("i32.const 288 i32.const 1 i32.store8");
    let reuse = |guest: &Guest| ask(guest).map(|decision| decision.reuse).ok();
    assert_eq!(reuse(&guest), Some(Reuse::Never));
    "i32.const 96 i32.const 1 i32.store8 i32.const 64".clone_into(&mut guest.describe);
    assert_eq!(reuse(&guest), Some(Reuse::Statement));
}

fn ask_text(guest: &Guest, sql: &str) -> Result<Decision, PolicyError> {
    policy(guest).decide(&statement(BAD, sql))
}

fn endless(result: &str) -> String {
    format!("(loop (result {result}) br 0)")
}

/// Xorshift: the same bytes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

const LOOP: &str = "(loop br 0)";

const RECURSION: &str = "local.get 0 local.get 1 local.get 2 local.get 3 local.get 4 local.get 5
    local.get 6 local.get 7 local.get 8 local.get 9 local.get 10 local.get 11 local.get 12 local.get 13 local.get 14 local.get 15
    call $decide drop";
