//! Rules natively, without WebAssembly.

use pgsteer_plugin_sdk::{Class, Plugin as _, Rewriter as _, Rewriting, Rewritten, testing};

use crate::QueryRewrite;

fn rewrite(config: &str, user: &str, sql: &str) -> Rewriting {
    let mut plugin = QueryRewrite::configure(config).expect("a good configuration");
    let class = plugin.classify(&testing::session(user, "shop"));
    let statement = testing::statement(Class::Select)
        .with_sql(sql)
        .with_session_class(class);
    plugin.rewrite(&statement)
}

#[test]
fn the_first_rule_that_matches_counts() {
    let config = r#"{"rules": [
        {"text": "SELECT a FROM t;", "with": "SELECT b FROM t"},
        {"contains": "FROM old", "replace": "FROM old", "with": "FROM new"},
        {"prefix": "select secret", "user": "bob", "refuse": "not for you", "hint": "ask alice"},
        {"contains": "$2", "with": "SELECT $1, $2", "parameters": [2, 1]}
    ]}"#;
    let replaced = |sql: &str| Rewriting::replace(sql).reusable();
    for (user, sql, expected) in [
        ("alice", " SELECT a FROM t ", replaced("SELECT b FROM t")),
        (
            "alice",
            "SELECT 1 FROM old WHERE x",
            replaced("SELECT 1 FROM new WHERE x"),
        ),
        ("alice", "SELECT secret", Rewriting::keep().reusable()),
        (
            "alice",
            "SELECT $2, $1",
            Rewriting::replace_with("SELECT $1, $2", vec![2, 1]).reusable(),
        ),
    ] {
        assert_eq!(rewrite(config, user, sql), expected, "{sql}");
    }
    let refused = rewrite(config, "bob", "  select SECRET").rewritten;
    let Rewritten::Reject(rejection) = refused else {
        unreachable!("{refused:?}");
    };
    assert_eq!(rejection.message, "not for you");
    assert_eq!(rejection.hint.as_deref(), Some("ask alice"));
}

#[test]
fn mistakes_name_the_rule_and_the_key() {
    for (config, expected) in [
        (r#"{"rule": []}"#, "unknown key \"rule\""),
        (r#"{"rules": 1}"#, "must be a list"),
        (
            r#"{"rules": [{"with": "x"}]}"#,
            "rule 1: needs exactly one of text",
        ),
        (
            r#"{"rules": [{"text": "x"}]}"#,
            "rule 1: needs exactly one of with",
        ),
        (
            r#"{"rules": [{"text": "x", "with": "y", "parameters": [0]}]}"#,
            "rule 1: parameters = [0]",
        ),
        (
            r#"{"rules": [{"texts": "x"}]}"#,
            "rule 1: unknown key \"texts\"",
        ),
    ] {
        let error = QueryRewrite::configure(config).err().expect(config);
        assert!(error.contains(expected), "{config}: {error}");
    }
}
