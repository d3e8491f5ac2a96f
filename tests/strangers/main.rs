//! Servers that do not behave: at each stage of a connection something that PostgreSQL would not
//! say. The client is told, memory stays bounded, and the next session is served.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "clippy takes the helpers of tests for production code; the figure of memory is shown"
)]

mod deeds;
mod memory;
mod plane;
mod server;
#[path = "../support/wire.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod wire;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deeds::{Deed, Ends, at_login, at_query, resets_over_data};
use plane::Plane;
use server::Server;
use wire::{Frame, Login, Wire, msg, shown};

/// One after the other: memory is that of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// What a deed of a server may cost, in KiB: its longest messages and some buffers, at both ends of
/// the sockets, since the servers and the clients are in this process too.
const GROWTH_MAX_KIB: u64 = 160 * 1024;

/// Longer than any time-out of the proxy here.
const PATIENCE: Duration = Duration::from_secs(30);

fn connect(plane: &Plane) -> Option<(Wire, Option<Frame>)> {
    let mut wire = Wire::open(plane.port());
    wire.set_patience(PATIENCE);
    let refused = wire.try_log_in(&Login::default(), "postgres").ok()?;
    Some((wire, refused))
}

/// What a client is told by the first query of a session: the error, if there is one.
fn ask(plane: &Plane) -> Told {
    let Some((mut wire, refused)) = connect(plane) else {
        return Told::Left;
    };
    if let Some(refused) = refused {
        return Told::Error(refused);
    }
    wire.send(&msg::query("SELECT 'hello'"));
    let mut frames = Vec::new();
    // Endless answers: a client that has had enough leaves.
    for _ in 0..50_000 {
        match wire.read() {
            Ok(frame) if frame.tag == b'E' => return Told::Error(frame),
            Ok(frame) if frame.tag == b'Z' => return Told::Answer,
            Ok(frame) if frame.tag == b'G' => wire.send(&msg::copy_done()),
            Ok(frame) if frames.len() < 20 => frames.push(frame),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Told::Nothing(shown(&frames));
            }
            Err(_) => return Told::Left,
        }
    }
    Told::Endless
}

#[derive(Debug)]
enum Told {
    Answer,
    Error(Frame),
    /// The connection was closed without a word.
    Left,
    Endless,
    Nothing(String),
}

fn check(deeds: &[Deed]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let plane = Plane::start(server.port());
    assert!(matches!(ask(&plane), Told::Answer), "it is served at first");
    for deed in deeds {
        memory::forget_peak();
        let before = memory::resident_kib();
        server.misbehave(deed.clone());
        // Connections from before are used up or closed by what the server does with them.
        plane.sever();
        let told = ask(&plane);
        println!("{}: {}", deed.what, summary(&told));
        match (&told, deed.ends) {
            (Told::Nothing(seen), _) => panic!("{}: silence after\n{seen}", deed.what),
            (Told::Error(frame), Ends::InError | Ends::InAnything) => {
                let (sqlstate, message) = frame.error();
                assert!(
                    !message.is_empty() || deed.is_untouched,
                    "{}: no message",
                    deed.what
                );
                assert!(
                    sqlstate.len() == 5 || deed.is_untouched,
                    "{}: {sqlstate:?}",
                    deed.what
                );
            }
            (_, Ends::InAnything) => {}
            (told, Ends::InError) => panic!("{}: {told:?}", deed.what),
        }
        server.behave();
        plane.sever();
        let told = ask(&plane);
        assert!(
            matches!(told, Told::Answer),
            "after {}: {told:?}",
            deed.what
        );
        let peak = memory::peak_kib();
        println!("    memory: {before} KiB, at most {peak} KiB");
        assert!(
            peak < before + GROWTH_MAX_KIB,
            "{}: {before} KiB, then {peak} KiB",
            deed.what
        );
    }
}

fn summary(told: &Told) -> String {
    match told {
        Told::Error(frame) => frame.shown().chars().take(160).collect(),
        other => format!("{other:?}"),
    }
}

#[test]
fn servers_that_misbehave_at_the_login() {
    check(&at_login());
}

#[test]
fn servers_that_misbehave_when_asked() {
    check(&at_query());
}

/// The write to such a server fails while its words wait to be read.
#[test]
fn last_words_of_a_server_that_resets_the_connection_are_passed_on() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let plane = Plane::start(server.port());
    let words = [
        msg::frame(b'E', b"SERROR\0C08P01\0Mnot like this\0\0"),
        msg::frame(b'E', b"SFATAL\0C08P01\0Mthat was it\0\0"),
    ];
    server.misbehave(resets_over_data(words.concat()));
    let data = msg::copy_data(&[b'x'; 64 * 1024]).repeat(16);
    for _ in 0..30 {
        let (mut wire, refused) = connect(&plane).expect("a session");
        assert_eq!(refused, None);
        wire.send(&msg::query("COPY hello FROM STDIN"));
        assert_eq!(wire.read().expect("an answer").tag, b'G');
        wire.send(&data);
        let heard = [wire.read(), wire.read()].map(|frame| frame.map(|frame| frame.error().1));
        let [first, second] = heard.map(|text| text.unwrap_or_else(|e| e.to_string()));
        assert_eq!([&*first, &*second], ["not like this", "that was it"]);
    }
}
