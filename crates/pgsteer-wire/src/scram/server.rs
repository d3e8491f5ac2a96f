//! The side that checks the password: the proxy towards a client.

use std::fmt;
use std::str::FromStr;

use super::binding::read_header;
use super::{
    ChannelBinding, ITERATIONS, Key, MECHANISM, MECHANISM_PLUS, SaltedPassword, ScramError,
    attribute, decode, decode_key, encode, hmac, nonce, sha256, text, xor,
};

/// What is needed to check a password without knowing it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// Makes one with a fresh salt. Takes milliseconds.
    ///
    /// # Errors
    /// The operating system gave no random numbers.
    pub fn from_password(password: &str) -> Result<Self, ScramError> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| ScramError::NoRandom)?;
        Ok(Self::from_salt(password, &salt))
    }

    /// Makes one with this salt. Takes milliseconds.
    #[must_use]
    pub fn from_salt(password: &str, salt: &[u8]) -> Self {
        let salted = SaltedPassword::derive(password, salt, ITERATIONS);
        let (stored_key, server_key) = (sha256(&salted.client_key()), salted.server_key());
        Self {
            iterations: ITERATIONS,
            salt: salt.to_vec(),
            stored_key,
            server_key,
        }
    }

    /// One that no password fits, for users that do not exist: they must take as long as others
    /// and see the same salt every time. `secret` is the proxy's own, fixed while it runs.
    #[must_use]
    pub fn mock(secret: &[u8], user: &str) -> Self {
        let derived = |label: &[u8]| hmac(secret, &[label, user.as_bytes()]);
        let mut salt = derived(b"salt").to_vec();
        salt.truncate(16);
        let (stored_key, server_key) = (derived(b"stored"), derived(b"server"));
        Self {
            iterations: ITERATIONS,
            salt,
            stored_key,
            server_key,
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(<hidden>)")
    }
}

impl fmt::Display for Verifier {
    /// As `pg_authid.rolpassword` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, stored) = (encode(&self.salt), encode(&self.stored_key));
        let server = encode(&self.server_key);
        write!(
            f,
            "{MECHANISM}${}:{salt}${stored}:{server}",
            self.iterations
        )
    }
}

impl FromStr for Verifier {
    type Err = ScramError;

    fn from_str(text: &str) -> Result<Self, ScramError> {
        let parts = || {
            let rest = text.strip_prefix(MECHANISM)?.strip_prefix('$')?;
            let (parameters, keys) = rest.split_once('$')?;
            Some((parameters.split_once(':')?, keys.split_once(':')?))
        };
        let ((iterations, salt), (stored, server)) = parts().ok_or(ScramError::Malformed)?;
        Ok(Self {
            iterations: iterations.parse().map_err(|_| ScramError::Malformed)?,
            salt: decode(salt)?,
            stored_key: decode_key(stored)?,
            server_key: decode_key(server)?,
        })
    }
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
        if client_nonce.is_empty() {
            return Err(ScramError::Malformed);
        }
        self.nonce = format!("{client_nonce}{}", nonce()?);
        self.client_first_bare = bare.to_owned();
        let (salt, iterations) = (encode(&self.verifier.salt), self.verifier.iterations);
        self.server_first = format!("r={},s={salt},i={iterations}", self.nonce);
        Ok(self.server_first.clone())
    }

    /// Reads the client-final message and answers the server-final message.
    ///
    /// # Errors
    /// The password is wrong, or the message is malformed.
    pub fn last(&mut self, message: &[u8]) -> Result<String, ScramError> {
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
        Ok(format!("v={}", encode(&server_signature)))
    }
}
