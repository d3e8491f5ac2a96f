//! Which statements go to all nodes, and what is balanced at all.

use anyhow::Result;

use crate::compare::Group;
use crate::lab::create_database;
use crate::matrix::{AUTOCOMMIT, SETUP, TRANSACTIONS};
use crate::program::Program;
use crate::settings::Value::Switch;

fn programs() -> Vec<Program> {
    let single = AUTOCOMMIT.iter().map(|sql| Program::simple(&[sql]));
    single
        .chain(TRANSACTIONS.iter().map(|texts| Program::simple(texts)))
        .collect()
}

/// Nothing leaves the primary.
#[test]
fn load_balance_mode_off() -> Result<()> {
    create_database("off", SETUP)?;
    let group = Group {
        database: "off",
        settings: &[("load_balance_mode", Switch(false))],
        safer: &[],
        exact: &[],
    };
    for seen in group.run(&programs())?.iter().flatten() {
        assert!(!seen.nodes.contains(&1), "Pgpool-II used node 1: {seen:?}");
    }
    Ok(())
}

/// With the primary's weight at 0 each draw gives the replica.
#[test]
fn statement_level_load_balance() -> Result<()> {
    create_database("statement_level", SETUP)?;
    let group = Group {
        database: "statement_level",
        settings: &[("statement_level_load_balance", Switch(true))],
        safer: &[
            "READ WRITE",
            "missing",
            "unknown function",
            "views",
            "D2",
            "D6",
            "D8",
            "D14",
            "4.3: read only = 0",
            "4.3: PREPARE",
            "BEGIN in a string",
        ],
        exact: &[
            "READ WRITE",
            "locking copy",
            "missing",
            "D14",
            "4.3: read only = 0",
            "4.3: PREPARE",
            "BEGIN in a string",
        ],
    };
    group.run(&programs())?;
    Ok(())
}
