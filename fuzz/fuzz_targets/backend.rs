//! The messages of a server that the proxy opens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsteer_wire::backend;

fuzz_target!(|body: &[u8]| {
    if let Some(status) = backend::TransactionStatus::from_body(body) {
        assert_eq!(body, [status.as_byte()]);
    }
    if let Some((name, value)) = backend::parameter_status(body) {
        assert!(name.len() + value.len() + 2 <= body.len());
    }
    if let Some((_, key)) = backend::backend_key(body) {
        assert_eq!(key.len() + 4, body.len());
    }
    assert!(backend::command_tag(body).len() <= body.len());
    let _ = backend::authentication(body);
    if let Some(columns) = backend::data_row(body) {
        // Each column has at least its length.
        assert!(columns.len() * 4 <= body.len());
    }
});
