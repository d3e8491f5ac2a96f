//! Generated from `wit/v0.1/plugin.wit`. Plugins use the types of the crate root instead.

wit_bindgen::generate!({
    path: "../../wit",
    world: "router-plugin",
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "pgsteer_plugin_sdk::bindings",
});
