//! A case: what several clients do in turns, run on direct connections and through a proxy.

use std::fmt::Write as _;
use std::time::Duration;

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
    /// Transaction mode with more clients at the same time than server connections, all on the
    /// primary: each as fast as it can, and waiting for the others.
    Crowd,
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
        stage.await_unlocked(primary);
        stage.reset(primary)?;
        let direct = self.in_turns(primary, &stage.direct);
        stage.await_unlocked(primary);
        let answers = || direct.iter().flatten().flatten();
        let is_cut_off = |client: &Seen| {
            let mut lines = client.iter().flatten();
            lines.clone().any(Line::is_end) && !lines.any(Line::is_fatal)
        };
        if direct.iter().any(is_cut_off) {
            // Some programs end PostgreSQL 15 with a segmentation fault, without any proxy.
            let seed = self.seed;
            println!("seed {seed} crashes PostgreSQL, so nothing is compared");
            stage.crashes.set(stage.crashes.get() + 1);
            return Ok(None);
        }
        ensure!(
            !answers().any(Line::is_silence),
            "PostgreSQL leaves seed {} without an answer",
            self.seed
        );
        let proxied = match self.mode {
            Mode::Crowd => self.at_once(proxy, &stage.proxied),
            _ => self.in_turns(proxy, &stage.proxied),
        };
        Ok((0..CLIENTS)
            .find_map(|client| self.first_difference(client, &direct[client], &proxied[client])))
    }

    fn in_turns(&self, port: u16, database: &str) -> Vec<Seen> {
        let mut clients: Vec<Option<Client>> = (0..CLIENTS).map(|_| None).collect();
        for Step { client, messages } in &self.steps {
            let open = || Client::open(port, database, *client);
            clients[*client].get_or_insert_with(open).step(messages);
        }
        let last = |client: Client| client.last_words(self.last_words());
        clients
            .into_iter()
            .map(|client| client.map_or_else(Vec::new, last))
            .collect()
    }

    fn at_once(&self, port: u16, database: &str) -> Vec<Seen> {
        let work = |number: usize| {
            let mut steps = self
                .steps
                .iter()
                .filter(|step| step.client == number)
                .peekable();
            if steps.peek().is_none() {
                return Vec::new();
            }
            let mut client = Client::open(port, database, number);
            // Others may have all connections until they are done.
            client.conversation.set_patience(WAIT);
            steps.for_each(|step| client.step(&step.messages));
            client.last_words(self.last_words())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || work(n))).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|seen| seen.expect("no panic")).collect()
        })
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

/// How long a client may wait for others.
const WAIT: Duration = Duration::from_secs(60);

/// One client and what it saw.
struct Client {
    conversation: Conversation,
    seen: Seen,
}

impl Client {
    fn open(port: u16, database: &str, number: usize) -> Self {
        Self {
            conversation: Conversation::open(port, database, &options(number)),
            seen: Vec::new(),
        }
    }

    fn step(&mut self, messages: &[Message]) {
        self.conversation.step(messages);
        self.seen.push(normalised(self.conversation.take()));
    }

    fn last_words(mut self, texts: &[&str]) -> Seen {
        for text in texts {
            self.step(&[Message::Sync, Message::Query((*text).to_owned())]);
        }
        let reported = self.conversation.reported().into_iter();
        self.seen.push(reported.map(Line::new).collect());
        self.seen
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
