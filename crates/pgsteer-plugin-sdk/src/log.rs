//! Lines in the proxy's log. At most 1 KiB of a line is kept, and ten lines a second; without the
//! grant `log` none.
//!
//! In a native test nothing is written; `testing::logged` returns what would have been.

use crate::bindings::host::pgsteer::plugin::log::Level;

/// Logs at level `trace`.
pub fn trace(message: &str) {
    write(Level::Trace, message);
}

/// Logs at level `debug`.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Logs at level `info`.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Logs at level `warn`.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Logs at level `error`.
pub fn error(message: &str) {
    write(Level::Error, message);
}

#[cfg(target_arch = "wasm32")]
fn write(level: Level, message: &str) {
    crate::bindings::host::pgsteer::plugin::log::write(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn write(level: Level, message: &str) {
    crate::testing::host::log(format!("{level:?}: {message}"));
}
