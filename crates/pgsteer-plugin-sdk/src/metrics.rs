//! Series that the console shows, summed over all workers. Takes the grant `metrics`. At most 32,
//! all defined in [`Plugin::configure`](crate::Plugin::configure).
//!
//! ```
//! use pgsteer_plugin_sdk::metrics::Counter;
//!
//! let refused = Counter::define("refused", "statements").unwrap();
//! refused.add(1.0);
//! ```
//!
//! In a native test `testing::metric` returns what a series has come to.

use crate::bindings::host::pgsteer::plugin::metrics::Kind;

/// Something that only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(u32);

/// Something that goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge(u32);

/// How values are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram(u32);

impl Counter {
    /// A series of this name; the same one again if it is known.
    ///
    /// # Errors
    /// There are too many, or the name is not accepted.
    pub fn define(name: &str, unit: &str) -> Result<Self, String> {
        define(name, Kind::Counter, unit).map(Self)
    }

    /// Adds to it.
    pub fn add(self, value: f64) {
        put(self.0, value);
    }
}

impl Gauge {
    /// A series of this name; the same one again if it is known.
    ///
    /// # Errors
    /// There are too many, or the name is not accepted.
    pub fn define(name: &str, unit: &str) -> Result<Self, String> {
        define(name, Kind::Gauge, unit).map(Self)
    }

    /// Sets it.
    pub fn set(self, value: f64) {
        put(self.0, value);
    }
}

impl Histogram {
    /// A series of this name; the same one again if it is known.
    ///
    /// # Errors
    /// There are too many, or the name is not accepted.
    pub fn define(name: &str, unit: &str) -> Result<Self, String> {
        define(name, Kind::Histogram, unit).map(Self)
    }

    /// Notes a value.
    pub fn note(self, value: f64) {
        put(self.0, value);
    }
}

#[cfg(target_arch = "wasm32")]
fn define(name: &str, kind: Kind, unit: &str) -> Result<u32, String> {
    crate::bindings::host::pgsteer::plugin::metrics::define(name, kind, unit)
}

#[cfg(target_arch = "wasm32")]
fn put(series: u32, value: f64) {
    crate::bindings::host::pgsteer::plugin::metrics::put(series, value);
}

#[cfg(not(target_arch = "wasm32"))]
fn define(name: &str, kind: Kind, _unit: &str) -> Result<u32, String> {
    crate::testing::host::define(name, matches!(kind, Kind::Gauge))
}

#[cfg(not(target_arch = "wasm32"))]
fn put(series: u32, value: f64) {
    crate::testing::host::put_metric(series, value);
}
