//! What operators say.

use pgsteer_plugin_sdk::config::duration_ms;
use pgsteer_plugin_sdk::kv;

use crate::hits;
use crate::orders::{self, Order};
use crate::rule::{self, Action};
use crate::settings::Settings;

/// Does it, and answers what is shown.
pub(crate) fn run(settings: &Settings, text: &str) -> Result<String, String> {
    let (order, because) = match text.split_once("because ") {
        Some((order, because)) => (order, because.trim()),
        None => (text, ""),
    };
    let words: Vec<&str> = order.split_whitespace().collect();
    match words.as_slice() {
        ["list"] => Ok(list(settings)),
        ["help"] => Ok(HELP.to_owned()),
        ["clear"] => {
            let all = orders::all();
            all.iter().for_each(|id| forget(*id));
            Ok(format!("{} orders are taken back", all.len()))
        }
        ["unblock" | "forget", id] => {
            let id = known(id)?;
            let was_there = orders::about(id).is_some();
            forget(id);
            match was_there {
                true => Ok(format!("statement {id} runs as usual")),
                false => Err(format!("nothing was said about statement {id}; see list")),
            }
        }
        [word @ ("block" | "throttle" | "reroute"), id, rest @ ..] => {
            give(settings, word, known(id)?, rest, because)
        }
        _ => Err(format!("\"{text}\" is no command\n{HELP}")),
    }
}

fn give(
    settings: &Settings,
    word: &str,
    id: u64,
    rest: &[&str],
    because: &str,
) -> Result<String, String> {
    let (rest, time) = match rest {
        [rest @ .., "for", time] => (rest, *time),
        rest => (rest, ""),
    };
    let ttl_ms = match time {
        "" => kv::FOREVER,
        time => duration_ms(time)
            .filter(|ms| *ms > 0)
            .ok_or_else(|| format!("\"{time}\" is no time; say 30s, 10min, 2h or 1d"))?,
    };
    let words: Vec<&str> = std::iter::once(word).chain(rest.iter().copied()).collect();
    let action = Action::parse(&words);
    let action =
        action.ok_or_else(|| format!("\"{}\" is not understood\n{HELP}", words.join(" ")))?;
    let order = Order {
        action,
        time: time.to_owned(),
        because: because.to_owned(),
    };
    orders::keep(id, &order, ttl_ms)?;
    let only = if settings.log_only {
        " (log_only: nothing happens to it)"
    } else {
        ""
    };
    Ok(format!(
        "{}{only}",
        line(&id.to_string(), &order, hits::of(&orders::name(id)))
    ))
}

fn forget(id: u64) {
    orders::forget(id);
    hits::forget(&orders::name(id));
}

fn known(id: &str) -> Result<u64, String> {
    let read = orders::fingerprint(id);
    read.ok_or_else(|| {
        format!("\"{id}\" is no fingerprint: a number, or 0x and hexadecimal digits")
    })
}

fn list(settings: &Settings) -> String {
    let said = orders::all().into_iter().filter_map(|id| {
        let order = orders::about(id)?;
        Some(line(&id.to_string(), &order, hits::of(&orders::name(id))))
    });
    let configured = settings.rules.iter().enumerate().map(|(position, rule)| {
        let name = rule::name(position);
        let order = Order {
            action: rule.action,
            time: String::new(),
            because: rule.because.clone(),
        };
        line(&name, &order, hits::of(&name))
    });
    let lines: Vec<String> = said.chain(configured).collect();
    match (lines.is_empty(), settings.log_only) {
        (true, _) => "nothing is blocked, throttled or rerouted".to_owned(),
        (false, true) => format!("log_only: nothing happens to them\n{}", lines.join("\n")),
        (false, false) => lines.join("\n"),
    }
}

fn line(name: &str, order: &Order, hits: u64) -> String {
    let time = match order.time.as_str() {
        "" => String::new(),
        time => format!(" for {time}"),
    };
    let because = match order.because.as_str() {
        "" => String::new(),
        because => format!(" because {because}"),
    };
    let hits = match hits {
        0 => "not seen yet".to_owned(),
        hits => format!("seen at least {hits} times"),
    };
    format!("{name}: {}{time}{because} ({hits})", order.action)
}

const HELP: &str = "\
block FINGERPRINT [for TIME] [because TEXT]
throttle FINGERPRINT to 5/s|90/min [for TIME] [because TEXT]
reroute FINGERPRINT to primary|replicas|node NUMBER [for TIME] [because TEXT]
unblock FINGERPRINT, or forget: takes any of these back
clear: takes all of them back
list: these and the rules of the configuration
TIME is 30s, 10min, 2h or 1d";
