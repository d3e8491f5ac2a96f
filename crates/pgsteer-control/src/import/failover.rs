//! What happens when a node fails: commands, switches, and who promotes.

use super::Work;
use super::items::{Answer, Items};
use super::report::Verdict::{CarriedOver, NotNeeded, OtherMeaning};
use super::rules::{duration, wrong};
use super::values::{self, Unit};

/// Answers these parameters.
pub(crate) fn answer(items: &Items, work: &mut Work) {
    for name in [
        "failover_command",
        "failback_command",
        "follow_primary_command",
    ] {
        command(items, name, work);
    }
    switch(
        items,
        "failover_on_backend_error",
        "failover.on_backend_error",
        work,
    );
    switch(
        items,
        "failover_on_backend_shutdown",
        "failover.on_backend_shutdown",
        work,
    );
    switch(items, "auto_failback", "failover_rules.auto_failback", work);
    switch(
        items,
        "detach_false_primary",
        "failover_rules.detach_false_primary",
        work,
    );
    interval(items, work);
    search(items, work);
    work.draft.set("failover.promote", false);
    work.report.notes.push(
        "`failover.promote` is false: Pgpool-II promotes no replica itself, so something else may \
         (failover_command, Patroni, repmgr). Set it to true if nothing else does"
            .to_owned(),
    );
}

/// A shell command may hold passwords, so the report does not show it.
fn command(items: &Items, name: &str, work: &mut Work) {
    let Some((index, item)) = items.get(name) else {
        return;
    };
    let text = item.entry.value.as_str();
    let answer = if text.trim().is_empty() {
        Answer::new(NotNeeded, "it is empty")
    } else {
        let setting = format!("failover.{name}");
        work.draft.set(&setting, text);
        let note = match name {
            "follow_primary_command" => "; a node that SQL made follow already needs none",
            _ => "; placeholders are as in Pgpool-II, and nothing waits for it",
        };
        Answer::new(CarriedOver, format!("{setting}{note}"))
    };
    work.answers.insert(index, answer);
}

fn switch(items: &Items, name: &str, setting: &str, work: &mut Work) {
    let Some((index, item)) = items.get(name) else {
        return;
    };
    let Some(on) = values::switch(&item.entry.value) else {
        return wrong(item, "on or off", work);
    };
    work.draft.set(setting, on);
    let answer = match name {
        "failover_on_backend_error" | "failover_on_backend_shutdown" => Answer::to(
            OtherMeaning,
            setting,
            "has the node probed at once; probes alone take it out",
        ),
        _ => Answer::to(CarriedOver, setting, ""),
    };
    work.answers.insert(index, answer);
}

fn interval(items: &Items, work: &mut Work) {
    const SETTING: &str = "failover_rules.auto_failback_interval";
    let Some((index, item)) = items.get("auto_failback_interval") else {
        return;
    };
    let milliseconds = values::number(&item.entry.value, Unit::Seconds);
    let Some(milliseconds) = milliseconds.filter(|n| *n >= 0) else {
        return wrong(item, values::wanted(Unit::Seconds), work);
    };
    work.draft.set(SETTING, milliseconds / 1000);
    work.answers
        .insert(index, Answer::to(CarriedOver, SETTING, "in seconds"));
}

fn search(items: &Items, work: &mut Work) {
    const SETTING: &str = "failover.promote_timeout";
    let Some((index, item)) = items.get("search_primary_node_timeout") else {
        return;
    };
    if duration(item, SETTING, Unit::Seconds, "1d", work).is_some() {
        let text = "a primary is looked for all the time; this limits a promotion";
        work.answers
            .insert(index, Answer::to(OtherMeaning, SETTING, text));
    }
}
