//! TLS on both sides, with the real psql and a real PostgreSQL that has it.

mod certificates;
mod rules;
mod secure;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use pgsteer_testkit::{ClientOutput, Cluster, DEFAULT_PASSWORD, psql, wait_until};

use crate::support::{DEADLINE, Running, Wire, msg, runtime};
use certificates::Certificates;
use secure::{SSL_REQUEST, Secure, check_files, config, socket};

/// One server with TLS, which insists on it for some users and refuses it to others.
struct Site {
    cluster: Cluster,
    certificates: Certificates,
}

fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    // On a thread of its own: who comes first may already be inside a runtime.
    SITE.get_or_init(|| {
        let started = std::thread::spawn(|| runtime().block_on(start()));
        started
            .join()
            .expect("no panic")
            .expect("a server with TLS")
    })
}

async fn start() -> Result<Site> {
    let cluster = Cluster::builder().replicas(0).fast(true).start().await?;
    let certificates = Certificates::new(&cluster.root().join("tls"));
    certificates.authority("ca");
    certificates.authority("stranger");
    certificates.signed("proxy", "proxy", "IP:127.0.0.1,DNS:localhost", "ca");
    certificates.signed("node", "node", "IP:127.0.0.1", "ca");
    certificates.signed("alice", "alice", "email:alice@example.org", "ca");
    certificates.signed("mallory", "alice", "email:alice@example.org", "stranger");
    certificates.self_signed("manual", "localhost");
    let node = cluster.primary();
    let roles = format!(
        "CREATE ROLE alice LOGIN PASSWORD '{DEFAULT_PASSWORD}';
         CREATE ROLE secret LOGIN PASSWORD '{DEFAULT_PASSWORD}';
         CREATE ROLE open LOGIN PASSWORD '{DEFAULT_PASSWORD}';
         CREATE ROLE certified LOGIN"
    );
    node.sql(&roles).await?;
    use_files(node.data_dir(), &certificates, "node")?;
    let hba = node.data_dir().join("pg_hba.conf");
    let rules = std::fs::read_to_string(&hba)?;
    let own = "hostnossl all secret all reject\nhostssl all open all reject\n\
               hostssl all certified all cert map=any\nhost all certified all reject\n";
    std::fs::write(&hba, format!("{own}{rules}"))?;
    std::fs::write(
        node.data_dir().join("pg_ident.conf"),
        "any alice certified\n",
    )?;
    for setting in ["ssl = on", "ssl_ca_file = 'ca.crt'"] {
        node.sql(&format!("ALTER SYSTEM SET {setting}")).await?;
    }
    node.sql("SELECT pg_reload_conf()").await?;
    wait_until(DEADLINE, "TLS at the server", || async {
        node.value("SHOW ssl").await.is_ok_and(|ssl| ssl == "on")
    })
    .await?;
    Ok(Site {
        cluster,
        certificates,
    })
}

