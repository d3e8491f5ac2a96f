//! Requests of Pgpool-II's tools.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pgsteer_control::fuzzing::pcp(data));
