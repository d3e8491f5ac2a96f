//! What a guest may call: one function, that writes a bounded number of lines to the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::pgsteer::plugin::{log, types};
use crate::error::printable;
use crate::limits::Limiter;

/// What a store knows besides the guest.
#[derive(Debug)]
pub(crate) struct HostState {
    pub(crate) limiter: Limiter,
    plugin: Arc<str>,
    log: LogBudget,
}

impl HostState {
    pub(crate) fn new(plugin: Arc<str>, memory_bytes_max: usize) -> Self {
        Self {
            limiter: Limiter::new(memory_bytes_max),
            plugin,
            log: LogBudget::default(),
        }
    }
}

/// Makes everything that is granted available to guests.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    types::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

impl types::Host for HostState {}

impl log::Host for HostState {
    fn write(&mut self, level: log::Level, message: String) {
        let Some(dropped) = self.log.take(Instant::now()) else {
            return;
        };
        let plugin = &*self.plugin;
        if dropped > 0 {
            tracing::warn!(plugin, dropped, "plugin logs too much, lines were dropped");
        }
        let line = printable(&message);
        match level {
            log::Level::Trace => tracing::trace!(plugin, line, "plugin"),
            log::Level::Debug => tracing::debug!(plugin, line, "plugin"),
            log::Level::Info => tracing::info!(plugin, line, "plugin"),
            log::Level::Warn => tracing::warn!(plugin, line, "plugin"),
            log::Level::Error => tracing::error!(plugin, line, "plugin"),
        }
    }
}

/// Lines an instance may still write in this second.
#[derive(Debug, Default)]
struct LogBudget {
    since: Option<Instant>,
    written: u32,
    dropped: u64,
}

impl LogBudget {
    /// Takes one line; `None` if there is none left, else how many lines were dropped before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let same_second = self
            .since
            .is_some_and(|since| now - since < Duration::from_secs(1));
        if !same_second {
            (self.since, self.written) = (Some(now), 0);
        }
        if self.written >= LINES_PER_SECOND {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

const LINES_PER_SECOND: u32 = 10;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::LogBudget;

    #[test]
    fn ten_lines_a_second() {
        let (mut budget, start) = (LogBudget::default(), Instant::now());
        let written = (0..1000).filter(|_| budget.take(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(budget.take(start + Duration::from_secs(1)), Some(990));
        assert_eq!(budget.take(start + Duration::from_secs(1)), Some(0));
    }
}
