//! `sr_check_*` and `health_check_*`: `[probe]`, and what is said for one node alone.

use super::Work;
use super::items::{Answer, Item, Items};
use super::report::Verdict::{CarriedOver, NotNeeded, OtherMeaning};
use super::rules::{count, duration, shown_duration, whole, wrong};
use super::values::{self, Unit};
use crate::config::userlist::{Stored, pgpool as stored};

/// Answers these parameters. Users must be known before.
pub(crate) fn answer(items: &Items, work: &mut Work) {
    login(items, work);
    text(items, "database", work);
    interval(items, work);
    timeout(items, work);
    retries(items, work);
    delay(items, work);
    for number in work
        .draft
        .nodes
        .iter()
        .map(|n| n.number)
        .collect::<Vec<_>>()
    {
        of_node(items, number, work);
    }
}

const FAMILIES: [&str; 2] = ["sr_check", "health_check"];

/// Which of the two families has this parameter, and where.
fn first<'a>(items: &'a Items, name: &str) -> Option<(usize, &'a Item)> {
    let filled = |family: &&&str| items.text(&format!("{family}_{name}")).is_some();
    let family = FAMILIES.iter().find(filled)?;
    items.get(&format!("{family}_{name}"))
}

/// Answers all of this name; the one at `used` has gone to the setting.
fn settle(items: &Items, name: &str, used: Option<usize>, answer: &Answer, work: &mut Work) {
    for family in FAMILIES {
        for (index, item) in items.all(&format!("{family}_{name}")) {
            let said = if used == Some(index) {
                answer.clone()
            } else if item.entry.value.is_empty() {
                Answer::new(NotNeeded, "it is empty")
            } else {
                Answer::new(OtherMeaning, "another parameter comes first")
            };
            work.answers.insert(index, said);
        }
    }
}

fn text(items: &Items, name: &str, work: &mut Work) {
    let setting = format!("probe.{name}");
    let used = first(items, name).map(|(index, item)| {
        work.draft.set(&setting, item.entry.value.as_str());
        index
    });
    settle(
        items,
        name,
        used,
        &Answer::to(CarriedOver, &setting, ""),
        work,
    );
}

fn login(items: &Items, work: &mut Work) {
    text(items, "user", work);
    let user = first(items, "user").map_or("postgres", |(_, item)| item.entry.value.as_str());
    if first(items, "user").is_none() {
        work.report.notes.push(
            "neither sr_check_user nor health_check_user is given: `probe.user` is postgres"
                .to_owned(),
        );
    }
    let given = first(items, "password").map(|(index, item)| (index, stored(&item.entry.value)));
    let is_known = work.draft.users.iter().any(|(name, _)| name == user);
    let mut answer = Answer::new(CarriedOver, "probe.password");
    match &given {
        Some((_, Stored::Plain(password))) => work.draft.set("probe.password", password.as_str()),
        Some((_, hidden)) if is_known => {
            let how = hidden.how();
            let text = format!("it is {how}; the password of [[users]] {user} is used");
            answer = Answer::new(OtherMeaning, text);
        }
        Some((_, hidden)) => {
            let how = hidden.how();
            answer =
                Answer::new(OtherMeaning, format!("it is {how}: fill in probe.password")).warn();
            no_password(user, work);
        }
        None if is_known => {}
        None => no_password(user, work),
    }
    settle(
        items,
        "password",
        given.map(|(index, _)| index),
        &answer,
        work,
    );
}

/// An empty password is what Pgpool-II would send, too: it does where the nodes trust the proxy.
fn no_password(user: &str, work: &mut Work) {
    work.draft.set("probe.password", "");
    work.report.to_do.push(format!(
        "fill in probe.password: that of {user} is not known, and an empty one only does where the nodes ask for none"
    ));
}

fn interval(items: &Items, work: &mut Work) {
    const INTERVAL: &str = "probe.interval";
    let mut shortest: Option<(i64, usize, &Item)> = None;
    for family in FAMILIES {
        let Some((index, item)) = items.get(&format!("{family}_period")) else {
            continue;
        };
        match values::number(&item.entry.value, Unit::Seconds) {
            Some(0) => {}
            Some(time) if time > 0 => {
                if shortest.is_none_or(|(other, ..)| time < other) {
                    shortest = Some((time, index, item));
                }
            }
            _ => {
                wrong(item, values::wanted(Unit::Seconds), work);
            }
        }
    }
    let used = shortest.and_then(|(_, index, item)| {
        duration(item, INTERVAL, Unit::Seconds, "1s", work).map(|()| index)
    });
    for family in FAMILIES {
        for (index, item) in items.all(&format!("{family}_period")) {
            let answer = if used == Some(index) {
                Answer::to(
                    CarriedOver,
                    INTERVAL,
                    "the default is 1s, which finds a failure sooner",
                )
            } else if values::number(&item.entry.value, Unit::Seconds) == Some(0) {
                Answer::new(OtherMeaning, "nodes are always probed: `probe.interval`")
            } else {
                Answer::to(OtherMeaning, INTERVAL, "the shorter of the two")
            };
            work.answers.insert(index, answer);
        }
    }
}

