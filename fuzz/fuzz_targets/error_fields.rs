//! The fields of errors and notices.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsteer_wire::error_response::ErrorFields;

fuzz_target!(|body: &[u8]| {
    let fields = ErrorFields::new(body);
    for kind in 0..=u8::MAX {
        if let Some(text) = fields.field(kind) {
            assert!(text.len() < body.len());
        }
    }
    let _ = (fields.sqlstate(), fields.message(), fields.severity());
    let _ = (fields.is_fatal(), fields.is_server_leaving());
});
