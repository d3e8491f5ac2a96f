//! What the proxy finds out about a statement, and its cache, which must say the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsteer_sql::{Cache, analyze};

fuzz_target!(|text: &[u8]| {
    let analysis = analyze(text);
    let mut cache = Cache::new(1 << 16);
    for _ in 0..2 {
        assert_eq!(cache.analyze(text).is_proven_read(), analysis.is_proven_read());
    }
});
