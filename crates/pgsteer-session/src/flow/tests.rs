//! What the outstanding queue does with answers, whole and cut anywhere.

use std::cell::Cell;
use std::rc::Rc;

use pgsteer_sql::Analysis;
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::encode;
use proptest::prelude::*;

use super::{Flow, Lost, Next, Request, Violation};
use crate::lost::Sent;
use crate::session::Prepared;
use crate::statements::Context;

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
                Next::Forward { len, .. } | Next::Notification { len } => (len, true),
                Next::Drop { len, .. } => {
                    flow.dropped();
                    (len, false)
                }
                Next::Replace { len } => {
                    out.extend(flow.substitute.split());
                    (len, false)
                }
                Next::Skip { len } => (len, false),
                Next::Wait => break,
                Next::Refused { .. } | Next::Leaving { .. } => return Ok(out),
            };
            let taken: Vec<u8> = input.drain(..len).collect();
            if keep {
                out.extend(taken);
            }
        }
    }
    Ok(out)
}

fn parse(name: &[u8], id: u64) -> Request {
    Request::Parse {
        name: name.into(),
        own: name.into(),
        id,
        before: None,
    }
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
        flow.expect_hidden(Request::Close { stale: None });
        flow.expect_hidden(parse(b"", 1));
        flow.expect(Request::Bind { renamed: None });
        flow.expect(Request::Describe {
            map: None,
            of: None,
        });
        flow.expect(Request::Execute {
            analysis: None,
            copies: false,
            sent: Sent::Inside,
        });
        flow.expect(Request::Sync);
        let seen = forwarded(&mut flow, &bytes, cut).unwrap();
        assert_eq!(seen, frames(&all[2..]), "cut at {cut}");
        assert!(flow.is_drained());
        assert_eq!(flow.command_tag(), b"SELECT 1");
    }
}

#[test]
fn parameters_of_another_text_are_described_as_the_client_knows_them() {
    let all = [
        (b'1', b"".as_slice()),
        (b't', b"\0\x03\0\0\0\x17\0\0\0\x19\0\0\0\x10"),
        (b'n', b""),
        (b'Z', b"I"),
    ];
    let bytes = frames(&all);
    let mut expected = all;
    expected[1].1 = b"\0\x02\0\0\0\x19\0\0\0\x17";
    for cut in 0..bytes.len() {
        let mut flow = Flow::default();
        flow.expect(parse(b"", 1));
        let map = Some([2, 1, 2].as_slice().into());
        flow.expect(Request::Describe { map, of: None });
        flow.expect(Request::Sync);
        let seen = forwarded(&mut flow, &bytes, cut).unwrap();
        assert_eq!(seen, frames(&expected), "cut at {cut}");
        assert!(flow.is_drained());
    }
}

#[test]
fn a_watched_statement_ends_with_what_came_back_for_it() {
    let answers = frames(&[
        (b'D', b"0123456789"),
        (b'C', b"SELECT 1\0"),
        (b'E', b"SERROR\0C22012\0Mx\0\0"),
        (b'Z', b"I"),
    ]);
    for cut in 0..answers.len() {
        let mut flow = Flow::default();
        flow.tally.counts = true;
        for _ in 0..2 {
            let analysis = pgsteer_sql::analyze(b"SELECT 1");
            let watched = crate::events::Watched::new(&analysis, 1, pgsteer_core::NodeId(0));
            let request = Request::Execute {
                analysis: None,
                copies: false,
                sent: Sent::Inside,
            };
            flow.expect_watched(request, Some(watched));
        }
        flow.expect(Request::Sync);
        forwarded(&mut flow, &answers, cut).unwrap();
        let tallies: Vec<_> = flow.ended.iter().map(|ended| ended.tally).collect();
        assert_eq!(tallies.len(), 2, "cut at {cut}");
        assert_eq!((tallies[0].rows, tallies[0].error), (1, [0; 5]));
        assert!(tallies[0].bytes >= 15, "the row at least");
        assert_eq!((tallies[1].rows, &tallies[1].error), (0, b"22012"));
    }
}

#[test]
fn an_error_sweeps_the_queue_up_to_sync() {
    let mut flow = Flow::default();
    flow.expect(parse(b"s", 7));
    flow.expect(Request::Bind { renamed: None });
    flow.expect(Request::Execute {
        analysis: None,
        copies: false,
        sent: Sent::Inside,
    });
    flow.expect(Request::Sync);
    let error = frames(&[(b'E', b"SERROR\0C42601\0Mx\0\0"), (b'Z', b"E")]);
    assert_eq!(forwarded(&mut flow, &error, 9).unwrap(), error);
    assert!(flow.error && flow.is_drained());
    assert_eq!(flow.lost.len(), 1);
}

#[test]
fn a_parse_in_flight_is_lost_with_its_server() {
    let mut flow = Flow::default();
    flow.expect(Request::Sync);
    flow.expect_hidden(parse(b"repeated", 1));
    flow.expect(parse(b"asked for", 2));
    flow.abandon();
    let lost = flow.lost.iter().map(|lost| match lost {
        Lost::Parse { id, hidden, .. } => (*id, *hidden),
        Lost::Close { .. } => (0, true),
    });
    assert_eq!(lost.collect::<Vec<_>>(), [(1, true), (2, false)]);
    assert!(flow.is_drained());
}

