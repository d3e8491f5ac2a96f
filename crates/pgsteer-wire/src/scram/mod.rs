//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) as PostgreSQL speaks them: without user
//! name in the exchange. Every field from a peer is bounded.

mod binding;
mod client;
mod keys;
mod server;
mod verifier;

pub use binding::ChannelBinding;
pub use client::{Challenge, ClientExchange};
pub use keys::ScramKeys;
pub use server::{Accepted, ServerExchange};
pub use verifier::Verifier;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Name of the mechanism.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Name of the mechanism with channel binding.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Iterations for verifiers that the proxy makes itself; PostgreSQL's default (`scram_iterations`).
pub const ITERATIONS: u32 = 4096;

/// Most iterations we let a server or a stored verifier demand, so that neither keeps us busy for
/// long: about half a second.
pub const ITERATIONS_MAX: u32 = 1_000_000;

/// Longest message of an exchange we read, in bytes; ours.
pub const MESSAGE_LEN_MAX: usize = 2048;

/// Longest nonce of a peer we read, in bytes; ours. libpq's has 24, PostgreSQL's own half as well.
const NONCE_LEN_MAX: usize = 512;

/// Longest salt of a stored verifier, in bytes; ours. PostgreSQL's has 16.
const SALT_LEN_MAX: usize = 1024;

const NONCE_LEN: usize = 18;
const KEY_LEN: usize = 32;

type Key = [u8; KEY_LEN];

/// An exchange ended badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScramError {
    /// A message does not follow the grammar of RFC 5802, or a field is out of bounds.
    #[error("malformed SCRAM message")]
    Malformed,
    /// The client asked for channel binding that was not offered, or did not bind what it chose to.
    #[error("malformed SCRAM message: channel binding does not fit what was offered and chosen")]
    ChannelBinding,
    /// The client could bind and was not told that we can.
    #[error("SCRAM channel binding negotiation error: the offer did not reach the client")]
    Downgrade,
    /// The client is bound to another connection than ours.
    #[error("SCRAM channel binding check failed")]
    OtherChannel,
    /// The password is wrong.
    #[error("password is wrong")]
    WrongPassword,
    /// The server does not know the password either.
    #[error("server could not prove that it knows the password")]
    WrongServer,
    /// No random numbers.
    #[error("no random numbers from the operating system")]
    NoRandom,
}

/// The password after PBKDF2; costs milliseconds, so it is worth keeping per salt.
#[derive(Clone)]
pub struct SaltedPassword(Key);

impl std::fmt::Debug for SaltedPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SaltedPassword(<hidden>)")
    }
}

