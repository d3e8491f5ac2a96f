//! Who may log in: rules, users from files and from the servers, and logins that are passed through
//! without any password in the configuration.

use std::fmt::Write as _;

use anyhow::Result;
use pgsteer_control::config::ConfigErrors;
use pgsteer_testkit::{DEFAULT_PASSWORD, psql, wait_until};

use crate::support::{DEADLINE, Login, Running, Wire, cluster, runtime};

const ALICE: Login<'_> = Login {
    user: "alice",
    password: "alice's secret",
    parameters: &[],
};

/// A configuration with these lines of `[auth]` and what follows it, and no users. The probes log in
/// as a user that the servers trust.
fn configuration(auth: &str) -> String {
    let mut text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\ndrain_timeout = \"1s\"\n[auth]\n{auth}\n\
         [probe]\nuser = \"trusted\"\npassword = \"\"\ninterval = \"200ms\"\n"
    );
    for node in cluster().nodes() {
        let (host, port) = (node.host(), node.public_port());
        let _ = writeln!(text, "[[nodes]]\nhost = \"{host}\"\nport = {port}");
    }
    text
}

fn start(auth: &str, files: &[(&str, &str)]) -> Running {
    let files = files.iter().map(|(name, text)| (*name, (*text).to_owned()));
    let text = configuration(auth);
    Running::with_files(&text, &files.collect::<Vec<_>>(), cluster()).expect("it starts")
}

/// A proxy that knows nobody's password, but for that of the role that looks others up.
pub(crate) fn passing_through() -> Running {
    let auth = format!("query_user = \"postgres\"\nquery_password = \"{DEFAULT_PASSWORD}\"");
    start(&auth, &[])
}

/// The words of a refusal, or what `current_user` is.
fn outcome(port: u16, login: &Login<'_>, database: &str) -> Result<String, (String, String)> {
    let mut wire = Wire::open(port);
    match wire.log_in(login, database) {
        None => Ok(wire.value("SELECT current_user")),
        Some(frame) => Err(frame.error()),
    }
}

fn refusal(state: &str, text: &str) -> Result<String, (String, String)> {
    Err((state.to_owned(), text.to_owned()))
}

fn wrong_password(user: &str) -> Result<String, (String, String)> {
    let text = format!("password authentication failed for user \"{user}\"");
    refusal("28P01", &text)
}

fn on_primary(sql: &str) -> String {
    let value = runtime().block_on(cluster().primary().value(sql));
    value.expect("the primary answers")
}

fn run_on_primary(sql: &str) {
    let run = runtime().block_on(cluster().primary().sql(sql));
    run.expect("the primary does it");
}

fn stored(user: &str) -> String {
    let sql = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'");
    on_primary(&sql)
}

/// Waits until logins have this outcome.
fn wait_for(port: u16, login: &Login<'_>, expected: &Result<String, (String, String)>) {
    let waited = wait_until(DEADLINE, "another outcome of the login", || async {
        outcome(port, login, "postgres") == *expected
    });
    runtime().block_on(waited).expect("it comes");
}

#[test]
fn logins_pass_through_with_no_password_in_the_configuration() {
    let verifier = stored("alice");
    assert!(verifier.starts_with("SCRAM-SHA-256$"));
    let list = format!("\"alice\" \"{verifier}\"\n");
    let proxy = start("users_file = \"userlist.txt\"", &[("userlist.txt", &list)]);
    let wrong = Login {
        password: "wrong",
        ..ALICE
    };
    assert_eq!(
        outcome(proxy.port(), &wrong, "postgres"),
        wrong_password("alice")
    );
    let mut nodes = std::collections::BTreeSet::new();
    let mut wires = Vec::new();
    for _ in 0..9 {
        let mut wire = Wire::open(proxy.port());
        assert_eq!(wire.log_in(&ALICE, "postgres"), None);
        // One leg on a replica, before anything was written that the replicas may lack.
        nodes.insert(wire.value("SELECT current_setting('port')"));
        wires.push(wire);
    }
    for wire in &mut wires {
        // And one on the primary.
        let on_primary =
            wire.value("SELECT current_user || current_setting('port') || txid_current()");
        let expected = format!("alice{}", cluster().primary().port());
        assert!(on_primary.starts_with(&expected), "{on_primary}");
    }
    assert!(nodes.len() > 1, "reads are balanced: {nodes:?}");
    // With libpq, too.
    let conninfo = format!(
        "host=127.0.0.1 port={} dbname=postgres user=alice password='alice\\'s secret'",
        proxy.port()
    );
    let output = runtime().block_on(psql(&conninfo, "SELECT current_user"));
    let output = output.expect("psql runs").success().expect("it is let in");
    assert_eq!(output.trim(), "alice");
}

