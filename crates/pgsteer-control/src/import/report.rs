//! What became of every line of the input, for the person who imports it. Holds no secrets.

use std::fmt;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A setting here means the same and got the value.
    CarriedOver,
    /// Something here is near to it, but not the same.
    OtherMeaning,
    /// Nothing is lost without it.
    NotNeeded,
    /// pgsteer cannot do this yet.
    NotThere,
    /// No Pgpool-II from 4.3 to 4.8 knows it.
    Unknown,
}

impl Verdict {
    /// The verdict in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::CarriedOver => "carried over",
            Self::OtherMeaning => "has another meaning here",
            Self::NotNeeded => "not needed",
            Self::NotThere => "not there yet",
            Self::Unknown => "unknown",
        }
    }
}

/// What became of one line of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// File and line, `pgpool.conf:12`.
    pub place: String,
    /// The parameter, or what stands for it in the other files.
    pub subject: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The setting and its value, the difference, or the reason.
    pub text: String,
    /// Whether something that protected data is lost, or the proxy will not work without action.
    pub is_warning: bool,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.is_warning { "WARNING: " } else { "" };
        // Names and values come from the input; a terminal is no place for their control characters.
        let clean = |text: &str| text.replace(char::is_control, " ");
        let (subject, verdict) = (clean(&self.subject), self.verdict.words());
        write!(f, "{}: {warning}{subject}: {verdict}", self.place)?;
        if !self.text.is_empty() {
            write!(f, ": {}", clean(&self.text))?;
        }
        Ok(())
    }
}

/// Everything there is to say about an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One for every line of the input that says something, in its order.
    pub lines: Vec<Line>,
    /// What a person must see to before the proxy can do its work.
    pub to_do: Vec<String>,
    /// What is good to know.
    pub notes: Vec<String>,
}

impl Report {
    /// Number of lines with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        let with_it = |line: &&Line| line.verdict == verdict;
        self.lines.iter().filter(with_it).count()
    }

    /// Number of warnings.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.lines.iter().filter(|line| line.is_warning).count()
    }
}

impl fmt::Display for Report {
    /// Warnings come after the other lines, where they are seen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for is_warning in [false, true] {
            for line in self.lines.iter().filter(|l| l.is_warning == is_warning) {
                writeln!(f, "{line}")?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for to_do in &self.to_do {
            writeln!(f, "to do: {to_do}")?;
        }
        let counts = [
            Verdict::CarriedOver,
            Verdict::OtherMeaning,
            Verdict::NotNeeded,
            Verdict::NotThere,
            Verdict::Unknown,
        ];
        for verdict in counts {
            write!(f, "{} {}, ", self.count(verdict), verdict.words())?;
        }
        write!(f, "{} warnings", self.warnings())
    }
}
