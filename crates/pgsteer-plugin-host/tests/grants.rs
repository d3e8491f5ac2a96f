//! What guests may call, with a grant and without it, and how much of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgsteer_core::Facts;
use pgsteer_core::catalog::{CatalogBuilder, Persistence, Relation, RelationKind};
use pgsteer_core::policy::{
    Decision, FailureClass, Grants, LoadedPlugin, PluginLoader as _, PluginSource, Taint,
};
use pgsteer_plugin_host::Options;

use support::{
    BAD, Guest, WIT, all_grants, check_refused, check_refused_source, context, dummy, everything,
    granted, load_source, loader, new_loader, source, statement, topology,
};

mod support;

const LOG: &str = r#"(import "pgsteer:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;
const METRICS: &str = r#"
    (import "pgsteer:plugin/metrics@0.1.0" "define"
        (func $define (param i32 i32 i32 i32 i32 i32)))
    (import "pgsteer:plugin/metrics@0.1.0" "put" (func $count (param i32 f64)))"#;
const CLOCK: &str = r#"(import "pgsteer:plugin/clock@0.1.0" "now-ms" (func $now (result i64)))"#;
const CATALOG: &str = r#"(import "pgsteer:plugin/catalog@0.1.0" "relation"
    (func $relation (param i32 i32 i32 i32 i32 i32 i32)))"#;
const KV: &str = r#"
    (import "pgsteer:plugin/kv@0.1.0" "get" (func $get (param i32 i32 i32)))
    (import "pgsteer:plugin/kv@0.1.0" "put"
        (func $put (param i32 i32 i32 i32 i32 i64 i64 i32)))
    (import "pgsteer:plugin/kv@0.1.0" "delete" (func $delete (param i32 i32) (result i32)))
    (import "pgsteer:plugin/kv@0.1.0" "keys" (func $keys (param i32 i32 i32)))"#;

/// Does something for the fingerprint [`BAD`]; the reason of the answer is at 320.
fn guest(imports: &str, body: &str) -> Guest {
    Guest {
        imports: imports.to_owned(),
        world: "everything".to_owned(),
        ..Guest::bad_decide(body)
    }
}

/// What is at this address becomes the reason.
fn reason(address: u32) -> String {
    format!("i32.const 320 i32.const {address} i32.load i32.store")
}

fn decide(guest: &Guest) -> Decision {
    let answer = granted(guest, all_grants()).decide(&statement(BAD, ""));
    answer.expect("an answer")
}

fn load_as(name: &str, guest: &Guest) -> LoadedPlugin {
    let source = PluginSource {
        name: name.to_owned(),
        grants: all_grants(),
        ..source(guest.build())
    };
    load_source(&source).expect("the guest behaves during loading")
}

#[test]
fn imports_that_are_not_granted_are_refused() {
    for (imports, name) in [
        (METRICS, "metrics"),
        (CLOCK, "clock"),
        (CATALOG, "catalog"),
        (KV, "kv"),
    ] {
        let text = format!(
            "imports {name}, which is not granted: add grants = [\"log\", \"{name}\"] to \
             10-hostile.toml"
        );
        check_refused(&guest(imports, ""), "inspect", &text);
    }
    let mut none = source(guest(KV, "").build());
    none.grants = Grants::default();
    let text = "imports kv, which is not granted: add grants = [\"kv\"] to 10-hostile.toml";
    check_refused_source(&none, "inspect", text);
    let several = guest(&format!("{CLOCK} {KV}"), "");
    check_refused(
        &several,
        "inspect",
        "imports clock, kv, which are not granted",
    );
}

#[test]
fn imports_that_do_not_exist_are_refused() {
    let with = |interface: &str, import: &str| {
        WIT.replace(
            "world host-api {",
            &format!("{interface} world host-api {{ import {import};"),
        )
    };
    let sockets = with("interface sockets { open: func() -> u32; }", "sockets");
    let refused = |wit: &str, world: &str, stage: &str, word: &str| {
        let source = PluginSource {
            grants: all_grants(),
            ..source(dummy(wit, world))
        };
        check_refused_source(&source, stage, word);
    };
    refused(
        &sockets,
        "everything",
        "inspect",
        "sockets@0.1.0, which this proxy does not offer",
    );
    let more = WIT.replace("interface log {", "interface log { flush: func();");
    refused(&more, "router-plugin", "link", "flush");
    let wrong = WIT.replace("now-ms: func() -> u64", "now-ms: func() -> u32");
    refused(&wrong, "everything", "link", "now-ms");
}

