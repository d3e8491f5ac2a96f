//! Counting natively, without WebAssembly.

use pgsteer_plugin_sdk::{Class, NodeId, Observer as _, Plugin as _, testing};

use crate::StatementStats;

#[test]
fn what_happened_is_counted_by_kind() {
    let mut plugin = StatementStats::configure("{}").expect("no configuration is fine");
    let mut read = testing::event(Class::Select);
    (read.rows, read.bytes, read.microseconds) = (3, 100, 250);
    read.node = Some(NodeId(1));
    let mut failed = testing::event(Class::Insert);
    failed.node = Some(NodeId(0));
    failed.error = Some("23505".to_owned());
    let mut refused = testing::event(Class::Schema);
    refused.error = Some("42501".to_owned());
    plugin.observe(&[read.clone(), read, failed, refused], 7);
    for (name, expected) in [
        ("reads", 2.0),
        ("writes", 1.0),
        ("others", 1.0),
        ("errors", 1.0),
        ("refused", 1.0),
        ("rows", 6.0),
        ("bytes", 200.0),
        ("unseen", 7.0),
    ] {
        assert_eq!(testing::metric(name), Some(expected), "{name}");
    }
    assert!(StatementStats::configure(r#"{"a": 1}"#).is_err());
}
