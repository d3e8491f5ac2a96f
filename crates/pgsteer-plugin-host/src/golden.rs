//! Questions of the recent past, asked of a new version and of the one before it.

use pgsteer_core::policy::{
    Answers, FailureClass, Hooks, LoadError, LoadReport, Policy, PolicyError, PolicyFactory, Sample,
};

use crate::error::{failed, printable, refused};

/// A plugin that is to be compared with the version before it.
pub(crate) struct Golden<'a> {
    pub(crate) factory: &'a dyn PolicyFactory,
    pub(crate) hooks: Hooks,
    /// File name without directory and extension.
    pub(crate) file: &'a str,
    pub(crate) samples: &'a [Sample],
    pub(crate) previous: Option<&'a dyn PolicyFactory>,
}

impl Golden<'_> {
    /// Asks all of them. What differs is reported; a failure is a reason to refuse it, and so is
    /// to refuse everything that was not refused before.
    pub(crate) fn ask(&self, report: &mut LoadReport) -> Result<(), LoadError> {
        let hooks = [Hooks::REWRITER, Hooks::ROUTER].into_iter();
        let hooks: Vec<Hooks> = hooks.filter(|hook| self.hooks.has(*hook)).collect();
        if hooks.is_empty() {
            return Ok(());
        }
        let mut old = self.old(&hooks);
        let mut new = New {
            golden: self,
            hooks,
            policy: None,
            chances: CHANCES,
        };
        let (mut accepted_before, mut refused_now) = (0, 0);
        for sample in self.samples {
            let now = new.answers(sample)?;
            report.golden_asked += 1;
            let Some(before) = old.as_mut().and_then(|old| old.answers(sample)) else {
                continue;
            };
            if !before.iter().flatten().any(Answers::refuses) {
                accepted_before += 1;
                refused_now += usize::from(now.iter().any(Answers::refuses));
            }
            note_difference(sample, &before, &now, report);
        }
        if accepted_before >= SAMPLES_MIN && refused_now == accepted_before {
            return Err(refused(
                "golden",
                format!(
                    "it refuses all of {refused_now} real statements that the version before did \
                     not refuse"
                ),
            ));
        }
        Ok(())
    }

    /// The version before, if it answers. Only hooks that both implement can be compared.
    fn old(&self, hooks: &[Hooks]) -> Option<Old<'_>> {
        let (previous, sample) = (self.previous?, self.samples.first()?);
        let answers = |hook| {
            let mut policy = previous.instantiate_for_trial().ok()?;
            Answers::ask(&mut *policy, hook, sample, self.file).ok()
        };
        let both = |hook: &Hooks| answers(*hook).map(|_| *hook);
        Some(Old {
            hooks: hooks.iter().map(both).collect(),
            policy: previous.instantiate_for_trial().ok()?,
            file: self.file,
        })
    }
}

/// The new version: an instance, and how often it may still be too slow.
struct New<'a> {
    golden: &'a Golden<'a>,
    hooks: Vec<Hooks>,
    policy: Option<Box<dyn Policy>>,
    chances: u32,
}

impl New<'_> {
    /// Its answers, one for each hook.
    fn answers(&mut self, sample: &Sample) -> Result<Vec<Answers>, LoadError> {
        loop {
            let error = match self.try_once(sample) {
                Ok(answers) => return Ok(answers),
                Err(error) => error,
            };
            // As while it is tried out: a busy machine may have been too slow, not the plugin.
            self.policy = None;
            self.chances -= 1;
            if error.class != FailureClass::Deadline || self.chances == 0 {
                let mut error = failed("golden", &error);
                error.reason = format!("{} (asked about {})", error.reason, text(sample));
                return Err(error);
            }
        }
    }

    fn try_once(&mut self, sample: &Sample) -> Result<Vec<Answers>, PolicyError> {
        let golden = self.golden;
        let policy = match &mut self.policy {
            Some(policy) => policy,
            None => self.policy.insert(golden.factory.instantiate_for_trial()?),
        };
        let ask = |hook: &Hooks| Answers::ask(&mut **policy, *hook, sample, golden.file);
        self.hooks.iter().map(ask).collect()
    }
}

/// The version before. It is not judged: if it fails, there is nothing to compare with any more.
struct Old<'a> {
    policy: Box<dyn Policy>,
    // As those of the new version; `None` where it does not implement one.
    hooks: Vec<Option<Hooks>>,
    file: &'a str,
}

impl Old<'_> {
    fn answers(&mut self, sample: &Sample) -> Option<Vec<Option<Answers>>> {
        let mut all = Vec::new();
        for hook in &self.hooks {
            let answers = hook.map(|hook| Answers::ask(&mut *self.policy, hook, sample, self.file));
            all.push(answers.transpose().ok()?);
        }
        Some(all)
    }
}

fn note_difference(
    sample: &Sample,
    before: &[Option<Answers>],
    now: &[Answers],
    report: &mut LoadReport,
) {
    let pairs = before.iter().zip(now);
    let different = pairs.filter_map(|(before, now)| {
        let before = before.as_ref().filter(|before| *before != now)?;
        Some(format!("{} -> {}", before.words(), now.words()))
    });
    let different: Vec<String> = different.collect();
    if different.is_empty() {
        return;
    }
    report.golden_different += 1;
    if report.differences.len() < DIFFERENCES_MAX {
        let line = format!("{}: {}", text(sample), different.join("; "));
        report.differences.push(printable(&line));
    }
}

/// The beginning of the text, for people.
fn text(sample: &Sample) -> String {
    if sample.sql.is_empty() {
        return format!("statement {:#x}", sample.fingerprint);
    }
    let mut text: String = sample.sql.chars().take(TEXT_CHARACTERS_MAX).collect();
    if text.len() < sample.sql.len() {
        text.push('…');
    }
    printable(&text)
}

/// Ours: enough to see what kind of difference it is.
const DIFFERENCES_MAX: usize = 5;

/// Ours: from here on it is no accident if all of them are refused.
const SAMPLES_MIN: usize = 20;

/// How often a plugin may be too slow.
const CHANCES: u32 = 3;

const TEXT_CHARACTERS_MAX: usize = 80;
