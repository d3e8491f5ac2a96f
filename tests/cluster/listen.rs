//! LISTEN and NOTIFY of sessions that share their servers.

use std::time::Duration;

use anyhow::Result;
use pgsteer_testkit::wait_until;

use crate::support::{
    DEADLINE, Frame, Options, Running, Wire, cluster, database, msg, runtime, shown,
};

fn start(pool: &'static str) -> Running {
    let options = Options {
        pool,
        ..Options::weights([1, 1, 1])
    };
    options.start()
}

const SHARED: &str = "mode = \"transaction\"\nconnections_per_node_max = 6";

/// Channel and payload of the next message, which must be a notification.
fn heard(wire: &mut Wire) -> (String, String) {
    let frame = wire.read().expect("a notification");
    assert_eq!(frame.tag, b'A', "{}", frame.shown());
    let mut texts = frame.body[4..].split(|b| *b == 0);
    let mut next = || String::from_utf8_lossy(texts.next().unwrap()).into_owned();
    (next(), next())
}

fn pair(channel: &str, payload: &str) -> (String, String) {
    (channel.to_owned(), payload.to_owned())
}

/// Whether a statement was answered without an error and without anything else between.
fn run(wire: &mut Wire, sql: &str) {
    let frames = wire.query(sql);
    let tags: Vec<_> = frames.iter().map(|f| char::from(f.tag)).collect();
    assert!(
        !tags.contains(&'E') && !tags.contains(&'A'),
        "{sql}: {}",
        shown(&frames)
    );
}

fn made(name: &str) -> Wire {
    let client = runtime().block_on(database(name, "CREATE TABLE t (a int)"));
    drop(client.expect("a database"));
    Wire::connect(cluster().primary().port(), name)
}

const CHANNELS: [(&str, &str); 5] = [
    ("plain", "plain"),
    ("FOLDED", "folded"),
    ("\"Kept\"", "Kept"),
    (
        "\"with \"\"quotes\"\" and; -- more\"",
        "with \"quotes\" and; -- more",
    ),
    ("\"ein Kanal für Ü\"", "ein Kanal für Ü"),
];

#[test]
fn many_sessions_hear_through_one_connection_and_nobody_else_does() {
    let mut sender = made("listen_many");
    let proxy = start(SHARED);
    let mut others: Vec<_> = (0..3)
        .map(|_| Wire::connect(proxy.port(), "listen_many"))
        .collect();
    let mut all: Vec<_> = (0..25)
        .map(|number| {
            let mut wire = Wire::connect(proxy.port(), "listen_many");
            for (name, _) in CHANNELS {
                let sql = format!("LISTEN {name}");
                let frames = match number % 2 {
                    0 => wire.query(&sql),
                    _ => wire.extended(&sql),
                };
                let last = &frames[frames.len() - 2..];
                assert_eq!(last[0].body, b"LISTEN\0", "{}", shown(&frames));
            }
            wire
        })
        .collect();
    for round in 0..20 {
        for (name, _) in CHANNELS {
            run(&mut sender, &format!("NOTIFY {name}, 'number {round}'"));
        }
        for other in &mut others {
            run(other, "SELECT count(*) FROM t");
            run(other, "INSERT INTO t VALUES (1)");
        }
    }
    for wire in &mut all {
        for round in 0..20 {
            for (_, name) in CHANNELS {
                assert_eq!(heard(wire), pair(name, &format!("number {round}")));
            }
        }
    }
    let listens = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'listen_many' \
                   AND (query LIKE 'LISTEN%' OR query LIKE 'UNLISTEN%')";
    assert_eq!(sender.value(listens), "1");
    // It still works as a session does that has nothing to hear.
    for wire in &mut all {
        run(wire, "SELECT 1");
    }
}

