//! The macro that turns a type into a component.

/// Exports a type that implements [`Router`](crate::Router) as a pgsteer plugin. Once per package,
/// whose `crate-type` must contain `cdylib`. Does nothing but check the type when the target is not
/// WebAssembly, so that tests run natively.
#[macro_export]
macro_rules! export_router {
    ($plugin:ty) => {
        const _: fn() = || {
            fn is_a_router<T: $crate::Router>() {}
            is_a_router::<$plugin>();
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

            use $crate::bindings::exports::pgsteer::plugin as hooks;

            impl hooks::lifecycle::Guest for Component {
                fn describe() -> hooks::lifecycle::Manifest {
                    $crate::glue::describe::<$plugin>()
                }
                fn configure(
                    json: ::std::string::String,
                ) -> ::core::result::Result<(), ::std::string::String> {
                    STATE.with(|state| state.configure(&json))
                }
                fn needs() -> u64 {
                    STATE.with(|state| state.needs())
                }
                fn self_test() -> ::core::result::Result<(), ::std::string::String> {
                    STATE.with(|state| state.self_test())
                }
            }

            impl hooks::router::Guest for Component {
                fn open(session: hooks::router::Session) -> hooks::router::Opening {
                    STATE.with(|state| state.open(session))
                }
                fn decide(statement: hooks::router::Statement) -> hooks::router::Routed {
                    STATE.with(|state| state.decide(statement))
                }
                fn explain(reason: u32) -> ::std::string::String {
                    STATE.with(|state| state.explain(reason))
                }
            }

            impl hooks::topology_listener::Guest for Component {
                fn changed(topology: hooks::topology_listener::Topology) {
                    STATE.with(|state| state.topology_changed(topology))
                }
            }

    $crate::bindings::export_bindings!(Component with_types_in $crate::bindings);
        };
    };
}
