//! What operators have said about single fingerprints. Kept in the store that all workers share.

use pgsteer_plugin_sdk::config::duration_ms;
use pgsteer_plugin_sdk::kv;

use crate::rule::Action;

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) action: Action,
    /// As it was said; empty for good.
    pub(crate) time: String,
    pub(crate) because: String,
}

impl Order {
    /// For how many milliseconds it was said (0: for good).
    pub(crate) fn ttl_ms(&self) -> u64 {
        duration_ms(&self.time).unwrap_or(kv::FOREVER)
    }
}

/// What holds for a fingerprint.
pub(crate) fn about(fingerprint: u64) -> Option<Order> {
    let kept = kv::text(&key(fingerprint))?;
    let mut lines = kept.splitn(3, '\n');
    let words: Vec<&str> = lines.next()?.split(' ').collect();
    Some(Order {
        action: Action::parse(&words)?,
        time: lines.next()?.to_owned(),
        because: lines.next()?.to_owned(),
    })
}

/// Keeps it for so many milliseconds (0: until it is taken back).
pub(crate) fn keep(fingerprint: u64, order: &Order, ttl_ms: u64) -> Result<(), String> {
    let kept = format!("{}\n{}\n{}", order.action, order.time, order.because);
    let put = kv::set_for(&key(fingerprint), kept.as_bytes(), ttl_ms);
    put.map(|_| ()).map_err(|error| error.to_string())
}

/// Takes it back; whether there was one.
pub(crate) fn forget(fingerprint: u64) -> bool {
    kv::delete(&key(fingerprint))
}

/// The fingerprints about which something was said.
pub(crate) fn all() -> Vec<u64> {
    let keys = kv::keys(PREFIX).into_iter();
    keys.filter_map(|key| key.strip_prefix(PREFIX)?.parse().ok())
        .collect()
}

/// What it is called.
pub(crate) fn name(id: u64) -> String {
    format!("order {id}")
}

/// As the proxy shows it, as PostgreSQL would (with a sign), or in hexadecimal with `0x`.
pub(crate) fn fingerprint(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    let signed = || text.parse().ok().map(i64::cast_unsigned);
    text.parse().ok().or_else(signed)
}

fn key(fingerprint: u64) -> String {
    format!("{PREFIX}{fingerprint}")
}

const PREFIX: &str = "order:";