#[test]
fn lines_are_written_or_dropped_and_never_stop_anything() {
    let write = "i32.const 2 i32.const 16 i32.const 7 call $log";
    let flood = format!(
        "(local $i i32) (loop {write}
         local.get $i i32.const 1 i32.add local.tee $i i32.const 500 i32.lt_u br_if 0)
         i32.const 128"
    );
    let guest = Guest {
        self_test: flood,
        ..guest(LOG, write)
    };
    for grants in [Grants::LOG, Grants::default()] {
        let mut source = source(guest.build());
        source.grants = grants;
        source.limits.configure_timeout = Duration::from_secs(5);
        let mut loaded = load_source(&source).expect("a flood is no error");
        assert!(loaded.instances[0].decide(&statement(BAD, "")).is_ok());
    }
    // Long lines cost the guest its allowance, and nobody else anything.
    let long = "(loop i32.const 2 i32.const 0 i32.const 1048577 call $log br 0)";
    let error = granted(&self::guest(LOG, long), Grants::LOG).decide(&statement(BAD, ""));
    assert_eq!(error.expect_err("too much").class, FailureClass::Abi);
}

#[test]
fn the_last_error_line_is_part_of_a_failure() {
    let body = "i32.const 4 i32.const 16 i32.const 7 call $log
        i32.const 2 i32.const 32 i32.const 1 call $log unreachable";
    for grants in [Grants::LOG, Grants::default()] {
        let error = granted(&guest(LOG, body), grants).decide(&statement(BAD, ""));
        let error = error.expect_err("it traps");
        assert!(error.reason.contains("unreachable"), "{error}");
        assert!(error.reason.ends_with("it last wrote: hostile"), "{error}");
    }
}

#[test]
fn a_look_at_the_clock_is_seen() {
    let decision = decide(&guest(CLOCK, "call $now drop"));
    let volatile = Taint {
        volatile: true,
        kv: false,
    };
    assert_eq!(decision.taint, volatile);
    let mut policy = granted(&guest(CLOCK, "call $now drop"), all_grants());
    assert!(
        policy
            .decide(&statement(BAD, ""))
            .is_ok_and(|d| d.taint.volatile)
    );
    let next = policy.decide(&statement(1, "")).expect("an answer");
    assert_eq!(next.taint, Taint::default(), "one question, one look");
}

#[test]
fn series_are_defined_while_configuring_and_are_bounded() {
    // Names of one letter each, one series more than there may be; the number of the last comes
    // from 2052, whether it worked from 2048.
    let define = "(local $i i32) (loop
        i32.const 1024 local.get $i i32.const 65 i32.add i32.store8
        i32.const 1024 i32.const 1 local.get $i i32.const 3 i32.rem_u i32.const 32 i32.const 1
        i32.const 2048 call $define
        i32.const 2048 i32.load8_u local.get $i i32.const 32 i32.ge_u i32.ne
        (if (then unreachable))
        local.get $i i32.const 1 i32.add local.tee $i i32.const 40 i32.lt_u br_if 0)
        i32.const 128";
    let later = "i32.const 16 i32.const 7 i32.const 0 i32.const 32 i32.const 1 i32.const 2048
        call $define i32.const 2048 i32.load8_u i32.eqz (if (then unreachable))
        i32.const 0 f64.const 2.5 call $count i32.const 0 f64.const nan call $count
        i32.const 4711 f64.const 1 call $count i32.const -1 f64.const 1 call $count";
    let guest = Guest {
        configure: define.to_owned(),
        ..guest(METRICS, later)
    };
    let mut loaded = load_as("10-series", &guest);
    let all = loaded.series.all();
    assert_eq!(all.len(), 32);
    assert_eq!(
        (&*all[0].name, all[0].count()),
        ("A", 0),
        "trials do not count"
    );
    for _ in 0..2 {
        assert!(loaded.instances[0].decide(&statement(BAD, "")).is_ok());
    }
    assert_eq!((all[0].count(), all[0].value()), (2, 5.0));
    assert_eq!(loaded.series.all().len(), 32);
}

