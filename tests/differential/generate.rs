//! Programs from seeds.

use crate::case::{Case, Mode, Step};
use crate::message::{Kind, Message};
use crate::random::Random;
use crate::setup::CLIENTS;
use crate::texts::{
    COPIES_IN, COPIES_OUT, DATA, ERRORS, ROWS, THEMES, TRANSACTIONS, Theme, Value, WITH_PARAMETERS,
};

/// Several clients with a program each, in turns.
pub(crate) fn case(seed: u64, mode: Mode) -> Case {
    let mut random = Random::new(seed);
    let count = 1 + random.index(CLIENTS);
    let mut writers: Vec<Writer> = (0..count)
        .map(|client| Writer::new(client, mode, &mut random))
        .collect();
    let length = 8 + random.index(20 * count);
    let without = std::env::var("PGSTEER_FUZZ_WITHOUT").unwrap_or_default();
    let turns = (0..length).map(|_| {
        let client = random.index(count);
        let mut messages = writers[client].step(&mut random);
        messages.retain(|message| is_wanted(message, &without) && is_answerable(message, mode));
        Step { client, messages }
    });
    Case {
        seed,
        mode,
        steps: turns.collect(),
    }
}

/// Where sessions share connections servers do not know what a session hears through the proxy.
fn is_answerable(message: &Message, mode: Mode) -> bool {
    mode == Mode::Session || !format!("{message:?}").contains("pg_listening_channels")
}

/// Whether a message has none of the parts (`a|b`) that somebody looking for other defects left out.
fn is_wanted(message: &Message, without: &str) -> bool {
    let shown = format!("{message:?}");
    let mut parts = without.split('|').filter(|part| !part.is_empty());
    !parts.any(|part| shown.contains(part))
}

/// Makes up the program of one client.
struct Writer {
    client: usize,
    themes: Vec<Theme>,
    /// What the client believes to have prepared, with the parameters.
    prepared: Vec<(String, &'static [Value])>,
    portals: Vec<String>,
    /// The last step was not ended with Sync.
    open: bool,
    /// The proxy has begun anew in the middle of a pipeline.
    moved: bool,
}

const NAMES: &[&str] = &["", "s1", "s2", "s3", "protocol"];
const PORTALS: &[&str] = &["", "p1", "p2"];
/// After Flush reads may go on at another node, where names that are in use at the first are free.
const LATER_PORTALS: &[&str] = &["", "p3", "p4"];
const INT4: u32 = 23;
const TEXT: u32 = 25;

impl Writer {
    fn new(client: usize, mode: Mode, random: &mut Random) -> Self {
        let mut themes = vec![DATA, ERRORS];
        if mode != Mode::Statement {
            themes.extend([TRANSACTIONS, TRANSACTIONS]);
        }
        for _ in 0..1 + random.index(3) {
            let theme = *random.pick(THEMES);
            if mode != Mode::Statement || !theme.transactions {
                // The themes of a program weigh more than what every program has.
                themes.extend([theme, theme]);
            }
        }
        Self {
            client,
            themes,
            prepared: Vec::new(),
            portals: Vec::new(),
            open: false,
            moved: false,
        }
    }

    fn step(&mut self, random: &mut Random) -> Vec<Message> {
        if self.open {
            let mut messages = self.pipeline(random);
            self.end_pipeline(&mut messages, random);
            return messages;
        }
        match random.below(20) {
            0..=8 => vec![Message::Query(self.text(random))],
            9 => {
                let texts = [self.text(random), self.text(random)];
                vec![Message::Query(texts.join("; "))]
            }
            10 => vec![
                Message::Query(self.text(random)),
                Message::Query(self.text(random)),
            ],
            11 => self.copy(random),
            12 => vec![call(random)],
            _ => {
                let mut messages = self.pipeline(random);
                self.end_pipeline(&mut messages, random);
                messages
            }
        }
    }

    fn end_pipeline(&mut self, messages: &mut Vec<Message>, random: &mut Random) {
        // Only once: a third part would have to know what names of portals are in use.
        self.open = !self.open && random.chance(8);
        if self.open {
            messages.push(Message::Flush);
        } else {
            messages.push(Message::Sync);
            self.portals.clear();
            self.moved = false;
        }
    }

    fn text(&self, random: &mut Random) -> String {
        let theme = random.pick(&self.themes);
        let text = *random.pick(theme.texts);
        self.filled(text, random)
    }

