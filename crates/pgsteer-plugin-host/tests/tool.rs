//! What authors get to know about a plugin.

use pgsteer_core::policy::{Grants, Hooks};
use pgsteer_plugin_host::Options;
use pgsteer_plugin_host::tool::Workbench;

use support::{BAD, Guest, everything, source, statement, topology};

mod support;

fn bench() -> Workbench {
    Workbench::new(Options::default()).expect("the engine can be set up")
}

#[test]
fn files_are_looked_at_without_running_them() {
    let guest = Guest {
        imports: r#"(import "pgsteer:plugin/kv@0.1.0" "delete"
            (func (param i32 i32) (result i32)))
            (import "pgsteer:plugin/log@0.1.0" "write" (func (param i32 i32 i32)))"#
            .to_owned(),
        describe: "unreachable".to_owned(),
        ..everything()
    };
    let mut source = source(guest.build());
    let error = bench().inspect(&source).expect_err("kv is not granted");
    assert_eq!(error.stage, "inspect");
    source.grants = Grants::KV;
    let inspection = bench().inspect(&source).expect("a good file");
    assert_eq!(inspection.file_bytes, source.bytes.len());
    assert_eq!(inspection.interface, "0.1.0");
    assert_eq!(inspection.grants, Grants::KV);
    assert!(inspection.logs);
    assert!(inspection.hooks.has(Hooks::OPERATOR) && !inspection.hooks.has(Hooks::FAILOVER));
    let has = |name: &str| inspection.imports.iter().any(|i| i == name);
    assert!(has("pgsteer:plugin/kv@0.1.0"), "{:?}", inspection.imports);
    assert!(inspection.functions >= 14);
    let error = bench().load(&source, &topology()).expect_err("it traps");
    assert_eq!(error.stage, "describe");
}

#[test]
fn questions_are_measured() {
    let busy = "(local $i i32) local.get 0 i64.const 2989 i64.eq (if (then (loop
        local.get $i i32.const 1 i32.add local.tee $i i32.const 1000 i32.lt_u br_if 0)))
        local.get 0 i64.const 7777777 i64.eq (if (then unreachable)) i32.const 256";
    let guest = Guest {
        decide: busy.to_owned(),
        ..Guest::default()
    };
    let bench = bench();
    let mut specimen = bench
        .load(&source(guest.build()), &topology())
        .expect("good");
    let summary = specimen.summary();
    assert_eq!((&*summary.name, &*summary.version), ("hostile", "1"));
    assert_eq!(summary.memory_bytes, 32 * 65_536);
    assert!(summary.image_bytes > 0 && !summary.deterministic);
    assert!(
        summary
            .report
            .stages
            .iter()
            .any(|(stage, _)| *stage == "canary")
    );

    let mut ask = |fingerprint| specimen.ask(|p| p.decide(&statement(fingerprint, "SELECT 1")));
    let (quick, slow, again) = (ask(1), ask(BAD), ask(BAD));
    assert!(quick.answer.is_ok() && slow.answer.is_ok());
    assert!(quick.fuel > 0 && slow.fuel > quick.fuel + 1000, "{slow:?}");
    assert_eq!(slow.fuel, again.fuel, "the same on every run");
    let failed = ask(7_777_777);
    assert!(failed.answer.is_err() && failed.fuel > 0 && failed.memory_bytes > 0);
    assert!(ask(1).answer.is_ok(), "a fresh instance");
    specimen.renew();
    assert_eq!(specimen.summary().inspection.interface, "0.1.0");
}
