//! Values as Pgpool-II writes them: switches, numbers with units of time and of memory.

/// What a number without a unit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nothing in particular; no unit may be written.
    One,
    Milliseconds,
    Seconds,
    Bytes,
}

/// Reads a switch.
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "t" | "yes" | "y" | "1" => Some(true),
        "off" | "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a whole number: as it is, in bytes, or in milliseconds for both units of time.
pub(crate) fn number(text: &str, unit: Unit) -> Option<i64> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x") {
        Some(rest) => (16, rest),
        None => (10, digits),
    };
    let end = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    let (digits, suffix) = digits.split_at_checked(end)?;
    let number = i64::from_str_radix(digits, radix).ok()?;
    number
        .checked_mul(sign)?
        .checked_mul(scale(suffix.trim_start(), unit)?)
}

fn scale(suffix: &str, unit: Unit) -> Option<i64> {
    let time = match suffix {
        "ms" => Some(1),
        "s" => Some(1_000),
        "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    match unit {
        Unit::One => suffix.is_empty().then_some(1),
        Unit::Milliseconds if suffix.is_empty() => Some(1),
        Unit::Seconds if suffix.is_empty() => Some(1_000),
        Unit::Milliseconds | Unit::Seconds => time,
        Unit::Bytes => match suffix {
            "" | "B" => Some(1),
            "kB" => Some(1 << 10),
            "MB" => Some(1 << 20),
            "GB" => Some(1 << 30),
            "TB" => Some(1 << 40),
            _ => None,
        },
    }
}

/// What [`number`] accepts, for a message.
pub(crate) fn wanted(unit: Unit) -> &'static str {
    match unit {
        Unit::One => "a whole number",
        Unit::Milliseconds => "a whole number of milliseconds, or one with ms, s, min, h or d",
        Unit::Seconds => "a whole number of seconds, or one with ms, s, min, h or d",
        Unit::Bytes => "a whole number of bytes, or one with B, kB, MB, GB or TB",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        let cases = [
            ("10", Unit::One, Some(10)),
            ("-1", Unit::One, Some(-1)),
            ("0x10", Unit::One, Some(16)),
            ("10s", Unit::One, None),
            ("10", Unit::Seconds, Some(10_000)),
            ("10", Unit::Milliseconds, Some(10)),
            ("500ms", Unit::Seconds, Some(500)),
            ("1 min", Unit::Seconds, Some(60_000)),
            ("2h", Unit::Milliseconds, Some(7_200_000)),
            ("1d", Unit::Seconds, Some(86_400_000)),
            ("1m", Unit::Seconds, None),
            ("400kB", Unit::Bytes, Some(409_600)),
            ("64MB", Unit::Bytes, Some(64 << 20)),
            ("1GB", Unit::Bytes, Some(1 << 30)),
            ("1KB", Unit::Bytes, None),
            ("", Unit::Bytes, None),
            ("9223372036854775807d", Unit::Seconds, None),
            ("--1", Unit::One, None),
        ];
        for (text, unit, expected) in cases {
            assert_eq!(number(text, unit), expected, "{text} {unit:?}");
        }
    }

    #[test]
    fn switches_have_many_words() {
        for (text, expected) in [("ON", Some(true)), ("no", Some(false)), ("maybe", None)] {
            assert_eq!(switch(text), expected);
        }
    }
}
