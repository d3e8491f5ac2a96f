//! What may differ, and why. Anything else is a defect of one side.

use crate::compare::{Case, What};

/// An expected difference. A test names the ones it must meet.
pub(crate) struct Difference {
    /// A defect of Pgpool-II by its number, or a word of our own.
    pub(crate) id: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) applies: fn(&Case<'_>) -> bool,
}

/// The difference with this id.
pub(crate) fn find(id: &str) -> &'static Difference {
    let found = ALL.iter().find(|difference| difference.id == id);
    found.unwrap_or_else(|| panic!("no difference {id}"))
}

/// The table. A test that names an entry fails when the entry is not needed any more.
#[rustfmt::skip]
pub(crate) const ALL: &[Difference] = &[
    Difference {
        id: "D1",
        reason: "an error on one node fails the transaction on all of them",
        applies: |case| case.what == What::Node && case.state() == 'E' && case.pgsteer[case.unit].outcome == "25P02",
    },
    Difference {
        id: "D1: end",
        reason: "Pgpool-II tells a node that has not failed, and ends the session when they disagree",
        applies: |case| case.what == What::End && case.state() == 'E' && case.pgpool[case.unit].state == 'X',
    },
    Difference {
        id: "locking",
        reason: "a row lock counts wherever it is, Pgpool-II overlooks one in a subquery for what follows",
        applies: |case| reads_late(case) && case.transaction().any(|sql| has(sql, "FOR SHARE")),
    },
    Difference {
        id: "read only",
        reason: "in a read-only transaction nothing was written, whatever ran",
        applies: |case| {
            case.what == What::Node && case.pgpool() == [0] && case.pgsteer() == [1]
                && case.transaction().any(|sql| has(sql, "READ ONLY"))
        },
    },
    Difference {
        id: "25P02",
        reason: "Pgpool-II answers for the servers while a transaction has failed; here they do",
        applies: |case| case.what == What::Node && case.state() == 'E' && case.pgpool().is_empty(),
    },
    Difference {
        id: "D10",
        reason: "set_config() is a setting that cannot be replayed, so what follows stays on its node",
        applies: |case| safer_place(case) && case.before().any(|sql| has(sql, "set_config(")),
    },
    Difference {
        id: "defaults",
        reason: "a session that changes the defaults of transactions stays on the primary",
        applies: |case| {
            let words = ["SESSION CHARACTERISTICS", "default_transaction_"];
            safer_place(case) && case.before().any(|sql| words.iter().any(|word| has(sql, word)))
        },
    },
    Difference {
        id: "characteristics",
        reason: "other nodes are told of SET SESSION CHARACTERISTICS as of the parameters it sets",
        applies: |case| case.what == What::Untold && has(case.sql(), "SESSION CHARACTERISTICS"),
    },
    Difference {
        id: "several",
        reason: "a string of several statements may write, Pgpool-II looks at its first only",
        applies: |case| safer_place(case) && case.transaction().any(|sql| has(sql, "; SELECT")),
    },
    Difference {
        id: "comment",
        reason: "an empty query is one, whatever comments or white space are in it",
        applies: |case| {
            let is_empty = |sql: &str| has(sql, "/* nothing */") || sql.trim() == ";";
            let after = case.transaction().any(|sql| is_empty(sql));
            case.what == What::Node && case.pgsteer() == [1] && (is_empty(case.sql()) || after)
        },
    },
    Difference {
        id: "D2",
        reason: "ROLLBACK TO does not make the primary's writes visible on a replica",
        applies: |case| reads_late(case) && case.transaction().any(|sql| has(sql, "ROLLBACK TO")),
    },
    Difference {
        id: "D3",
        reason: "a batch is one implicit transaction: its reads stay where it wrote",
        applies: |case| safer_place(case) && case.unit > 0 && has(&case.units[case.unit - 1], "INSERT"),
    },
    Difference {
        id: "re-homed",
        reason: "a prepared read that ran on the primary once goes where reads go the next time",
        applies: |case| {
            case.what == What::Node && case.pgpool() == [0] && case.pgsteer() == [1] && has(case.sql(), "[Run")
        },
    },
    Difference {
        id: "D6",
        reason: "COPY and PREPARE are looked into like any other read",
        applies: |case| safer_place(case) && (has(case.sql(), "COPY ") || has(case.sql(), "PREPARE")),
    },
    Difference {
        id: "D8",
        reason: "txid_current() and its like write, though they are not volatile",
        applies: |case| safer_place(case) && has(case.sql(), "txid_current()"),
    },
    Difference {
        id: "D14",
        reason: "two nodes have no common snapshot, so a repeatable-read transaction has one node",
        applies: |case| reads_late(case) && case.transaction().any(|sql| has(sql, "REPEATABLE READ")),
    },
    Difference {
        id: "D5",
        reason: "a name means what the search path says, not any relation or function of that name",
        applies: |case| {
            let names = ["s2.pg_class", "elsewhere(", "fi("];
            case.what == What::Node && names.iter().any(|name| has(case.sql(), name))
        },
    },
    Difference {
        id: "views",
        reason: "views are seen through: one that calls a volatile function is read on the primary",
        applies: |case| safer_place(case) && has(case.sql(), "random_v"),
    },
    Difference {
        id: "missing",
        reason: "a relation of which nothing is known may be anything",
        applies: |case| safer_place(case) && ["nowhere", "tt{n}"].iter().any(|name| has(case.sql(), name)),
    },
    Difference {
        id: "temporary",
        reason: "temporary relations are on the primary, however they are looked for",
        applies: |case| safer_place(case) && has(case.sql(), "tt{n}"),
    },
    Difference {
        id: "locking copy",
        reason: "a replica refuses row locks, so what takes them is never sent there",
        applies: |case| safer_place(case) && has(case.sql(), "COPY (") && (has(case.sql(), "FOR UPDATE") || has(case.sql(), "FOR SHARE")),
    },
    Difference {
        id: "read along",
        reason: "a relation that a write only reads counts as one it may have written",
        applies: |case| safer_place(case) && case.transaction().any(|sql| has(sql, "IN (SELECT i FROM t2)")),
    },
    Difference {
        id: "unknown function",
        reason: "a function that is not known to be harmless counts as a write",
        applies: |case| safer_place(case) && (["nothing_like_it(", "never_heard_of(", "TABLESAMPLE"].iter().any(|name| has(case.sql(), name))),
    },
    Difference {
        id: "4.3: read only = 0",
        reason: "Pgpool-II 4.3 ends the session: it reads the integer the wrong way round",
        applies: |case| case.what == What::End && has(case.sql(), "transaction_read_only = 0"),
    },
    Difference {
        id: "READ WRITE",
        reason: "a replica refuses READ WRITE, so it is told plain BEGIN",
        applies: |case| case.what == What::Untold && has(case.sql(), "READ WRITE"),
    },
    Difference {
        id: "D7",
        reason: "a list adds to what is known of a function's volatility",
        applies: |case| safer_place(case) && has(case.sql(), "("),
    },
    Difference {
        id: "4.3: COPY",
        reason: "Pgpool-II 4.3 ends a session that copies by the extended protocol",
        applies: |case| case.what == What::End && has(case.sql(), "COPY"),
    },
    Difference {
        id: "4.3: DEALLOCATE",
        reason: "Pgpool-II 4.3 sends it to both nodes, also to the one that has no such statement",
        applies: |case| case.what == What::End && has(case.sql(), "DEALLOCATE"),
    },
    Difference {
        id: "several in a Parse",
        reason: "a server refuses it wherever it is sent",
        applies: |case| safer_place(case) && has(case.sql(), "SELECT 1; SELECT 2"),
    },
    Difference {
        id: "4.3: PREPARE",
        reason: "in Pgpool-II 4.3 PREPARE of a read counts as a write; later versions balance it",
        applies: |case| {
            case.what == What::Node && case.pgpool() == [0] && case.pgsteer() == [1]
                && case.transaction().any(|sql| has(sql, "PREPARE"))
        },
    },
    Difference {
        id: "BEGIN in a string",
        reason: "a transaction that a string of several statements opened stays on its node",
        applies: |case| reads_late(case) && case.transaction().any(|sql| has(sql, "BEGIN;")),
    },
];

/// pgsteer takes the primary where Pgpool-II takes the replica.
fn safer_place(case: &Case<'_>) -> bool {
    case.what == What::Node && case.pgpool() == [1] && case.pgsteer() == [0]
}

/// The same inside a transaction.
fn reads_late(case: &Case<'_>) -> bool {
    safer_place(case) && case.state() != 'I'
}

fn has(sql: &str, word: &str) -> bool {
    sql.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_have_reasons() {
        for (index, entry) in ALL.iter().enumerate() {
            assert!(!entry.reason.is_empty(), "{}", entry.id);
            assert!(
                ALL[..index].iter().all(|other| other.id != entry.id),
                "{}",
                entry.id
            );
        }
    }
}
