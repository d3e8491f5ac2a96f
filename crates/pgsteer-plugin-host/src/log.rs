//! How many lines an instance may write to the log.

use std::time::{Duration, Instant};

/// Lines an instance may still write in this second.
#[derive(Debug)]
pub(crate) struct LogBudget {
    lines_max: u32,
    since: Option<Instant>,
    written: u32,
    dropped: u64,
}

impl LogBudget {
    /// As many lines in a second.
    pub(crate) fn new(lines_max: u32) -> Self {
        Self {
            lines_max,
            since: None,
            written: 0,
            dropped: 0,
        }
    }

    /// Takes one line; `None` if there is none left, else how many lines were dropped before it.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u64> {
        let same_second = self
            .since
            .is_some_and(|since| now - since < Duration::from_secs(1));
        if !same_second {
            (self.since, self.written) = (Some(now), 0);
        }
        if self.written >= self.lines_max {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::LogBudget;

    #[test]
    fn so_many_lines_a_second() {
        let (mut budget, start) = (LogBudget::new(10), Instant::now());
        let written = (0..1000).filter(|_| budget.take(start).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(budget.take(start + Duration::from_secs(1)), Some(990));
        assert_eq!(budget.take(start + Duration::from_secs(1)), Some(0));
    }
}
