//! Server connections: connect, authenticate, check out, reset, check in, retire.
//!
//! One set of pools per worker; nothing here is shared between threads but the atomic counts of
//! connections per node. Knows nothing of clients, SQL or routing.

mod buffer;
mod channel;
mod connect;
mod connection;
mod credential;
mod gates;
mod limits;
mod login;
mod open;
mod pools;
mod quotas;
mod tcp;
mod tls;
mod told;

pub use buffer::{BUFFER_LEN, Buffer};
pub use channel::{Channel, Stream, TlsInfo};
pub use connect::{ConnectError, Target};
pub use connection::{Connection, Row, ServerKey, ServerLost};
pub use credential::Credential;
pub use limits::NodeLimits;
pub use open::open_channel;
pub use pools::{CheckoutError, Lease, PoolKey, Pools, Wanted};
pub use tcp::tune;
pub use told::{KnownStatement, Parameters, SqlStatements, Statements, Told, Writer};