#[test]
fn catalogs_are_looked_into() {
    let facts = Arc::new(Facts::new(Instant::now(), 2));
    let database = facts.catalogs.enter("hostile");
    let mut builder = CatalogBuilder::new(database.schema_epoch());
    let schema = builder.schema("1");
    let relation = Relation {
        oid: 4711,
        schema,
        kind: RelationKind::View("SELECT 1".into()),
        persistence: Persistence::Unlogged,
        runs_code: false,
    };
    builder.relation("hostile", relation);
    database.publish(builder.build());
    let look = |schema_bytes: u32| {
        format!(
            "i32.const 16 i32.const 7 i32.const 32 i32.const {schema_bytes} i32.const 16
             i32.const 7 i32.const 2048 call $relation"
        )
    };
    let ask = |options: Options, body: &str| {
        let source = PluginSource {
            grants: all_grants(),
            ..source(guest(CATALOG, body).build())
        };
        let loader = new_loader(options);
        let mut loaded = loader
            .load(&source, &context(&topology(), 1))
            .expect("good");
        let decision = loaded.instances[0].decide(&statement(BAD, ""));
        decision.expect("an answer")
    };
    let known = Options {
        facts: Some(facts),
        ..Options::default()
    };
    let decision = ask(known.clone(), &format!("{} {}", look(1), reason(2052)));
    assert_eq!(decision.reason, 4711);
    assert!(decision.taint.volatile);
    // Kind and persistence lie one after the other.
    let decision = ask(known.clone(), &format!("{} {}", look(1), reason(2056)));
    assert_eq!(decision.reason & 0xffff, 0x0202);
    let absent = "i32.const 2048 i32.load8_u (if (then unreachable))";
    let _ = ask(known, &format!("{} {absent}", look(0)));
    let _ = ask(Options::default(), &format!("{} {absent}", look(1)));
}

const KEY: &str = "i32.const 16 i32.const 7";

fn put(expect: &str, ttl_ms: u64) -> String {
    format!("{KEY} i32.const 32 i32.const 1 {expect} i64.const {ttl_ms} i32.const 2048 call $put")
}

#[test]
fn the_store_outlives_the_plugin() {
    let any = "i32.const 0 i64.const 0";
    let write = guest(KV, &format!("{} {}", put(any, 0), reason(2056)));
    let read = format!("{KEY} i32.const 2048 call $get {}", reason(2064));
    let mut writer = load_as("10-kept", &write);
    let written = writer.instances[0]
        .decide(&statement(BAD, ""))
        .expect("good");
    assert_eq!(written.reason, 1, "the first version");
    assert!(
        written.taint.volatile,
        "a change cannot be repeated from memory"
    );
    let version = || writer.kv_version.load(Ordering::Acquire);
    assert_eq!(version(), 1);

    let mut reader = load_as("70-kept", &guest(KV, &read));
    let found = reader.instances[0]
        .decide(&statement(BAD, ""))
        .expect("good");
    let kv = Taint {
        volatile: false,
        kv: true,
    };
    assert_eq!((found.reason, found.taint), (1, kv));
    let keys = "i32.const 16 i32.const 1 i32.const 2048 call $keys";
    let list = guest(KV, &format!("{keys} {}", reason(2052)));
    let mut list = load_as("kept", &list);
    let listed = list.instances[0].decide(&statement(BAD, "")).expect("good");
    assert_eq!((listed.reason, listed.taint), (1, kv));
    let mut stranger = load_as("10-other", &guest(KV, &read));
    let found = stranger.instances[0].decide(&statement(BAD, ""));
    assert_eq!(found.map(|d| d.reason).ok(), Some(0));

    // It has version 1 and not 0.
    let conflict = format!("{} {}", put("i32.const 1 i64.const 0", 0), reason(2056));
    let mut conflicting = load_as("10-kept", &guest(KV, &format!("{conflict} ")));
    let again = conflicting.instances[0].decide(&statement(BAD, ""));
    assert!(again.is_ok());
    assert_eq!(version(), 1, "nothing changed");
    let delete = load_as("10-kept", &guest(KV, &format!("{KEY} call $delete drop")));
    let mut delete = delete.instances.into_iter().next().expect("one");
    assert!(delete.decide(&statement(BAD, "")).is_ok());
    assert_eq!(version(), 2);
}

