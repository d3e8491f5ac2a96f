//! Parameters that stand for themselves: what the table says about each is done here.

use std::time::Duration;

use super::items::{Answer, Item, Items};
use super::keys::{Key, Rule};
use super::report::Verdict;
use super::values::{self, Unit};
use super::{Work, mistake};
use crate::config::{Kind, SETTINGS, units};

/// Answers every parameter that no other module has answered.
pub(crate) fn answer(items: &Items, work: &mut Work) {
    for (index, item) in items.iter() {
        let Some((key, _)) = item.key else { continue };
        if item.replaced_by.is_some() || work.answers.contains_key(&index) {
            continue;
        }
        let answer = match key.rule {
            Rule::Switch | Rule::Text | Rule::Word(_) | Rule::Number(_) => router(item, key, work),
            Rule::Duration(setting, unit, zero) => duration(item, setting, unit, zero, work)
                .map(|()| Answer::to(Verdict::CarriedOver, setting, key.note)),
            Rule::Missing(harmless) => Some(missing(item, key, harmless)),
            Rule::Danger(harmless) => Some(danger(item, key, harmless)),
            Rule::Part(whole) => Some(part(items, key, whole)),
            Rule::Special(..) | Rule::NotNeeded => None,
        };
        if let Some(answer) = answer {
            work.answers.insert(index, answer);
        }
    }
}

/// A setting of the router, under the name of today; `None` if the value is wrong.
fn router(item: &Item, key: &Key, work: &mut Work) -> Option<Answer> {
    let text = item.entry.value.as_str();
    if key.rule == Rule::Text && text.is_empty() {
        return Some(Answer::new(Verdict::NotNeeded, "it is empty"));
    }
    let value: Option<toml::Value> = match key.rule {
        Rule::Switch => values::switch(text).map(Into::into),
        Rule::Number(unit) => values::number(text, unit).map(Into::into),
        Rule::Word(words) => word(text, words).map(Into::into),
        _ => Some(text.into()),
    };
    let Some(value) = value else {
        let wanted = match key.rule {
            Rule::Switch => "on or off".to_owned(),
            Rule::Number(unit) => values::wanted(unit).to_owned(),
            Rule::Word(words) => format!("one of {}", words.join(", ")),
            _ => "text".to_owned(),
        };
        wrong(item, &wanted, work);
        return None;
    };
    let setting = format!("router.{}", key.name);
    work.draft.set(&setting, value);
    Some(Answer::to(Verdict::CarriedOver, &setting, key.note))
}

fn word(text: &str, words: &[&'static str]) -> Option<&'static str> {
    let known = words.iter().find(|word| word.eq_ignore_ascii_case(text));
    let switch = || match values::switch(text)? {
        true => words.iter().find(|word| **word == "catalog"),
        false => words.iter().find(|word| ["none", "off"].contains(word)),
    };
    known.or_else(switch).copied()
}

/// Sets a duration, within the limits there are here; `None` if the value is wrong.
pub(crate) fn duration(
    item: &Item,
    setting: &str,
    unit: Unit,
    zero: &str,
    work: &mut Work,
) -> Option<()> {
    let Some(text) = shown(item, setting, unit, zero) else {
        wrong(item, values::wanted(unit), work);
        return None;
    };
    work.draft.set(setting, text);
    Some(())
}

/// Seconds as a duration is written, within the limits of the setting; `None` if it is none.
pub(crate) fn shown_duration(item: &Item, setting: &str, zero: &str) -> Option<String> {
    shown(item, setting, Unit::Seconds, zero)
}

fn shown(item: &Item, setting: &str, unit: Unit, zero: &str) -> Option<String> {
    let read = values::number(&item.entry.value, unit);
    let milliseconds = read.and_then(|number| u64::try_from(number).ok())?;
    Some(match milliseconds {
        0 => zero.to_owned(),
        _ => units::show_duration(limited(setting, Duration::from_millis(milliseconds))),
    })
}

fn limited(setting: &str, value: Duration) -> Duration {
    let found = SETTINGS.iter().find(|known| known.key == setting);
    match found.map(|known| known.kind) {
        Some(Kind::Duration(min, max)) => value.clamp(min, max),
        _ => value,
    }
}

/// Sets a whole number, within the limits there are here.
pub(crate) fn count(setting: &str, value: i64, work: &mut Work) {
    let found = SETTINGS.iter().find(|known| known.key == setting);
    let (min, max) = match found.map(|known| known.kind) {
        Some(Kind::Count(min, max)) => (min, max),
        _ => (0, u64::MAX),
    };
    let limit = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
    work.draft.set(setting, value.clamp(limit(min), limit(max)));
}

/// Notes that a value cannot be understood.
pub(crate) fn wrong(item: &Item, wanted: &str, work: &mut Work) {
    let problem = format!("the value of {} is not {wanted}", item.entry.name);
    let advice = "correct it, or remove the line";
    let line = item.entry.line;
    work.mistakes
        .push(mistake(&item.file, line, problem, advice));
}

/// The value as a whole number; a mistake is noted.
pub(crate) fn whole(item: &Item, work: &mut Work) -> Option<i64> {
    let number = values::number(&item.entry.value, Unit::One);
    if number.is_none() {
        wrong(item, values::wanted(Unit::One), work);
    }
    number
}

fn missing(item: &Item, key: &Key, harmless: &[&str]) -> Answer {
    if asks_for_nothing(&item.entry.value, harmless) {
        return Answer::new(Verdict::NotNeeded, "this value asks for nothing");
    }
    Answer::new(Verdict::NotThere, key.note)
}

fn danger(item: &Item, key: &Key, harmless: &[&str]) -> Answer {
    let answer = missing(item, key, harmless);
    match answer.verdict {
        Verdict::NotThere => answer.warn(),
        _ => answer,
    }
}

fn asks_for_nothing(value: &str, harmless: &[&str]) -> bool {
    let same = |word: &str| {
        let switch = values::switch(word);
        word.eq_ignore_ascii_case(value) || switch.is_some() && switch == values::switch(value)
    };
    harmless.iter().any(|word| same(word))
}

fn part(items: &Items, key: &Key, whole: &str) -> Answer {
    if items.is_on(whole) {
        return Answer::new(Verdict::NotThere, key.note);
    }
    part_of_what_is_off(whole)
}

/// What belongs to a switch that is off.
pub(crate) fn part_of_what_is_off(whole: &str) -> Answer {
    let text = format!("it belongs to {whole}, which is not on");
    Answer::new(Verdict::NotNeeded, text)
}
