//! The side that checks the password: the proxy towards a client.

use super::{
    ScramError, ScramKeys, Verifier, attribute, decode_key, encode, hmac, is_nonce, nonce, sha256,
    text, xor,
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
            client_first_bare: empty(),
            server_first: empty(),
            nonce: empty(),
        }
    }

    /// Reads the client-first message and answers the server-first message.
    ///
    /// # Errors
    /// It is malformed, or demands channel binding.
    pub fn first(&mut self, message: &[u8]) -> Result<String, ScramError> {
        let message = text(message)?;
        let bare = match message.split_at_checked(3) {
            // "y": the client could bind but believes that we cannot, which is true.
            Some(("n,," | "y,,", bare)) => bare,
            _ if message.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed),
        };
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
        if !fresh || !matches!(header, "biws" | "eSws") {
            return Err(ScramError::Malformed);
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
