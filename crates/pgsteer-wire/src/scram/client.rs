//! The side that proves it knows the password: the proxy towards a server.

use super::{
    ChannelBinding, ITERATIONS_MAX, Key, SaltedPassword, ScramError, ScramKeys, attribute, decode,
    decode_key, encode, hmac, is_nonce, nonce, sha256, text, xor,
};

/// What a server demands.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Salt of the password.
    pub salt: Vec<u8>,
    /// PBKDF2 iterations; `1 <= iterations <= ITERATIONS_MAX`.
    pub iterations: u32,
    nonce: String,
    server_first: String,
}

/// One login at a server.
#[derive(Debug)]
pub struct ClientExchange {
    nonce: String,
    binding: ChannelBinding,
    server_signature: Option<Key>,
}

impl ClientExchange {
    /// Starts an exchange without channel binding.
    ///
    /// # Errors
    /// The operating system gave no random numbers.
    pub fn new() -> Result<Self, ScramError> {
        Self::bound(ChannelBinding::Unsupported)
    }

    /// Starts an exchange that is bound to the connection as said.
    ///
    /// # Errors
    /// The operating system gave no random numbers.
    pub fn bound(binding: ChannelBinding) -> Result<Self, ScramError> {
        Ok(Self {
            nonce: nonce()?,
            binding,
            server_signature: None,
        })
    }

    fn first_bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// The client-first message.
    #[must_use]
    pub fn first(&self) -> String {
        format!("{}{}", self.binding.header(), self.first_bare())
    }

    /// Reads the server-first message.
    ///
    /// # Errors
    /// It is malformed, does not continue our nonce, or demands too many iterations.
    pub fn challenge(&self, message: &[u8]) -> Result<Challenge, ScramError> {
        let message = text(message)?;
        let mut fields = message.split(',');
        let nonce = attribute(&mut fields, "r")?;
        let salt = decode(attribute(&mut fields, "s")?)?;
        let iterations = attribute(&mut fields, "i")?
            .parse()
            .map_err(|_| ScramError::Malformed)?;
        let longer = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        let continues = longer && is_nonce(nonce);
        if !continues || salt.is_empty() || !(1..=ITERATIONS_MAX).contains(&iterations) {
            return Err(ScramError::Malformed);
        }
        let (nonce, server_first) = (nonce.to_owned(), message.to_owned());
        Ok(Challenge {
            salt,
            iterations,
            nonce,
            server_first,
        })
    }

    /// The client-final message, from the password.
    pub fn last(&mut self, salted: &SaltedPassword, challenge: &Challenge) -> String {
        self.last_of(&salted.client_key(), &salted.server_key(), challenge)
    }

    /// The client-final message, from the keys of an earlier login; see [`ScramKeys::fit`].
    pub fn last_with(&mut self, keys: &ScramKeys, challenge: &Challenge) -> String {
        self.last_of(&keys.client_key, &keys.server_key, challenge)
    }

    fn last_of(&mut self, client_key: &Key, server_key: &Key, challenge: &Challenge) -> String {
        let without_proof = format!("c={},r={}", self.binding.proof(), challenge.nonce);
        let auth = format!(
            "{},{},{without_proof}",
            self.first_bare(),
            challenge.server_first
        );
        let signature = hmac(&sha256(client_key), &[auth.as_bytes()]);
        self.server_signature = Some(hmac(server_key, &[auth.as_bytes()]));
        format!("{without_proof},p={}", encode(&xor(client_key, &signature)))
    }

    /// Reads the server-final message.
    ///
    /// # Errors
    /// The server does not know the password, or the message is malformed.
    pub fn verify(&self, message: &[u8]) -> Result<(), ScramError> {
        let signature = decode_key(attribute(&mut text(message)?.split(','), "v")?)?;
        let expected = self
            .server_signature
            .as_ref()
            .ok_or(ScramError::Malformed)?;
        if crate::md5::equal(expected, &signature) {
            Ok(())
        } else {
            Err(ScramError::WrongServer)
        }
    }
}
