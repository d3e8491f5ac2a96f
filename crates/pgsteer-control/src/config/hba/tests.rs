//! Rules as they are written, and whom they let in.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use pgsteer_core::auth::{Claim, Rules, Shown};
use proptest::prelude::*;

use crate::config::{Changes, Loaded, Source, load_with};

const MINIMAL: &str = "[[nodes]]\nhost = \"h\"\n[probe]\npassword = \"x\"\n";

/// Loads a configuration with these files beside it.
fn load(text: &str, files: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let read = |path: &Path| {
        let name = path
            .strip_prefix("/etc/pgsteer")
            .ok()
            .and_then(|p| p.to_str());
        if name == Some("x.toml") {
            return Ok(format!("{MINIMAL}{text}"));
        }
        let found = files.iter().find(|(known, _)| Some(*known) == name);
        let text = found.map(|(_, text)| (*text).to_owned());
        text.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    };
    let loaded = load_with(
        &Source::File("/etc/pgsteer/x.toml".into()),
        &Changes::default(),
        [],
        &read,
        1,
    );
    loaded.map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

fn from_file(hba: &str) -> Result<Rules, Vec<String>> {
    let files = [
        ("hba", hba),
        ("users", "ann, bob\n\"c d\" # them\n@more"),
        ("more", "eve"),
        ("sub/inner", "local @names all trust"),
        ("sub/names", "inner"),
        ("loop", "include loop"),
        ("ident", "m /^(.*)@x$ \\1\nm root all\n"),
    ];
    let text = "[auth]\nhba_file = \"hba\"\nident_file = \"ident\"\n";
    let loaded = load(text, &files)?;
    Ok(loaded.settings.auth.rules.expect("rules"))
}

/// `database user address [tls]`, and where the rule stands that fits.
fn found(rules: &Rules, claim: &str) -> Option<String> {
    let words: Vec<&str> = claim.split('|').collect();
    let address: Option<IpAddr> = words[2].parse().ok();
    let certificate = match words.get(3) {
        None => Shown::Plain,
        Some(&"") => Shown::Nothing,
        Some(name) => Shown::Name(name),
    };
    let claim = Claim {
        database: words[0],
        user: words[1],
        is_physical_replication: words[0] == "(replication)",
        address,
        certificate,
    };
    let place = rules.find(&claim)?.place.to_string();
    Some(place.rsplit('/').next().unwrap_or_default().to_owned())
}

#[test]
fn the_first_rule_that_fits_counts() {
    let hba = "# TYPE DATABASE USER ADDRESS METHOD\n\
        local   all            postgres                       trust\n\
        host    replication    all          10.0.0.0/8        md5\n\
        hostssl all            ann,\"bob b\" 0.0.0.0/0          cert\n\
        hostnossl shop         all          192.168.1.0 255.255.255.0 md5\n\
        host    sameuser       all          ::1/128           scram-sha-256\n\
        host    /^app_\\d+$    \"/^u[a-c]$\" all                password\n\
        host    \"all\",x      \"all\"        127.0.0.1/32      reject\n\
        host    all @users \\\n   samehost reject\n\
        include sub/inner\n\
        include_if_exists nowhere\n\
        host all all 10.1.1.1/32 scram-sha-256\n";
    let rules = from_file(hba).expect("valid");
    for (claim, expected) in [
        ("any|postgres|-", Some("hba:2")),
        ("any|postgres|127.0.0.2", None),
        ("any|other|-", None),
        ("inner|other|-", Some("inner:1")),
        ("(replication)|r|10.1.2.3", Some("hba:3")),
        ("(replication)|r|11.1.2.3", None),
        ("replication|r|10.1.2.3", None),
        ("any|ann|1.2.3.4|", Some("hba:4")),
        ("any|bob b|1.2.3.4|cn", Some("hba:4")),
        ("any|ann|1.2.3.4", None),
        ("any|ann|::2|", None),
        ("shop|u|192.168.1.7", Some("hba:5")),
        ("shop|u|192.168.1.7|", None),
        ("same|same|::1", Some("hba:6")),
        ("same|other|::1", None),
        ("app_12|ub|9.9.9.9", Some("hba:7")),
        ("app_x|ub|9.9.9.9", None),
        ("app_1|ud|9.9.9.9", None),
        ("all|all|127.0.0.1", Some("hba:8")),
        ("x|all|127.0.0.1", Some("hba:8")),
        ("x|somebody|127.0.0.1", None),
        ("any|c d|127.0.0.1", Some("hba:9")),
        ("any|eve|127.0.0.1", Some("hba:9")),
        ("any|eve|10.1.1.1", Some("hba:13")),
    ] {
        assert_eq!(found(&rules, claim).as_deref(), expected, "{claim}");
    }
}

#[test]
fn sections_are_rules_too() {
    let text = "[[hba]]\ntype = \"local\"\nmethod = \"trust\"\n\
        [[hba]]\ntype = \"hostssl\"\ndatabase = [\"a\", \"b,c\"]\nuser = \"\\\"all\\\"\"\n\
        address = \"10.0.0.0/8\"\nmethod = \"md5\"\noptions = [\"clientcert=verify-full\"]\n";
    let rules = load(text, &[]).expect("valid").settings.auth.rules;
    let rules = rules.expect("rules");
    for (claim, expected) in [
        ("any|any|-", Some("hba[0]")),
        ("c|all|10.1.1.1|", Some("hba[1]")),
        ("c|any|10.1.1.1|", None),
        ("d|all|10.1.1.1|", None),
        ("a|all|10.1.1.1", None),
    ] {
        assert_eq!(found(&rules, claim).as_deref(), expected, "{claim}");
    }
    assert!(load("", &[]).expect("valid").settings.auth.rules.is_none());
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn mistakes_name_file_and_line() {
    for (line, expected) in [
        (
            "host all all all ldap",
            "has the method ldap, which the proxy does not have; use one of",
        ),
        (
            "local all all peer",
            "has the method peer, which the proxy does not have; use one of",
        ),
        ("host all all all", "has no method; write type"),
        ("host all all", "has no address; write type"),
        ("host", "has no address; write type"),
        ("local", "has no method; write type"),
        (
            "hots all all all md5",
            "begins with \"hots\"; use one of: local",
        ),
        (
            "host all +staff all md5",
            "names +staff, and which role is in which only a server knows",
        ),
        (
            "host samerole all all md5",
            "names samerole, and which role",
        ),
        (
            "host all all db.example.com md5",
            "has the host name \"db.example.com\"; write its",
        ),
        (
            "host all all 10.0.0.1 md5",
            "has the address \"10.0.0.1\" without a mask; write 10.0.0.1/32",
        ),
        (
            "host all all 10.0.0.0/40 md5",
            "has the address \"10.0.0.0/40\"; write a network",
        ),
        (
            "host all all 10.0.0.0 ::1 md5",
            "has an address and a mask that do not fit",
        ),
        (
            "host all all all cert",
            "has the method cert without TLS; write hostssl",
        ),
        (
            "host all all all md5 clientcert=verify-ca",
            "has clientcert without TLS; write hostssl",
        ),
        (
            "hostssl all all all md5 clientcert=1",
            "has clientcert=1; use verify-full",
        ),
        (
            "hostssl all all all cert map=nowhere",
            "names the map \"nowhere\", which is not there",
        ),
        (
            "hostssl all all all md5 map=m",
            "has a map although the method is md5",
        ),
        (
            "hostssl all all all cert clientname=DN",
            "has clientname=DN; use CN",
        ),
        (
            "host all all all md5 radiusport=1",
            "has the option radiusport",
        ),
        (
            "host all all all md5 x",
            "has the option \"x\"; write options",
        ),
        ("host all /[ all md5", "has the expression /["),
        ("host all \"x all md5", "has a quote that is not closed"),
        (
            "host all @nobody all md5",
            "names /etc/pgsteer/nobody, which cannot be read",
        ),
        (
            "include nowhere",
            "names /etc/pgsteer/nowhere, which cannot be read",
        ),
        ("include_dir x", "begins with include_dir; name each file"),
        ("include", "includes what?"),
    ] {
        let errors = from_file(&format!("# first\n{line}\n")).expect_err(line);
        assert_eq!(errors.len(), 1, "{errors:?}");
        let start = "/etc/pgsteer/hba: line 2: ";
        let rest = errors[0].strip_prefix(start).expect("file and line");
        assert!(rest.starts_with(expected), "{rest}");
    }
    let looped = from_file("include loop\n").expect_err("a loop");
    assert!(looped[0].contains("one too many"), "{looped:?}");
    let empty = from_file("# nothing\n").expect_err("no rule");
    assert!(empty[0].contains("has no rule"), "{empty:?}");
    let both = "[auth]\nhba_file = \"hba\"\n[[hba]]\ntype = \"host\"\nmethod = \"md5\"\n";
    let errors = load(both, &[("hba", "local all all trust")]).expect_err("both");
    assert!(
        errors[0].contains("auth.hba_file: is given together with [[hba]]"),
        "{errors:?}"
    );
    let missing = load("[[hba]]\ndatabase = \"x\"\n", &[]).expect_err("missing");
    assert_eq!(missing.len(), 2, "{missing:?}");
}

#[test]
fn certificates_are_mapped_to_users() {
    let rules = from_file("hostssl all all all cert map=m\nhost all all all md5\n").expect("valid");
    let rule = &rules.0[0];
    assert!(rule.allows("ann@x", "ann"));
    assert!(!rule.allows("ann@x", "bob"));
    assert!(rule.allows("root", "bob"));
    assert!(rules.0[1].allows("bob", "bob"));
    assert!(!rules.0[1].allows("bob", "ann"));
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "(host|local|hostssl|include|@|all|,|\"|/|#|\\\\|md5|cert|map=m|10\\.0\\.0\\.0/8|[ \\n=+])*") {
        let _ = from_file(&text);
    }
}