    fn filled(&self, text: &str, random: &mut Random) -> String {
        let number = (random.below(7) + 1).to_string();
        let mut text = text
            .replace("{n}", &number)
            .replace("{c}", &self.client.to_string());
        for (place, values) in [
            ("{q}", ["q1", "q2", "\"Q three\""]),
            ("{s}", ["s", "t", "\"S\""]),
            ("{k}", ["k", "l", "k"]),
            ("{t}", ["one", "two words", "dr\u{fc}ben"]),
        ] {
            if text.contains(place) {
                let value: &str = values[random.index(values.len())];
                text = text.replace(place, value);
            }
        }
        text
    }

    fn copy(&self, random: &mut Random) -> Vec<Message> {
        if random.chance(40) {
            return vec![Message::Query((*random.pick(COPIES_OUT)).to_owned())];
        }
        let mut messages = vec![Message::Query((*random.pick(COPIES_IN)).to_owned())];
        messages.extend(self.copied(random));
        messages
    }

    fn copied(&self, random: &mut Random) -> Vec<Message> {
        let count = random.index(4);
        let rows = (0..count).map(|_| *random.pick(ROWS)).collect::<Vec<_>>();
        let rows = rows.into_iter().map(|row| self.filled(row, random));
        let mut messages: Vec<Message> = rows.map(Message::CopyData).collect();
        messages.push(match random.below(8) {
            0 => Message::CopyFail("no more".to_owned()),
            _ => Message::CopyDone,
        });
        messages
    }

    fn pipeline(&mut self, random: &mut Random) -> Vec<Message> {
        let count = 1 + random.index(4);
        let mut messages = Vec::new();
        for _ in 0..count {
            match random.below(20) {
                0..=7 => self.whole(random, &mut messages),
                8..=9 => messages.extend(self.parse(random)),
                10..=12 => self.bind_known(random, &mut messages),
                13 => messages.push(self.describe(random)),
                14..=15 => messages.push(self.execute(random)),
                16 => messages.push(self.close(random)),
                17 => messages.push(self.strange_bind(random)),
                18 => self.copy_extended(random, &mut messages),
                _ => messages.push(self.odd(random)),
            }
        }
        messages
    }

    /// Everything for one statement, as drivers do it.
    fn whole(&mut self, random: &mut Random, messages: &mut Vec<Message>) {
        let portal = (*random.pick(self.portal_names())).to_owned();
        let parse = self.parse(random);
        let Some(Message::Parse { name, .. }) = parse.last() else {
            return;
        };
        let statement = name.clone();
        let known = self
            .prepared
            .iter()
            .rev()
            .find(|(name, _)| *name == statement);
        let values = known.map_or(&[][..], |(_, values)| values);
        messages.extend(parse);
        messages.push(bind(&portal, &statement, values, random));
        if random.chance(70) {
            messages.push(Message::Describe(Kind::Portal, portal.clone()));
        }
        messages.push(Message::Execute(portal.clone(), random_rows(random)));
        self.portals.push(portal);
        if ends_portals(messages) {
            self.portals.clear();
            self.moved = true;
        }
    }

    fn parse(&mut self, random: &mut Random) -> Vec<Message> {
        let name = (*random.pick(NAMES)).to_owned();
        let with_parameters = random.chance(40);
        let (sql, values) = if with_parameters {
            let (sql, values) = *random.pick(WITH_PARAMETERS);
            (sql.to_owned(), values)
        } else {
            (self.text(random), &[][..])
        };
        let types = match random.below(6) {
            0 => values.iter().map(|value| oid(*value)).collect(),
            1 => vec![0; values.len()],
            2 if random.chance(20) => vec![4_000_000],
            _ => Vec::new(),
        };
        let mut messages = Vec::new();
        // Most of the time a name is closed before it is used again.
        let is_known = self.prepared.iter().any(|(known, _)| *known == name);
        if !name.is_empty() && is_known && random.chance(80) {
            messages.push(Message::Close(Kind::Statement, name.clone()));
        }
        self.prepared.retain(|(known, _)| *known != name);
        self.prepared.push((name.clone(), values));
        messages.push(Message::Parse { name, sql, types });
        messages
    }

    fn bind_known(&mut self, random: &mut Random, messages: &mut Vec<Message>) {
        if self.prepared.is_empty() {
            return;
        }
        let (statement, values) = random.pick(&self.prepared).clone();
        let portal = (*random.pick(self.portal_names())).to_owned();
        if random.chance(25) {
            messages.push(Message::Describe(Kind::Statement, statement.clone()));
        }
        messages.push(bind(&portal, &statement, values, random));
        messages.push(Message::Execute(portal.clone(), random_rows(random)));
        self.portals.push(portal);
    }

    fn describe(&self, random: &mut Random) -> Message {
        match random.below(10) {
            0..=5 => Message::Describe(Kind::Statement, self.statement(random)),
            6..=8 => Message::Describe(Kind::Portal, self.portal(random)),
            _ => Message::Describe(Kind::Neither, String::new()),
        }
    }

