//! What a server stores of a password: enough to check it, not enough to use it.

use std::fmt;
use std::str::FromStr;

use super::{
    ITERATIONS, ITERATIONS_MAX, Key, MECHANISM, SALT_LEN_MAX, SaltedPassword, ScramError, decode,
    decode_key, encode, hmac, sha256,
};

/// What is needed to check a password without knowing it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
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

    /// Whether this is the password. Takes milliseconds.
    #[must_use]
    pub fn check(&self, password: &str) -> bool {
        let salted = SaltedPassword::derive(password, &self.salt, self.iterations);
        crate::md5::equal(&sha256(&salted.client_key()), &self.stored_key)
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
        let iterations = iterations.parse().map_err(|_| ScramError::Malformed)?;
        let salt = decode(salt)?;
        let sane = (1..=ITERATIONS_MAX).contains(&iterations);
        if !sane || !(1..=SALT_LEN_MAX).contains(&salt.len()) {
            return Err(ScramError::Malformed);
        }
        Ok(Self {
            iterations,
            salt,
            stored_key: decode_key(stored)?,
            server_key: decode_key(server)?,
        })
    }
}