/// Gives a server a certificate, its key and the authority.
fn use_files(dir: &Path, certificates: &Certificates, name: &str) -> Result<()> {
    let owner = dir.metadata()?;
    for (from, to) in [
        (format!("{name}.crt"), "server.crt"),
        (format!("{name}.key"), "server.key"),
        ("ca.crt".to_owned(), "ca.crt"),
    ] {
        let to = dir.join(to);
        std::fs::copy(certificates.path(&from), &to)?;
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600))?;
        chown(&to, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// A proxy with these sections.
fn proxy(method: &str, tls: &str, server_tls: &str) -> Running {
    try_proxy(method, tls, server_tls).expect("the proxy starts")
}

fn try_proxy(method: &str, tls: &str, server_tls: &str) -> Result<Running> {
    let text = configuration(method, tls, server_tls);
    Running::with_configuration(&text, &site().cluster)
}

fn configuration(method: &str, tls: &str, server_tls: &str) -> String {
    let node = site().cluster.primary();
    let users = ["postgres", "alice", "secret", "open", "certified"];
    let users = users
        .map(|name| format!("[[users]]\nname = \"{name}\"\npassword = \"{DEFAULT_PASSWORD}\"\n"));
    format!(
        "[listen]\naddress = \"127.0.0.1:0\"\nlogin_timeout = \"30s\"\ndrain_timeout = \"1s\"\n\
         [probe]\ninterval = \"200ms\"\n[plugins]\ndir = \"plugins\"\n\
         [failover]\nhold_timeout = \"1s\"\n[auth]\nmethod = \"{method}\"\n[tls]\n{tls}\n[server_tls]\n{server_tls}\n{}\
         [[nodes]]\nhost = \"{}\"\nport = {}\n",
        users.concat(),
        node.host(),
        node.port()
    )
}

/// Lines of `[tls]` with this certificate.
fn shown(name: &str, mode: &str) -> String {
    let file = |kind: &str| site().certificates.text(&format!("{name}.{kind}"));
    format!(
        "mode = \"{mode}\"\ncert_file = \"{}\"\nkey_file = \"{}\"",
        file("crt"),
        file("key")
    )
}

/// The same with the authority for clients.
fn asking(name: &str, mode: &str) -> String {
    let ca = site().certificates.text("ca.crt");
    format!("{}\nca_file = \"{ca}\"", shown(name, mode))
}

fn run_psql(port: u16, options: &str, sql: &str) -> ClientOutput {
    let conninfo = format!("host=127.0.0.1 port={port} user=alice dbname=postgres {options}");
    // Else a certificate or an authority of whoever runs this gets in between.
    let unless = |name: &str, value: &str| match options.contains(name) {
        true => String::new(),
        false => format!(" {name}={value}"),
    };
    let none = "/nonexistent";
    let conninfo = [
        conninfo,
        unless("sslcert", none),
        unless("sslkey", none),
        unless("sslrootcert", none),
    ];
    let output = runtime().block_on(psql(&conninfo.concat(), sql));
    output.expect("psql runs")
}

fn accepts(port: u16, options: &str) {
    let output = run_psql(port, options, "SELECT 42");
    assert_eq!(output.success().expect(options), "42", "{options}");
}

#[track_caller]
fn refuses(port: u16, options: &str, why: &str) {
    let output = run_psql(port, options, "SELECT 42");
    assert_eq!(
        output.status.code(),
        Some(2),
        "{options}: {}",
        output.stdout
    );
    assert!(output.stderr.contains(why), "{options}: {}", output.stderr);
}

#[test]
fn clients_get_what_their_sslmode_asks_for() {
    let ca = site().certificates.text("ca.crt");
    let other = site().certificates.text("stranger.crt");
    let running = proxy("scram-sha-256", &shown("proxy", "allow"), "");
    let port = running.port();
    for mode in ["disable", "allow", "prefer", "require"] {
        accepts(port, &format!("sslmode={mode}"));
    }
    for mode in ["verify-ca", "verify-full"] {
        accepts(port, &format!("sslmode={mode} sslrootcert={ca}"));
        let wrong = format!("sslmode={mode} sslrootcert={other}");
        refuses(port, &wrong, "certificate verify failed");
    }
    // It takes TLS 1.2, too.
    accepts(port, "sslmode=require ssl_max_protocol_version=TLSv1.2");
    // And a client that would rather have GSSAPI.
    accepts(port, "sslmode=require gssencmode=prefer");
}

#[test]
fn without_a_certificate_there_is_no_tls() {
    let running = proxy("trust", "", "");
    accepts(running.port(), "sslmode=prefer");
    let why = "server does not support SSL, but SSL was required";
    refuses(running.port(), "sslmode=require", why);
}

#[test]
fn where_tls_is_required_others_are_told_so() {
    let running = proxy("trust", &shown("proxy", "require"), "");
    accepts(running.port(), "sslmode=prefer");
    accepts(running.port(), "sslmode=allow");
    let why = "the proxy takes clients with TLS only";
    refuses(running.port(), "sslmode=disable", why);
}

#[test]
fn the_oldest_version_is_a_setting() {
    let tls = format!("{}\nmin_protocol = \"TLSv1.3\"", shown("proxy", "require"));
    let running = proxy("trust", &tls, "");
    accepts(running.port(), "sslmode=require");
    let old = "sslmode=require ssl_max_protocol_version=TLSv1.2";
    refuses(running.port(), old, "protocol version");
}

#[test]
fn certificates_of_clients_are_asked_for_and_checked() {
    let files = &site().certificates;
    let with = |name: &str| {
        let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
        let (cert, key) = (files.text(&cert), files.text(&key));
        format!("sslmode=require sslcert={cert} sslkey={key}")
    };
    let running = proxy("trust", &asking("proxy", "verify-ca"), "");
    accepts(running.port(), &with("alice"));
    for options in ["sslmode=require".to_owned(), with("mallory")] {
        refuses(running.port(), &options, "alert");
    }
    refuses(running.port(), "sslmode=disable", "with TLS only");
    // Where they need not show one, the one they show must still be good.
    let running = proxy("trust", &asking("proxy", "require"), "");
    accepts(running.port(), &with("alice"));
    accepts(running.port(), "sslmode=require");
    refuses(running.port(), &with("mallory"), "alert");
}

#[test]
fn a_password_is_bound_to_the_connection_it_travels_over() {
    // A certificate signed with ECDSA, one that signs itself with RSA, and one in between.
    for name in ["proxy", "manual"] {
        let running = proxy("scram-sha-256", &shown(name, "allow"), "");
        accepts(running.port(), "sslmode=require channel_binding=require");
        accepts(running.port(), "sslmode=require channel_binding=disable");
        let why = "channel binding required, but SSL not in use";
        refuses(
            running.port(),
            "sslmode=disable channel_binding=require",
            why,
        );
        let wrong = "sslmode=require channel_binding=require password=wrong";
        refuses(running.port(), wrong, "password authentication failed");
    }
}

#[test]
fn certificates_of_version_1_are_good_enough_to_be_shown() {
    let files = &site().certificates;
    files.signed("old", "localhost", "", "ca");
    let running = proxy("scram-sha-256", &shown("old", "allow"), "");
    let ca = files.text("ca.crt");
    accepts(
        running.port(),
        &format!("sslmode=verify-ca sslrootcert={ca} channel_binding=require"),
    );
}

#[test]
fn tls_may_begin_at_once_if_it_names_the_protocol() -> Result<()> {
    let running = proxy("trust", &shown("proxy", "require"), "");
    let mut client = Secure::direct(running.port(), config(true))?.log_in("postgres");
    assert_eq!(client.value("SELECT 42"), "42");
    let mut nameless = Secure::direct(running.port(), config(false))?;
    nameless.send(&msg::startup(3 << 16, &[("user", "postgres")]));
    ensure!(nameless.read().is_err(), "it is told nothing");
    let mut other = config(false);
    other.alpn_protocols = vec![b"http/1.1".to_vec()];
    ensure!(
        Secure::direct(running.port(), other).is_err(),
        "another protocol"
    );
    // A proxy without TLS does not know what it is.
    let running = proxy("trust", "", "");
    ensure!(Secure::direct(running.port(), config(true)).is_err());
    Ok(())
}

#[test]
fn goodbye_is_said_as_tls_has_it() -> Result<()> {
    let running = proxy("trust", &shown("proxy", "allow"), "");
    let mut client = Secure::asked(running.port())?;
    client.send(&msg::startup(3 << 16, &[("user", "")]));
    let frames = client.until(b'E');
    assert_eq!(frames.len(), 1);
    assert!(client.is_closed());
    let mut client = Secure::asked(running.port())?.log_in("postgres");
    client.send(&msg::frame(b'X', b""));
    assert!(client.is_closed());
    // A second request over TLS makes no sense.
    let mut client = Secure::asked(running.port())?;
    client.send(&SSL_REQUEST);
    assert_eq!(client.until(b'E').len(), 1);
    Ok(())
}

#[test]
fn what_is_large_comes_through_in_both_directions() -> Result<()> {
    let running = proxy("trust", &shown("proxy", "require"), "mode = \"require\"");
    let mut client = Secure::asked(running.port())?.log_in("postgres");
    let sql = "SELECT string_agg(md5(g::text), '') FROM generate_series(1, 500000) g";
    let long = client.value(sql);
    assert_eq!(long.len(), 16_000_000);
    let sum = client.value(&format!("SELECT md5(({sql}))"));
    client.send(&msg::query("CREATE TEMP TABLE copied (line text)"));
    client.until(b'Z');
    client.send(&msg::query("COPY copied FROM STDIN"));
    client.until(b'G');
    for piece in long.as_bytes().chunks(70_000) {
        client.send(&msg::frame(b'd', piece));
    }
    client.send(&msg::frame(b'd', b"\n"));
    client.send(&msg::frame(b'c', b""));
    client.until(b'Z');
    assert_eq!(client.value("SELECT md5(line) FROM copied"), sum);
    // All of it without reading in between: more than the sockets take.
    let many: Vec<u8> = (0..200)
        .flat_map(|_| msg::query("SELECT line FROM copied LIMIT 0"))
        .collect();
    client.send(&many);
    for _ in 0..200 {
        client.until(b'Z');
    }
    client.send(&msg::query(
        "SELECT repeat('x', 100000) FROM generate_series(1, 200)",
    ));
    let rows = client.until(b'Z');
    assert_eq!(rows.iter().filter(|frame| frame.tag == b'D').count(), 200);
    Ok(())
}

/// What two or more clients wrote in one go, byte by byte and in any pieces, is all the same.
#[test]
fn records_may_come_in_pieces_and_messages_across_records() -> Result<()> {
    let running = proxy("trust", &shown("proxy", "require"), "");
    let mut client = Secure::asked(running.port())?.log_in("postgres");
    let query = msg::query("SELECT 'a text that is long enough'");
    for piece in query.chunks(3) {
        client.send(piece);
    }
    let frames = client.until(b'Z');
    assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), 1);
    Ok(())
}

