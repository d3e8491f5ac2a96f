//! Frames, and the messages of a client that the proxy opens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgsteer_wire::{frame, frontend};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(header)) = frame::header(data) {
        assert!(header.frame_len() >= 5);
    }
    let Some((tag, body)) = data.split_first() else {
        return;
    };
    let inside = |part: &[u8]| assert!(part.len() <= body.len());
    if let Ok(text) = frontend::query(body) {
        inside(text);
    }
    if let Ok(parse) = frontend::parse(body) {
        inside(parse.name);
        inside(parse.text);
    }
    if let Ok(bind) = frontend::bind(body) {
        inside(bind.portal);
        inside(bind.statement);
    }
    if let Ok(portal) = frontend::execute(body) {
        inside(portal);
    }
    if let Some(run) = frontend::run(data) {
        assert!(run.bind_len < run.len && run.len <= data.len());
        inside(run.statement);
    }
    let _ = frontend::target(*tag, body);
    let _ = frame::cstr(body);
});
