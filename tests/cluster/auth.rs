//! Logging in, at the proxy and at the servers behind it.

use anyhow::Result;

use crate::support::{Frame, Login, Options, Wire, cluster, msg};

fn options(method: &'static str) -> Options {
    Options {
        method,
        ..Options::default()
    }
}

const ALICE: Login<'_> = Login {
    user: "alice",
    password: "alice's secret",
    parameters: &[],
};

fn refusal(port: u16, login: &Login<'_>, database: &str) -> (String, String) {
    let refused = Wire::open(port).log_in(login, database);
    refused.expect("it is refused").error()
}

fn text(state: &str, message: &str) -> (String, String) {
    (state.to_owned(), message.to_owned())
}

#[test]
fn every_method_lets_the_right_password_in_and_no_other() {
    for method in ["scram-sha-256", "md5", "password"] {
        let proxy = options(method).start();
        let mut wire = Wire::open(proxy.port());
        assert_eq!(wire.log_in(&ALICE, "postgres"), None, "{method}");
        assert_eq!(wire.value("SELECT current_user"), "alice");

        for password in ["wrong", "", "alice's secret "] {
            let login = Login { password, ..ALICE };
            // In clear text an empty password is seen to be one.
            let expected = match (method, password) {
                ("password", "") => text("28P01", "empty password returned by client"),
                _ => text("28P01", "password authentication failed for user \"alice\""),
            };
            assert_eq!(
                refusal(proxy.port(), &login, "postgres"),
                expected,
                "{method}"
            );
            if !password.is_empty() {
                let direct = refusal(cluster().primary().port(), &login, "postgres");
                assert_eq!(direct, expected);
            }
        }
        // As with PostgreSQL nobody learns which users there are.
        let stranger = Login {
            user: "stranger",
            ..ALICE
        };
        let expected = text(
            "28P01",
            "password authentication failed for user \"stranger\"",
        );
        assert_eq!(
            refusal(proxy.port(), &stranger, "postgres"),
            expected,
            "{method}"
        );
    }
}

#[test]
fn trust_asks_for_no_password() {
    let proxy = options("trust").start();
    let login = Login {
        password: "wrong",
        ..ALICE
    };
    let mut wire = Wire::open(proxy.port());
    assert_eq!(wire.log_in(&login, "postgres"), None);
    assert_eq!(wire.value("SELECT current_user"), "alice");
}

/// The proxy logs in at servers that want another method than it wants from clients.
#[test]
fn servers_may_want_md5_password_or_nothing() {
    let proxy = options("trust").start();
    for user in ["old", "plain"] {
        let mut wire = Wire::open(proxy.port());
        assert_eq!(
            wire.log_in(&Login { user, ..ALICE }, "postgres"),
            None,
            "{user}"
        );
        assert_eq!(wire.value("SELECT current_user"), user);
    }
    let trusted = Login {
        user: "trusted",
        ..ALICE
    };
    assert_eq!(Wire::open(proxy.port()).log_in(&trusted, "postgres"), None);
}

#[test]
fn a_role_only_the_proxy_knows_is_refused_by_the_server() {
    let proxy = options("trust").start();
    let (state, message) = refusal(
        proxy.port(),
        &Login {
            user: "nobody",
            ..ALICE
        },
        "postgres",
    );
    assert_eq!(state, "28P01");
    assert!(
        message.contains("password authentication failed for user \"nobody\""),
        "{message}"
    );
}

#[test]
fn an_unknown_database_is_the_servers_own_error() {
    let proxy = options("scram-sha-256").start();
    let direct = Wire::open(cluster().primary().port()).log_in(&Login::default(), "nowhere");
    let proxied = Wire::open(proxy.port()).log_in(&Login::default(), "nowhere");
    let (direct, proxied) = (direct.expect("refused"), proxied.expect("refused"));
    assert_eq!(proxied.shown(), direct.shown());
    assert_eq!(proxied.error().0, "3D000");
    assert_eq!(proxied.field(b'S').as_deref(), Some("FATAL"));
}

#[test]
fn without_a_database_it_is_the_one_of_the_users_name() {
    let proxy = options("trust").start();
    let mut wire = Wire::open(proxy.port());
    wire.send(&msg::startup(3 << 16, &[("user", "postgres")]));
    wire.until(b'Z');
    assert_eq!(wire.value("SELECT current_database()"), "postgres");

    let mut wire = Wire::open(proxy.port());
    wire.send(&msg::startup(3 << 16, &[("database", "postgres")]));
    let frames = wire.until(b'E');
    let error = frames.last().map(Frame::error);
    assert_eq!(
        error,
        Some(text(
            "28000",
            "no PostgreSQL user name specified in startup packet"
        ))
    );
}