impl SaltedPassword {
    /// Derives it. Takes about a microsecond per three iterations.
    #[must_use]
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        // PostgreSQL uses the password as it is when SASLprep refuses it.
        let prepared = stringprep::saslprep(password);
        let password = prepared.as_deref().unwrap_or(password);
        Self(pbkdf2::pbkdf2_hmac_array::<Sha256, KEY_LEN>(
            password.as_bytes(),
            salt,
            iterations,
        ))
    }

    fn client_key(&self) -> Key {
        hmac(&self.0, &[b"Client Key"])
    }

    fn server_key(&self) -> Key {
        hmac(&self.0, &[b"Server Key"])
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    // HMAC takes keys of any length; the fallback cannot be reached.
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key) else {
        return [0; KEY_LEN];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn sha256(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

fn xor(a: &Key, b: &Key) -> Key {
    let mut out = *a;
    out.iter_mut().zip(b).for_each(|(o, b)| *o ^= b);
    out
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn decode(text: &str) -> Result<Vec<u8>, ScramError> {
    STANDARD.decode(text).map_err(|_| ScramError::Malformed)
}

fn decode_key(text: &str) -> Result<Key, ScramError> {
    decode(text)?.try_into().map_err(|_| ScramError::Malformed)
}

/// A fresh printable nonce.
fn nonce() -> Result<String, ScramError> {
    let mut bytes = [0; NONCE_LEN];
    getrandom::fill(&mut bytes).map_err(|_| ScramError::NoRandom)?;
    Ok(encode(&bytes))
}

/// Whether this can be a nonce: printable ASCII (RFC 5802), and not too long.
fn is_nonce(text: &str) -> bool {
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    (1..=NONCE_LEN_MAX).contains(&text.len()) && printable
}

/// The value of the next attribute, which must be `name`.
fn attribute<'a>(
    fields: &mut std::str::Split<'a, char>,
    name: &str,
) -> Result<&'a str, ScramError> {
    let field = fields.next().ok_or(ScramError::Malformed)?;
    field
        .strip_prefix(name)
        .and_then(|f| f.strip_prefix('='))
        .ok_or(ScramError::Malformed)
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_LEN_MAX {
        return Err(ScramError::Malformed);
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exchange(known: &str, given: &str) -> Result<(), ScramError> {
        let both = (ChannelBinding::Unsupported, None);
        bound_exchange(known, given, both)
    }

    /// What the client does, and what the server offers.
    fn bound_exchange(
        known: &str,
        given: &str,
        (binding, offered): (ChannelBinding, Option<&[u8]>),
    ) -> Result<(), ScramError> {
        let verifier = Verifier::from_password(known)?;
        let mut server = ServerExchange::new(&verifier).offering(offered);
        server.choose(binding.mechanism())?;
        let mut client = ClientExchange::bound(binding)?;
        let first = server.first(client.first().as_bytes())?;
        let challenge = client.challenge(first.as_bytes())?;
        let salted = SaltedPassword::derive(given, &challenge.salt, challenge.iterations);
        let accepted = server.last(client.last(&salted, &challenge).as_bytes())?;
        client.verify(accepted.message.as_bytes())
    }

    /// A proxy in the middle that knows the verifier alone: what the client proves to it is enough
    /// to log in where the verifier is the same, and nowhere else.
    #[test]
    fn keys_of_a_proof_log_in_where_the_verifier_is_the_same() {
        let stored = Verifier::from_password("secret").unwrap();
        let mut client = ClientExchange::new().unwrap();
        let mut proxy = ServerExchange::new(&stored);
        let first = proxy.first(client.first().as_bytes()).unwrap();
        let challenge = client.challenge(first.as_bytes()).unwrap();
        let salted = SaltedPassword::derive("secret", &challenge.salt, challenge.iterations);
        let proof = client.last(&salted, &challenge);
        let accepted = proxy.last(proof.as_bytes()).unwrap();
        client.verify(accepted.message.as_bytes()).unwrap();

        let mut onward = ClientExchange::new().unwrap();
        let mut server = ServerExchange::new(&stored);
        let first = server.first(onward.first().as_bytes()).unwrap();
        let challenge = onward.challenge(first.as_bytes()).unwrap();
        assert!(accepted.keys.fit(&challenge));
        let proof = onward.last_with(&accepted.keys, &challenge);
        let again = server.last(proof.as_bytes()).unwrap();
        onward.verify(again.message.as_bytes()).unwrap();

        let other = Verifier::from_password("secret").unwrap();
        let elsewhere = ClientExchange::new().unwrap();
        let mut server = ServerExchange::new(&other);
        let first = server.first(elsewhere.first().as_bytes()).unwrap();
        let challenge = elsewhere.challenge(first.as_bytes()).unwrap();
        assert!(!accepted.keys.fit(&challenge));
    }

    #[test]
    fn a_password_in_clear_text_is_checked_too() {
        let verifier = Verifier::from_password("secret").unwrap();
        assert!(verifier.check("secret"));
        assert!(!verifier.check("Secret"));
        assert!(!verifier.check(""));
    }

    #[test]
    fn numbers_of_a_peer_are_bounded() {
        let client = ClientExchange::new().unwrap();
        let own = client.first().split_once("r=").unwrap().1.to_owned();
        let challenge = |nonce: &str, salt: &str, iterations: &str| {
            let message = format!("r={own}{nonce},s={salt},i={iterations}");
            client.challenge(message.as_bytes()).map(|_| ())
        };
        assert_eq!(challenge("x", "c2FsdA==", "4096"), Ok(()));
        let long = "x".repeat(600);
        for (nonce, salt, iterations) in [
            ("x", "c2FsdA==", "0"),
            ("x", "c2FsdA==", "2147483647"),
            ("x", "c2FsdA==", "99999999999999999999"),
            ("x", "c2FsdA==", "-1"),
            ("x", "", "4096"),
            ("x", "not base64", "4096"),
            ("", "c2FsdA==", "4096"),
            ("\u{7f}", "c2FsdA==", "4096"),
            (&long, "c2FsdA==", "4096"),
        ] {
            let refused = challenge(nonce, salt, iterations);
            assert_eq!(
                refused,
                Err(ScramError::Malformed),
                "{nonce} {salt} {iterations}"
            );
        }
        let verifier = Verifier::from_salt("x", b"salt");
        for nonce in ["", "\u{e9}", "a b", &long] {
            let mut server = ServerExchange::new(&verifier);
            let refused = server.first(format!("n,,n=,r={nonce}").as_bytes());
            assert_eq!(refused, Err(ScramError::Malformed), "{nonce}");
        }
        for stored in [
            "SCRAM-SHA-256$0:c2FsdA==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$4294967295:c2FsdA==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$4096:$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            "SCRAM-SHA-256$4096:c2FsdA==$short:short",
        ] {
            assert!(stored.parse::<Verifier>().is_err(), "{stored}");
        }
    }

    #[test]
    fn right_password_passes_and_wrong_one_does_not() {
        assert_eq!(exchange("correct horse", "correct horse"), Ok(()));
        assert_eq!(
            exchange("correct horse", "battery"),
            Err(ScramError::WrongPassword)
        );
    }

    #[test]
    fn a_bound_exchange_passes_over_its_own_channel_only() {
        let run = |binding, offered| bound_exchange("x", "x", (binding, offered));
        let end_point = |hash: &[u8]| ChannelBinding::EndPoint(hash.into());
        let mine: Option<&[u8]> = Some(b"mine");
        assert_eq!(run(end_point(b"mine"), mine), Ok(()));
        assert_eq!(
            run(end_point(b"other"), mine),
            Err(ScramError::OtherChannel)
        );
        assert_eq!(run(end_point(b"mine"), None), Err(ScramError::Malformed));
        // It need not bind, but one that can must have seen the offer.
        assert_eq!(run(ChannelBinding::Unsupported, mine), Ok(()));
        assert_eq!(
            run(ChannelBinding::NotOffered, mine),
            Err(ScramError::Downgrade)
        );
        assert_eq!(run(ChannelBinding::NotOffered, None), Ok(()));
    }

    #[test]
    fn a_client_binds_if_it_can_and_may() {
        let choose = ChannelBinding::choose;
        let both = [MECHANISM_PLUS, MECHANISM];
        assert_eq!(choose(Some(b"h"), &both).mechanism(), MECHANISM_PLUS);
        assert_eq!(choose(Some(b"h"), &[MECHANISM]), ChannelBinding::NotOffered);
        assert_eq!(choose(None, &both).mechanism(), MECHANISM);
    }

    #[test]
    fn the_mechanism_that_was_chosen_is_the_one_that_is_spoken() {
        let verifier = Verifier::from_salt("x", b"salt");
        let server = || ServerExchange::new(&verifier).offering(Some(b"mine"));
        let mut plus = server();
        plus.choose(MECHANISM_PLUS).unwrap();
        assert_eq!(plus.first(b"n,,n=,r=abc"), Err(ScramError::ChannelBinding));
        let mut without = server();
        without.choose(MECHANISM).unwrap();
        let first = without.first(b"p=tls-server-end-point,,n=,r=abc");
        assert_eq!(first, Err(ScramError::ChannelBinding));
        assert_eq!(server().choose("SCRAM-SHA-1"), Err(ScramError::Malformed));
        let mut nothing = ServerExchange::new(&verifier);
        assert_eq!(nothing.choose(MECHANISM_PLUS), Err(ScramError::Malformed));
    }

    #[test]
    fn reads_a_verifier_as_postgresql_stores_it() {
        // pg_authid.rolpassword of a role with the password "pencil", salt of RFC 7677.
        let made = Verifier::from_salt("pencil", &decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap());
        let stored = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(made.to_string(), stored);
        assert_eq!(
            stored.parse::<Verifier>().map(|v| v.to_string()).as_deref(),
            Ok(stored)
        );
    }

    proptest! {
        #[test]
        fn no_message_makes_an_exchange_panic(a in ".{0,80}", b in ".{0,80}") {
            let verifier = Verifier::from_salt("x", b"salt");
            let mut server = ServerExchange::new(&verifier);
            let _ = server.first(a.as_bytes());
            let _ = server.last(b.as_bytes());
            let client = ClientExchange::new().unwrap();
            let _ = client.challenge(a.as_bytes());
            let _ = client.verify(b.as_bytes());
            let _ = a.parse::<Verifier>();
            let _ = format!("SCRAM-SHA-256${a}:{b}").parse::<Verifier>();
        }
    }
}
