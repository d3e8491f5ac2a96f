//! Which statements go to all nodes, and what is balanced at all.

use anyhow::Result;

use crate::compare::Group;
use crate::lab::create_database;
use crate::matrix::{EXACT, SAFER, SETUP, programs};
use crate::settings::Value::Switch;

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
        safer: SAFER,
        exact: EXACT,
    };
    group.run(&programs())?;
    Ok(())
}