#[test]
fn bytes_slipped_in_before_tls_are_refused() -> Result<()> {
    let running = proxy("trust", &shown("proxy", "allow"), "");
    let mut stream = socket(running.port());
    let smuggled = msg::startup(3 << 16, &[("user", "postgres")]);
    stream.write_all(&[&SSL_REQUEST[..], &smuggled].concat())?;
    let mut answer = Vec::new();
    // Closed, or reset because it did not read all of it.
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    Ok(())
}

#[test]
fn garbage_instead_of_tls_ends_its_own_connection_only() -> Result<()> {
    let running = proxy("trust", &shown("proxy", "allow"), "");
    let mut good = Secure::asked(running.port())?.log_in("postgres");
    let startup = msg::startup(3 << 16, &[("user", "postgres")]);
    let record = [&[0x16, 3, 1, 0x40, 0][..], &[7; 0x4000]].concat();
    let endless = [&[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff][..], &[0; 400_000]].concat();
    for garbage in [
        &startup[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &record,
        &endless,
        &[0; 1000],
    ] {
        let mut stream = socket(running.port());
        stream.write_all(&SSL_REQUEST)?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        assert_eq!(answer, *b"S");
        let _ = stream.write_all(garbage);
        let mut rest = Vec::new();
        // An alert at most, and the end.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 16, "{}", rest.escape_ascii());
    }
    // In the middle of a session, too.
    let mut broken = Secure::asked(running.port())?.log_in("postgres");
    broken.send_in_clear(&msg::query("SELECT 'in clear'"));
    assert!(broken.read().is_err());
    assert_eq!(good.value("SELECT 42"), "42");
    Ok(())
}

#[test]
fn a_handshake_that_is_never_finished_ends_with_the_login_timeout() -> Result<()> {
    let text = configuration("trust", &shown("proxy", "allow"), "");
    let text = text.replace("login_timeout = \"30s\"", "login_timeout = \"500ms\"");
    let running = Running::with_configuration(&text, &site().cluster)?;
    for half in [&b""[..], &[0x16, 3, 1, 2], &[0x16, 3, 1, 2, 0, 1, 0, 1]] {
        let mut stream = socket(running.port());
        stream.write_all(&SSL_REQUEST)?;
        stream.read_exact(&mut [0])?;
        stream.write_all(half)?;
        // The socket itself is more patient.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).context("it is closed")?;
        assert_eq!(rest, b"");
    }
    Ok(())
}

const IS_ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

fn as_user(port: u16, user: &str) -> ClientOutput {
    run_psql(port, &format!("user={user}"), IS_ENCRYPTED)
}

#[test]
fn servers_get_what_the_settings_ask_for() {
    let files = &site().certificates;
    let ca = files.text("ca.crt");
    let verified = |mode: &str| format!("mode = \"{mode}\"\nca_file = \"{ca}\"");
    for (server_tls, alice, secret, open) in [
        ("mode = \"disable\"".to_owned(), "f", "", "f"),
        ("mode = \"allow\"".to_owned(), "f", "t", "f"),
        (String::new(), "t", "t", "f"),
        ("mode = \"require\"".to_owned(), "t", "t", ""),
        (verified("prefer"), "t", "t", "f"),
        (verified("verify-ca"), "t", "t", ""),
        (verified("verify-full"), "t", "t", ""),
    ] {
        let running = proxy("trust", "", &server_tls);
        for (user, expected) in [("alice", alice), ("secret", secret), ("open", open)] {
            let output = as_user(running.port(), user);
            if expected.is_empty() {
                let why = "no pg_hba.conf entry";
                let rejects = "pg_hba.conf rejects connection";
                let said = &output.stderr;
                assert!(
                    said.contains(why) || said.contains(rejects),
                    "{server_tls} {user}: {said}"
                );
            } else {
                let found = output.success().expect(user);
                assert_eq!(found, expected, "{server_tls} {user}");
            }
        }
    }
}

#[test]
fn a_server_that_is_somebody_else_is_not_talked_to() {
    let files = &site().certificates;
    let other = files.text("stranger.crt");
    // Nothing of the proxy can log in: it starts without having reached the node.
    for mode in ["verify-ca", "verify-full", "require"] {
        let running = proxy(
            "trust",
            "",
            &format!("mode = \"{mode}\"\nca_file = \"{other}\""),
        );
        let output = as_user(running.port(), "alice");
        assert_eq!(output.status.code(), Some(2), "{mode}: {}", output.stdout);
    }
    // As libpq: who only prefers TLS goes on without.
    let running = proxy(
        "trust",
        "",
        &format!("mode = \"prefer\"\nca_file = \"{other}\""),
    );
    let output = as_user(running.port(), "alice");
    assert_eq!(output.success().expect("in clear"), "f");
}

#[test]
fn our_own_certificate_logs_us_in_where_servers_ask_for_it() {
    let files = &site().certificates;
    let with = |name: &str| {
        let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
        let (cert, key) = (files.text(&cert), files.text(&key));
        format!("mode = \"require\"\ncert_file = \"{cert}\"\nkey_file = \"{key}\"")
    };
    let running = proxy("trust", "", &with("alice"));
    let output = as_user(running.port(), "certified");
    assert_eq!(output.success().expect("by certificate"), "t");
}

#[test]
fn the_control_plane_and_cancel_requests_use_tls_too() -> Result<()> {
    let running = proxy("trust", &shown("proxy", "allow"), "mode = \"require\"");
    let node = site().cluster.primary();
    let port = running.port();
    runtime().block_on(async {
        let probes = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl \
                      JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'pgsteer%'";
        // Those of other tests may come in between.
        wait_until(DEADLINE, "probes with TLS", || async {
            node.value(probes).await.is_ok_and(|all| all == "t")
        })
        .await
    })?;
    let mut client = Secure::asked(port)?;
    client.send(&msg::startup(3 << 16, &[("user", "postgres")]));
    let frames = client.until(b'Z');
    let key = frames
        .iter()
        .find(|frame| frame.tag == b'K')
        .context("a key")?;
    client.send(&msg::query("SELECT pg_sleep(600), 'cancel me with TLS'"));
    runtime().block_on(wait_until(DEADLINE, "the statement", || async {
        let running = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' \
                       AND query LIKE '%cancel me with TLS%' AND pid <> pg_backend_pid()";
        node.value(running).await.is_ok()
    }))?;
    let request = [&80_877_102_u32.to_be_bytes()[..], &key.body].concat();
    let mut cancel = Secure::asked(port)?;
    cancel.send(&msg::first(&request));
    let frames = client.until(b'Z');
    let error = frames
        .iter()
        .find(|frame| frame.tag == b'E')
        .context("an error")?;
    assert_eq!(error.error().0, "57014");
    Ok(())
}

#[test]
fn new_certificates_get_into_force_and_bad_ones_do_not() -> Result<()> {
    let files = &site().certificates;
    for name in ["renewed", "first", "second"] {
        files.signed(name, name, "IP:127.0.0.1", "ca");
    }
    files.replace("renewed", "first");
    let running = proxy("scram-sha-256", &shown("renewed", "allow"), "");
    let port = running.port();
    let mut old = Secure::asked(port)?;
    let first = old.certificate();
    let changed = |from: &[u8]| {
        let different = || Secure::asked(port).is_ok_and(|client| client.certificate() != from);
        let waited = wait_until(DEADLINE, "another certificate", || async { different() });
        runtime().block_on(waited)
    };
    // Bad: neither of two that do not fit is used, whichever comes first.
    std::fs::copy(files.path("second.key"), files.path("renewed.key"))?;
    std::fs::write(files.path("renewed.crt"), "no certificate")?;
    let read = |name: &str| Some(files.path(name));
    let wrong = check_files(pgsteer_tls::Files {
        cert: read("renewed.crt"),
        key: read("renewed.key"),
        ca: None,
    });
    let wrong = wrong.expect_err("it is no certificate");
    assert!(wrong.contains("renewed.crt"), "{wrong}");
    assert_eq!(Secure::asked(port)?.certificate(), first);
    // Good: used by those who come now.
    files.replace("renewed", "second");
    changed(&first)?;
    accepts(port, "sslmode=require channel_binding=require");
    // Who was there before is not concerned.
    old.send(&msg::startup(3 << 16, &[("user", "")]));
    assert_eq!(old.until(b'E').len(), 1);
    Ok(())
}

#[test]
fn a_start_without_good_files_is_refused_with_their_names() {
    let files = &site().certificates;
    let proxy_cert = files.text("proxy.crt");
    let pair = |cert: &str, key: &str| {
        format!("mode = \"allow\"\ncert_file = \"{cert}\"\nkey_file = \"{key}\"")
    };
    let node_key = files.text("node.key");
    let cases = [
        ("mode = \"allow\"".to_owned(), "tls.cert_file: is missing"),
        (shown("proxy", "verify-ca"), "tls.ca_file: is missing"),
        (
            pair(&proxy_cert, "/nonexistent"),
            "tls.key_file: /nonexistent cannot be read",
        ),
        (pair(&proxy_cert, &proxy_cert), "holds no PEM private key"),
        (
            pair(&proxy_cert, &node_key),
            "is not the key of the certificate in",
        ),
        (pair(&node_key, &node_key), "holds no PEM certificate"),
    ];
    for (tls, why) in cases {
        let Err(error) = try_proxy("trust", &tls, "") else {
            panic!("it starts with {tls}");
        };
        assert!(error.to_string().contains(why), "{tls}: {error}");
    }
    let Err(error) = try_proxy("trust", "", "mode = \"verify-full\"") else {
        panic!("it starts");
    };
    assert!(
        error.to_string().contains("server_tls.ca_file: is missing"),
        "{error}"
    );
}

#[test]
fn a_plain_session_beside_is_as_it_was() {
    let running = proxy("trust", &shown("proxy", "allow"), "mode = \"disable\"");
    let mut wire = Wire::connect(running.port(), "postgres");
    assert_eq!(wire.value("SELECT 42"), "42");
}
