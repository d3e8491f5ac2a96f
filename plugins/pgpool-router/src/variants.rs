//! Sessions that have overridden settings for themselves (`PGPOOL SET`).
//!
//! A session's class says which of the parameters differ from the configured ones: 0 for none, so
//! that sessions that set what is configured anyway share answers with all others.

use pgsteer_plugin_sdk::Session;

use crate::Parameters;

/// A parameter that a session may override.
type Switch = (&'static str, fn(&mut Parameters) -> &mut bool);

/// Each has a bit in the class, in this order.
const SWITCHES: [Switch; 2] = [
    ("allow_sql_comments", |p| &mut p.allow_sql_comments),
    ("check_unlogged_table", |p| &mut p.check_unlogged_table),
];

/// One for each combination.
const COUNT: usize = 1 << SWITCHES.len();

/// The parameters for each class of sessions.
pub(crate) struct Variants {
    parameters: [Parameters; COUNT],
    /// The switches as configured.
    switches: [bool; SWITCHES.len()],
}

impl Variants {
    /// The configured parameters, and those that a session can make of them.
    pub(crate) fn new(configured: &Parameters) -> Self {
        let parameters = std::array::from_fn(|class| {
            let mut parameters = configured.clone();
            for (bit, (_, switch)) in SWITCHES.iter().enumerate() {
                *switch(&mut parameters) ^= class >> bit & 1 == 1;
            }
            parameters
        });
        let mut configured = configured.clone();
        Self {
            parameters,
            switches: SWITCHES.map(|(_, switch)| *switch(&mut configured)),
        }
    }

    /// As the operator wants them.
    pub(crate) fn configured(&self) -> &Parameters {
        &self.parameters[0]
    }

    /// Those of a class; of one that does not exist, the configured ones.
    pub(crate) fn of(&self, class: u32) -> &Parameters {
        let known = usize::try_from(class)
            .ok()
            .and_then(|c| self.parameters.get(c));
        known.unwrap_or(self.configured())
    }

    /// The class of a session. What it has set that is no parameter, or no value of one, counts as
    /// not set.
    pub(crate) fn class(&self, session: &Session) -> u32 {
        let mut class = 0;
        for (bit, (name, _)) in SWITCHES.iter().enumerate() {
            let set = session.settings.iter().rfind(|(n, _)| n == name);
            let on = match set.map(|(_, value)| value.as_str()) {
                Some("on") => true,
                Some("off") => false,
                _ => continue,
            };
            class |= u32::from(on != self.switches[bit]) << bit;
        }
        class
    }
}
