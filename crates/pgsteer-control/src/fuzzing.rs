//! Decoders of this crate's inside, for the fuzz targets.

use crate::pcp;

/// A message of a tool of Pgpool-II.
pub fn pcp(bytes: &[u8]) {
    pcp::read_any(bytes);
}
