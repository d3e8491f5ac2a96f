//! Times as Pgpool-II prints them, but in UTC, and durations.

use std::time::Duration;

pub(crate) use pgsteer_core::shown::{utc, utc_or_empty};

/// Whole seconds, or a fraction if it is less than that precise.
pub(crate) fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds() {
        for (millis, text) in [(0, "0"), (30_000, "30"), (200, "0.2")] {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }
}
