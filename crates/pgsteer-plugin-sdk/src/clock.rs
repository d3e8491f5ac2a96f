//! A coarse clock. Takes the grant `clock`; an answer given after a look at it is not remembered.
//!
//! In a native test it stands still until `testing::set_clock_ms` sets it.

/// Milliseconds since some moment, never running backward.
#[cfg(target_arch = "wasm32")]
#[must_use]
pub fn now_ms() -> u64 {
    crate::bindings::host::pgsteer::plugin::clock::now_ms()
}

/// Milliseconds since some moment, never running backward.
#[cfg(not(target_arch = "wasm32"))]
#[must_use]
pub fn now_ms() -> u64 {
    crate::testing::host::now_ms()
}
