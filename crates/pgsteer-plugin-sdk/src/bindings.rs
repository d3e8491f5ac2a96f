//! Generated from `wit/v0.1`. Plugins use the types of the crate root instead.
//!
//! One world for all a plugin may call, and one for each interface it may offer: a component is
//! described by the worlds of those hooks that it exports, and by no others.

/// What a plugin may call; what it does not call is left out of its component.
pub mod host {
    wit_bindgen::generate!({
        path: "../../wit/v0.1/plugin.wit",
        inline: "
            package pgsteer:sdk;
            world host {
                import pgsteer:plugin/types@0.1.0;
                include pgsteer:plugin/host-api@0.1.0;
            }
        ",
        world: "pgsteer:sdk/host",
        generate_all,
        generate_unused_types: true,
    });
}

/// The bindings of one interface; `types` for one that uses those of the host.
macro_rules! interface {
    ($module:ident, $world:literal, $export:literal, $text:literal $(, $types:literal)?) => {
        interface!("../../wit/v0.1/plugin.wit", $module, $world, $export, $text $(, $types)?);
    };
    (
        $path:literal, $module:ident, $world:literal, $export:literal, $text:literal
        $(, $types:literal)?
    ) => {
        #[doc = concat!("A component that exports `", $world, "`.")]
        pub mod $module {
            wit_bindgen::generate!({
                path: $path,
                inline: $text,
                world: $world,
                with: { $($types: crate::bindings::host::pgsteer::plugin::types)? },
                pub_export_macro: true,
                export_macro_name: $export,
            });
        }
    };
}

interface!(
    lifecycle,
    "lifecycle",
    "export_lifecycle",
    "package pgsteer:sdk; world lifecycle { export pgsteer:plugin/lifecycle@0.1.0; }"
);
interface!(
    session,
    "session",
    "export_session",
    "package pgsteer:sdk; world session { export pgsteer:plugin/session@0.1.0; }",
    "pgsteer:plugin/types@0.1.0"
);
interface!(
    rewriter,
    "rewriter",
    "export_rewriter",
    "package pgsteer:sdk; world rewriter { export pgsteer:plugin/rewriter@0.1.0; }",
    "pgsteer:plugin/types@0.1.0"
);
interface!(
    router,
    "router",
    "export_router",
    "package pgsteer:sdk; world router { export pgsteer:plugin/router@0.1.0; }",
    "pgsteer:plugin/types@0.1.0"
);
interface!(
    observer,
    "observer",
    "export_observer",
    "package pgsteer:sdk; world observer { export pgsteer:plugin/observer@0.1.0; }",
    "pgsteer:plugin/types@0.1.0"
);
interface!(
    topology_listener,
    "topology",
    "export_topology_listener",
    "package pgsteer:sdk; world topology { export pgsteer:plugin/topology-listener@0.1.0; }",
    "pgsteer:plugin/types@0.1.0"
);
interface!(
    operator,
    "operator",
    "export_operator",
    "package pgsteer:sdk; world operator { export pgsteer:plugin/operator@0.1.0; }"
);
interface!(
    "../../wit/v0.1",
    failover,
    "failover",
    "export_failover",
    "package pgsteer:sdk; world failover { export pgsteer:plugin/failover@0.1.0; }",
    "pgsteer:plugin/types@0.1.0"
);
