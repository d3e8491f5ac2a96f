//! What a client is told of its parameters. What it said in its startup packet is to it what RESET
//! goes back to; servers, who have many clients, were told later and go back to values of their own.

use pgsteer_sql::{Analysis, Effect};

use crate::journal::is_reset;

/// A parameter of the startup packet that servers report.
#[derive(Debug)]
struct Report {
    name: Box<str>,
    /// The value of the startup packet, as servers print it.
    startup: Box<str>,
    /// The value the client was told last.
    current: Box<str>,
    /// What runs takes it back to the value of the startup packet.
    returns: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    all: Vec<Report>,
}

/// What becomes of a report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// The client is told.
    Told,
    /// It knows.
    Known,
    /// It is told this value.
    Startup(&'a str),
}

impl Reports {
    /// The client was told this value at its login, and asked for it in its startup packet.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.all.push(Report {
            name: name.into(),
            startup: value.into(),
            current: value.into(),
            returns: false,
        });
    }

    /// Whether reports must be looked at.
    pub(crate) fn matter(&self) -> bool {
        !self.all.is_empty()
    }

    /// A text runs whose reports come at its end.
    pub(crate) fn begin(&mut self, analysis: &Analysis) {
        if analysis.effects.is_empty() {
            return;
        }
        for report in &mut self.all {
            let returns = returns_to_startup(&analysis.effects, &report.name);
            report.returns = returns.unwrap_or(report.returns);
        }
    }

    /// It has ended.
    pub(crate) fn end(&mut self) {
        for report in &mut self.all {
            report.returns = false;
        }
    }

    /// A server reports a value.
    pub(crate) fn heard(&mut self, name: &str, value: &str) -> Heard<'_> {
        let Some(report) = self.all.iter_mut().find(|r| *r.name == *name) else {
            return Heard::Told;
        };
        if !report.returns {
            report.current = value.into();
            return Heard::Told;
        }
        if report.current == report.startup {
            return Heard::Known;
        }
        report.current.clone_from(&report.startup);
        Heard::Startup(&report.startup)
    }
}

/// Whether these leave a parameter at what it is after RESET; none if they do not touch it.
pub(crate) fn returns_to_startup(effects: &[Effect], name: &str) -> Option<bool> {
    effects.iter().fold(None, |known, effect| match effect {
        Effect::ResetAll | Effect::DiscardAll => Some(true),
        Effect::Set {
            name: set, text, ..
        } if set.eq_ignore_ascii_case(name) => Some(is_reset(text)),
        // What came before is undone.
        Effect::Rollback { .. } | Effect::RollbackTo(_) => None,
        _ => known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_goes_back_to_the_startup_packet() {
        let mut reports = Reports::default();
        reports.add("application_name", "mine");
        let reset = pgsteer_sql::analyze(b"RESET ALL");
        reports.begin(&reset);
        assert_eq!(reports.heard("application_name", ""), Heard::Known);
        assert_eq!(reports.heard("TimeZone", "UTC"), Heard::Told);
        reports.begin(&pgsteer_sql::analyze(b"SET application_name = 'other'"));
        assert_eq!(reports.heard("application_name", "other"), Heard::Told);
        reports.begin(&pgsteer_sql::analyze(b"SET application_name TO DEFAULT"));
        let heard = reports.heard("application_name", "");
        assert_eq!(heard, Heard::Startup("mine"));
        reports.end();
        assert_eq!(reports.heard("application_name", "x"), Heard::Told);
    }

    #[test]
    fn the_last_of_several_statements_says_what_a_parameter_is() {
        let returns = |text: &str| {
            let analysis = pgsteer_sql::analyze(text.as_bytes());
            returns_to_startup(&analysis.effects, "application_name")
        };
        assert_eq!(returns("SELECT 1; SET work_mem = '1MB'"), None);
        assert_eq!(returns("RESET ALL; SET LOCAL ROLE alice"), Some(true));
        assert_eq!(
            returns("RESET ALL; SET application_name = 'x'"),
            Some(false)
        );
        assert_eq!(
            returns("SET application_name = 'x'; RESET application_name"),
            Some(true)
        );
        assert_eq!(returns("RESET ALL; ROLLBACK"), None);
    }
}
