//! The side that checks the password: the proxy towards a client.

use super::binding::read_header;
use super::{
    ChannelBinding, MECHANISM, MECHANISM_PLUS, ScramError, ScramKeys, Verifier, attribute,
    decode_key, encode, hmac, is_nonce, nonce, sha256, text, xor,
};

/// A client has proven that it knows the password.
pub struct Accepted {
    /// The server-final message, which proves the same to the client.
    pub message: String,
    /// What logs in wherever the verifier is the same.
    pub keys: ScramKeys,
}

/// One login of a client.
#[derive(Debug)]
pub struct ServerExchange<'a> {
    verifier: &'a Verifier,
    // What the connection can be bound to, and whether the client chose to.
    offered: Option<Box<[u8]>>,
    plus: bool,
    binding: ChannelBinding,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

impl<'a> ServerExchange<'a> {
    /// Starts an exchange.
    #[must_use]
    pub fn new(verifier: &'a Verifier) -> Self {
        let empty = String::new;
        Self {
            verifier,
            offered: None,
            plus: false,
            binding: ChannelBinding::Unsupported,
            client_first_bare: empty(),
            server_first: empty(),
            nonce: empty(),
        }
    }

    /// Offers to bind the exchange to the connection, if there is a hash of our own certificate that
    /// the client knows too.
    #[must_use]
    pub fn offering(mut self, end_point: Option<&[u8]>) -> Self {
        self.offered = end_point.map(Into::into);
        self
    }

    /// The mechanisms to offer, the best first.
    #[must_use]
    pub fn mechanisms(&self) -> &'static [&'static str] {
        match self.offered {
            Some(_) => &[MECHANISM_PLUS, MECHANISM],
            None => &[MECHANISM],
        }
    }

    /// The client chose this mechanism; without a word it is the one without channel binding.
    ///
    /// # Errors
    /// It was not offered.
    pub fn choose(&mut self, mechanism: &str) -> Result<(), ScramError> {
        if !self.mechanisms().contains(&mechanism) {
            return Err(ScramError::Malformed);
        }
        self.plus = mechanism == MECHANISM_PLUS;
        Ok(())
    }

    /// Reads the client-first message and answers the server-first message.
    ///
    /// # Errors
    /// It is malformed, or binds in another way than was offered and chosen.
    pub fn first(&mut self, message: &[u8]) -> Result<String, ScramError> {
        let message = text(message)?;
        let (binding, bare) = read_header(message, self.offered.as_deref(), self.plus)?;
        self.binding = binding;
        let mut fields = bare.split(',');
        attribute(&mut fields, "n")?;
        let client_nonce = attribute(&mut fields, "r")?;
        if !is_nonce(client_nonce) {
            return Err(ScramError::Malformed);
        }
        self.nonce = format!("{client_nonce}{}", nonce()?);
        self.client_first_bare = bare.to_owned();
        let (salt, iterations) = (encode(&self.verifier.salt), self.verifier.iterations);
        self.server_first = format!("r={},s={salt},i={iterations}", self.nonce);
        Ok(self.server_first.clone())
    }

    /// Reads the client-final message and answers the server-final message, with the keys that the
    /// proof gives away.
    ///
    /// # Errors
    /// The password is wrong, or the message is malformed.
    pub fn last(&mut self, message: &[u8]) -> Result<Accepted, ScramError> {
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut fields = without_proof.split(',');
        let header = attribute(&mut fields, "c")?;
        let nonce = attribute(&mut fields, "r")?;
        let fresh = !self.nonce.is_empty() && nonce == self.nonce;
        if !fresh {
            return Err(ScramError::Malformed);
        }
        if header != self.binding.proof() {
            return Err(ScramError::OtherChannel);
        }
        let auth = format!(
            "{},{},{without_proof}",
            self.client_first_bare, self.server_first
        );
        let signature = hmac(&self.verifier.stored_key, &[auth.as_bytes()]);
        let client_key = xor(&decode_key(proof)?, &signature);
        if !crate::md5::equal(&sha256(&client_key), &self.verifier.stored_key) {
            return Err(ScramError::WrongPassword);
        }
        let server_signature = hmac(&self.verifier.server_key, &[auth.as_bytes()]);
        Ok(Accepted {
            message: format!("v={}", encode(&server_signature)),
            keys: ScramKeys::new(client_key, self.verifier),
        })
    }
}
