//! All parameters that were found, in order: which is in force, and what became of each.

use std::collections::BTreeMap;

use super::conf::{self, Entry};
use super::draft::Draft;
use super::keys::{self, Key, Rule};
use super::report::{Line, Verdict};
use super::{FileKind, InputFile, mistake};
use crate::config::ConfigError;

/// One parameter as it stands in a file.
pub(crate) struct Item {
    pub(crate) file: String,
    pub(crate) entry: Entry,
    pub(crate) key: Option<(&'static Key, Option<u32>)>,
    /// Place of a later one that counts instead.
    pub(crate) replaced_by: Option<String>,
}

impl Item {
    fn place(&self) -> String {
        format!("{}:{}", self.file, self.entry.line)
    }

    /// Whether it is the parameter of that name and in force.
    fn is(&self, name: &str) -> bool {
        self.replaced_by.is_none() && self.key.is_some_and(|(key, _)| key.name == name)
    }
}

/// What became of a parameter.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) text: String,
    pub(crate) is_warning: bool,
    /// Setting whose value, as it is written in the end, goes into the report.
    pub(crate) setting: Option<String>,
}

impl Answer {
    /// An answer without a setting.
    pub(crate) fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            verdict,
            text: text.into(),
            is_warning: false,
            setting: None,
        }
    }

    /// The value went to this setting, which is no secret.
    pub(crate) fn to(verdict: Verdict, setting: &str, text: impl Into<String>) -> Self {
        Self {
            setting: Some(setting.to_owned()),
            ..Self::new(verdict, text)
        }
    }

    /// The same as a warning.
    pub(crate) fn warn(self) -> Self {
        Self {
            is_warning: true,
            ..self
        }
    }
}

/// By position of the parameter.
pub(crate) type Answers = BTreeMap<usize, Answer>;

/// The parameters of all files.
pub(crate) struct Items(Vec<Item>);

impl Items {
    /// Reads the files and notes every line that cannot be read.
    pub(crate) fn read(files: &[InputFile], mistakes: &mut Vec<ConfigError>) -> Self {
        let mut items = Vec::new();
        for file in files.iter().filter(|file| file.kind == FileKind::Conf) {
            let (entries, problems) = conf::parse(&file.text);
            for (line, problem) in problems {
                let advice = "write `key = 'value'`";
                mistakes.push(mistake(&file.name, line, problem, advice));
            }
            items.extend(entries.into_iter().map(|entry| Item {
                file: file.name.clone(),
                key: keys::known(&entry.name),
                entry,
                replaced_by: None,
            }));
        }
        mark_replaced(&mut items);
        Self(items)
    }

    /// Everything, with positions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Item)> {
        self.0.iter().enumerate()
    }

    /// The value in force for all nodes; without it that of the lowest number.
    pub(crate) fn get(&self, name: &str) -> Option<(usize, &Item)> {
        let found = self.iter().filter(|(_, item)| item.is(name));
        found.min_by_key(|(_, item)| item.key.and_then(|(_, number)| number))
    }

    /// The value of [`Items::get`] unless it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let value = self.get(name).map(|(_, item)| item.entry.value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// The value for this node.
    pub(crate) fn of_node(&self, name: &str, node: u32) -> Option<(usize, &Item)> {
        let of_it = |item: &Item| item.key.is_some_and(|(_, number)| number == Some(node));
        self.iter().find(|(_, item)| item.is(name) && of_it(item))
    }

    /// Positions of all in force with this name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = (usize, &Item)> {
        self.iter().filter(move |(_, item)| item.is(name))
    }

    /// Whether this switch is on, or this text is there.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|text| super::values::switch(text) != Some(false))
    }

    /// The report, one line for each.
    pub(crate) fn lines(&self, answers: &Answers, draft: &Draft) -> Vec<Line> {
        let line = |(index, item): (usize, &Item)| {
            let answer = answers
                .get(&index)
                .cloned()
                .unwrap_or_else(|| fallback(item));
            let value = answer.setting.as_deref().and_then(|setting| {
                let value = draft.shown(setting)?;
                Some(format!("{setting} = {value}"))
            });
            let pieces = [value.unwrap_or_default(), answer.text];
            let pieces: Vec<_> = pieces.into_iter().filter(|text| !text.is_empty()).collect();
            Line {
                place: item.place(),
                subject: item.entry.name.clone(),
                verdict: answer.verdict,
                text: pieces.join("; "),
                is_warning: answer.is_warning,
            }
        };
        self.iter().map(line).collect()
    }
}

/// What is said where nothing else was: the table's own words.
fn fallback(item: &Item) -> Answer {
    if let Some(place) = &item.replaced_by {
        let text = format!("{place} comes later and counts");
        return Answer::new(Verdict::NotNeeded, text);
    }
    if conf::is_include(&item.entry.name) {
        let text = "the file it names was not read: give it to the import as well, with --conf";
        return Answer::new(Verdict::NotThere, text).warn();
    }
    let Some((key, _)) = item.key else {
        let text = "no Pgpool-II from 4.3 to 4.8 has this parameter; look for a typing error";
        return Answer::new(Verdict::Unknown, text);
    };
    match key.rule {
        Rule::Special(..) => Answer::new(Verdict::NotNeeded, "it has no effect in this file"),
        _ => Answer::new(key.verdict(), key.note),
    }
}

fn mark_replaced(items: &mut [Item]) {
    let mut last: BTreeMap<(&str, Option<u32>), String> = BTreeMap::new();
    for item in items.iter_mut().rev() {
        let Some((key, number)) = item.key else {
            continue;
        };
        let place = item.place();
        match last.get(&(key.name, number)) {
            Some(later) => item.replaced_by = Some(later.clone()),
            None => {
                last.insert((key.name, number), place);
            }
        }
    }
}
