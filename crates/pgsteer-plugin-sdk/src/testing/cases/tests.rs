//! Cases that hold, cases that do not, and files that are none.

use super::{cases, reader};
use crate::{
    Admitted, Class, Gatekeeper, Manifest, NodeId, Opening, Plugin, Rejection, Rewriter, Rewriting,
    Routed, Router, Session, Statement, Topology, Traits, Value, config, json,
};

/// Routes by class of the session, refuses schema changes, and lets nobody called mallory in.
struct Example {
    node: u32,
    nodes: usize,
}

impl Plugin for Example {
    const MANIFEST: Manifest = crate::manifest!();

    fn configure(json: &str) -> Result<Self, String> {
        let mut node = 0;
        for (key, value) in json::object(json)? {
            match key.as_str() {
                "node" => node = config::number(&key, &value)?,
                _ => return Err(config::unknown(&key, &value, &["node"])),
            }
        }
        let node = u32::try_from(node).map_err(|error| error.to_string())?;
        Ok(Self { node, nodes: 0 })
    }

    fn topology_changed(&mut self, topology: &Topology) {
        self.nodes = topology.nodes.len();
    }
}

impl Router for Example {
    fn open(&mut self, session: &Session) -> Opening {
        Opening {
            class: u32::from(session.user == "alice"),
            candidates: Vec::new(),
        }
    }

    fn decide(&mut self, statement: &Statement) -> Routed {
        let reads = statement.traits.contains(Traits::READS);
        match (statement.class, statement.session_class) {
            (Class::Schema, _) => Routed::reject(Rejection::forbidden("not now")),
            (_, 1) if reads && self.nodes > 1 => Routed::node(NodeId(self.node)),
            _ => Routed::primary(),
        }
    }
}

impl Rewriter for Example {
    fn rewrite(&mut self, statement: &Statement) -> Rewriting {
        match statement.values.first() {
            Some(Value::Binary(bytes)) => Rewriting::replace(format!("SELECT {bytes:?}")),
            _ => Rewriting::keep(),
        }
    }
}

impl Gatekeeper for Example {
    fn admit(&mut self, session: &Session) -> Admitted {
        match session.user.as_str() {
            "mallory" => Rejection::forbidden("no").into(),
            _ => Admitted::admit(),
        }
    }
}

mod exported {
    use super::Example;
    use crate as pgsteer_plugin_sdk;

    pgsteer_plugin_sdk::export!(Example: Router, Rewriter, Gatekeeper);
}

fn file(user: &str, class: u16, expect: &str) -> String {
    format!(
        r#"{{"cases": [{{"name": "one", "file": "10-example", "config": {{"node": 1}},
            "session": {{"user": "{user}", "database": "shop", "settings": {{}}}},
            "statement": {{"fingerprint": "18446744073709551615", "class": {class}, "traits": "1",
                "sql": "SELECT 1", "relations": [{{"schema": null, "name": "t", "written": false}}],
                "functions": [{{"schema": "pg_catalog", "name": "now"}}],
                "values": [{{"binary": "00ff"}}, {{"text": "1"}}, null],
                "transaction_marks": 0, "session_marks": 0, "balance_node": null}},
            "topology": [{{"role": "primary", "weight": 1.0}}, {{"role": "replica", "weight": 1.0}}],
            "expect": {expect}}}]}}"#
    )
}

#[test]
fn cases_that_hold() {
    for (user, class, expect) in [
        ("alice", 1, r#"{"route": "node 1"}"#),
        ("bob", 1, r#"{"route": "primary", "admit": "admit"}"#),
        ("bob", 6, r#"{"route": "refuse 42501"}"#),
        ("mallory", 1, r#"{"admit": "refuse 42501"}"#),
        ("bob", 1, r#"{"rewrite": "replace: SELECT [0, 255]"}"#),
    ] {
        cases::<Example>(&file(user, class, expect));
    }
}

#[test]
#[should_panic(
    expected = "1 of 1 cases failed\none (10-example): route\n  statement SELECT 1\n  \
                           expected  primary\n  got       node 1"
)]
fn a_case_that_does_not_hold() {
    cases::<Example>(&file("alice", 1, r#"{"route": "primary"}"#));
}

#[test]
#[should_panic(expected = "got       refuse 42501 (not now)")]
fn a_refusal_says_why() {
    cases::<Example>(&file("alice", 6, r#"{"route": "primary"}"#));
}

#[test]
#[should_panic(expected = "the file holds no case")]
fn an_empty_file() {
    cases::<Example>(r#"{"cases": []}"#);
}

#[test]
fn everything_arrives() {
    let cases = reader::read(&file("alice", 1, "{}")).expect("a valid file");
    let statement = &cases[0].statement;
    assert_eq!(statement.fingerprint, u64::MAX);
    assert_eq!(
        (statement.class, statement.traits),
        (Class::Select, Traits::READS)
    );
    assert_eq!(statement.relations[0].name, "t");
    assert_eq!(statement.functions[0].schema.as_deref(), Some("pg_catalog"));
    let values = [
        Value::Binary(vec![0, 255]),
        Value::Text("1".to_owned()),
        Value::Null,
    ];
    assert_eq!(statement.values, values);
    assert_eq!(cases[0].topology.candidates().len(), 2);
    for wrong in [
        r#"{"cases": [{"name": "one"}]}"#,
        r#"{"cases": [{"name": 1, "expect": {}}]}"#,
        r#"{"cases": [{"expect": {}, "statement": {"class": "x"}}]}"#,
        r#"{"cases": [{"expect": {}, "statement": {"values": [{"binary": "0"}]}}]}"#,
    ] {
        assert!(
            reader::read(wrong).is_err_and(|error| error.contains("case 1")),
            "{wrong}"
        );
    }
}