/// The same conversation with the primary and through the proxy.
#[test]
fn transactions_and_savepoints_count_for_listen_as_for_everything() {
    let mut sender = made("listen_transactions");
    let proxy = start(SHARED);
    let script: &[(&str, &[&str])] = &[
        // What the client says, and what somebody else sends behind it.
        ("BEGIN", &[]),
        ("LISTEN a", &["NOTIFY a, 'too early'"]),
        ("COMMIT", &["NOTIFY a, 'one'"]),
        ("BEGIN; SELECT 1", &["NOTIFY a, 'after the transaction'"]),
        ("SELECT 2", &[]),
        ("COMMIT", &[]),
        ("BEGIN", &[]),
        ("LISTEN b", &[]),
        ("ROLLBACK", &["NOTIFY b, 'not heard'", "NOTIFY a, 'two'"]),
        ("BEGIN", &[]),
        ("LISTEN c", &[]),
        ("SAVEPOINT s", &[]),
        ("LISTEN d", &[]),
        ("UNLISTEN c", &[]),
        ("ROLLBACK TO s", &[]),
        ("COMMIT", &["NOTIFY d, 'not heard'", "NOTIFY c, 'three'"]),
        ("BEGIN", &[]),
        ("UNLISTEN *", &[]),
        ("SELECT 1/0", &[]),
        ("LISTEN e", &[]),
        ("ROLLBACK", &["NOTIFY c, 'four'", "NOTIFY e, 'not heard'"]),
        ("BEGIN", &[]),
        ("SELECT 1", &[]),
        ("UNLISTEN a", &[]),
        ("COMMIT", &["NOTIFY a, 'not heard'", "NOTIFY c, 'five'"]),
        ("BEGIN", &["NOTIFY c, 'not heard'"]),
        ("UNLISTEN c", &["NOTIFY c, 'not heard either'"]),
        ("COMMIT", &[]),
        ("LISTEN c", &[]),
        ("UNLISTEN nothing", &["NOTIFY c, 'six'"]),
        ("LISTEN c", &["NOTIFY c, 'once'"]),
        ("LISTEN a", &["NOTIFY a, 'seven'"]),
        ("DISCARD ALL", &["NOTIFY a, 'not heard'"]),
        ("LISTEN last", &["NOTIFY last, 'end'"]),
    ];
    let mut conversation = |port: u16| {
        let mut wire = Wire::connect(port, "listen_transactions");
        let mut frames = Vec::new();
        let mut due = 0;
        for (sql, sent) in script {
            frames.extend(wire.query(sql).into_iter().filter(|f| f.tag != b'S'));
            for other in *sent {
                sender.query(other);
            }
            // What is to be heard outside a transaction is awaited, so that its place is certain.
            let idle = frames.last().is_some_and(|f| f.body == b"I");
            let awaited = sent
                .iter()
                .filter(|other| !other.contains("not heard") && !other.contains("too early"));
            due += awaited.count();
            while idle && frames.iter().filter(|f| f.tag == b'A').count() < due {
                frames.push(wire.read().expect("a notification"));
            }
        }
        shown(&frames)
    };
    let direct = conversation(cluster().primary().port());
    let proxied = conversation(proxy.port());
    // The one that comes in the middle of a transaction is heard at its end: before or after
    // ReadyForQuery, where a client cannot tell.
    let normal = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        for at in 1..lines.len() {
            if lines[at].starts_with('A') && lines[at - 1].starts_with('Z') {
                lines.swap(at - 1, at);
            }
        }
        lines.join("\n")
    };
    assert_eq!(normal(&direct), normal(&proxied));
}

#[test]
fn what_a_transaction_sends_it_hears_itself() {
    drop(made("listen_own"));
    let proxy = start(SHARED);
    let mut wire = Wire::connect(proxy.port(), "listen_own");
    run(&mut wire, "BEGIN");
    run(&mut wire, "LISTEN own");
    run(&mut wire, "NOTIFY own, 'mine'");
    wire.send(&msg::query("COMMIT"));
    let mut frames = Vec::new();
    while frames
        .iter()
        .filter(|f: &&Frame| matches!(f.tag, b'A' | b'Z'))
        .count()
        < 2
    {
        frames.push(wire.read().expect("a notification and the end"));
    }
    assert!(
        frames
            .iter()
            .any(|f| f.tag == b'A' && f.body.ends_with(b"own\0mine\0")),
        "{}",
        shown(&frames)
    );
    // Nobody hears it twice.
    wire.send(&msg::query("NOTIFY own, 'again'"));
    let mut notified = 0;
    let mut ready = false;
    while notified == 0 || !ready {
        let frame = wire.read().expect("more");
        notified += usize::from(frame.tag == b'A');
        ready |= frame.tag == b'Z';
    }
    run(&mut wire, "UNLISTEN own");
    run(&mut wire, "NOTIFY own, 'unheard'");
    run(&mut wire, "SELECT 1");
}

/// The process id of the next message, which must be a notification; `Z` may come before.
fn notified_by(wire: &mut Wire, what: &str) -> Vec<u8> {
    loop {
        let frame = wire.read().expect(what);
        match frame.tag {
            b'A' => return frame.body[..4].to_vec(),
            b'C' | b'Z' | b'T' | b'D' | b'1' | b'2' | b'n' => {}
            _ => panic!("{}", frame.shown()),
        }
    }
}

fn id_of(wire: &Wire) -> Vec<u8> {
    wire.key[..4].to_vec()
}

