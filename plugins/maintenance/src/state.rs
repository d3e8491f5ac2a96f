//! Whether maintenance is on. Kept in the store that all workers share; what is not there is as
//! configured.

use pgsteer_plugin_sdk::kv;

use crate::settings::Settings;

/// How far the door is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything runs.
    #[default]
    Off,
    /// No new sessions, no new transactions.
    On,
    /// No writes.
    ReadOnly,
}

impl Mode {
    /// Also the reason of answers.
    pub(crate) fn code(self) -> u32 {
        self as u32
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::ReadOnly => "read-only",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Off, Self::On, Self::ReadOnly];
        all.into_iter().find(|mode| mode.word() == word)
    }
}

/// The switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) mode: Mode,
    /// What clients are told; may be empty.
    pub(crate) because: String,
    /// An operator said so.
    pub(crate) is_commanded: bool,
}

impl State {
    /// As it is at this moment.
    pub(crate) fn now(settings: &Settings) -> Self {
        Self::commanded().unwrap_or_else(|| Self {
            mode: settings.default,
            because: settings.because.clone(),
            is_commanded: false,
        })
    }

    fn commanded() -> Option<Self> {
        let kept = kv::text(STATE)?;
        let (mode, because) = kept.split_once('\n')?;
        Some(Self {
            mode: Mode::from_word(mode)?,
            because: because.to_owned(),
            is_commanded: true,
        })
    }

    /// Keeps what an operator said, for so many milliseconds (0: until the next command).
    pub(crate) fn keep(mode: Mode, because: &str, ttl_ms: u64) -> Result<(), String> {
        let kept = format!("{}\n{because}", mode.word());
        let put = kv::set_for(STATE, kept.as_bytes(), ttl_ms);
        put.map(|_| ()).map_err(|error| error.to_string())
    }

    /// A sentence for clients.
    pub(crate) fn sentence(&self, what: &str) -> String {
        match self.because.as_str() {
            "" => what.to_owned(),
            because => format!("{what}: {because}"),
        }
    }
}

const STATE: &str = "state";
