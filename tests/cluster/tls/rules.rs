//! Rules that look at TLS and certificates, and logins that are passed through both.

use pgsteer_testkit::DEFAULT_PASSWORD;

use super::{accepts, asking, refuses, site};
use crate::support::{Running, runtime};

/// A proxy that asks clients for certificates and shows the nodes one, with these sections.
fn ruled(sections: &str) -> Running {
    let (site, tls) = (site(), asking("proxy", "allow"));
    let (node, files) = (site.cluster.primary(), &site.certificates);
    let text = format!(
        "[listen]\naddress = \"127.0.0.1:0\"\ndrain_timeout = \"1s\"\n\
         [probe]\ninterval = \"200ms\"\npassword = \"{DEFAULT_PASSWORD}\"\n\
         [tls]\n{tls}\n[server_tls]\nmode = \"require\"\ncert_file = \"{}\"\nkey_file = \"{}\"\n\
         [auth]\nident_file = \"ident\"\nusers_file = \"users\"\n{sections}\n\
         [[nodes]]\nhost = \"{}\"\nport = {}\n",
        files.text("alice.crt"),
        files.text("alice.key"),
        node.host(),
        node.port()
    );
    let sql = "SELECT string_agg(format('\"%s\" \"%s\"', rolname, rolpassword), E'\\n')
               FROM pg_authid WHERE rolpassword IS NOT NULL";
    let users = runtime().block_on(node.value(sql)).expect("verifiers");
    assert!(users.contains("\"alice\" \"SCRAM-SHA-256$"), "{users}");
    let files = [
        ("users", users),
        ("ident", "any alice certified\n".to_owned()),
    ];
    Running::with_files(&text, &files, &site.cluster).expect("it starts")
}

fn rule(kind: &str, user: &str, method: &str, options: &str) -> String {
    format!(
        "[[hba]]\ntype = \"{kind}\"\nuser = \"{user}\"\nmethod = \"{method}\"\noptions = [{options}]\n"
    )
}

#[test]
fn rules_tell_clients_with_tls_and_certificates_apart() {
    let rules = [
        rule("hostssl", "certified", "cert", "\"map=any\""),
        rule(
            "hostssl",
            "alice",
            "scram-sha-256",
            "\"clientcert=verify-full\"",
        ),
        rule(
            "hostssl",
            "postgres",
            "scram-sha-256",
            "\"clientcert=verify-full\"",
        ),
        rule(
            "hostssl",
            "secret",
            "scram-sha-256",
            "\"clientcert=verify-ca\"",
        ),
        rule("hostnossl", "postgres", "scram-sha-256", ""),
        rule("hostssl", "open", "cert", ""),
    ];
    let running = ruled(&rules.concat());
    let port = running.port();
    let files = &site().certificates;
    let (cert, key) = (files.text("alice.crt"), files.text("alice.key"));
    let with = format!("sslmode=require sslcert={cert} sslkey={key}");
    // The certificate is the user's, or a map says so; the password is checked as well.
    accepts(port, &format!("{with} user=certified"));
    accepts(port, &format!("{with} user=alice"));
    accepts(port, &format!("{with} user=secret"));
    accepts(port, "sslmode=disable user=postgres");
    for (options, why) in [
        (
            "sslmode=require user=certified".to_owned(),
            "connection requires a valid client certificate",
        ),
        (
            "sslmode=require user=secret".to_owned(),
            "connection requires a valid client certificate",
        ),
        (
            format!("{with} user=postgres"),
            "password authentication failed for user \"postgres\"",
        ),
        (
            format!("{with} user=open"),
            "certificate authentication failed for user \"open\"",
        ),
        (
            format!("{with} user=alice password=wrong"),
            "password authentication failed for user \"alice\"",
        ),
        (
            "sslmode=disable user=alice".to_owned(),
            "user \"alice\", database \"postgres\", no encryption",
        ),
        (
            format!("{with} user=nobody"),
            "user \"nobody\", database \"postgres\", SSL encryption",
        ),
    ] {
        refuses(port, &options, why);
    }
}

#[test]
fn a_login_is_passed_through_with_channel_binding_on_both_sides() {
    let running = ruled("");
    accepts(running.port(), "sslmode=require channel_binding=require");
    accepts(running.port(), "sslmode=disable");
    let wrong = "sslmode=require channel_binding=require password=wrong";
    refuses(running.port(), wrong, "password authentication failed");
}
