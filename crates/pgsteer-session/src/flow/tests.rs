//! What the outstanding queue does with answers, whole and cut anywhere.

use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::encode;
use proptest::prelude::*;

use super::{Flow, Next, Request, Violation};

fn frames(list: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = bytes::BytesMut::new();
    for (tag, body) in list {
        encode::frame(&mut bytes, *tag, body);
    }
    bytes.to_vec()
}

/// Feeds bytes cut at `cut` and gives what a client would see.
fn forwarded(flow: &mut Flow, bytes: &[u8], cut: usize) -> Result<Vec<u8>, Violation> {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    let cut = cut.min(bytes.len());
    for part in [&bytes[..cut], &bytes[cut..]] {
        input.extend_from_slice(part);
        loop {
            let (len, keep) = match flow.next(&input)? {
                Next::Forward { len, .. } => (len, true),
                Next::Drop { len, .. } => {
                    flow.dropped();
                    (len, false)
                }
                Next::Wait => break,
                Next::Leaving { .. } => return Ok(out),
            };
            let taken: Vec<u8> = input.drain(..len).collect();
            if keep {
                out.extend(taken);
            }
        }
    }
    Ok(out)
}

#[test]
fn hidden_answers_are_dropped_wherever_the_bytes_are_cut() {
    let all = [
        (b'3', b"".as_slice()),
        (b'1', b""),
        (b'2', b""),
        (b'T', b"description"),
        (b'D', b"row"),
        (b'C', b"SELECT 1\0"),
        (b'Z', b"I"),
    ];
    let bytes = frames(&all);
    for cut in 0..bytes.len() {
        let mut flow = Flow::default();
        flow.expect_hidden(Request::Close);
        flow.expect_hidden(Request::Parse {
            name: b"".as_slice().into(),
            id: 1,
        });
        flow.expect(Request::Bind);
        flow.expect(Request::Describe);
        flow.expect(Request::Execute {
            analysis: None,
            copies: false,
        });
        flow.expect(Request::Sync);
        let seen = forwarded(&mut flow, &bytes, cut).unwrap();
        assert_eq!(seen, frames(&all[2..]), "cut at {cut}");
        assert!(flow.is_drained());
        assert_eq!(flow.command_tag(), b"SELECT 1");
    }
}

#[test]
fn an_error_sweeps_the_queue_up_to_sync() {
    let mut flow = Flow::default();
    flow.expect(Request::Parse {
        name: b"s".as_slice().into(),
        id: 7,
    });
    flow.expect(Request::Bind);
    flow.expect(Request::Execute {
        analysis: None,
        copies: false,
    });
    flow.expect(Request::Sync);
    let error = frames(&[(b'E', b"SERROR\0C42601\0Mx\0\0"), (b'Z', b"E")]);
    assert_eq!(forwarded(&mut flow, &error, 9).unwrap(), error);
    assert!(flow.error && flow.is_drained());
    assert_eq!(flow.lost.len(), 1);
}

#[test]
fn a_server_that_leaves_is_not_forwarded() {
    let mut flow = Flow::default();
    flow.expect(Request::Query);
    let bytes = frames(&[(b'E', b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0")]);
    assert_eq!(flow.next(&bytes), Ok(Next::Leaving { len: bytes.len() }));
}

#[test]
fn ready_without_a_request_is_a_violation() {
    assert_eq!(
        Flow::default().next(&frames(&[(b'Z', b"I")])),
        Err(Violation)
    );
    let mut flow = Flow::default();
    flow.expect(Request::Query);
    let ready = Next::Forward {
        len: 6,
        ready: Some(TransactionStatus::Idle),
    };
    assert_eq!(flow.next(&frames(&[(b'Z', b"I")])), Ok(ready));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
        let mut flow = Flow::default();
        flow.expect(Request::Query);
        flow.expect_hidden(Request::Sync);
        let _ = forwarded(&mut flow, &bytes, cut);
    }
}
