//! A client with a real driver, tokio-postgres: prepared statements and transactions.

use std::time::Instant;

use anyhow::Result;
use pgsteer_testkit::conninfo;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls, Row, Statement};

use crate::books::{Outcome, Stamp};
use crate::teller::{
    ANSWER_DEADLINE, Order, Report, Session, insert, judge, stamp, statement, update,
};

pub(crate) struct Driver {
    runtime: Runtime,
    client: Client,
    transfer: Statement,
    update: Statement,
    insert: Statement,
    findings: Vec<String>,
}

impl Driver {
    pub(crate) fn open(port: u16, client_number: u32) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let open = async {
            let (client, connection) =
                tokio_postgres::connect(&conninfo(port, "postgres"), NoTls).await?;
            tokio::spawn(connection);
            let set = format!("SET ledger.client = '{client_number}'");
            client.batch_execute(&set).await?;
            let (from, to, amount) = ("$2::int", "$3::int", "$4::int");
            let transfer = statement("$1::bigint", from, to, amount);
            let transfer = client.prepare(&transfer).await?;
            let update = client
                .prepare(&update("$1::int", "$2::int", "$3::int"))
                .await?;
            let insert = insert("$1::bigint", from, to, amount);
            let insert = client.prepare(&insert).await?;
            anyhow::Ok((client, transfer, update, insert))
        };
        let opened = runtime.block_on(async { timeout(ANSWER_DEADLINE, open).await });
        let (client, transfer, update, insert) = opened??;
        Ok(Self {
            runtime,
            client,
            transfer,
            update,
            insert,
            findings: Vec::new(),
        })
    }

    /// Waits for an answer; `None` if there is none in time, which is noted.
    fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Option<Result<T, Error>> {
        let client = &self.client;
        let asked = async { timeout(ANSWER_DEADLINE, question(client)).await };
        let answer = self.runtime.block_on(asked).ok();
        if answer.is_none() {
            self.findings
                .push(format!("no answer in {ANSWER_DEADLINE:?}"));
        }
        answer
    }

    fn in_one_statement(&mut self, order: &Order) -> Report {
        let decided = Instant::now();
        let (statement, values) = (self.transfer.clone(), Values::of(order));
        let answer = self.ask(async |client| client.query(&statement, &values.all()).await);
        let stamp = match &answer {
            Some(Ok(rows)) => stamp_of(rows),
            _ => None,
        };
        Report {
            said: said(&answer),
            outcome: judged(answer),
            stamp,
            decided,
            autocommit: true,
        }
    }

    fn in_a_transaction(&mut self, order: &Order) -> Report {
        let (update, insert) = (self.update.clone(), self.insert.clone());
        let values = Values::of(order);
        let begun = Instant::now();
        let work = self.ask(async |client| {
            client.batch_execute("BEGIN").await?;
            client.execute(&update, &values.all()[1..]).await?;
            client.query(&insert, &values.all()).await
        });
        let report = |outcome, said, stamp, decided| Report {
            said,
            outcome,
            stamp,
            decided,
            autocommit: false,
        };
        let stamp = match work {
            Some(Ok(rows)) => stamp_of(&rows),
            other => {
                let said = said(&other);
                // Nothing was committed yet, whatever the error is about.
                let outcome = match judged(other) {
                    Outcome::Refused(state) | Outcome::Unknown(state) => {
                        Outcome::Refused(format!("{state}, before the commit"))
                    }
                    Outcome::Acknowledged => Outcome::Acknowledged,
                };
                if self.is_alive() {
                    // An error here is one of the next attempt.
                    let _ = self.ask(async |client| client.batch_execute("ROLLBACK").await);
                }
                return report(outcome, said, None, begun);
            }
        };
        let decided = Instant::now();
        let commit = self.ask(async |client| client.batch_execute("COMMIT").await);
        let said = said(&commit);
        report(judged(commit), said, stamp, decided)
    }
}

impl Session for Driver {
    fn transfer(&mut self, order: &Order) -> Report {
        if order.way.is_multiple_of(2) {
            self.in_one_statement(order)
        } else {
            self.in_a_transaction(order)
        }
    }

    fn rows_of(&mut self, id: u64) -> Option<String> {
        let text = "SELECT count(*)::text FROM ledger WHERE attempt = $1::bigint";
        let id = id.cast_signed();
        let answer = self.ask(async |client| client.query_one(text, &[&id]).await);
        answer?.ok()?.get(0)
    }

    fn is_alive(&self) -> bool {
        !self.client.is_closed() && self.findings.is_empty()
    }

    fn findings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.findings)
    }
}

struct Values {
    id: i64,
    from: i32,
    to: i32,
    amount: i32,
}

impl Values {
    fn of(order: &Order) -> Self {
        let small = |number: usize| i32::try_from(number).unwrap_or(0);
        Self {
            id: order.id.cast_signed(),
            from: small(order.from),
            to: small(order.to),
            amount: small(order.amount),
        }
    }

    fn all(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.id, &self.from, &self.to, &self.amount]
    }
}

fn stamp_of(rows: &[Row]) -> Option<Stamp> {
    let row = rows.first()?;
    stamp(row.get(0), row.get(1))
}

fn said<T>(answer: &Option<Result<T, Error>>) -> String {
    match answer {
        Some(Err(error)) => format!("{error:?}"),
        _ => String::new(),
    }
}

/// The driver says nothing about what a COMMIT became, if it was no error: an application takes it
/// for a success.
fn judged<T>(answer: Option<Result<T, Error>>) -> Outcome {
    match answer {
        Some(Ok(_)) => Outcome::Acknowledged,
        Some(Err(error)) => match error.as_db_error() {
            Some(refusal) => judge(refusal.severity(), refusal.code().code()),
            None => Outcome::Unknown("end of connection".to_owned()),
        },
        None => Outcome::Unknown("silence".to_owned()),
    }
}
