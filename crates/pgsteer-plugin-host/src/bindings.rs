//! Generated from `wit/v0.1/plugin.wit`; nothing outside of this crate sees these types.

#![allow(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "everything",
    ownership: Borrowing { duplicate_if_necessary: false },
});