#[test]
fn entries_that_end_make_answers_volatile() {
    let body = format!(
        "{} {KEY} i32.const 2048 call $get",
        put("i32.const 0 i64.const 0", 3_600_000)
    );
    let mut writer = load_as("10-ending", &guest(KV, &body));
    assert!(writer.instances[0].decide(&statement(BAD, "")).is_ok());
    let read = guest(KV, &format!("{KEY} i32.const 2048 call $get"));
    let mut reader = load_as("10-ending", &read);
    let found = reader.instances[0]
        .decide(&statement(BAD, ""))
        .expect("good");
    let both = Taint {
        volatile: true,
        kv: true,
    };
    assert_eq!(found.taint, both);
}

#[test]
fn what_is_written_on_trial_is_thrown_away() {
    let always = Guest {
        decide: format!("{} i32.const 256", put("i32.const 0 i64.const 0", 0)),
        ..guest(KV, "")
    };
    let loaded = load_as("10-trial", &always);
    assert_eq!(loaded.kv_version.load(Ordering::Acquire), 0);
}

#[test]
fn what_a_refused_candidate_wrote_while_it_was_set_up_is_not_kept() {
    // Nobody ever asks it anything.
    let write = put("i32.const 0 i64.const 0", 0);
    let candidate = Guest {
        configure: format!("{write} {KEY} call $delete drop {write} i32.const 128"),
        changed: write,
        ..guest(KV, "")
    };
    let loaded = load_as("10-candidate", &candidate);
    assert_eq!(
        loaded.instances.len(),
        1,
        "it was built with the real store"
    );
    assert_eq!(loaded.kv_version.load(Ordering::Acquire), 0);
    let read = format!("{KEY} i32.const 2048 call $get {}", reason(2048));
    let mut next = load_as("10-candidate", &guest(KV, &read));
    let found = next.instances[0].decide(&statement(BAD, "")).expect("good");
    assert_eq!(found.reason & 0xff, 0, "nothing is there");
}

#[test]
fn an_instance_writes_for_real_once_it_is_at_work() {
    let write = put("i32.const 0 i64.const 0", 0);
    // It sees what it wrote while it is configured, and then no more.
    let configure = format!(
        "{write} {KEY} i32.const 2048 call $get i32.const 2048 i32.load8_u i32.eqz
         (if (then unreachable)) i32.const 128"
    );
    let look = format!(
        "{KEY} i32.const 2048 call $get i32.const 2048 i32.load8_u (if (then unreachable)) {write}"
    );
    let guest = Guest {
        configure,
        ..guest(KV, &look)
    };
    let mut loaded = load_as("10-at-work", &guest);
    assert_eq!(loaded.kv_version.load(Ordering::Acquire), 0);
    let decided = loaded.instances[0].decide(&statement(BAD, ""));
    assert_eq!(decided.err().map(|error| error.reason), None);
    assert_eq!(loaded.kv_version.load(Ordering::Acquire), 1);
}

#[test]
fn what_is_told_of_topology_later_may_be_written_down() {
    let guest = Guest {
        changed: put("i32.const 0 i64.const 0", 0),
        ..guest(KV, "")
    };
    let mut loaded = load_as("10-told", &guest);
    assert_eq!(loaded.kv_version.load(Ordering::Acquire), 0);
    assert!(loaded.instances[0].topology_changed(&topology()).is_ok());
    assert_eq!(loaded.kv_version.load(Ordering::Acquire), 1);
}

#[test]
fn questions_nobody_acts_upon_leave_no_trace() {
    let write = guest(KV, &put("i32.const 0 i64.const 0", 0));
    let loaded = load_as("10-aside", &write);
    let mut aside = loaded.factory.instantiate_for_trial().expect("good");
    assert!(aside.decide(&statement(BAD, "")).is_ok());
    assert_eq!(loaded.kv_version.load(Ordering::Acquire), 0);
    let mut real = loaded.factory.instantiate().expect("good");
    assert!(real.decide(&statement(BAD, "")).is_ok());
    assert_eq!(loaded.kv_version.load(Ordering::Acquire), 1);
}

