//! Writes Prometheus' text format, version 0.0.4. Our own writer, because a registry of a library
//! wants to own the cells and to share them under locks, and ours belong to the workers.

use std::fmt::Write as _;

use pgsteer_core::histogram::Counted;

use super::families::{Family, Kind, family};

/// As Prometheus wants it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page that is being written: one family after the other.
#[derive(Debug, Default)]
pub(super) struct Text {
    page: String,
    current: Option<&'static Family>,
}

/// Names and values of labels.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Text {
    /// A family begins. One that is not in the table is left out.
    pub(super) fn begin(&mut self, name: &str) {
        self.current = family(name);
        debug_assert!(self.current.is_some(), "{name} is in no table");
        if let Some(Family {
            name, kind, help, ..
        }) = self.current
        {
            let kind = kind.name();
            let _ = writeln!(self.page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
    }

    /// A value of the family that was begun.
    pub(super) fn put(&mut self, labels: Labels<'_>, value: impl Into<Value>) {
        self.line("", labels, None, value.into());
    }

    /// A family with one value.
    pub(super) fn one(&mut self, name: &str, value: impl Into<Value>) {
        self.begin(name);
        self.put(&[], value);
    }

    /// A histogram of the family that was begun.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, counted: &Counted) {
        let seconds = |us: u64| us as f64 / 1e6;
        let up_to = counted.up_to().map(|(us, total)| (seconds(us), total));
        self.distribution(labels, up_to, counted.count(), seconds(counted.sum_us()));
    }

    /// The same from upper ends in seconds and how many took no longer.
    pub(super) fn distribution(
        &mut self,
        labels: Labels<'_>,
        up_to: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        for (end, total) in up_to {
            self.line("_bucket", labels, Some(&end.to_string()), total.into());
        }
        self.line("_bucket", labels, Some("+Inf"), count.into());
        self.line("_sum", labels, None, sum.into());
        self.line("_count", labels, None, count.into());
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, end: Option<&str>, value: Value) {
        let Some(Family {
            name,
            labels: known,
            kind,
            ..
        }) = self.current
        else {
            return;
        };
        debug_assert!(
            labels.iter().map(|(name, _)| name).eq(known.iter()),
            "{name}"
        );
        debug_assert!(end.is_none() || *kind == Kind::Histogram, "{name}");
        self.page.push_str(name);
        self.page.push_str(suffix);
        let end = end.map(|end| ("le", end));
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(end) {
            let _ = write!(self.page, "{before}{name}=\"");
            escape(&mut self.page, value);
            self.page.push('"');
            before = ',';
        }
        if before == ',' {
            self.page.push('}');
        }
        let _ = match value {
            Value::Whole(value) => writeln!(self.page, " {value}"),
            Value::Number(value) => writeln!(self.page, " {value}"),
        };
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.page
    }
}

/// A value; counts stay whole however great they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Whole(u64),
    Number(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

/// Names of databases are what clients say they are.
fn escape(page: &mut String, value: &str) {
    for c in value.chars().take(LABEL_CHARS_MAX) {
        match c {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            c => page.push(c),
        }
    }
}

/// Longest value of a label; ours. Names in PostgreSQL have 63 bytes.
const LABEL_CHARS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_cannot_break_out() {
        let mut page = String::new();
        escape(&mut page, "a\"} 1\nb\\");
        assert_eq!(page, "a\\\"} 1\\nb\\\\");
        let mut page = String::new();
        escape(&mut page, &"x".repeat(10_000));
        assert_eq!(page.len(), LABEL_CHARS_MAX);
    }
}
