//! How long a guest may work on one question. What counts is the time its thread had a processor: a
//! guest on a busy machine is not at fault for having to wait for one.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

/// The limit of a question, and when the guest was first looked at.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    limit: Duration,
    // At the first tick after it was asked, which is within a millisecond. To read the clock before
    // each question would cost more than most answers.
    since: Option<Duration>,
}

impl Patience {
    /// It is asked something that may take so long.
    pub(crate) fn begin(&mut self, limit: Duration) {
        self.limit = limit;
        self.since = None;
    }

    /// A tick has passed and it is still at work.
    pub(crate) fn look(&mut self) -> UpdateDeadline {
        let now = processor_time();
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) < self.limit {
            UpdateDeadline::Continue(1)
        } else {
            UpdateDeadline::Interrupt
        }
    }
}

/// Time this thread has had a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{Patience, UpdateDeadline, processor_time};
    use std::time::Duration;

    #[test]
    fn only_time_on_a_processor_counts() {
        let mut patience = Patience::default();
        patience.begin(Duration::from_millis(5));
        assert!(matches!(patience.look(), UpdateDeadline::Continue(1)));
        // It waits for a processor.
        std::thread::park_timeout(Duration::from_millis(20));
        assert!(matches!(patience.look(), UpdateDeadline::Continue(1)));
        let start = processor_time();
        while processor_time() - start < Duration::from_millis(6) {}
        assert!(matches!(patience.look(), UpdateDeadline::Interrupt));
        patience.begin(Duration::from_millis(5));
        assert!(matches!(patience.look(), UpdateDeadline::Continue(1)));
    }
}
