//! TLS as settings: certificates and keys read from their files and checked, what is asked of a
//! peer, and what channel binding is about. No sockets: who has one drives the handshake.
//!
//! `ClientTls` is what clients of the proxy meet, `ServerTls` what the proxy asks of servers, in the
//! words of PgBouncer's `client_tls_*` and `server_tls_*`.

mod client;
mod files;
mod names;
mod server;
mod verify;
mod x509;

pub use client::{ClientSpec, ClientTls};
pub use files::{Files, ReadFile, TlsError};
pub use names::{Mode, Negotiation, Protocol};
pub use server::{Attempt, ServerSpec, ServerTls};
pub use x509::{common_name, end_point};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// What PostgreSQL's protocol is called in ALPN, since PostgreSQL 17.
pub const ALPN: &[u8] = b"postgresql";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
