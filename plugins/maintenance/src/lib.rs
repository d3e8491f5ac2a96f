//! A switch for operators: no new sessions and no new transactions, or no writes, while somebody
//! works on the servers.
//!
//! `settings` reads the configuration, `state` keeps the switch where all workers see it, `command`
//! is what operators say, `writes` tells which statements a read-only time lets through.

use pgsteer_plugin_sdk::{
    Admitted, Gatekeeper, Manifest, Opening, Operator, Plugin, Rejection, Routed, Router, Session,
    Statement, Traits, export, manifest,
};

mod command;
mod settings;
mod state;
mod writes;

use settings::Settings;
use state::{Mode, State};

/// The plugin.
pub struct Maintenance {
    settings: Settings,
}

impl Plugin for Maintenance {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        Ok(Self {
            settings: Settings::from_json(json)?,
        })
    }
}

impl Gatekeeper for Maintenance {
    fn admit(&mut self, session: &Session) -> Admitted {
        let state = State::now(&self.settings);
        if state.mode == Mode::On && !self.is_exempt(session) {
            return closed(&state).into();
        }
        Admitted::admit()
    }
}

impl Router for Maintenance {
    fn open(&mut self, session: &Session) -> Opening {
        Opening {
            class: if self.is_exempt(session) {
                EXEMPT
            } else {
                OTHERS
            },
            candidates: Vec::new(),
        }
    }

    fn decide(&mut self, statement: &Statement) -> Routed {
        if statement.session_class == EXEMPT {
            return Routed::abstain().reusable();
        }
        let state = State::now(&self.settings);
        let refused = match state.mode {
            Mode::Off => None,
            // What is under way may come to its end.
            Mode::On if statement.traits.contains(Traits::IN_TRANSACTION) => None,
            Mode::On => Some(closed(&state)),
            Mode::ReadOnly => writes::may_write(&self.settings, statement).then(|| {
                let message = state.sentence("no writes during maintenance");
                Rejection::read_only(message).hint(HINT)
            }),
        };
        let answer = refused.map_or_else(Routed::abstain, Routed::reject);
        answer.because(state.mode.code()).reusable()
    }

    fn explain(&self, reason: u32) -> String {
        let modes = [Mode::Off, Mode::On, Mode::ReadOnly];
        let mode = modes.into_iter().find(|mode| mode.code() == reason);
        mode.map_or(String::new(), |mode| {
            format!("maintenance is {}", mode.word())
        })
    }
}

impl Operator for Maintenance {
    fn command(&mut self, text: &str) -> Result<String, String> {
        command::run(&self.settings, text)
    }
}

impl Maintenance {
    fn is_exempt(&self, session: &Session) -> bool {
        self.settings.allow_users.contains(&session.user)
    }
}

fn closed(state: &State) -> Rejection {
    Rejection::unavailable(state.sentence("closed for maintenance")).hint(HINT)
}

const HINT: &str = "Try again later.";

/// Classes of sessions.
const OTHERS: u32 = 0;
const EXEMPT: u32 = 1;

export!(Maintenance: Gatekeeper, Router, Operator);

#[cfg(test)]
mod tests;
