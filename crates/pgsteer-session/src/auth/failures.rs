//! Failed logins by address, so that nobody can try passwords at full speed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgsteer_core::auth::AuthSettings;
use tokio::time::Instant;

/// Addresses that are remembered; ours. With more the oldest half goes.
const ADDRESSES_MAX: usize = 16_384;

#[derive(Clone, Copy, Debug)]
struct Entry {
    since: Instant,
    count: u32,
}

/// Failed logins of all workers.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<IpAddr, Entry>>);

/// What counts as one address: of IPv6 the network of a site, in which one machine can take any.
fn source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

impl Failures {
    fn entries(&self) -> MutexGuard<'_, HashMap<IpAddr, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an address has to wait until its logins are looked at again, if it has to.
    pub(crate) fn wait(
        &self,
        address: IpAddr,
        auth: &AuthSettings,
        now: Instant,
    ) -> Option<Duration> {
        if auth.failures_max == 0 {
            return None;
        }
        let entry = self.entries().get(&source(address)).copied()?;
        let end = entry.since + auth.failures_window;
        let is_over = entry.count >= auth.failures_max && now < end;
        is_over.then(|| end.saturating_duration_since(now))
    }

    /// A login from this address failed.
    pub(crate) fn note(&self, address: IpAddr, auth: &AuthSettings, now: Instant) {
        if auth.failures_max == 0 {
            return;
        }
        let mut entries = self.entries();
        let address = source(address);
        if entries.len() >= ADDRESSES_MAX && !entries.contains_key(&address) {
            make_room(&mut entries, auth.failures_window, now);
        }
        let fresh = Entry {
            since: now,
            count: 0,
        };
        let entry = entries.entry(address).or_insert(fresh);
        if now >= entry.since + auth.failures_window {
            *entry = fresh;
        }
        entry.count = entry.count.saturating_add(1);
    }
}

fn make_room(entries: &mut HashMap<IpAddr, Entry>, window: Duration, now: Instant) {
    entries.retain(|_, entry| now < entry.since + window);
    if entries.len() >= ADDRESSES_MAX {
        let mut times: Vec<_> = entries.values().map(|entry| entry.since).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        entries.retain(|_, entry| entry.since > median);
    }
}

#[cfg(test)]
mod tests {
    use pgsteer_core::auth::AuthMethod;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn settings(failures_max: u32) -> AuthSettings {
        AuthSettings {
            method: AuthMethod::ScramSha256,
            rules: None,
            query: None,
            failures_max,
            failures_window: WINDOW,
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn too_many_failures_of_one_address_wait_for_the_end_of_the_window() {
        let (failures, auth, start) = (Failures::default(), settings(3), Instant::now());
        let (bad, good) = (address("10.0.0.1"), address("10.0.0.2"));
        for _ in 0..3 {
            assert_eq!(failures.wait(bad, &auth, start), None);
            failures.note(bad, &auth, start);
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(
            failures.wait(bad, &auth, later),
            Some(Duration::from_secs(40))
        );
        assert_eq!(failures.wait(good, &auth, later), None);
        assert_eq!(failures.wait(bad, &auth, start + WINDOW), None);
        failures.note(bad, &auth, start + WINDOW);
        assert_eq!(failures.wait(bad, &auth, start + WINDOW), None);
    }

    #[test]
    fn addresses_of_one_site_count_together_and_zero_counts_nothing() {
        let (failures, now) = (Failures::default(), Instant::now());
        failures.note(address("2001:db8::1"), &settings(1), now);
        let wait = failures.wait(address("2001:db8::ffff:1"), &settings(1), now);
        assert!(wait.is_some());
        assert_eq!(
            failures.wait(address("2001:db8:0:1::1"), &settings(1), now),
            None
        );
        failures.note(address("10.0.0.1"), &settings(0), now);
        assert_eq!(failures.wait(address("10.0.0.1"), &settings(0), now), None);
    }

    #[test]
    fn many_addresses_do_not_fill_the_memory() {
        let (failures, auth, start) = (Failures::default(), settings(1), Instant::now());
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() * 2 {
            let now = start + Duration::from_micros(number.into());
            failures.note(IpAddr::V4(number.into()), &auth, now);
        }
        assert!(failures.entries().len() <= ADDRESSES_MAX);
        let last = IpAddr::V4((u32::try_from(ADDRESSES_MAX).unwrap() * 2 - 1).into());
        assert!(failures.wait(last, &auth, start).is_some());
    }
}