#[test]
fn answers_to_the_proxys_own_queries_are_thrown_away() {
    let notification = (b'A', b"\0\0\0\x01channel\0\0".as_slice());
    let all = [
        (b'S', b"DateStyle\0German\0".as_slice()),
        (b'C', b"SET\0"),
        notification,
        (b'Z', b"I"),
        (b'C', b"SELECT 1\0"),
        (b'Z', b"I"),
    ];
    let bytes = frames(&all);
    for cut in 0..bytes.len() {
        let mut flow = Flow::default();
        flow.expect_hidden(Request::Prologue);
        flow.expect(Request::Query);
        let seen = forwarded(&mut flow, &bytes, cut).unwrap();
        assert_eq!(
            seen,
            frames(&[notification, all[4], all[5]]),
            "cut at {cut}"
        );
        assert!(flow.is_drained());
    }
    let mut flow = Flow::default();
    flow.expect_hidden(Request::Prologue);
    flow.expect(Request::Query);
    let error = frames(&[(b'E', b"SERROR\0C42704\0Mno such role\0\0")]);
    assert_eq!(flow.next(&error), Ok(Next::Refused { len: error.len() }));
}

#[test]
fn names_on_servers_stay_there() {
    let mut flow = Flow::default();
    let mine = Rc::new(Prepared {
        id: 1,
        client_name: b"mine".as_slice().into(),
        name: b"pgsteer_1".as_slice().into(),
        frame: Rc::default(),
        text_at: 0..0,
        parameter_count: 0,
        context: Context::default(),
        is_shared: true,
        analysis: Rc::new(Analysis::opaque(1)),
        map: None,
        chain: Cell::default(),
        runs: false,
        described: Cell::default(),
    });
    flow.expect(Request::InPlaceOfParse {
        name: b"mine".as_slice().into(),
        id: 1,
        before: None,
    });
    flow.expect(Request::Bind {
        renamed: Some(Rc::clone(&mine)),
    });
    flow.expect(Request::Sync);
    let bytes = frames(&[
        (b'3', b""),
        (b'E', b"SERROR\0C08P01\0M\"pgsteer_1\" requires 2\0\0"),
        (b'Z', b"I"),
    ]);
    let expected = frames(&[
        (b'1', b""),
        (b'E', b"SERROR\0C08P01\0M\"mine\" requires 2\0\0"),
        (b'Z', b"I"),
    ]);
    assert_eq!(forwarded(&mut flow, &bytes, 7).unwrap(), expected);
    assert!(flow.error && flow.is_drained());

    let mut flow = Flow::default();
    let run = || Request::Run {
        renamed: Some(Rc::clone(&mine)),
    };
    flow.expect(run());
    let (bytes, expected) = (&bytes[5..], &expected[5..]);
    assert_eq!(forwarded(&mut flow, bytes, 7).unwrap(), expected);
    assert!(flow.error && flow.is_drained());

    // What looks like one behind that is the client's own business.
    let mut flow = Flow::default();
    flow.expect(run());
    let bytes = frames(&[
        (b'2', b""),
        (b'E', b"SERROR\0C42501\0Mdenied for table pgsteer_1\0\0"),
        (b'Z', b"I"),
    ]);
    assert_eq!(forwarded(&mut flow, &bytes, 7).unwrap(), bytes);
}

#[test]
fn a_run_is_over_with_ready_and_not_before() {
    let answer = [
        (b'2', &b""[..]),
        (b'T', b"\0\0"),
        (b'D', b"\0\0"),
        (b'D', b"\0\0"),
        (b'C', b"SELECT 2\0"),
    ];
    let ready = frames(&[(b'Z', b"I")]);
    for rows in 0..answer.len() {
        // However much of it comes, an error may follow, and what is parsed in front is not shown.
        let mut parts = answer[..rows].to_vec();
        parts.push((b'E', b"SERROR\0C57014\0Mcancelled\0\0"));
        for (parts, is_error) in [(&answer[..], false), (&parts[..], true)] {
            let shown = [frames(parts), ready.clone()].concat();
            let sent = [frames(&[(b'1', b"")]), shown.clone()].concat();
            for cut in 0..sent.len() {
                let mut flow = Flow::default();
                flow.expect_hidden(Request::Parse {
                    name: b"mine".as_slice().into(),
                    own: b"mine".as_slice().into(),
                    id: 1,
                    before: None,
                });
                flow.expect(Request::Run { renamed: None });
                assert_eq!(
                    forwarded(&mut flow, &sent, cut).unwrap(),
                    shown,
                    "cut at {cut}"
                );
                assert_eq!((flow.error, flow.is_drained()), (is_error, true));
            }
        }
    }
    let mut flow = Flow::default();
    flow.expect(Request::Run { renamed: None });
    assert!(flow.next(&frames(&[(b's', b"")])).is_err());
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
