//! Every class of statement goes to the primary, and configuration is refused.

use pgsteer_plugin_sdk::{Class, Plugin, Route, Router, Traits, testing};

use super::PrimaryOnly;

#[test]
fn everything_goes_to_the_primary() {
    let mut plugin = PrimaryOnly::configure("{}").expect("an empty configuration is fine");
    for code in 0..40 {
        let statement = testing::statement(Class::from_code(code)).with_traits(Traits::READS);
        assert_eq!(plugin.decide(&statement).route, Route::Primary);
    }
}

#[test]
fn configuration_is_refused() {
    assert!(PrimaryOnly::configure(r#"{"weight": 1}"#).is_err());
}
