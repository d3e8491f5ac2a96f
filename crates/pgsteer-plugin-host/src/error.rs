//! What went wrong with a guest, and whose fault it was.

use std::fmt::Write as _;

use pgsteer_core::policy::{FailureClass, LoadError, PolicyError};
use thiserror::Error;
use wasmtime::{Trap, WasmBacktrace};

use crate::limits::{ANSWER_BYTES_MAX, TEXT_BYTES_MAX};
use crate::state::HostState;

/// The machinery for plugins could not be set up at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// The WebAssembly engine refused its settings on this machine.
    #[error("the WebAssembly engine cannot be set up: {0}")]
    Engine(String),
    /// The thread that keeps guests interruptible could not be started.
    #[error("the thread that interrupts plugins cannot be started")]
    Ticker(#[source] std::io::Error),
}

impl HostError {
    pub(crate) fn engine(error: impl std::fmt::Display) -> Self {
        Self::Engine(format!("{error:#}"))
    }
}

/// What an error of a call means. The store it came from must not be used again.
pub(crate) fn classify(error: &wasmtime::Error, state: &HostState) -> PolicyError {
    let trap = error.downcast_ref::<Trap>();
    let class = match trap {
        Some(Trap::Interrupt) => FailureClass::Deadline,
        _ if state.limiter.refused() => FailureClass::Memory,
        Some(_) => FailureClass::Trap,
        // The engine found it while it moved values between guest and host.
        None => FailureClass::Abi,
    };
    let mut reason = match trap {
        Some(Trap::Interrupt) => "ran longer than its limit".to_owned(),
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        append_frames(&mut reason, backtrace);
    }
    if let (Some(_), Some(line)) = (trap, state.last_error()) {
        reason.push_str("; it last wrote: ");
        reason.push_str(line);
    }
    PolicyError {
        class,
        reason: printable(&reason),
    }
}

/// The answer was well formed and broke a rule.
pub(crate) fn invalid(reason: impl Into<String>) -> PolicyError {
    PolicyError {
        class: FailureClass::Invalid,
        reason: reason.into(),
    }
}

/// Refused at this stage.
pub(crate) fn refused(stage: &'static str, reason: impl Into<String>) -> LoadError {
    LoadError {
        stage,
        reason: reason.into(),
    }
}

/// Refused at this stage because the guest failed.
pub(crate) fn failed(stage: &'static str, error: &PolicyError) -> LoadError {
    let kind = match error.class {
        FailureClass::Trap => "it trapped",
        FailureClass::Deadline => "it was too slow",
        FailureClass::Memory => "it needs more memory than its limit",
        FailureClass::Abi => "a value does not fit the interface",
        FailureClass::Invalid => "its answer breaks a rule",
    };
    refused(stage, format!("{kind}: {}", error.reason))
}

/// A text of a guest as it may go into a log or to a client: no control characters, bounded.
pub(crate) fn printable(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(TEXT_BYTES_MAX));
    for character in text.chars() {
        if kept.len() + MAX_ESCAPE_BYTES > TEXT_BYTES_MAX {
            kept.push('…');
            break;
        }
        if is_harmless(character) {
            kept.push(character);
        } else {
            kept.extend(character.escape_default());
        }
    }
    kept
}

/// An answer to an operator: as [`printable`], with its lines, and of another length.
pub(crate) fn printable_lines(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(ANSWER_BYTES_MAX));
    for character in text.chars() {
        if kept.len() + MAX_ESCAPE_BYTES > ANSWER_BYTES_MAX {
            kept.push('…');
            break;
        }
        match character {
            '\n' | '\t' => kept.push(character),
            '\r' => {}
            _ if is_harmless(character) => kept.push(character),
            _ => kept.extend(character.escape_default()),
        }
    }
    kept
}

/// Neither a control character nor one that changes the direction of the text around it.
pub(crate) fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn append_frames(reason: &mut String, backtrace: &WasmBacktrace) {
    for (position, frame) in backtrace.frames().iter().enumerate() {
        let between = if position == 0 { " in" } else { " <" };
        let result = match frame.func_name() {
            Some(name) => write!(reason, "{between} {name}"),
            None => write!(reason, "{between} function {}", frame.func_index()),
        };
        // Writing to a string does not fail.
        debug_assert!(result.is_ok());
    }
}

/// `\u{10ffff}`
const MAX_ESCAPE_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::{ANSWER_BYTES_MAX, TEXT_BYTES_MAX, printable, printable_lines};

    #[test]
    fn texts_are_bounded_and_escaped() {
        assert_eq!(
            printable("grün\n\u{1b}[31m\u{202e}"),
            "grün\\n\\u{1b}[31m\\u{202e}"
        );
        assert!(printable(&"\0".repeat(10_000)).len() <= TEXT_BYTES_MAX);
        assert!(printable(&"ü".repeat(10_000)).len() <= TEXT_BYTES_MAX);
        assert_eq!(printable_lines("a\tb\r\nc\0\u{1b}"), "a\tb\nc\\u{0}\\u{1b}");
        assert!(printable_lines(&"\0".repeat(100_000)).len() <= ANSWER_BYTES_MAX);
    }
}
