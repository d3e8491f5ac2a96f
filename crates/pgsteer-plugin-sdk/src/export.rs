//! The macro that turns a type into a component.

/// Exports a type as a pgsteer plugin with the hooks named: `Gatekeeper`, `Rewriter`, `Router`,
/// `Observer`, `Failover`, `Operator`, and `Topology` for a plugin that is no router and yet wants
/// [`Plugin::topology_changed`](crate::Plugin::topology_changed). Once per package, whose
/// `crate-type` must contain `cdylib`.
///
/// ```ignore
/// pgsteer_plugin_sdk::export!(MyPlugin: Router, Operator);
/// ```
///
/// Natively it makes the plugin known to [`testing::cases`](crate::testing::cases), so that tests
/// ask the same hooks as the proxy.
#[macro_export]
macro_rules! export {
    ($plugin:ty: $($hook:ident),+ $(,)?) => {
        $crate::__export!($plugin; [$($hook)+] $($hook)+);
    };
}

/// The same with the list of hooks once more, for those that depend on others.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ty; $all:tt $($hook:ident)+) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            impl $crate::testing::Exported for $plugin {
                $($crate::__native_hook!($hook);)+
            }
        };

        #[cfg(target_arch = "wasm32")]
        #[allow(
            unsafe_code,
            reason = "the entry points of a component have fixed names"
        )]
        const _: () = {
            struct Component;

            ::std::thread_local! {
                static STATE: $crate::glue::State<$plugin> =
                    const { $crate::glue::State::new() };
            }

            impl $crate::glue::Instance for Component {
                type Plugin = $plugin;

                fn with<T>(
                    ask: impl ::core::ops::FnOnce(&$crate::glue::State<$plugin>) -> T,
                ) -> T {
                    STATE.with(ask)
                }
            }

            $crate::bindings::lifecycle::export_lifecycle!(
                Component with_types_in $crate::bindings::lifecycle
            );
            $($crate::__component_hook!($hook $all);)+
        };
    };
}

/// The entry points of one hook.
#[doc(hidden)]
#[macro_export]
macro_rules! __component_hook {
    (Gatekeeper $all:tt) => {
        $crate::bindings::session::export_session!(
            Component with_types_in $crate::bindings::session
        );
    };
    (Rewriter $all:tt) => {
        $crate::bindings::rewriter::export_rewriter!(
            Component with_types_in $crate::bindings::rewriter
        );
    };
    (Router $all:tt) => {
        $crate::bindings::router::export_router!(
            Component with_types_in $crate::bindings::router
        );
        $crate::__component_hook!(@topology);
    };
    (Observer $all:tt) => {
        $crate::bindings::observer::export_observer!(
            Component with_types_in $crate::bindings::observer
        );
    };
    (Failover $all:tt) => {
        $crate::bindings::failover::export_failover!(
            Component with_types_in $crate::bindings::failover
        );
    };
    (Operator $all:tt) => {
        $crate::bindings::operator::export_operator!(
            Component with_types_in $crate::bindings::operator
        );
    };
    // A router is told anyway.
    (Topology [$($all:ident)+]) => {
        $crate::__component_hook!(@unless_router $($all)+);
    };
    (@unless_router Router $($rest:ident)*) => {};
    (@unless_router $other:ident $($rest:ident)*) => {
        $crate::__component_hook!(@unless_router $($rest)*);
    };
    (@unless_router) => {
        $crate::__component_hook!(@topology);
    };
    (@topology) => {
        $crate::bindings::topology_listener::export_topology_listener!(
            Component with_types_in $crate::bindings::topology_listener
        );
    };
}

/// What a test can ask of one hook.
#[doc(hidden)]
#[macro_export]
macro_rules! __native_hook {
    (Gatekeeper) => {
        fn ask_gatekeeper(
            &mut self,
            session: &$crate::Session,
        ) -> ::core::option::Option<$crate::Admitted> {
            ::core::option::Option::Some($crate::Gatekeeper::admit(self, session))
        }
    };
    (Rewriter) => {
        fn ask_rewriter(
            &mut self,
            session: &$crate::Session,
            statement: &$crate::Statement,
        ) -> ::core::option::Option<$crate::Rewriting> {
            ::core::option::Option::Some($crate::testing::ask_rewriter(self, session, statement))
        }
    };
    (Router) => {
        fn ask_router(
            &mut self,
            session: &$crate::Session,
            statement: &$crate::Statement,
        ) -> ::core::option::Option<$crate::Routed> {
            ::core::option::Option::Some($crate::testing::ask_router(self, session, statement))
        }
    };
    (Observer) => {
        fn ask_observer(&mut self, events: &[$crate::Event]) -> bool {
            $crate::Observer::observe(self, events, 0);
            true
        }
    };
    (Failover) => {
        fn ask_failover(
            &mut self,
            crisis: &$crate::Crisis,
        ) -> ::core::option::Option<$crate::Remedy> {
            ::core::option::Option::Some($crate::Failover::decide(self, crisis))
        }
    };
    (Operator) => {
        fn ask_operator(
            &mut self,
            text: &str,
        ) -> ::core::option::Option<
            ::core::result::Result<::std::string::String, ::std::string::String>,
        > {
            ::core::option::Option::Some($crate::Operator::command(self, text))
        }
    };
    (Topology) => {};
}
