//! What keeps guests interruptible: a thread that advances the engine's epoch while some guest runs,
//! and rests otherwise. Decisions are remembered, so most of the time none does.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

use crate::HostError;

/// Length of a tick. Ours: a loop ends within 2 ms of its limit, at 1000 wake-ups a second.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Ticks without a guest after which the thread rests. Waking it costs a system call, so that guests
/// who come one after the other find it awake; a tick that nobody needs costs a wake-up, so that one who
/// comes now and then does not keep it from resting.
const IDLE_TICKS_MAX: u32 = 2;

/// One guest more has begun; in the lower half of the word is how many run.
const BEGUN: u64 = 1 << 32;

/// Who runs, and who is to be woken for that.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    guests: AtomicU64,
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
        self.guests.fetch_add(BEGUN + 1, Ordering::SeqCst);
        if self.rests.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// It runs no more.
    pub(crate) fn end(&self) {
        self.guests.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Whether none runs, and how many have begun so far, modulo 2³².
    fn look(&self) -> (bool, u64) {
        let guests = self.guests.load(Ordering::SeqCst);
        (guests.is_multiple_of(BEGUN), guests / BEGUN)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.wake();
    }
}

/// Advances the epoch until engine or pulse are gone.
fn tick(engine: &EngineWeak, weak_pulse: &Weak<Pulse>) {
    let (mut idle_ticks, mut seen) = (0, 0);
    loop {
        thread::park_timeout(TICK);
        let (Some(engine), Some(pulse)) = (engine.upgrade(), weak_pulse.upgrade()) else {
            return;
        };
        engine.increment_epoch();
        let (is_idle, begun) = pulse.look();
        let passed = std::mem::replace(&mut seen, begun) == begun && is_idle;
        idle_ticks = if passed { idle_ticks + 1 } else { 0 };
        if idle_ticks < IDLE_TICKS_MAX {
            continue;
        }
        pulse.rests.store(true, Ordering::SeqCst);
        let (rests, _) = pulse.look();
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
