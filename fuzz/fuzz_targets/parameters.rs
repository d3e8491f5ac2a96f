//! Parameters of Bind, and messages written anew with others.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pgsteer_wire::parameters::{bound, put_bind, put_description, put_parse};

fuzz_target!(|data: &[u8]| {
    let Some((count, body)) = data.split_first() else {
        return;
    };
    let map: Vec<u16> = (1..=u16::from(count % 8)).collect();
    let mut out = BytesMut::new();
    let read = bound(body);
    if put_bind(&mut out, body, &map).is_ok() {
        let (before, _) = read.expect("what is written anew can be read");
        let (after, _) = bound(&out[5..]).expect("what was written can be read");
        assert_eq!(after.len(), map.len());
        assert!(before.len() >= map.len());
    }
    let mut out = BytesMut::new();
    let _ = put_parse(&mut out, body, b"SELECT 1", Some(&map));
    let _ = put_description(&mut out, body, &map);
});
