//! Users of the tools, and how they prove who they are: a salt goes out, and back come the name and
//! `md5(md5(md5(password) + name) + salt)`, each in lower-case hexadecimal. The MD5 of the password
//! alone is what `pcp.conf` holds.

use std::collections::HashMap;

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// The MD5 of a password in lower-case hexadecimal.
pub(crate) fn digest(password: &str) -> String {
    hex_md5(&[password.as_bytes()])
}

/// Whether this is an MD5 in hexadecimal.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The users of a `pcp.conf`, and its lines that name none. The messages show nothing of a line.
pub(crate) fn users(text: &str) -> (HashMap<String, String>, Vec<(usize, String)>) {
    let (mut users, mut problems) = (HashMap::new(), Vec::new());
    for (line, written) in (1..).zip(text.lines()) {
        let written = written.trim();
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        match written.split_once(':') {
            Some((name, hash)) if !name.is_empty() && is_digest(hash.trim()) => {
                // Of several lines for one user Pgpool-II takes the first.
                let hash = hash.trim().to_ascii_lowercase();
                users.entry(name.to_owned()).or_insert(hash);
            }
            _ => problems.push((line, "is not of the form user:md5".to_owned())),
        }
    }
    (users, problems)
}

/// Whether this is the answer of a user. It takes as long for a name that nobody has.
pub(super) fn is_right(
    users: &HashMap<String, String>,
    name: &[u8],
    answer: &[u8],
    salt: [u8; 4],
) -> bool {
    let known = std::str::from_utf8(name)
        .ok()
        .and_then(|name| users.get(name));
    let hash = known.map_or(NOBODY, String::as_str);
    let with_name = hex_md5(&[hash.as_bytes(), name]);
    let expected = hex_md5(&[with_name.as_bytes(), &salt]);
    let equal: bool = expected.as_bytes().ct_eq(answer).into();
    equal && known.is_some()
}

/// In the place of a user's hash; no password has it for all anybody knows.
const NOBODY: &str = "00000000000000000000000000000000";

fn hex_md5(parts: &[&[u8]]) -> String {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let bytes = hash.finalize();
    let digits = bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]);
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> HashMap<String, String> {
        HashMap::from([("admin".to_owned(), digest("secret"))])
    }

    #[test]
    fn the_answer_of_debians_tools_is_right() {
        // What pcp_node_count 4.3.5 answered to this salt of Pgpool-II.
        let salt = [b'w', 0xd7, 0xcc, b'y'];
        let answer = b"111041072a0f6ba4aa718231899bf157";
        assert!(is_right(&secret(), b"admin", answer, salt));
        assert!(!is_right(&secret(), b"admin", answer, [1, 2, 3, 4]));
        assert!(!is_right(&secret(), b"nobody", answer, salt));
        assert!(!is_right(&secret(), b"admin", b"", salt));
        assert!(!is_right(&HashMap::new(), b"admin", answer, salt));
        assert!(!is_right(&secret(), b"\xff", answer, salt));
    }

    #[test]
    fn nobody_gets_in_with_the_hash_of_nobody() {
        let with_name = hex_md5(&[NOBODY.as_bytes(), b"x"]);
        let answer = hex_md5(&[with_name.as_bytes(), &[0; 4]]);
        assert!(!is_right(&secret(), b"x", answer.as_bytes(), [0; 4]));
    }

    #[test]
    fn a_pcp_conf_is_read_and_its_bad_lines_are_not_shown() {
        let text = "# USERID:MD5PASSWD\n\nadmin:5EBE2294ECD0E0F08EAB7690D2A6EE69\n\
                    admin:00000000000000000000000000000000\nplain:secret\nnothing\n";
        let (users, problems) = users(text);
        assert_eq!(users, secret());
        let lines: Vec<_> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [5, 6]);
        assert!(!format!("{problems:?}").contains("secret"));
    }
}