#[test]
fn startup_parameters_are_those_of_the_session() {
    let parameters = [
        ("application_name", "the application"),
        ("search_path", "one, \"$user\",public"),
        (
            "options",
            "-c work_mem=5MB --statement-timeout=7s -c my.text=a\\ b",
        ),
        ("DateStyle", "German"),
        ("extra_float_digits", "2"),
        ("client_encoding", "UTF8"),
    ];
    let login = Login {
        parameters: &parameters,
        ..Login::default()
    };
    let proxy = Options::weights([0, 1, 1]).start();
    for port in [cluster().primary().port(), proxy.port()] {
        let mut wire = Wire::open(port);
        assert_eq!(wire.log_in(&login, "postgres"), None);
        for (name, value) in [
            ("application_name", "the application"),
            ("search_path", "one, \"$user\",public"),
            ("work_mem", "5MB"),
            ("statement_timeout", "7s"),
            ("my.text", "a b"),
            ("DateStyle", "German, DMY"),
            ("extra_float_digits", "2"),
        ] {
            // On a replica and on the primary.
            assert_eq!(wire.value(&format!("SHOW {name}")), value);
            let on_primary = format!("SELECT current_setting('{name}'), random()");
            assert_eq!(wire.value(&on_primary), value);
        }
        assert_eq!(
            wire.value("SELECT current_schemas(false)::text"),
            "{public}"
        );
        assert_eq!(wire.parameters["application_name"], "the application");
        assert_eq!(wire.parameters["DateStyle"], "German, DMY");
    }
}

#[test]
fn names_of_applications_are_cut_and_cleaned_as_the_server_does() {
    let proxy = options("trust").start();
    let names = [
        "x".repeat(70),
        format!("{}ü", "y".repeat(62)),
        "naïve\ttab".into(),
    ];
    for name in &names {
        let parameters = [("application_name", name.as_str())];
        let login = Login {
            parameters: &parameters,
            ..Login::default()
        };
        let [direct, proxied] = [cluster().primary().port(), proxy.port()].map(|port| {
            let mut wire = Wire::open(port);
            assert_eq!(wire.log_in(&login, "postgres"), None);
            let said: Vec<_> = wire
                .notices
                .iter()
                .map(|n| (n.error(), n.field(b'V')))
                .collect();
            let reported = wire.parameters["application_name"].clone();
            (said, reported, wire.value("SHOW application_name"))
        });
        assert_eq!(direct, proxied, "{name}");
    }
}

#[test]
fn a_reset_gives_back_what_the_client_started_with() {
    let parameters = [
        ("options", "-c work_mem=5MB"),
        ("application_name", "first"),
    ];
    let login = Login {
        parameters: &parameters,
        ..Login::default()
    };
    let proxy = options("trust").start();
    for port in [cluster().primary().port(), proxy.port()] {
        let mut wire = Wire::open(port);
        assert_eq!(wire.log_in(&login, "postgres"), None);
        wire.query("SET work_mem = '6MB'");
        wire.query("SET application_name = 'second'");
        wire.query("RESET work_mem");
        wire.query("RESET application_name");
        assert_eq!(wire.value("SHOW work_mem"), "5MB");
        assert_eq!(wire.value("SHOW application_name"), "first");
        wire.query("SET work_mem = '6MB'");
        wire.query("RESET ALL");
        assert_eq!(wire.value("SHOW work_mem"), "5MB");
    }
}

#[test]
fn a_bad_startup_parameter_is_the_servers_own_error() {
    let proxy = options("trust").start();
    for parameters in [
        [("work_mem", "plenty")],
        [("no_such_setting", "1")],
        [("options", "-c work_mem=plenty")],
        [("port", "1")],
    ] {
        let login = Login {
            parameters: &parameters,
            ..Login::default()
        };
        let direct = refusal(cluster().primary().port(), &login, "postgres");
        assert_eq!(
            refusal(proxy.port(), &login, "postgres"),
            direct,
            "{parameters:?}"
        );
    }
}

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

#[test]
fn encryption_is_declined() {
    let proxy = options("trust").start();
    let mut wire = Wire::open(proxy.port());
    for code in [GSS, SSL] {
        wire.send(&msg::first(&code.to_be_bytes()));
        assert_eq!(wire.read_byte(), Some(b'N'));
    }
    assert_eq!(wire.log_in(&Login::default(), "postgres"), None);
    assert_eq!(wire.value("SELECT 1"), "1");
}

