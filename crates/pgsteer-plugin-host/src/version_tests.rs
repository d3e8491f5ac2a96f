//! Which version of the interface a file is for, and that there can be two at once.

use std::time::Duration;

use pgsteer_core::policy::{Grants, PluginSource};
use pgsteer_core::settings::{OnFailure, PluginLimits};
use pgsteer_testkit::guest::{Guest, WIT, dummy};
use wasmtime::component::{Component, Linker};

use crate::engine::{Metering, new_engine};
use crate::inspect::{Inspection, Interface, inspect};
use crate::state::HostState;
use crate::v0_1;

const OURS: &str = "pgsteer:plugin@0.1.0";
const STACK_BYTES_MAX: usize = 256 * 1024;

fn look(bytes: Vec<u8>) -> Result<Inspection, String> {
    inspect(&PluginSource {
        name: "10-mine".to_owned(),
        bytes: bytes.into(),
        sha256: String::new(),
        config: "{}".to_owned(),
        limits: PluginLimits {
            results_bytes_max: 1 << 20,
            log_lines_max: 10,
            functions_max: 20_000,
            decision_timeout: Duration::from_millis(20),
            configure_timeout: Duration::from_secs(1),
            memory_bytes_max: 1 << 24,
            file_bytes_max: 1 << 22,
            on_failure: OnFailure::Skip,
        },
        grants: Grants::LOG,
    })
}

/// A component for another version, of which nothing works but its types.
fn component_of(version: &str) -> Vec<u8> {
    let wit = WIT.replace(OURS, &format!("pgsteer:plugin@{version}"));
    dummy(&wit, "router-plugin")
}

#[test]
fn the_names_of_its_exports_say_which_version_a_file_is_for() {
    for version in ["0.1.0", "0.1.1", "0.1.27"] {
        let inspection = look(component_of(version)).expect("a version there is");
        assert_eq!(inspection.interface, version);
        assert_eq!(inspection.version(), Interface::V0_1);
    }
}

#[test]
fn a_version_there_is_not_is_refused_and_both_are_named() {
    for version in ["0.2.0", "0.10.0", "0.0.9", "1.0.0", "0.2.0-rc.1"] {
        let error = look(component_of(version)).expect_err("there is no such version");
        assert_eq!(
            error,
            format!("built for plugin interface {version}, this proxy offers 0.1")
        );
    }
}

/// What a later version brings is linked beside what there is, under names of its own, with types of
/// its own; components of both are served by one engine.
#[test]
fn two_versions_stand_side_by_side() {
    let (engine, _pulse) = new_engine(STACK_BYTES_MAX, Metering::Off).expect("an engine");
    let mut linker: Linker<HostState> = Linker::new(&engine);
    v0_1::add_to_linker(&mut linker).expect("version 0.1");
    let mut next = linker
        .instance("pgsteer:plugin/log@0.2.0")
        .expect("the name is free");
    next.func_wrap("write", |_, _: (String,)| Ok(()))
        .expect("so is this one");

    let next_wit = WIT.replace(OURS, "pgsteer:plugin@0.2.0").replace(
        "write: func(level: level, message: string)",
        "write: func(message: string)",
    );
    let load = |bytes: &[u8]| Component::new(&engine, bytes).expect("a component");
    let of_next = load(&dummy(&next_wit, "router-plugin"));
    assert!(linker.instantiate_pre(&of_next).is_ok());

    let bytes = Guest {
        imports: r#"(import "pgsteer:plugin/log@0.1.0" "write" (func (param i32 i32 i32)))"#
            .to_owned(),
        ..Guest::default()
    };
    let bytes = bytes.build();
    let inspection = look(bytes.clone()).expect("a good guest");
    let linked = v0_1::link(&linker, &load(&bytes), inspection.hooks);
    assert!(linked.is_ok(), "the other version is in nobody's way");
    // A component of the one cannot be taken for one of the other.
    assert!(v0_1::link(&linker, &of_next, inspection.hooks).is_err());
}
