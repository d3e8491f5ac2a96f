//! Waiting for a condition with a deadline. The only place of this crate that lets time pass.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Asks `condition` every 20 ms until it answers true.
///
/// `what` completes the sentence "gave up waiting for ...". A condition that hangs counts against
/// the deadline too.
///
/// # Errors
/// After `deadline`, with `what` and the deadline in the message.
pub async fn wait_until<F, Fut>(deadline: Duration, what: &str, mut condition: F) -> Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let poll = async {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if condition().await {
                return;
            }
        }
    };
    if timeout(deadline, poll).await.is_err() {
        bail!(
            "gave up waiting for {what} after {} s",
            deadline.as_secs_f32()
        );
    }
    Ok(())
}

/// Short against the seconds a server needs to start, long against the cost of asking.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    }

    #[test]
    fn returns_when_the_condition_holds() {
        let mut asked = 0;
        let outcome = runtime().block_on(wait_until(Duration::from_secs(10), "three", || {
            asked += 1;
            let enough = asked == 3;
            async move { enough }
        }));
        outcome.unwrap();
        assert_eq!(asked, 3);
    }

    #[test]
    fn names_what_did_not_come() {
        let never = wait_until(Duration::from_millis(50), "the moon", || async { false });
        let error = runtime().block_on(never).unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
    }

    #[test]
    fn a_hanging_condition_does_not_hang_the_wait() {
        let hang = wait_until(Duration::from_millis(50), "a hang", std::future::pending);
        assert!(runtime().block_on(hang).is_err());
    }
}
