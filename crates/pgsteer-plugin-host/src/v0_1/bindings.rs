//! Generated from `wit/v0.1`; nothing outside of this module sees these types.

#![allow(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    path: "../../wit/v0.1",
    world: "host",
    ownership: Borrowing { duplicate_if_necessary: false },
});