#[test]
fn notifications_carry_the_ids_that_clients_know_of_themselves_and_each_other() {
    for (mode, pool) in [
        ("shared", SHARED),
        (
            "one",
            "mode = \"transaction\"\nconnections_per_node_max = 2",
        ),
        ("session", "mode = \"session\""),
    ] {
        let database = format!("listen_ids_{mode}");
        drop(made(&database));
        let proxy = start(pool);
        let mut all: Vec<_> = (0..3)
            .map(|_| Wire::connect(proxy.port(), &database))
            .collect();
        let ids: Vec<_> = all.iter().map(id_of).collect();
        // The last one listens to nothing.
        for wire in &mut all[..2] {
            run(wire, "LISTEN c");
        }
        let statements = [
            "NOTIFY c, '{}'",
            "SELECT pg_notify('c', '{}')",
            "SELECT 1; NOTIFY c, '{}'",
            "BEGIN; NOTIFY c, '{}'; COMMIT",
        ];
        for round in 0..8 {
            for sender in 0..all.len() {
                let text = format!("{round} {sender}");
                let sql = statements[round % 4].replace("{}", &text);
                all[sender].send(&match round {
                    4 | 5 => [msg::statement(&sql, &[]), msg::sync()].concat(),
                    _ => msg::query(&sql),
                });
                if sender == 2 {
                    all[sender].until(b'Z');
                }
                for (hearer, wire) in all[..2].iter_mut().enumerate() {
                    let what = format!("{mode}: {hearer} hears {sender} in round {round}");
                    assert_eq!(notified_by(wire, &what), ids[sender], "{what}");
                }
            }
            // Others run on the same servers meanwhile.
            for wire in &mut all {
                run_after_ready(wire, "SELECT 1");
            }
        }
    }
}

#[test]
fn what_others_send_through_the_same_server_is_never_taken_for_ones_own() {
    drop(made("listen_own_ids"));
    let options = Options {
        pool: "mode = \"transaction\"\nconnections_per_node_max = 2",
        listen: "workers = 3",
        ..Options::weights([1, 1, 1])
    };
    let proxy = options.start();
    let mut hearer = Wire::connect(proxy.port(), "listen_own_ids");
    let mut other = Wire::connect(proxy.port(), "listen_own_ids");
    run(&mut hearer, "LISTEN c");
    let own = id_of(&hearer);
    // Many and long ones, which may still be on their way when their sender is answered.
    const OTHERS: usize = 300;
    for round in 0..12 {
        if round % 3 == 0 {
            // Nothing of it reaches a server.
            for sql in ["BEGIN", "LISTEN d", "ROLLBACK"] {
                run(&mut hearer, sql);
            }
        }
        let burst = format!(
            "SELECT count(pg_notify('c', 'other {round} ' || g || repeat('x', 7000))) \
             FROM generate_series(1, {OTHERS}) g"
        );
        other.send(&msg::query(&burst));
        other.until(b'Z');
        let mine = format!("NOTIFY c, 'mine {round}'");
        hearer.send(&match round % 2 {
            0 => msg::query(&mine),
            _ => [
                msg::statement(&mine, &[]),
                msg::statement("LISTEN e", &[]),
                msg::sync(),
            ]
            .concat(),
        });
        let mut heard = 0;
        let mut ended = false;
        while heard < OTHERS + 1 || !ended {
            let frame = hearer.read().expect("all notifications and the end");
            ended |= frame.tag == b'Z';
            if frame.tag == b'A' {
                heard += 1;
                let is_mine = frame.body[4..].starts_with(b"c\0mine");
                assert_eq!(frame.body.starts_with(&own), is_mine, "round {round}");
            }
        }
    }
}

/// Runs a statement; the end of the one before it may still come.
fn run_after_ready(wire: &mut Wire, sql: &str) {
    wire.send(&msg::query(sql));
    while wire.read().expect("an answer").tag != b'D' {}
    wire.until(b'Z');
}

#[test]
fn what_a_trigger_sends_is_never_taken_for_ones_own_by_others() {
    drop(made("listen_trigger"));
    let proxy = start("mode = \"transaction\"\nconnections_per_node_max = 2");
    let mut hearer = Wire::connect(proxy.port(), "listen_trigger");
    let mut other = Wire::connect(proxy.port(), "listen_trigger");
    run(
        &mut other,
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_notify('c', NEW.a::text); RETURN NEW; END $$",
    );
    run(
        &mut other,
        "CREATE TRIGGER tells AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION tell()",
    );
    // It has notified through the only server there is, before it listens and after.
    run(&mut hearer, "NOTIFY c, 'unheard'");
    run(&mut hearer, "LISTEN c");
    let own = id_of(&hearer);
    for round in 0..5 {
        run(&mut other, &format!("INSERT INTO t VALUES ({round})"));
        assert_ne!(notified_by(&mut hearer, "another's"), own, "round {round}");
        hearer.send(&msg::query("NOTIFY c, 'mine'"));
        assert_eq!(notified_by(&mut hearer, "its own"), own, "round {round}");
        hearer.until(b'Z');
    }
}

