//! Durations and sizes as text with a unit: `30s`, `500ms`, `16MiB`.

use std::time::Duration;

const DURATION_UNITS: &[(&str, u64)] = &[
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("min", 60_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads a duration; the error says what a duration looks like.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    scaled(text, DURATION_UNITS)
        .map(Duration::from_micros)
        .ok_or_else(|| {
            "write a whole number with a unit: us, ms, s, m, h or d, as in \"30s\"".into()
        })
}

/// Reads a size in bytes; the error says what a size looks like.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    scaled(text, SIZE_UNITS)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| {
            "write a whole number with a unit: B, KiB, MiB or GiB, as in \"16MiB\"".into()
        })
}

/// Writes a duration with the largest unit that leaves a whole number.
pub(crate) fn show_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    show(micros, DURATION_UNITS, if micros == 0 { "s" } else { "us" })
}

/// Writes a size with the largest unit that leaves a whole number.
pub(crate) fn show_size(bytes: usize) -> String {
    show(u64::try_from(bytes).unwrap_or(u64::MAX), SIZE_UNITS, "B")
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.trim_end().split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.checked_mul(*scale)
}

fn show(number: u64, units: &[(&str, u64)], smallest: &str) -> String {
    let fitting = units
        .iter()
        .filter(|(name, scale)| *name != "min" && number.is_multiple_of(*scale));
    match fitting.max_by_key(|(_, scale)| *scale) {
        Some((name, scale)) if number > 0 => format!("{}{name}", number / scale),
        _ => format!("{number}{smallest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        let cases = [
            ("30s", Some(30_000)),
            ("500ms", Some(500)),
            ("10 min", Some(600_000)),
            ("10m", Some(600_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("0s", Some(0)),
            ("30", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1.5s", None),
            ("1 parsec", None),
            ("99999999999999999999s", None),
            ("9999999999999999d", None),
            ("1é", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                duration(text).ok(),
                expected.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        let cases = [
            ("16MiB", Some(16 << 20)),
            ("512 KiB", Some(512 << 10)),
            ("7B", Some(7)),
            ("16", None),
            ("16MB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn shown_values_read_back() {
        for text in ["30s", "500ms", "10m", "1d", "250us"] {
            assert_eq!(duration(text).map(show_duration), Ok(text.to_owned()));
        }
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_size(16 << 20), "16MiB");
    }
}