#[test]
fn a_secret_with_another_salt_is_said_to_be_one() {
    run_on_primary("CREATE ROLE salty LOGIN PASSWORD 'salty secret'");
    let list = format!("salty:{}\n", stored("salty"));
    let proxy = start("users_file = \"pool_passwd\"", &[("pool_passwd", &list)]);
    let login = Login {
        user: "salty",
        password: "salty secret",
        parameters: &[],
    };
    // The same password under a fresh salt.
    run_on_primary("ALTER ROLE salty PASSWORD 'salty secret'");
    let frame = Wire::open(proxy.port()).log_in(&login, "postgres");
    let frame = frame.expect("it is refused");
    assert_eq!(frame.error().0, "28P01");
    assert!(
        frame.error().1.contains("SCRAM secret of user \"salty\""),
        "{}",
        frame.shown()
    );
    let hint = frame.field(b'H').unwrap_or_default();
    assert!(hint.contains("pg_authid"), "{hint}");
}

#[test]
fn users_come_from_the_servers() {
    let day = "SELECT to_char(now() + interval '1 day', 'YYYY-MM-DD')";
    let tomorrow = on_primary(day);
    run_on_primary(&format!(
        "CREATE ROLE asked LOGIN PASSWORD 'one';
         CREATE ROLE asked_late LOGIN PASSWORD 'one' VALID UNTIL '2001-01-01';
         CREATE ROLE asked_soon LOGIN PASSWORD 'one' VALID UNTIL '{tomorrow}';
         CREATE ROLE asked_never NOLOGIN PASSWORD 'one';
         CREATE ROLE asked_none LOGIN;"
    ));
    let auth = format!(
        "query_user = \"postgres\"\nquery_password = \"{DEFAULT_PASSWORD}\"\nquery_cache = \"1h\""
    );
    let proxy = start(&auth, &[]);
    let login = |user, password| Login {
        user,
        password,
        parameters: &[],
    };
    for (user, password, lets_in) in [
        ("asked", "one", true),
        ("asked", "two", false),
        ("asked_soon", "one", true),
        ("asked_late", "one", false),
        ("asked_never", "one", false),
        ("asked_none", "", false),
        ("asked_nobody", "one", false),
        ("o'hara; DROP", "one", false),
    ] {
        let expected = match lets_in {
            true => Ok(user.to_owned()),
            false => wrong_password(user),
        };
        let login = login(user, password);
        assert_eq!(
            outcome(proxy.port(), &login, "postgres"),
            expected,
            "{user}"
        );
        // In the very words of a server.
        let primary = cluster().primary().port();
        if user != "asked_never" && !user.contains(';') {
            assert_eq!(outcome(primary, &login, "postgres"), expected, "{user}");
        }
    }
    // A new password gets in although the old one is remembered for an hour; the replicas have it a
    // moment later.
    run_on_primary("ALTER ROLE asked PASSWORD 'three'");
    wait_for(
        proxy.port(),
        &login("asked", "three"),
        &Ok("asked".to_owned()),
    );
    assert_eq!(
        outcome(proxy.port(), &login("asked", "one"), "postgres"),
        wrong_password("asked")
    );
    // A role that has expired meanwhile is refused by whoever is asked first.
    run_on_primary("ALTER ROLE asked VALID UNTIL '2001-01-01'");
    wait_for(proxy.port(), &login("asked", "x"), &wrong_password("asked"));
    wait_for(
        proxy.port(),
        &login("asked", "three"),
        &wrong_password("asked"),
    );
}

