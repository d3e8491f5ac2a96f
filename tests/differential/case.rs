//! A case: what several clients do in turns, run on direct connections and through a proxy.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::compare::{Line, are_like, normalised};
use crate::conversation::Conversation;
use crate::message::Message;
use crate::setup::{CLIENTS, Stage, options};
use crate::support::cluster;

/// Pool modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Session,
    Transaction,
    Statement,
}

/// Messages that one client sends in one piece.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) client: usize,
    pub(crate) messages: Vec<Message>,
}

/// Steps of all clients in their order.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) steps: Vec<Step>,
}

/// What one client saw: a part for its login, one for each of its steps, some for what is left.
pub(crate) type Seen = Vec<Vec<Line>>;

impl Case {
    /// Runs it both ways and says where the two differ.
    pub(crate) fn difference(&self, stage: &Stage, proxy: u16) -> Result<Option<String>> {
        let primary = cluster().primary().port();
        stage.reset(primary)?;
        let direct = self.run(primary, &stage.direct);
        let silent = direct
            .iter()
            .flatten()
            .flatten()
            .find(|line| line.is_silence());
        ensure!(
            silent.is_none(),
            "PostgreSQL leaves seed {} without an answer",
            self.seed
        );
        let proxied = self.run(proxy, &stage.proxied);
        Ok((0..CLIENTS)
            .find_map(|client| self.first_difference(client, &direct[client], &proxied[client])))
    }

    fn run(&self, port: u16, database: &str) -> Vec<Seen> {
        let mut clients: Vec<Option<Conversation>> = (0..CLIENTS).map(|_| None).collect();
        let mut seen: Vec<Seen> = vec![Vec::new(); CLIENTS];
        for Step { client, messages } in &self.steps {
            let conversation = clients[*client]
                .get_or_insert_with(|| Conversation::open(port, database, &options(*client)));
            conversation.step(messages);
            seen[*client].push(normalised(conversation.take()));
        }
        for (conversation, seen) in clients.into_iter().zip(&mut seen) {
            let Some(mut conversation) = conversation else {
                continue;
            };
            for text in self.last_words() {
                conversation.step(&[Message::Sync, Message::Query((*text).to_owned())]);
                seen.push(normalised(conversation.take()));
            }
            let reported = conversation.reported().into_iter().map(Line::new).collect();
            seen.push(reported);
        }
        seen
    }

    /// Asked at the end of every program: all that a session may have changed.
    fn last_words(&self) -> &'static [&'static str] {
        &LAST_WORDS[usize::from(self.mode == Mode::Statement)..]
    }

    fn first_difference(&self, client: usize, direct: &Seen, proxied: &Seen) -> Option<String> {
        let at = (0..direct.len()).find(|at| {
            let proxied = proxied.get(*at).map_or(&[][..], Vec::as_slice);
            !are_like(proxied, &direct[*at])
        })?;
        let steps: Vec<&Step> = self.steps.iter().filter(|s| s.client == client).collect();
        let what = match steps.get(at) {
            Some(step) => format!("{:?}", step.messages),
            None => format!("the end: {:?}", self.last_words().get(at - steps.len())),
        };
        Some(format!(
            "client {client}, its step {at}: {what}\n--- direct:\n{}--- through the proxy:\n{}",
            shown(&direct[at]),
            shown(proxied.get(at).map_or(&[][..], Vec::as_slice)),
        ))
    }

    /// The whole of it, for a reader.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("seed {}, {:?}\n", self.seed, self.mode);
        for Step { client, messages } in &self.steps {
            let _ = writeln!(text, "  client {client}: {messages:?}");
        }
        text
    }
}

fn shown(lines: &[Line]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "    {line}");
        text
    })
}

const LAST_WORDS: [&str; 6] = [
    "ROLLBACK",
    "SELECT 'still here'",
    "SELECT name, setting FROM pg_settings WHERE name IN ('application_name', 'bytea_output',
        'client_encoding', 'client_min_messages', 'DateStyle', 'default_transaction_deferrable',
        'default_transaction_isolation', 'default_transaction_read_only', 'extra_float_digits',
        'IntervalStyle', 'search_path', 'standard_conforming_strings', 'statement_timeout',
        'TimeZone', 'work_mem', 'my.own', 'a.b', 'role', 'session_authorization') ORDER BY name",
    "SELECT current_user, session_user, current_schemas(false)",
    "SELECT name, is_holdable FROM pg_cursors ORDER BY name",
    "SELECT p::text FROM p ORDER BY id",
];
