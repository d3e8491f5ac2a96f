//! `backend_*` parameters: the nodes.

use std::collections::BTreeSet;

use super::Work;
use super::draft::{self, Node};
use super::items::{Answer, Item, Items};
use super::report::Verdict::{CarriedOver, NotNeeded};

use super::rules::{whole, wrong};
use crate::config::backend_flag as flag;

/// Answers them and gathers the nodes, in the order of their numbers.
pub(crate) fn answer(items: &Items, work: &mut Work) {
    let numbers: BTreeSet<u32> = items
        .all("backend_hostname")
        .filter(|(_, item)| !item.entry.value.is_empty())
        .filter_map(|(_, item)| item.key?.1)
        .collect();
    for (position, number) in numbers.iter().enumerate() {
        node(items, *number, position, work);
    }
    for name in ["backend_hostname", "backend_port", "backend_weight"] {
        let of_none = |item: &Item| {
            item.key
                .and_then(|key| key.1)
                .is_none_or(|n| !numbers.contains(&n))
        };
        for (index, item) in items.all(name).filter(|(_, item)| of_none(item)) {
            let text = format!("there is no backend_hostname{}", suffix(item));
            work.answers.insert(index, Answer::new(NotNeeded, text));
        }
    }
    flags(items, work);
}

fn suffix(item: &Item) -> String {
    let number = item.key.and_then(|(_, number)| number);
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn node(items: &Items, number: u32, position: usize, work: &mut Work) {
    let Some((index, item)) = items.of_node("backend_hostname", number) else {
        return;
    };
    let host = item.entry.value.clone();
    let place = format!("nodes[{position}]");
    let answer = Answer::new(CarriedOver, format!("{place}.host = {host:?}"));
    let is_moved = usize::try_from(number).is_ok_and(|number| number != position);
    work.answers.insert(
        index,
        match is_moved {
            true => Answer {
                text: format!("{}; numbers in redirect lists must follow", answer.text),
                ..answer.warn()
            },
            false => answer,
        },
    );
    let port = items
        .of_node("backend_port", number)
        .and_then(|(index, item)| {
            let port = whole(item, work)?;
            if !(1..=65_535).contains(&port) {
                wrong(item, "a port, 1 to 65535", work);
                return None;
            }
            let text = format!("{place}.port = {port}");
            work.answers.insert(index, Answer::new(CarriedOver, text));
            Some(port)
        });
    let weight = match items.of_node("backend_weight", number) {
        Some((index, item)) => weight(index, item, &place, work),
        None => {
            let text = format!(
                "backend_weight{number} is not given, which is 0 in Pgpool-II: {host} gets no balanced reads"
            );
            work.report.notes.push(text);
            0.0
        }
    };
    work.draft.nodes.push(Node {
        number,
        host,
        port,
        weight,
        more: Vec::new(),
    });
}

fn weight(index: usize, item: &Item, place: &str, work: &mut Work) -> f64 {
    let read = item.entry.value.trim().parse::<f64>().ok();
    let Some(weight) = read.filter(|weight| weight.is_finite() && *weight >= 0.0) else {
        wrong(item, "a number that is not negative", work);
        return 0.0;
    };
    let text = format!("{place}.weight = {}", draft::weight(weight));
    work.answers.insert(index, Answer::new(CarriedOver, text));
    weight
}

fn flags(items: &Items, work: &mut Work) {
    for name in ["backend_flag", "backend_data_directory"] {
        for (index, item) in items.all(name) {
            let Some((_, Some(number))) = item.key else {
                continue;
            };
            let text = item.entry.value.trim();
            let (key, value) = match name {
                "backend_flag" => ("flag", flag(text)),
                _ => ("data_dir", text.to_owned()),
            };
            if value.is_empty() {
                work.answers
                    .insert(index, Answer::new(NotNeeded, "it is empty"));
                continue;
            }
            if key == "flag" && !FLAGS.contains(&value.as_str()) {
                wrong(item, &format!("made of {}", FLAGS.join(", ")), work);
                continue;
            }
            let shown = format!("{value:?}");
            let answer = match work.draft.set_of_node(number, key, value) {
                Some(place) => Answer::new(CarriedOver, format!("{place} = {shown}")),
                None => Answer::new(NotNeeded, format!("there is no backend_hostname{number}")),
            };
            work.answers.insert(index, answer);
        }
    }
}

const FLAGS: [&str; 3] = [
    "ALLOW_TO_FAILOVER",
    "DISALLOW_TO_FAILOVER",
    "ALWAYS_PRIMARY",
];
