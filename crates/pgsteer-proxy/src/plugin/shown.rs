//! How figures and tables look.

use std::time::Duration;

/// Bytes, in the unit in which the number is short.
pub(crate) fn bytes(bytes: usize) -> String {
    let kib = bytes as f64 / 1024.0;
    if bytes < 10 * 1024 {
        format!("{bytes} bytes")
    } else if kib < 1024.0 {
        format!("{kib:.0} KiB")
    } else {
        format!("{:.1} MiB", kib / 1024.0)
    }
}

/// A time, with three digits or so.
pub(crate) fn time(time: Duration) -> String {
    let nanoseconds = time.as_nanos() as f64;
    match time.as_nanos() {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} µs", nanoseconds / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", nanoseconds / 1e6),
        _ => format!("{:.1} s", nanoseconds / 1e9),
    }
}

/// A whole number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// One thing or several: `plural(2, "difference")`.
pub(crate) fn plural(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number as u64))
}

/// A share in percent, as precise as it is interesting.
pub(crate) fn share(part: f64, whole: f64) -> String {
    let percent = if whole > 0.0 {
        100.0 * part / whole
    } else {
        0.0
    };
    if percent == 0.0 || percent >= 10.0 {
        format!("{percent:.0}%")
    } else if percent >= 0.1 {
        format!("{percent:.1}%")
    } else {
        "<0.1%".to_owned()
    }
}

/// Lines of a name and what there is to say about it, aligned.
#[derive(Debug, Default)]
pub(crate) struct Sheet(Vec<(String, String)>);

impl Sheet {
    /// Adds a line.
    pub(crate) fn line(&mut self, name: &str, text: impl Into<String>) {
        self.0.push((name.to_owned(), text.into()));
    }

    /// Adds a line, unless there is nothing to say.
    pub(crate) fn line_if(&mut self, name: &str, text: impl Into<String>) {
        let text = text.into();
        if !text.is_empty() {
            self.0.push((name.to_owned(), text));
        }
    }
}

impl std::fmt::Display for Sheet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max();
        let width = width.unwrap_or(0);
        for (index, (name, text)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let text = text.replace('\n', &format!("\n{:width$}  ", ""));
            write!(f, "{name:width$}  {text}")?;
        }
        Ok(())
    }
}

/// Columns, aligned, the first row being their names. Columns that are empty but for the name are
/// left out.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let is_used = |column: &usize| rows.iter().skip(1).any(|r| !cell(r, *column).is_empty());
    let used: Vec<usize> = (0..columns).filter(is_used).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| cell(row, column).chars().count());
        widths.max().unwrap_or(0)
    };
    let line = |row: &Vec<String>| {
        let cells = used.iter().map(|column| {
            let (text, width) = (cell(row, *column), width(*column));
            format!("{text:width$}")
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(bytes(9_000), "9000 bytes");
        assert_eq!(bytes(50 * 1024), "50 KiB");
        assert_eq!(bytes(16 << 20), "16.0 MiB");
        assert_eq!(time(Duration::from_nanos(250)), "250 ns");
        assert_eq!(time(Duration::from_nanos(2_340)), "2.3 µs");
        assert_eq!(time(Duration::from_millis(50)), "50.0 ms");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(plural(1, "case"), "1 case");
        assert_eq!(plural(2, "case"), "2 cases");
        assert_eq!(share(1.0, 3.0), "33%");
        assert_eq!(share(1.0, 100_000.0), "<0.1%");
        assert_eq!(share(0.0, 3.0), "0%");
    }

    #[test]
    fn sheets_and_tables_are_aligned() {
        let mut sheet = Sheet::default();
        sheet.line("route", "primary");
        sheet.line("fuel", "1\n2");
        sheet.line_if("nothing", "");
        assert_eq!(sheet.to_string(), "route  primary\nfuel   1\n       2");
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["a", "empty", "b"]), row(["long", "", "x"])];
        assert_eq!(table(&rows), "a     b\nlong  x");
    }
}
