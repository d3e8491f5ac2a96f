//! The cases of cases.toml, natively. `pgsteer plugin test` writes down what the plugin is told.

use super::Policy;

#[test]
fn cases() {
    pgsteer_plugin_sdk::testing::cases::<Policy>(include_str!("../cases.lock.json"));
}
