//! What keeps guests interruptible: a thread that advances the engine's epoch while some guest runs,
//! and rests otherwise. Decisions are remembered, so most of the time none does.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

use crate::HostError;

/// Length of a tick. Ours: a loop ends within 2 ms of its limit, at 1000 wake-ups a second.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Ticks without a guest after which the thread rests. Waking it costs a system call, so that guests
/// who come one after the other find it awake.
const IDLE_TICKS_MAX: u32 = 50;

/// Who runs, and who is to be woken for that.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    running: AtomicUsize,
    rests: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Pulse {
    /// Starts the thread for an engine. It ends with the last of those who hold the pulse.
    pub(crate) fn start(engine: &Engine) -> Result<Arc<Self>, HostError> {
        let pulse = Arc::new(Self::default());
        let (engine, weak) = (engine.weak(), Arc::downgrade(&pulse));
        let builder = thread::Builder::new().name("plugin-epoch".to_owned());
        let started = builder.spawn(move || tick(&engine, &weak));
        let started = started.map_err(HostError::Ticker)?;
        let _ = pulse.thread.set(started.thread().clone());
        Ok(pulse)
    }

    /// A guest is about to run.
    pub(crate) fn begin(&self) {
        // Both in one order with those of the thread: either it sees the guest, or it is woken.
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.rests.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// It runs no more.
    pub(crate) fn end(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn is_idle(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.wake();
    }
}

/// Advances the epoch until engine or pulse are gone.
fn tick(engine: &EngineWeak, weak_pulse: &Weak<Pulse>) {
    let mut idle_ticks = 0;
    loop {
        thread::park_timeout(TICK);
        let (Some(engine), Some(pulse)) = (engine.upgrade(), weak_pulse.upgrade()) else {
            return;
        };
        engine.increment_epoch();
        idle_ticks = if pulse.is_idle() { idle_ticks + 1 } else { 0 };
        if idle_ticks < IDLE_TICKS_MAX {
            continue;
        }
        pulse.rests.store(true, Ordering::SeqCst);
        let rests = pulse.is_idle();
        // Whoever holds the pulse may drop it now, which ends the rest.
        drop((engine, pulse));
        if rests {
            thread::park();
        }
        idle_ticks = 0;
        if let Some(pulse) = weak_pulse.upgrade() {
            pulse.rests.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Metering, new_engine};

    fn rests(pulse: &Pulse) -> bool {
        pulse.rests.load(Ordering::SeqCst)
    }

    #[test]
    fn it_rests_while_no_guest_runs_and_is_woken_by_one() {
        let (engine, pulse) = new_engine(256 << 10, Metering::Off).expect("an engine");
        while !rests(&pulse) {
            thread::yield_now();
        }
        pulse.begin();
        while rests(&pulse) {
            thread::yield_now();
        }
        let weak = Arc::downgrade(&pulse);
        pulse.end();
        while !rests(&pulse) {
            thread::yield_now();
        }
        drop((engine, pulse));
        while weak.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