fn timeout(items: &Items, work: &mut Work) {
    const TIMEOUT: &str = "probe.timeout";
    let Some((used, item)) = items.get("health_check_timeout") else {
        return;
    };
    if is_off(items, "timeout", work) {
        return;
    }
    if duration(item, TIMEOUT, Unit::Seconds, "20s", work).is_some() {
        let text = "the default is 2s, which finds a node that hangs sooner";
        let answer = Answer::to(CarriedOver, TIMEOUT, text);
        settle(items, "timeout", Some(used), &answer, work);
    }
}

fn retries(items: &Items, work: &mut Work) {
    const FAILURES: &str = "probe.failures_max";
    let Some((used, item)) = items.get("health_check_max_retries") else {
        return;
    };
    if is_off(items, "max_retries", work) {
        return;
    }
    if let Some(retries) = whole(item, work) {
        count(FAILURES, retries.saturating_add(1), work);
        let answer = Answer::to(
            OtherMeaning,
            FAILURES,
            "failures in a row, the first included",
        );
        settle(items, "max_retries", Some(used), &answer, work);
    }
}

/// Whether Pgpool-II checks no node, so that these values were never in use and would only make
/// the probes here stricter or lazier than their defaults.
fn is_off(items: &Items, name: &str, work: &mut Work) -> bool {
    let is_check = |item: &Item| values::number(&item.entry.value, Unit::Seconds) != Some(0);
    let is_off = !items
        .all("health_check_period")
        .any(|(_, item)| is_check(item));
    if is_off {
        for (index, _) in items.all(&format!("health_check_{name}")) {
            let text = "health_check_period is not set or 0, so Pgpool-II does not use it either";
            work.answers.insert(index, Answer::new(NotNeeded, text));
        }
    }
    is_off
}

fn delay(items: &Items, work: &mut Work) {
    const DELAY: &str = "probe.retry_delay";
    let Some((used, item)) = items.get("health_check_retry_delay") else {
        return;
    };
    if is_off(items, "retry_delay", work) {
        return;
    }
    if duration(item, DELAY, Unit::Seconds, "10ms", work).is_some() {
        let answer = Answer::to(CarriedOver, DELAY, "");
        settle(items, "retry_delay", Some(used), &answer, work);
    }
}

/// Parameters with the number of a node count for it alone, also where the lowest of them gave the
/// value for all.
fn of_node(items: &Items, number: u32, work: &mut Work) {
    for name in ["user", "database", "password"] {
        let Some((index, item)) = items.of_node(&format!("health_check_{name}"), number) else {
            continue;
        };
        let text = item.entry.value.as_str();
        let value = match stored(text) {
            _ if text.is_empty() => continue,
            Stored::Plain(password) if name == "password" => password,
            hidden if name == "password" => {
                let how = hidden.how();
                let text = format!("it is {how}: fill in probe_password of the node");
                work.answers
                    .insert(index, Answer::new(OtherMeaning, text).warn());
                continue;
            }
            _ => text.to_owned(),
        };
        let place = work
            .draft
            .set_of_node(number, &format!("probe_{name}"), value);
        let text = place.unwrap_or_default();
        work.answers.insert(index, Answer::new(CarriedOver, text));
    }
    let period = items.of_node("health_check_period", number);
    // What Pgpool-II does not check, it does not check in another way either.
    let own_off = period.map(|(_, item)| is_zero(item));
    let off = own_off.unwrap_or_else(|| {
        items
            .get("health_check_period")
            .is_none_or(|(_, i)| is_zero(i))
    });
    if off {
        return;
    }
    for (name, key, zero) in [
        ("period", "interval", "1s"),
        ("timeout", "timeout", "20s"),
        ("retry_delay", "retry_delay", "10ms"),
    ] {
        let Some((index, item)) = items.of_node(&format!("health_check_{name}"), number) else {
            continue;
        };
        let Some(text) = shown_duration(item, &format!("nodes[].probe_{key}"), zero) else {
            wrong(item, values::wanted(Unit::Seconds), work);
            continue;
        };
        let place = work
            .draft
            .set_of_node(number, &format!("probe_{key}"), text.as_str());
        let text = format!("{} = \"{text}\"", place.unwrap_or_default());
        work.answers.insert(index, Answer::new(CarriedOver, text));
    }
    if let Some((index, item)) = items.of_node("health_check_max_retries", number)
        && let Some(retries) = whole(item, work)
    {
        let failures = retries.saturating_add(1).clamp(1, 1000);
        let place = work
            .draft
            .set_of_node(number, "probe_failures_max", failures);
        let text = format!(
            "{} = {failures}, the first included",
            place.unwrap_or_default()
        );
        work.answers.insert(index, Answer::new(OtherMeaning, text));
    }
}

fn is_zero(item: &Item) -> bool {
    values::number(&item.entry.value, Unit::Seconds) == Some(0)
}
