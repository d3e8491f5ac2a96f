//! SCRAM messages of a client to our server side, and of a server to our client side.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pgsteer_wire::scram::{ClientExchange, SaltedPassword, ServerExchange, Verifier};

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| Verifier::from_salt("secret", b"salt of 16 bytes"));

fuzz_target!(|data: &[u8]| {
    let middle = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (first, last) = data.split_at(middle);
    let last = last.get(1..).unwrap_or_default();

    let mut server = ServerExchange::new(&VERIFIER);
    if server.first(first).is_ok() {
        assert!(server.last(last).is_err(), "nobody knows our nonce");
    }

    let Ok(mut client) = ClientExchange::new() else {
        return;
    };
    // A server's first message has our nonce in front of its own.
    let nonce = client.first();
    let nonce = nonce.rsplit("r=").next().unwrap_or_default();
    let first = String::from_utf8_lossy(first).replacen("r=", &format!("r={nonce}"), 1);
    if let Ok(challenge) = client.challenge(first.as_bytes()) {
        // Not as often as it asks: that only takes long.
        let salted = SaltedPassword::derive("secret", &challenge.salt, challenge.iterations.min(2));
        client.last(&salted, &challenge);
        assert!(client.verify(last).is_err(), "nobody knows our key");
    }
});