#[test]
fn a_flood_of_entries_meets_the_quota() {
    // 3000 keys of two characters; counts those that were written.
    let flood = "(local $i i32) local.get 0 i64.const 2989 i64.eq (if (then (loop
        i32.const 1024 local.get $i i32.const 63 i32.and i32.const 48 i32.add i32.store8
        i32.const 1025 local.get $i i32.const 6 i32.shr_u i32.const 48 i32.add i32.store8
        i32.const 1024 i32.const 2 i32.const 32 i32.const 1 i32.const 0 i64.const 0 i64.const 0
        i32.const 2048 call $put
        i32.const 320 i32.const 320 i32.load i32.const 2048 i32.load8_u i32.eqz i32.add i32.store
        local.get $i i32.const 1 i32.add local.tee $i i32.const 3000 i32.lt_u br_if 0)))
        i32.const 256";
    let guest = Guest {
        decide: flood.to_owned(),
        ..guest(KV, "")
    };
    let mut source = source(guest.build());
    (source.name, source.grants) = ("10-flood".to_owned(), all_grants());
    source.limits.decision_timeout = Duration::from_secs(10);
    let loaded = loader().load(&source, &context(&topology(), 1));
    let mut loaded = loaded.expect("it behaves during loading");
    let decision = loaded.instances[0]
        .decide(&statement(BAD, ""))
        .expect("good");
    assert_eq!(decision.reason, 1000);
    assert_eq!(loaded.kv_version.load(Ordering::Acquire), 1000);
}

/// A few interfaces of WASI, as far as guests of other languages use them.
const WASI: &str = "
    world with-wasi {
        include everything;
        import wasi:cli/stdout@0.2.0;
        import wasi:random/random@0.2.0;
        import wasi:odd/odd@0.2.0;
    }
    package wasi:io@0.2.0 {
        interface streams {
            variant stream-error { last-operation-failed(string), closed }
            resource output-stream {
                check-write: func() -> result<u64, stream-error>;
                write: func(contents: list<u8>) -> result<_, stream-error>;
            }
        }
    }
    package wasi:cli@0.2.0 {
        interface stdout {
            use wasi:io/streams@0.2.0.{output-stream};
            get-stdout: func() -> output-stream;
        }
    }
    package wasi:random@0.2.0 {
        interface random {
            get-random-bytes: func(len: u64) -> list<u8>;
            get-random-u64: func() -> u64;
        }
    }
    package wasi:odd@0.2.0 {
        interface odd {
            record all { a: bool, b: s8, c: f64, d: char, e: string, f: list<u8>, g: option<u8> }
            variant which { first(all), second }
            flags some { x, y }
            enum one { x, y }
            everything: func() -> result<tuple<which, some, one>, string>;
        }
    }";

