//! What the tools are shown, in the fields and the order of Pgpool-II 4.3.

use std::time::SystemTime;

use pgsteer_core::shown::{health_check_row, pg_role, pg_status, status, utc};
use pgsteer_core::{Facts, Node, Role, Topology};

use super::frame::{COMPLETE, put_strings};

/// `pcp_node_info`: how many, one message for each, and the end.
pub(super) fn put_nodes(out: &mut Vec<u8>, topology: &Topology, nodes: &[Node]) {
    put_array(out, b'i', nodes.len(), |out| {
        for node in nodes {
            put_strings(out, b'i', node_fields(node, topology));
        }
    });
}

fn node_fields(node: &Node, topology: &Topology) -> Vec<String> {
    let all: f64 = topology.nodes.iter().map(|n| n.weight).sum();
    let share = if all > 0.0 { node.weight / all } else { 0.0 };
    let (status, quarantine) = match status(node) {
        "up" => (UP, "0"),
        "quarantine" => (DOWN, "1"),
        _ => (DOWN, "0"),
    };
    let role = match node.role {
        Role::Primary => PRIMARY,
        Role::Replica | Role::Unknown => STANDBY,
    };
    let since_1970 = node.changed_at.duration_since(SystemTime::UNIX_EPOCH);
    vec![
        "NodeInfo".to_owned(),
        node.host.to_string(),
        node.port.to_string(),
        status.to_owned(),
        quarantine.to_owned(),
        pg_status(node).to_owned(),
        // The tools divide by C's RAND_MAX.
        format!("{:.6}", share * f64::from(i32::MAX)),
        role.to_owned(),
        pg_role(node).to_owned(),
        node.lag_bytes.unwrap_or(0).to_string(),
        node.replication_state.clone(),
        node.replication_sync_state.clone(),
        since_1970.map_or(0, |since| since.as_secs()).to_string(),
    ]
}

// Pgpool-II's BACKEND_STATUS and SERVER_ROLE.
const UP: &str = "2";
const DOWN: &str = "3";
const PRIMARY: &str = "2";
const STANDBY: &str = "3";

/// `pcp_health_check_stats`: twenty fields.
pub(super) fn put_health(out: &mut Vec<u8>, node: &Node, facts: &Facts) {
    let row = health_check_row(node, facts.probes.node(node.id));
    put_strings(out, b'h', std::iter::once(COMPLETE.to_owned()).chain(row));
}

/// `pcp_proc_info`.
pub(super) fn put_processes(out: &mut Vec<u8>, rows: Vec<Vec<String>>) {
    put_array(out, b'p', rows.len(), |out| {
        for row in rows {
            let fields = row.into_iter().take(PROCESS_FIELDS);
            put_strings(
                out,
                b'p',
                std::iter::once("ProcessInfo".to_owned()).chain(fields),
            );
        }
    });
}

/// The row of a process without a session, by which the tools know that there is none.
pub(super) fn idle(pid: u32, started: SystemTime) -> Vec<String> {
    let mut row = vec![pid.to_string(), utc(started)];
    row.extend(["0", "0", "0", "", "", "", "", ""].map(str::to_owned));
    row.extend(["0", "0", "0", "0", "0", "0"].map(str::to_owned));
    row.push("Wait for connection".to_owned());
    row
}

/// Up to the status; later versions add to them.
const PROCESS_FIELDS: usize = 17;

fn put_array(out: &mut Vec<u8>, tag: u8, count: usize, put: impl FnOnce(&mut Vec<u8>)) {
    put_strings(out, tag, ["ArraySize".to_owned(), count.to_string()]);
    put(out);
    put_strings(out, tag, [COMPLETE]);
}
