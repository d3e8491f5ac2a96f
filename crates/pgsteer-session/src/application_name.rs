//! What a client calls itself in its startup packet, as PostgreSQL takes it
//! (`check_application_name` and `parse_and_validate_value` in `guc.c`).

use pgsteer_wire::{ErrorReply, Severity, SqlState};

/// Bytes of a name; PostgreSQL's `NAMEDATALEN` less the byte that ends it.
const NAME_LEN_MAX: usize = 63;

/// The name that is kept of a longer one, and what the client is told then.
pub(crate) fn shortened(mut name: String) -> (String, Option<ErrorReply>) {
    if name.len() <= NAME_LEN_MAX {
        return (name, None);
    }
    let kept = name.floor_char_boundary(NAME_LEN_MAX);
    let (whole, short) = (&name, name.get(..kept).unwrap_or_default());
    let text = format!("identifier \"{whole}\" will be truncated to \"{short}\"");
    let notice = ErrorReply {
        severity: Severity::Notice,
        ..ErrorReply::error(SqlState::NAME_TOO_LONG, text)
    };
    name.truncate(kept);
    (name, Some(notice))
}

/// How a server of this version reports it.
pub(crate) fn reported(name: &str, server_version: &str) -> String {
    let is_shown = |byte: &u8| matches!(byte, 32..=126);
    if name.as_bytes().iter().all(is_shown) {
        return name.to_owned();
    }
    let major = server_version.split(|c: char| !c.is_ascii_digit()).next();
    let escapes = major.and_then(|m| m.parse().ok()).unwrap_or(0_u32) >= 16;
    let mut shown = String::with_capacity(4 * name.len());
    for byte in name.bytes() {
        match byte {
            32..=126 => shown.push(char::from(byte)),
            _ if escapes => shown.push_str(&format!("\\x{byte:02x}")),
            _ => shown.push('?'),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_where_a_character_ends() {
        let (name, notice) = shortened("x".repeat(NAME_LEN_MAX));
        assert_eq!((name.len(), notice), (NAME_LEN_MAX, None));
        let (name, notice) = shortened(format!("{}ü", "x".repeat(NAME_LEN_MAX - 1)));
        assert_eq!(name, "x".repeat(NAME_LEN_MAX - 1));
        assert!(notice.is_some());
    }

    #[test]
    fn what_is_no_plain_character_is_shown_as_the_server_does() {
        assert_eq!(reported("a~ z", "15.18"), "a~ z");
        assert_eq!(reported("ü\n", "15.18 (Debian)"), "???");
        assert_eq!(reported("ü\n", "16beta1"), "\\xc3\\xbc\\x0a");
    }
}