#[test]
fn hashes_log_in_where_a_server_wants_md5() {
    let auth = format!(
        "method = \"md5\"\nquery_user = \"postgres\"\nquery_password = \"{DEFAULT_PASSWORD}\""
    );
    let proxy = start(&auth, &[]);
    let old = Login {
        user: "old",
        password: "old secret",
        parameters: &[],
    };
    assert_eq!(
        outcome(proxy.port(), &old, "postgres"),
        Ok("old".to_owned())
    );
    // With a verifier the method is SCRAM, as with PostgreSQL.
    assert_eq!(
        outcome(proxy.port(), &ALICE, "postgres"),
        Ok("alice".to_owned())
    );
    // SCRAM keys do not do for a server that wants the password itself, and it says so.
    let plain = Login {
        user: "plain",
        password: "plain secret",
        parameters: &[],
    };
    let (state, text) = outcome(proxy.port(), &plain, "postgres").expect_err("refused");
    assert_eq!(state, "28P01");
    assert!(
        text.contains("asks for the password in clear text"),
        "{text}"
    );
    // What the client gives in clear text does.
    let proxy = start(&auth.replace("\"md5\"", "\"password\""), &[]);
    for login in [&plain, &old, &ALICE] {
        assert_eq!(
            outcome(proxy.port(), login, "postgres"),
            Ok(login.user.to_owned())
        );
        let wrong = Login {
            password: "wrong",
            ..*login
        };
        assert_eq!(
            outcome(proxy.port(), &wrong, "postgres"),
            wrong_password(login.user)
        );
    }
}

#[test]
fn a_query_that_fails_is_no_wrong_password() {
    let auth = "query_user = \"alice\"\nquery_password = \"alice's secret\"";
    let proxy = start(auth, &[]);
    let (state, text) = outcome(proxy.port(), &ALICE, "postgres").expect_err("refused");
    assert_eq!(state, "57P03");
    assert_eq!(
        text,
        "the password of user \"alice\" cannot be looked up now"
    );
}

/// CVE-2025-12819 of PgBouncer: a client's `search_path` was in force where passwords are looked up.
#[test]
fn a_client_cannot_bend_the_query_with_its_parameters() {
    run_on_primary("CREATE SCHEMA IF NOT EXISTS evil");
    let forged = stored("alice");
    run_on_primary(&format!(
        "CREATE VIEW evil.pg_authid AS SELECT 'postgres'::name AS rolname, '{forged}'::text AS rolpassword;
         GRANT USAGE ON SCHEMA evil TO public; GRANT SELECT ON evil.pg_authid TO public"
    ));
    let auth = format!(
        "query_user = \"postgres\"\nquery_password = \"{DEFAULT_PASSWORD}\"\n\
         query = \"SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1\""
    );
    let proxy = start(&auth, &[]);
    for parameters in [
        [("search_path", "evil, pg_catalog")],
        [("options", "-c search_path=evil,pg_catalog")],
    ] {
        let login = Login {
            user: "postgres",
            password: ALICE.password,
            parameters: &parameters,
        };
        assert_eq!(
            outcome(proxy.port(), &login, "postgres"),
            wrong_password("postgres")
        );
    }
    run_on_primary("DROP SCHEMA evil CASCADE");
}

const RULES: &str = "# first match wins\n\
    host  all       trusted   127.0.0.1/32  trust\n\
    host  template1 all       samehost      reject\n\
    host  postgres  alice     127.0.0.0/8   scram-sha-256\n\
    host  postgres  old       localhost     md5\n\
    host  postgres  /^pl.in$  all           password\n\
    hostssl all     all       all           trust\n\
    local all       all                     trust\n";

#[test]
fn rules_say_who_gets_in_and_how() {
    let list = "\"alice\" \"alice's secret\"\n\"old\" \"old secret\"\n\"plain\" \"plain secret\"\n";
    let files = [("pool_hba.conf", RULES), ("userlist.txt", list)];
    let auth = "hba_file = \"pool_hba.conf\"\nusers_file = \"userlist.txt\"";
    let proxy = start(auth, &files);
    let no_entry = |user: &str, database: &str| {
        let text = format!(
            "no pg_hba.conf entry for host \"127.0.0.1\", user \"{user}\", database \"{database}\", no encryption"
        );
        refusal("28000", &text)
    };
    let rejected = "pg_hba.conf rejects connection for host \"127.0.0.1\", user \"alice\", database \"template1\", no encryption";
    for (user, password, database, expected) in [
        ("trusted", "", "postgres", Ok("trusted".to_owned())),
        (
            "alice",
            "alice's secret",
            "template1",
            refusal("28000", rejected),
        ),
        (
            "alice",
            "alice's secret",
            "postgres",
            Ok("alice".to_owned()),
        ),
        ("alice", "wrong", "postgres", wrong_password("alice")),
        ("old", "old secret", "postgres", Ok("old".to_owned())),
        ("old", "wrong", "postgres", wrong_password("old")),
        ("plain", "plain secret", "postgres", Ok("plain".to_owned())),
        (
            "plain",
            "",
            "postgres",
            refusal("28P01", "empty password returned by client"),
        ),
        ("nobody", "", "postgres", no_entry("nobody", "postgres")),
        (
            "alice",
            "alice's secret",
            "elsewhere",
            no_entry("alice", "elsewhere"),
        ),
    ] {
        let login = Login {
            user,
            password,
            parameters: &[],
        };
        assert_eq!(
            outcome(proxy.port(), &login, database),
            expected,
            "{user} {database}"
        );
    }
    let (state, _) = outcome(
        cluster().primary().port(),
        &Login {
            user: "plain",
            password: "",
            parameters: &[],
        },
        "postgres",
    )
    .expect_err("a server takes no empty password either");
    assert_eq!(state, "28P01");
}