#[test]
fn databases_do_not_hear_each_other() {
    let mut one = made("listen_one");
    let mut two = made("listen_two");
    let proxy = start(SHARED);
    let mut hears_one = Wire::connect(proxy.port(), "listen_one");
    let mut hears_two = Wire::connect(proxy.port(), "listen_two");
    run(&mut hears_one, "LISTEN x");
    run(&mut hears_two, "LISTEN x");
    run(&mut one, "NOTIFY x, 'one'");
    run(&mut two, "NOTIFY x, 'two'");
    assert_eq!(heard(&mut hears_one), pair("x", "one"));
    assert_eq!(heard(&mut hears_two), pair("x", "two"));
    run(&mut hears_one, "SELECT 1");
    run(&mut hears_two, "SELECT 1");
}

#[test]
fn a_client_that_does_not_read_is_given_up_and_others_go_on() {
    const COUNT: usize = 6000;
    let mut sender = made("listen_flood");
    let proxy = start(SHARED);
    let mut deaf = Wire::connect(proxy.port(), "listen_flood");
    let mut good = Wire::connect(proxy.port(), "listen_flood");
    run(&mut deaf, "LISTEN flood");
    run(&mut good, "LISTEN flood");
    let (read, portions) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for number in 1..=COUNT {
            let (_, payload) = heard(&mut good);
            assert!(payload.starts_with(&format!("{number} ")), "in order");
            if number % 200 == 0 {
                read.send(()).expect("somebody waits");
            }
        }
    });
    // In portions: who reads, however slowly, is not meant.
    for first in (1..=COUNT).step_by(200) {
        let last = first + 199;
        let sql = format!(
            "SELECT count(pg_notify('flood', g || ' ' || repeat('x', 7900))) \
             FROM generate_series({first}, {last}) g"
        );
        run(&mut sender, &sql);
        portions.recv().expect("the other one reads");
    }
    reader.join().expect("the other one heard everything");
    let mut count = 0;
    let end = loop {
        match deaf.read() {
            Ok(frame) if frame.tag == b'A' => count += 1,
            Ok(frame) => {
                assert_eq!(frame.error().0, "54000", "{}", frame.shown());
            }
            Err(error) => break error,
        }
    };
    assert_ne!(
        end.kind(),
        std::io::ErrorKind::WouldBlock,
        "it was disconnected"
    );
    assert!(count < COUNT, "{count}");
}

#[test]
fn whoever_may_have_missed_something_is_told_so() -> Result<()> {
    let mut sender = made("listen_lost");
    let proxy = start(SHARED);
    let mut idle = Wire::connect(proxy.port(), "listen_lost");
    let mut other = Wire::connect(proxy.port(), "listen_lost");
    run(&mut idle, "LISTEN a");
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = 'listen_lost' AND query LIKE 'LISTEN%'";
    assert_eq!(sender.value(kill), "1");
    let frame = idle.read().expect("a last word");
    assert_eq!(frame.error().0, "57P01", "{}", frame.shown());
    assert!(idle.is_closed());
    // Who does not listen does not notice, and whoever comes back is served.
    run(&mut other, "SELECT 1");
    runtime().block_on(wait_until(DEADLINE, "a new one that listens", || async {
        let mut again = Wire::connect(proxy.port(), "listen_lost");
        again.query("LISTEN a")[0].tag == b'C'
    }))?;
    Ok(())
}

#[test]
fn nothing_is_missed_between_the_answer_to_listen_and_what_comes_next() {
    let mut sender = made("listen_next");
    let proxy = start(SHARED);
    for round in 0..50 {
        let mut wire = Wire::connect(proxy.port(), "listen_next");
        let channel = format!("channel_{}", round % 7);
        run(&mut wire, &format!("LISTEN {channel}"));
        run(&mut sender, &format!("NOTIFY {channel}, '{round}'"));
        assert_eq!(heard(&mut wire), pair(&channel, &round.to_string()));
        wire.set_patience(Duration::from_secs(20));
        wire.send(&msg::terminate());
    }
}