    fn execute(&self, random: &mut Random) -> Message {
        Message::Execute(self.portal(random), random_rows(random))
    }

    fn close(&mut self, random: &mut Random) -> Message {
        if random.chance(70) {
            let name = self.statement(random);
            self.prepared.retain(|(known, _)| *known != name);
            return Message::Close(Kind::Statement, name);
        }
        Message::Close(Kind::Portal, self.portal(random))
    }

    /// Wrong numbers of parameters and formats, and values that are none.
    fn strange_bind(&self, random: &mut Random) -> Message {
        let value = |random: &mut Random| match random.below(4) {
            0 => None,
            1 => Some(b"x".to_vec()),
            2 => Some(vec![0, 0, 0, 7]),
            _ => Some(b"3".to_vec()),
        };
        let count = random.index(3);
        let formats = |random: &mut Random| {
            let count = random.index(3);
            (0..count).map(|_| u16::from(random.chance(30))).collect()
        };
        Message::Bind {
            portal: self.portal(random),
            statement: self.statement(random),
            values: (0..count).map(|_| value(random)).collect(),
            formats: (formats(random), formats(random)),
        }
    }

    fn copy_extended(&mut self, random: &mut Random, messages: &mut Vec<Message>) {
        let sql = if random.chance(40) {
            random.pick(COPIES_OUT)
        } else {
            random.pick(COPIES_IN)
        };
        self.prepared.retain(|(known, _)| !known.is_empty());
        messages.push(Message::Parse {
            name: String::new(),
            sql: (*sql).to_owned(),
            types: Vec::new(),
        });
        messages.push(bind("", "", &[], random));
        messages.push(Message::Execute(String::new(), 0));
        messages.extend(self.copied(random));
    }

    /// What does not belong into a pipeline.
    fn odd(&self, random: &mut Random) -> Message {
        match random.below(6) {
            0 => Message::Sync,
            1 => Message::Flush,
            2 => call(random),
            3 => Message::Query(self.text(random)),
            4 => Message::CopyData("stray\n".to_owned()),
            _ => Message::CopyDone,
        }
    }

    fn statement(&self, random: &mut Random) -> String {
        if !self.prepared.is_empty() && random.chance(75) {
            return random.pick(&self.prepared).0.clone();
        }
        (*random.pick(NAMES)).to_owned()
    }

    fn portal(&self, random: &mut Random) -> String {
        if !self.portals.is_empty() && random.chance(75) {
            return random.pick(&self.portals).clone();
        }
        (*random.pick(self.portal_names())).to_owned()
    }

    fn portal_names(&self) -> &'static [&'static str] {
        if self.open || self.moved {
            LATER_PORTALS
        } else {
            PORTALS
        }
    }
}

/// Whether portals that were made before in this pipeline end with what it did last: the proxy answers
/// BEGIN itself, which is the end of what came before it, and sets the values of the startup packet
/// after RESET.
fn ends_portals(messages: &[Message]) -> bool {
    let text = messages.iter().rev().find_map(|message| match message {
        Message::Parse { sql, .. } => Some(sql.to_ascii_uppercase()),
        _ => None,
    });
    let begins = ["BEGIN", "START", "RESET", "DISCARD"];
    text.is_some_and(|text| begins.iter().any(|word| text.starts_with(word)))
}

fn oid(value: Value) -> u32 {
    match value {
        Value::Int => INT4,
        Value::Text => TEXT,
    }
}

fn random_rows(random: &mut Random) -> u32 {
    match random.below(4) {
        0 => 1,
        1 => 2,
        _ => 0,
    }
}

fn bind(portal: &str, statement: &str, values: &[Value], random: &mut Random) -> Message {
    let of = |value: &Value, random: &mut Random| match value {
        _ if random.chance(6) => None,
        Value::Int => Some(random.below(8).to_string().into_bytes()),
        Value::Text => Some(random.pick(&["work_mem", "a b", ""]).as_bytes().to_vec()),
    };
    let binary = random.chance(15);
    Message::Bind {
        portal: portal.to_owned(),
        statement: statement.to_owned(),
        values: values.iter().map(|value| of(value, random)).collect(),
        formats: (Vec::new(), if binary { vec![1] } else { Vec::new() }),
    }
}

/// Calls of `int4pl`, of `int4div` with whatever comes, and of no function.
fn call(random: &mut Random) -> Message {
    let function = *random.pick(&[177, 154, 154, 4]);
    let arguments = (0..2).map(|_| random.below(3).to_string());
    Message::Call(function, arguments.collect())
}