/// What comes in one piece with the request could have been slipped in by somebody else.
#[test]
fn a_request_for_encryption_comes_alone() {
    let proxy = options("trust").start();
    let mut wire = Wire::open(proxy.port());
    let startup = msg::startup(3 << 16, &[("user", "postgres")]);
    wire.send(&[msg::first(&SSL.to_be_bytes()), startup].concat());
    assert!(wire.read_byte().is_none_or(|byte| byte == b'N'));
    wire.finish();
    assert!(wire.is_closed());
}

#[test]
fn garbage_is_refused_and_the_proxy_goes_on() {
    let proxy = options("trust").start();
    for (bytes, state) in [
        // What is no first packet at all is not answered.
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), None),
        (vec![0xff; 100], None),
        (vec![0; 100], None),
        // Longer than any startup packet may be.
        (vec![0, 1, 0, 0], None),
        (
            msg::startup(4 << 16, &[("user", "postgres")]),
            Some("0A000"),
        ),
        (msg::first(b"\0\x03\0\0user\0"), Some("08P01")),
        // These end in the middle.
        (vec![], None),
        (vec![0, 0], None),
        (
            msg::startup(3 << 16, &[("user", "postgres")])[..12].to_vec(),
            None,
        ),
    ] {
        let mut wire = Wire::open(proxy.port());
        wire.send(&bytes);
        wire.finish();
        match state {
            Some(state) => {
                let frame = wire.read().unwrap();
                assert_eq!(frame.error().0, state, "{}", bytes.escape_ascii());
                assert_eq!(frame.field(b'S').as_deref(), Some("FATAL"));
                assert!(wire.is_closed());
            }
            None => assert!(wire.is_closed(), "{}", bytes.escape_ascii()),
        }
    }
    let mut wire = Wire::connect(proxy.port(), "postgres");
    assert_eq!(wire.value("SELECT 1"), "1");
}

/// What PostgreSQL 18 does.
#[test]
fn newer_versions_are_negotiated_down_to_3_2_and_keys_are_long_there() {
    let proxy = options("trust").start();
    for (minor, option, negotiated, key_len) in [
        (0, None, None, 4),
        (1, None, None, 4),
        (2, None, None, 32),
        (3, None, Some(&b"\0\x03\0\x02\0\0\0\0"[..]), 32),
        (9999, None, Some(b"\0\x03\0\x02\0\0\0\0"), 32),
        (
            0,
            Some("_pq_.fancy"),
            Some(b"\0\x03\0\0\0\0\0\x01_pq_.fancy\0"),
            4,
        ),
        (
            2,
            Some("_pq_.fancy"),
            Some(b"\0\x03\0\x02\0\0\0\x01_pq_.fancy\0"),
            32,
        ),
    ] {
        let mut wire = Wire::open(proxy.port());
        let option = option.map(|name| (name, "1"));
        let parameters: Vec<_> = [("user", "postgres")].into_iter().chain(option).collect();
        wire.send(&msg::startup(3 << 16 | minor, &parameters));
        let frames = wire.until(b'Z');
        let found = frames.iter().find(|frame| frame.tag == b'v');
        assert_eq!(found.map(|frame| &*frame.body), negotiated, "3.{minor}");
        let key = frames.iter().find(|frame| frame.tag == b'K').unwrap();
        assert_eq!(key.body.len(), 4 + key_len, "3.{minor}");
        assert_eq!(wire.value("SELECT 1"), "1");
    }
}

#[test]
fn one_client_too_many_is_refused() -> Result<()> {
    let options = Options {
        listen: "clients_max = 2",
        ..options("trust")
    };
    let proxy = options.start();
    let first = Wire::connect(proxy.port(), "postgres");
    let second = Wire::connect(proxy.port(), "postgres");
    let expected = text("53300", "sorry, too many clients already");
    assert_eq!(
        refusal(proxy.port(), &Login::default(), "postgres"),
        expected
    );
    drop(first);
    // The place of the first is free as soon as the proxy has noticed.
    crate::support::runtime().block_on(pgsteer_testkit::wait_until(
        crate::support::DEADLINE,
        "a free place",
        || async {
            let mut wire = Wire::open(proxy.port());
            wire.log_in(&Login::default(), "postgres").is_none()
        },
    ))?;
    drop(second);
    Ok(())
}
