//! A small store shared by all instances of the plugin, and by the versions of it that follow.
//! Takes the grant `kv`. An answer given after a look at it is remembered until something in the
//! store changes. It holds 1,000 entries, and 1 MiB.
//!
//! ```
//! use pgsteer_plugin_sdk::kv;
//!
//! kv::set("mode", b"on").unwrap();
//! assert_eq!(kv::text("mode").as_deref(), Some("on"));
//! let seen = kv::update("count", kv::FOREVER, |old| match old {
//!     Some(count) => vec![count[0] + 1],
//!     None => vec![1],
//! });
//! assert_eq!(seen, Ok(2), "a version, one for each change of the store");
//! ```
//!
//! A native test has a store of its own for each thread; `testing::reset` empties it.

use std::fmt;

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What was put there.
    pub value: Vec<u8>,
    /// Another one after each change; never 0.
    pub version: u64,
}

/// Why something was not put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The key is empty or has more than 128 bytes, or the value has more than 4 KiB.
    TooLarge,
    /// The store holds as much as it may.
    Full,
    /// The entry has another version: this one, or 0 if it is not there.
    Conflict(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the key or the value is too long",
            Self::Full => "the store of the plugin is full; delete something first",
            Self::Conflict(_) => "somebody else changed it at the same time; try again",
        })
    }
}

impl std::error::Error for Error {}

/// As time to live: never gone by itself.
pub const FOREVER: u64 = 0;

/// As version: it must not be there.
pub const ABSENT: u64 = 0;

/// What is kept under a key.
#[must_use]
pub fn get(key: &str) -> Option<Entry> {
    host::get(key)
}

/// What is kept under a key, as text; what is no UTF-8 is not there.
#[must_use]
pub fn text(key: &str) -> Option<String> {
    String::from_utf8(get(key)?.value).ok()
}

/// Puts a value, for good, whatever was there. Returns its version.
///
/// # Errors
/// Not [`Error::Conflict`].
pub fn set(key: &str, value: &[u8]) -> Result<u64, Error> {
    host::put(key, value, None, FOREVER)
}

/// Puts a value that is gone after so many milliseconds ([`FOREVER`]: never). Returns its version.
///
/// # Errors
/// Not [`Error::Conflict`].
pub fn set_for(key: &str, value: &[u8], ttl_ms: u64) -> Result<u64, Error> {
    host::put(key, value, None, ttl_ms)
}

/// Puts a value if what is there has this version ([`ABSENT`]: if nothing is there).
///
/// # Errors
/// [`Error::Conflict`] among others.
pub fn replace(key: &str, value: &[u8], version: u64, ttl_ms: u64) -> Result<u64, Error> {
    host::put(key, value, Some(version), ttl_ms)
}

/// Makes a new value from the old one, again if somebody else was faster. Returns its version.
///
/// # Errors
/// [`Error::Conflict`] after several attempts.
pub fn update(
    key: &str,
    ttl_ms: u64,
    mut make: impl FnMut(Option<&[u8]>) -> Vec<u8>,
) -> Result<u64, Error> {
    let mut outcome = Err(Error::Conflict(ABSENT));
    for _ in 0..ATTEMPTS {
        let old = get(key);
        let value = make(old.as_ref().map(|entry| entry.value.as_slice()));
        let version = old.map_or(ABSENT, |entry| entry.version);
        outcome = replace(key, &value, version, ttl_ms);
        if !matches!(outcome, Err(Error::Conflict(_))) {
            break;
        }
    }
    outcome
}

/// Takes a key away. Whether it was there.
pub fn delete(key: &str) -> bool {
    host::delete(key)
}

/// Keys that begin like this, in order.
#[must_use]
pub fn keys(prefix: &str) -> Vec<String> {
    host::keys(prefix)
}

/// More would mean that many workers write all the time, which the store is not for.
const ATTEMPTS: u32 = 8;

#[cfg(target_arch = "wasm32")]
mod host {
    use super::{Entry, Error};
    use crate::bindings::host::pgsteer::plugin::kv;

    pub(super) use kv::{delete, keys};

    pub(super) fn get(key: &str) -> Option<Entry> {
        let kv::Entry { value, version } = kv::get(key)?;
        Some(Entry { value, version })
    }

    pub(super) fn put(
        key: &str,
        value: &[u8],
        expect: Option<u64>,
        ttl_ms: u64,
    ) -> Result<u64, Error> {
        kv::put(key, value, expect, ttl_ms).map_err(|error| match error {
            kv::Error::TooLarge => Error::TooLarge,
            kv::Error::Full => Error::Full,
            kv::Error::Conflict(version) => Error::Conflict(version),
        })
    }
}

#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host;
