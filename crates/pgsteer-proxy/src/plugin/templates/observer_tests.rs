//! What slow statements leave behind.

use pgsteer_plugin_sdk::{Event, Observer, Plugin, testing};

use super::Policy;

#[test]
fn slow_statements_are_logged() {
    let mut policy = Policy::configure(r#"{"slow_ms": 10}"#).expect("a configuration");
    let mut event = Event::default();
    for microseconds in [9_999, 10_000] {
        event.microseconds = microseconds;
        policy.observe(std::slice::from_ref(&event), 0);
    }
    assert_eq!(testing::logged().len(), 1);
}
