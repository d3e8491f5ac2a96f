//! A client that speaks frames: simple queries, transactions of several messages, batches of
//! statements in one message, and statements prepared by name.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::books::Outcome;
use crate::teller::{
    ANSWER_DEADLINE, Order, Report, Session, insert, judge, stamp, statement, update,
};
use crate::wire::{Frame, Wire, msg, shown};

pub(crate) struct WireSession {
    wire: Wire,
    alive: bool,
    findings: Vec<String>,
}

/// What came back for one message.
struct Answer {
    frames: Vec<Frame>,
    /// ReadyForQuery came.
    complete: bool,
}

impl Answer {
    fn error(&self) -> Option<Outcome> {
        let error = self.frames.iter().find(|frame| frame.tag == b'E')?;
        let severity = error.field(b'V').unwrap_or_default();
        Some(judge(&severity, &error.error().0))
    }

    fn last_tag(&self) -> Option<&[u8]> {
        let done = self.frames.iter().rfind(|frame| frame.tag == b'C')?;
        done.body.strip_suffix(b"\0")
    }

    fn row(&self) -> Vec<Option<String>> {
        let row = self.frames.iter().find(|frame| frame.tag == b'D');
        row.map(Frame::values).unwrap_or_default()
    }

    fn stamp(&self) -> Option<crate::books::Stamp> {
        let row = self.row();
        let [port, timeline] = row.as_slice() else {
            return None;
        };
        stamp(port.as_deref(), timeline.as_deref())
    }
}

impl WireSession {
    pub(crate) fn open(port: u16, client: u32) -> Result<Self> {
        let mut session = Self {
            wire: Wire::try_connect(port, "postgres", ANSWER_DEADLINE)?,
            alive: true,
            findings: Vec::new(),
        };
        let set = session.ask(&msg::query(&format!("SET ledger.client = '{client}'")));
        ensure!(set.complete && set.error().is_none(), "refused");
        let parse = msg::parse(
            "move",
            &statement("$1::bigint", "$2::int", "$3::int", "$4::int"),
        );
        let parsed = session.ask(&[parse, msg::sync()].concat());
        ensure!(parsed.complete && parsed.error().is_none(), "refused");
        Ok(session)
    }

    fn ask(&mut self, message: &[u8]) -> Answer {
        self.wire.send(message);
        let (frames, answered) = self.wire.read_until(b'Z');
        if !answered {
            let partly = shown(&frames);
            self.findings.push(format!(
                "no answer in {ANSWER_DEADLINE:?}; so far: {partly}"
            ));
        }
        let complete = frames.last().is_some_and(|frame| frame.tag == b'Z');
        self.alive &= complete;
        Answer { frames, complete }
    }

    /// The end of an attempt that one message decides.
    fn judged(&mut self, answer: &Answer, tag: &[u8]) -> Outcome {
        if let Some(outcome) = answer.error() {
            return outcome;
        }
        if !answer.complete {
            return Outcome::Unknown("end of connection".to_owned());
        }
        if answer.last_tag() == Some(tag) {
            return Outcome::Acknowledged;
        }
        self.findings.push(format!(
            "not {} but {}",
            tag.escape_ascii(),
            shown(&answer.frames)
        ));
        Outcome::Unknown("odd answer".to_owned())
    }

    fn in_one_message(&mut self, message: &[u8], tag: &[u8], autocommit: bool) -> Report {
        let decided = Instant::now();
        let answer = self.ask(message);
        let outcome = self.judged(&answer, tag);
        let said = match outcome {
            Outcome::Acknowledged => String::new(),
            _ => shown(&answer.frames),
        };
        Report {
            outcome,
            stamp: answer.stamp(),
            decided,
            autocommit,
            said,
        }
    }

    fn in_a_transaction(&mut self, order: &Order) -> Report {
        let [id, from, to, amount] = texts(order);
        let read = format!("SELECT balance FROM accounts WHERE id = {from}");
        let steps = [
            "BEGIN".to_owned(),
            read,
            update(&from, &to, &amount),
            insert(&id, &from, &to, &amount),
        ];
        let mut stamp = None;
        for step in steps {
            let decided = Instant::now();
            let answer = self.ask(&msg::query(&step));
            stamp = answer.stamp().or(stamp);
            // Nothing was committed yet, whatever the error is about.
            let refused = match answer.error() {
                Some(Outcome::Refused(state) | Outcome::Unknown(state)) => Some(state),
                Some(Outcome::Acknowledged) => None,
                None if answer.complete => None,
                None => Some("end of connection".to_owned()),
            };
            if let Some(state) = refused {
                let mut said = format!("{step}: {}", shown(&answer.frames));
                if self.alive {
                    said += &self.roll_back();
                }
                return Report {
                    said,
                    outcome: Outcome::Refused(format!("{state}, before the commit")),
                    stamp,
                    decided,
                    autocommit: false,
                };
            }
        }
        Report {
            stamp,
            ..self.in_one_message(&msg::query("COMMIT"), b"COMMIT", false)
        }
    }

    /// After an error the session must be able to begin anew.
    fn roll_back(&mut self) -> String {
        let answer = self.ask(&msg::query("ROLLBACK"));
        let said = format!("ROLLBACK: {}", shown(&answer.frames));
        let status = answer.frames.last().map(|frame| frame.body.clone());
        if answer.complete && status.as_deref() != Some(b"I") {
            self.findings
                .push(format!("still in a transaction after {said}"));
        }
        said
    }
}

impl Session for WireSession {
    fn transfer(&mut self, order: &Order) -> Report {
        let [id, from, to, amount] = texts(order);
        match order.way % 4 {
            0 => {
                let text = statement(&id, &from, &to, &amount);
                self.in_one_message(&msg::query(&text), b"INSERT 0 1", true)
            }
            1 => {
                let values = [&id, &from, &to, &amount].map(|text| Some(text.as_str()));
                let bind = msg::bind("", "move", &values);
                let message = [bind, msg::execute("", 0), msg::sync()].concat();
                self.in_one_message(&message, b"INSERT 0 1", true)
            }
            2 => {
                let text = format!(
                    "BEGIN; {}; {}; COMMIT",
                    update(&from, &to, &amount),
                    insert(&id, &from, &to, &amount)
                );
                let mut report = self.in_one_message(&msg::query(&text), b"COMMIT", false);
                if report.outcome != Outcome::Acknowledged && self.alive {
                    report.said += &self.roll_back();
                }
                report
            }
            _ => self.in_a_transaction(order),
        }
    }

    fn rows_of(&mut self, id: u64) -> Option<String> {
        let text = format!("SELECT count(*) FROM ledger WHERE attempt = {id}");
        self.ask(&msg::query(&text)).row().pop().flatten()
    }

    fn is_alive(&self) -> bool {
        self.alive
    }

    fn findings(&mut self) -> Vec<String> {
        // Nobody knows what would be an answer to what.
        self.alive &= self.findings.is_empty();
        std::mem::take(&mut self.findings)
    }
}

fn texts(order: &Order) -> [String; 4] {
    [
        order.id.to_string(),
        order.from.to_string(),
        order.to.to_string(),
        order.amount.to_string(),
    ]
}
