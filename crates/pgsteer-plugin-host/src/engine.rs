//! The compiler and its settings: what a guest may use, and what keeps it interruptible.
//!
//! Concurrency, garbage collection and threads stay off: most advisories of the engine are there,
//! and a call costs 2.4 times as much with concurrency merely switched on.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use wasmparser::WasmFeatures;
use wasmtime::{Config, Engine, Instance, Module, OptLevel, Store, Strategy};

use crate::HostError;
use crate::pulse::{Pulse, TICK};

/// A new engine, and what advances its epoch.
///
/// `metering`: whether guests count what they execute, in units of fuel; for people who want to
/// know, since it costs every guest a few per cent.
pub(crate) fn new_engine(
    stack_bytes_max: usize,
    metering: Metering,
) -> Result<(Engine, Arc<Pulse>), HostError> {
    let config = || config(stack_bytes_max, metering);
    let engine = Engine::new(&config()).map_err(HostError::engine)?;
    let engine = if can_reserve(&engine) {
        engine
    } else {
        tracing::warn!("address space is limited, plugins run with explicit bounds checks");
        Engine::new(&small(config())).map_err(HostError::engine)?
    };
    let pulse = Pulse::start(&engine)?;
    Ok((engine, pulse))
}

/// How many ticks of the epoch give a guest at least this long.
pub(crate) fn ticks(limit: Duration) -> u64 {
    let whole = limit.as_nanos().div_ceil(TICK.as_nanos());
    // The current tick is partly over.
    u64::try_from(whole)
        .unwrap_or(u64::MAX / 2)
        .saturating_add(1)
}

/// Whether guests count what they execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metering {
    Off,
    On,
}

fn config(stack_bytes_max: usize, metering: Metering) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(metering == Metering::On)
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(stack_bytes_max)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
        .wasm_features(FEATURES.complement(), false)
        // For the engine's own code between the parts of a component, each with a memory. A module
        // with several is refused when a file is inspected.
        .wasm_multi_memory(true);
    config
}

fn small(mut config: Config) -> Config {
    config
        .memory_reservation(SMALL_RESERVATION_BYTES)
        .memory_guard_size(0);
    config
}

/// Whether one memory with the default reservation (4 GiB and guards) can be had. It cannot under
/// `RLIMIT_AS` or a strict overcommit policy.
fn can_reserve(engine: &Engine) -> bool {
    let probe = || {
        let module = Module::from_binary(engine, MODULE_WITH_A_MEMORY)?;
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(ticks(Duration::from_secs(1)));
        // Fails if nothing is metered, and then nothing is needed.
        let _ = store.set_fuel(u64::MAX);
        Instance::new(&mut store, &module, &[])
    };
    probe().is_ok()
}

/// What a guest may use: what compilers emit today, and nothing that is not needed.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::COMPONENT_MODEL);

const BACKTRACE_FRAMES_MAX: usize = 16;

const SMALL_RESERVATION_BYTES: u64 = 16 * 1024 * 1024;

/// `(module (memory 1))`
const MODULE_WITH_A_MEMORY: &[u8] = b"\0asm\x01\0\0\0\x05\x03\x01\x00\x01";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Metering, can_reserve, config, new_engine, small, ticks};

    #[test]
    fn settings_are_accepted() {
        for metering in [Metering::Off, Metering::On] {
            assert!(new_engine(256 << 10, metering).is_ok());
            let engine = wasmtime::Engine::new(&small(config(256 << 10, metering)));
            assert!(can_reserve(&engine.expect("small settings are valid")));
        }
    }

    #[test]
    fn ticks_cover_the_limit() {
        assert_eq!(ticks(Duration::from_millis(3)), 4);
        assert_eq!(ticks(Duration::from_micros(3001)), 5);
        assert_eq!(ticks(Duration::ZERO), 1);
    }
}
