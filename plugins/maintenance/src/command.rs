//! What operators say: `on [read-only] [for TIME] [because TEXT]`, `off`, `status`, `help`.

use pgsteer_plugin_sdk::config::duration_ms;
use pgsteer_plugin_sdk::kv;

use crate::settings::Settings;
use crate::state::{Mode, State};

/// Does it, and answers how things are then.
pub(crate) fn run(settings: &Settings, text: &str) -> Result<String, String> {
    let (order, because) = match text.split_once("because ") {
        Some((order, because)) => (order, because.trim()),
        None => (text, ""),
    };
    let words: Vec<&str> = order.split_whitespace().collect();
    let (mode, time) = match words.as_slice() {
        ["status"] => return Ok(status(settings)),
        ["help"] => return Ok(HELP.to_owned()),
        ["off"] => (Mode::Off, None),
        ["on"] => (Mode::On, None),
        ["on", "read-only"] => (Mode::ReadOnly, None),
        ["on", "for", time] => (Mode::On, Some(*time)),
        ["on", "read-only", "for", time] => (Mode::ReadOnly, Some(*time)),
        _ => return Err(format!("\"{text}\" is no command; {HELP}")),
    };
    let ttl_ms = match time {
        None => kv::FOREVER,
        Some(time) => duration_ms(time)
            .filter(|ms| *ms > 0)
            .ok_or_else(|| format!("\"{time}\" is no time; say 30s, 10min, 2h or 1d"))?,
    };
    State::keep(mode, because, ttl_ms)?;
    let until = time.map_or(String::new(), |time| format!(" (for {time})"));
    Ok(format!("{}{until}", status(settings)))
}

fn status(settings: &Settings) -> String {
    let state = State::now(settings);
    let how = format!("maintenance is {}", state.mode.word());
    let by = if state.is_commanded {
        ""
    } else {
        " (as configured)"
    };
    format!("{}{by}", state.sentence(&how))
}

const HELP: &str = "commands are: on [read-only] [for TIME] [because TEXT], off, status, help";
