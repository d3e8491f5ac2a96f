//! What the proof of a client gives away to whoever has the verifier: the ClientKey, with which one
//! can log in wherever the same verifier is stored. It is as secret as the password.

use super::{Challenge, Key, Verifier};

/// The keys of a password under one salt. Has no `Debug` on purpose.
#[derive(Clone)]
pub struct ScramKeys {
    pub(super) client_key: Key,
    pub(super) server_key: Key,
    salt: Vec<u8>,
    iterations: u32,
}

impl ScramKeys {
    pub(super) fn new(client_key: Key, verifier: &Verifier) -> Self {
        Self {
            client_key,
            server_key: verifier.server_key,
            salt: verifier.salt.clone(),
            iterations: verifier.iterations,
        }
    }

    /// Whether a server that demands this stores the same verifier: the salt is random, so it is the
    /// same only if it was copied, as PostgreSQL does to its replicas.
    #[must_use]
    pub fn fit(&self, challenge: &Challenge) -> bool {
        self.salt == challenge.salt && self.iterations == challenge.iterations
    }
}
