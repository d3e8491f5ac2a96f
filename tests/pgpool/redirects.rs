//! Redirect lists: which node a session's reads go to, by its database and its application.
//!
//! Nodes have equal weights, so a session without a redirect may be on either; what is compared is
//! which nodes can be reached.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::lab::{Lab, create_database};
use crate::program::{self, Program};
use crate::settings::Setting;
use crate::settings::Value::Text;

/// Enough to meet both nodes, but for one run in half a million.
const SESSIONS: usize = 20;

const BOTH: &[usize] = &[0, 1];

/// Nodes of sessions of an application, at Pgpool-II and at pgsteer with each set of rules.
fn check(
    settings: &'static [Setting],
    application: Option<&'static str>,
    measured: &[usize],
) -> Result<()> {
    let lab = Lab::start("redirected", [1, 1], settings)?;
    let program = Program {
        application_name: application,
        ..Program::simple(&["SELECT 1"])
    };
    let ports: Vec<u16> = std::iter::once(lab.pgpool())
        .chain(lab.pgsteer().map(|(_, port)| port))
        .collect();
    let runs = ports.iter().map(|port| {
        (0..SESSIONS)
            .map(|_| program::run(&lab, *port, &program, false))
            .collect()
    });
    for (side, seen) in program::locate(runs.collect())?.iter().enumerate() {
        let nodes: BTreeSet<usize> = seen
            .iter()
            .flatten()
            .flat_map(|seen| seen.nodes.clone())
            .collect();
        let nodes: Vec<usize> = nodes.into_iter().collect();
        let who = ["Pgpool-II", "pgsteer", "pgsteer with exact rules"][side];
        assert_eq!(
            nodes, measured,
            "{who}, application {application:?}, {}",
            lab.shown
        );
    }
    Ok(())
}

macro_rules! by_database {
    ($($list:literal => $nodes:expr),+ $(,)?) => {
        $(check(&[("database_redirect_preference_list", Text($list))], None, $nodes)?;)+
    };
}

#[test]
fn redirects() -> Result<()> {
    create_database("redirected", "")?;
    by_database! {
        "redirected:primary" => &[0],
        "redirected:standby" => &[1],
        "redir.*:standby" => &[1],
        "REDIRECTED:standby" => &[1],
        "redirected:PRIMARY" => &[0],
        "redirected:5" => &[0],
        "redir:1" => BOTH,
        "postgres:0,redirected:1" => &[1],
        "redirected:1(0.0)" => &[0],
        "redirected:standby(0.5)" => BOTH,
    };
    const LISTS: &[Setting] = &[
        ("database_redirect_preference_list", Text("redirected:0")),
        ("app_name_redirect_preference_list", Text("psql:1")),
    ];
    check(LISTS, Some("psql"), &[1])?;
    check(LISTS, Some("other"), &[0])?;
    check(LISTS, None, &[0])
}
