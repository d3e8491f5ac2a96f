//! The audit log: a line of JSON for each decision, with everything it was based on.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use pgsteer_core::NodeId;
use pgsteer_core::policy::Witness;
use serde_json::{Value, json};

/// A line for something that was decided.
pub(super) fn line(
    at: SystemTime,
    what: &str,
    node: Option<NodeId>,
    text: &str,
    nodes: &[Witness],
) -> String {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let value = json!({
        "unix_ms": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        "what": what,
        "node": node.map(|node| node.0),
        "text": text,
        "nodes": nodes.iter().map(witness).collect::<Vec<_>>(),
    });
    value.to_string()
}

fn witness(node: &Witness) -> Value {
    json!({
        "id": node.id.0,
        "host": &*node.host,
        "port": node.port,
        "health": format!("{:?}", node.health).to_lowercase(),
        "role": format!("{:?}", node.role).to_lowercase(),
        "standing": node.standing.name(),
        "failures": node.failures,
        "since_ms": node.since_ms,
        "system_identifier": node.system_identifier.map(|id| id.to_string()),
        "timeline": node.timeline,
        "lsn": node.lsn.map(position),
        "received_lsn": node.received_lsn.map(position),
        "receiver": format!("{:?}", node.receiver).to_lowercase(),
        "silent_ms": node.silent_ms,
        "follows": node.follows.map(|node| node.0),
        "behind_bytes": node.behind_bytes,
    })
}

/// As PostgreSQL writes it.
fn position(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// Adds a line to the file. Blocks.
///
/// # Errors
/// It could not be written.
pub(super) fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o640).open(path)?;
    // One write, so that lines do not mix.
    file.write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        for text in ["one\ntwo", "three"] {
            let line = line(at, "promoting", Some(NodeId(1)), text, &[]);
            append(&path, &line).expect("written");
        }
        let text = std::fs::read_to_string(&path).expect("there");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["unix_ms"], 1500);
        assert_eq!(lines[0]["text"], "one\ntwo");
        assert_eq!(position(0x12_0000_00ab), "12/AB");
    }
}
