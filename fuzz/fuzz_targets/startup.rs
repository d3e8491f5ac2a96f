//! The first packet of a connection.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pgsteer_wire::startup::{FirstPacket, STARTUP_LEN_MAX, first_packet, put_startup};

fuzz_target!(|data: &[u8]| {
    let mut buf = BytesMut::from(data);
    match first_packet(&mut buf) {
        Ok(Some(packet)) => {
            let taken = data.len() - buf.len();
            assert!((8..=STARTUP_LEN_MAX).contains(&taken));
            assert_eq!(&buf[..], &data[taken..]);
            read_back(&packet);
        }
        Ok(None) => assert_eq!(&buf[..], data),
        Err(_) => {}
    }
});

/// What was read is written and read as the same.
fn read_back(packet: &FirstPacket) {
    let FirstPacket::Startup { parameters, .. } = packet else {
        return;
    };
    let texts = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut written = BytesMut::new();
    put_startup(&mut written, 0, &texts.collect::<Vec<_>>());
    if written.len() > STARTUP_LEN_MAX {
        return;
    }
    let Ok(Some(FirstPacket::Startup { parameters: again, .. })) = first_packet(&mut written) else {
        panic!("a startup packet of ours is read");
    };
    assert_eq!(*parameters, again);
}
