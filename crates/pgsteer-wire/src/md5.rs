//! PostgreSQL's MD5 password hash: `md5` + hex(md5(hex(md5(password + user)) + salt)).

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// What a client answers to AuthenticationMD5Password.
#[must_use]
pub fn hash(user: &str, password: &str, salt: [u8; 4]) -> String {
    answer(&stored(user, password), salt)
}

/// The same from what a server stores. To know that is as good as to know the password.
#[must_use]
pub fn answer(stored: &str, salt: [u8; 4]) -> String {
    let mut outer = Md5::new();
    outer.update(stored.strip_prefix(PREFIX).unwrap_or(stored).as_bytes());
    outer.update(salt);
    PREFIX.to_owned() + &hex(&outer.finalize())
}

/// What a server stores of a password (`pg_authid.rolpassword`).
#[must_use]
pub fn stored(user: &str, password: &str) -> String {
    let mut inner = Md5::new();
    inner.update(password.as_bytes());
    inner.update(user.as_bytes());
    PREFIX.to_owned() + &hex(&inner.finalize())
}

/// Whether a text is what a server stores of a password; PostgreSQL takes lower case only.
#[must_use]
pub fn is_stored(text: &str) -> bool {
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let digits = text.strip_prefix(PREFIX);
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(is_digit))
}

const PREFIX: &str = "md5";

/// Compares two secrets without telling by the time where they differ.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn agrees_with_postgresql() {
        // From PostgreSQL: 'md5' || md5(md5('password' || 'postgres') || E'\\x01020304'::bytea).
        assert_eq!(super::hash("postgres", "password", [1, 2, 3, 4]).len(), 35);
        assert_eq!(super::hex(&[0x0f, 0xa0]), "0fa0");
        let stored = super::stored("postgres", "password");
        // PostgreSQL: SELECT 'md5' || md5('password' || 'postgres').
        assert_eq!(stored, "md532e12f215ba27cb750c9e093ce4b5127");
        assert!(super::is_stored(&stored));
        let same = super::hash("postgres", "password", [1, 2, 3, 4]);
        assert_eq!(super::answer(&stored, [1, 2, 3, 4]), same);
        for text in [
            "",
            "md5",
            "md5XYZ",
            "password",
            &stored.to_uppercase(),
            &stored[..34],
        ] {
            assert!(!super::is_stored(text), "{text}");
        }
    }
}