const WASI_IMPORTS: &str = r#"
    (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.check-write"
        (func $check (param i32 i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.write"
        (func $write (param i32 i32 i32 i32)))
    (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
    (import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
    (import "wasi:random/random@0.2.0" "get-random-u64" (func $number (result i64)))
    (import "wasi:odd/odd@0.2.0" "everything" (func $odd (param i32)))"#;

fn wasi_guest(body: &str) -> Guest {
    Guest {
        wit: format!("{WIT}\n{WASI}"),
        world: "with-wasi".to_owned(),
        ..guest(WASI_IMPORTS, body)
    }
}

#[test]
fn wasi_is_refused_without_the_grant() {
    check_refused(
        &wasi_guest("call $number drop"),
        "inspect",
        r#"there is no WASI here, build for wasm32-unknown-unknown; if it does without, add grants = ["log", "wasi-stubs"] to 10-hostile.toml"#,
    );
}

#[test]
fn stubs_of_wasi_do_nothing() {
    let stubs = Grants::LOG.with(Grants::WASI_STUBS);
    // There is room for output, and it vanishes.
    let print = "call $stdout i32.const 2048 call $check
        i32.const 2048 i32.load8_u (if (then unreachable))
        i32.const 2056 i64.load i64.eqz (if (then unreachable))
        call $stdout i32.const 16 i32.const 7 i32.const 2048 call $write
        i32.const 2048 i32.load8_u (if (then unreachable))
        call $number i64.eqz i32.eqz (if (then unreachable))
        i64.const 16 i32.const 2048 call $random
        i32.const 2052 i32.load i32.const 16 i32.ne (if (then unreachable))
        i32.const 2048 call $odd i32.const 2048 i32.load8_u (if (then unreachable))";
    let printed = granted(&wasi_guest(print), stubs).decide(&statement(BAD, ""));
    assert_eq!(printed.err().map(|error| error.reason), None);

    // Handles that are never dropped.
    let bomb = "(loop call $stdout drop br 0)";
    let error = granted(&wasi_guest(bomb), stubs).decide(&statement(BAD, ""));
    let error = error.expect_err("there is an end to it");
    assert_ne!(error.class, FailureClass::Deadline, "{error}");
    let tidy = "(local $i i32) local.get 0 i64.const 2989 i64.eq (if (then (loop
        call $stdout call $drop
        local.get $i i32.const 1 i32.add local.tee $i i32.const 3000 i32.lt_u br_if 0)))
        i32.const 256";
    let tidy = Guest {
        decide: tidy.to_owned(),
        ..wasi_guest("")
    };
    let mut source = source(tidy.build());
    source.grants = stubs;
    source.limits.decision_timeout = Duration::from_secs(10);
    let mut loaded = load_source(&source).expect("it behaves during loading");
    assert!(loaded.instances[0].decide(&statement(BAD, "")).is_ok());
}

/// A guest that calls a function of WASI whose answer has this type, and the types before it.
fn wasi_answering(types: &str, answer: &str) -> Guest {
    let wasi = format!(
        "world with-wasi {{ include everything; import wasi:odd/odd@0.2.0; }}
         package wasi:odd@0.2.0 {{ interface odd {{ {types} everything: func() -> {answer}; }} }}"
    );
    Guest {
        wit: format!("{WIT}\n{wasi}"),
        world: "with-wasi".to_owned(),
        ..guest(
            r#"(import "wasi:odd/odd@0.2.0" "everything" (func $odd (param i32)))"#,
            "i32.const 65536 call $odd",
        )
    }
}

#[test]
fn a_stub_does_not_build_a_million_values_for_a_type_of_the_guest() {
    let stubs = Grants::LOG.with(Grants::WASI_STUBS);
    let ask = |types: &str, answer: &str| {
        let answer = granted(&wasi_answering(types, answer), stubs).decide(&statement(BAD, ""));
        answer.err().map(|error| error.reason)
    };
    let tens = |levels: u32| {
        (0..levels).fold("type t0 = u8;".to_owned(), |types, level| {
            let parts = vec![format!("t{level}"); 10].join(", ");
            format!("{types} type t{} = tuple<{parts}>;", level + 1)
        })
    };
    assert_eq!(ask(&tens(2), "t2"), None, "111 values");
    let reason = ask(&tens(4), "t4").expect("11,111 values");
    assert!(reason.contains("whose type is too large"), "{reason}");
}

#[test]
fn a_stub_does_not_copy_long_names_of_the_guest() {
    let stubs = Grants::LOG.with(Grants::WASI_STUBS);
    let ask = |length: usize| {
        let types = format!("record r {{ {}: u8, b: u8 }}", "a".repeat(length));
        let guest = wasi_answering(&types, "tuple<r, r, r, r>");
        let answer = granted(&guest, stubs).decide(&statement(BAD, ""));
        answer.err().map(|error| error.reason)
    };
    assert_eq!(ask(10_000), None, "40,000 bytes");
    let reason = ask(20_000).expect("80,000 bytes");
    assert!(reason.contains("whose type is too large"), "{reason}");
}

#[test]
fn grants_that_are_not_used_do_no_harm() {
    let mut policy = granted(&everything(), all_grants());
    assert!(policy.decide(&statement(BAD, "")).is_ok());
}