#[test]
fn a_reload_takes_new_rules_and_a_broken_one_keeps_the_old() -> Result<(), ConfigErrors> {
    let list = "alice:TEXTalice's secret\n";
    let files = [("hba", "host all all all scram-sha-256\n"), ("users", list)];
    let auth = "hba_file = \"hba\"\nusers_file = \"users\"";
    let proxy = start(auth, &files);
    assert_eq!(
        outcome(proxy.port(), &ALICE, "postgres"),
        Ok("alice".to_owned())
    );

    proxy.write("hba", "host all all 10.0.0.0/8 scram-sha-256\n");
    proxy.reload()?;
    let text = "no pg_hba.conf entry for host \"127.0.0.1\", user \"alice\", database \"postgres\", no encryption";
    wait_for(proxy.port(), &ALICE, &refusal("28000", text));

    proxy.write(
        "hba",
        "host all all all scram-sha-256\nhost all all all ldap\n",
    );
    let errors = proxy.reload().expect_err("ldap is not there").to_string();
    assert!(
        errors.contains("hba: line 2: has the method ldap"),
        "{errors}"
    );
    assert_eq!(
        outcome(proxy.port(), &ALICE, "postgres"),
        refusal("28000", text)
    );

    proxy.write("hba", "host all all all scram-sha-256\n");
    proxy.write("users", "alice:TEXTanother\n");
    proxy.reload()?;
    wait_for(proxy.port(), &ALICE, &wrong_password("alice"));
    Ok(())
}

#[test]
fn too_many_wrong_passwords_make_an_address_wait() {
    let list = format!("\"alice\" \"{}\"\n", stored("alice"));
    let auth = "users_file = \"users\"\nfailures_max = 3\nfailures_window = \"3s\"";
    let proxy = start(auth, &[("users", &list)]);
    let wrong = Login {
        password: "wrong",
        ..ALICE
    };
    assert_eq!(
        outcome(proxy.port(), &ALICE, "postgres"),
        Ok("alice".to_owned())
    );
    let limited = refusal("28P01", "too many failed logins from \"127.0.0.1\"");
    let attempts: Vec<_> = (0..4)
        .map(|_| outcome(proxy.port(), &wrong, "postgres"))
        .collect();
    assert_eq!(attempts[0], wrong_password("alice"));
    assert_eq!(attempts.last(), Some(&limited));
    assert_eq!(outcome(proxy.port(), &ALICE, "postgres"), limited);
    wait_for(proxy.port(), &ALICE, &Ok("alice".to_owned()));
}

#[test]
fn operators_of_the_console_prove_who_they_are_like_everybody() {
    let list = format!("\"alice\" \"{}\"\n", stored("alice"));
    let auth = "users_file = \"users\"\n[console]\noperators = [\"alice\"]";
    let proxy = start(auth, &[("users", &list)]);
    let wrong = Login {
        password: "wrong",
        ..ALICE
    };
    assert_eq!(
        outcome(proxy.port(), &wrong, "postgres"),
        wrong_password("alice")
    );
    let mut wire = Wire::open(proxy.port());
    assert_eq!(wire.log_in(&ALICE, "postgres"), None);
    assert!(
        wire.query("SHOW pool_nodes")
            .iter()
            .any(|frame| frame.tag == b'D')
    );
}
