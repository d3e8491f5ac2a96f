//! What is counted.

use anyhow::Result;

use crate::counted::Counted;
use crate::wire::{Wire, msg};

/// How long a session keeps its server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    Session,
    Transaction,
}

/// How a statement is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// Its text, with another number each time.
    Simple,
    /// Bind, Describe and Execute of a statement that was prepared by name, as pgbench does.
    Prepared,
    /// Parse, Bind, Describe and Execute of an unnamed statement, as drivers send what has parameters.
    Extended,
    /// Ten unnamed statements, Parse included, and one Sync. Counted is one of the ten.
    Pipelined,
}

/// One client that asks again and again.
pub(crate) struct Scenario {
    /// As in `bounds.toml`.
    pub(crate) name: &'static str,
    pub(crate) pooling: Pooling,
    protocol: Protocol,
}

/// Those that matter most.
pub(crate) const SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "session-simple",
        pooling: Pooling::Session,
        protocol: Protocol::Simple,
    },
    Scenario {
        name: "session-prepared",
        pooling: Pooling::Session,
        protocol: Protocol::Prepared,
    },
    Scenario {
        name: "session-extended",
        pooling: Pooling::Session,
        protocol: Protocol::Extended,
    },
    Scenario {
        name: "session-pipelined",
        pooling: Pooling::Session,
        protocol: Protocol::Pipelined,
    },
    Scenario {
        name: "transaction-simple",
        pooling: Pooling::Transaction,
        protocol: Protocol::Simple,
    },
    Scenario {
        name: "transaction-prepared",
        pooling: Pooling::Transaction,
        protocol: Protocol::Prepared,
    },
    Scenario {
        name: "transaction-extended",
        pooling: Pooling::Transaction,
        protocol: Protocol::Extended,
    },
];

impl Scenario {
    /// Instructions of a statement.
    ///
    /// # Errors
    /// They cannot be counted.
    pub(crate) fn count(&self, counted: &Counted<'_>) -> Result<f64> {
        let mut client = Wire::connect(counted.port(), "postgres");
        if self.protocol == Protocol::Prepared {
            client.send(&[msg::parse("by_id", BY_PARAMETER), msg::sync()].concat());
            client.until(b'Z');
        }
        self.ask(&mut client, WARM_UP);
        counted.instructions()?;
        self.ask(&mut client, FEW);
        let few = counted.instructions()?;
        self.ask(&mut client, MANY);
        let many = counted.instructions()?;
        client.send(&msg::terminate());
        client.finish();
        let each = match self.protocol {
            Protocol::Pipelined => STATEMENTS_OF_PIPELINE,
            _ => 1,
        };
        Ok((many - few) / ((MANY - FEW) * each) as f64)
    }

    fn ask(&self, client: &mut Wire, times: usize) {
        for number in 0..times {
            // Always three digits.
            let id = (100 + number % 900).to_string();
            let message = match self.protocol {
                Protocol::Simple => msg::query(&BY_PARAMETER.replace("$1", &id)),
                Protocol::Prepared => [
                    msg::bind("", "by_id", &[Some(&id)]),
                    msg::describe(b'P', ""),
                    msg::execute("", 0),
                    msg::sync(),
                ]
                .concat(),
                Protocol::Extended => {
                    [msg::statement(BY_PARAMETER, &[Some(&id)]), msg::sync()].concat()
                }
                Protocol::Pipelined => {
                    let one = msg::statement(BY_PARAMETER, &[Some(&id)]);
                    [one.repeat(STATEMENTS_OF_PIPELINE), msg::sync()].concat()
                }
            };
            client.send(&message);
            client.until(b'Z');
        }
    }
}

const BY_PARAMETER: &str = "SELECT balance FROM counted WHERE id = $1";
const STATEMENTS_OF_PIPELINE: usize = 10;
/// Transactions: until caches are warm, and of the two lengths.
const WARM_UP: usize = 200;
const FEW: usize = 100;
const MANY: usize = 1100;
