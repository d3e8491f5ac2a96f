//! What outlives a restart: which node was the primary last, and which were taken out. It never
//! overrules what the nodes say.

use std::fs;
use std::io;
use std::path::Path;

use pgsteer_core::NodeId;
use pgsteer_core::settings::NodeSettings;
use pgsteer_core::topology::Standing;
use serde::{Deserialize, Serialize};

use super::state::{By, Reign, State};
use crate::files;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    primary: Option<Primary>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detached: Vec<Detached>,
    /// Nodes that are to follow the primary and did not yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    to_follow: Vec<Place>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    host: String,
    port: u16,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Primary {
    host: String,
    port: u16,
    // TOML has no integers of 64 bits without sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system_identifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeline: Option<u32>,
    /// How far it had written, some seconds ago at most while it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lsn: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detached {
    host: String,
    port: u16,
    by_operator: bool,
}

/// The state to begin with: nodes are found by host and port, those that are gone are forgotten.
/// Blocks.
///
/// # Errors
/// It is there and cannot be read: a node that was taken out must not come back for that.
pub(super) fn load(directory: &Path, nodes: &[NodeSettings]) -> Result<State, String> {
    let mut state = State::new(nodes.len());
    let path = directory.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(state),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let written: Written = toml::from_str(&text).map_err(|error| {
        let problem = error.message();
        format!("{} is not as it was written: {problem}", path.display())
    })?;
    let find = |host: &str, port: u16| {
        let same = |(_, node): &(u16, &NodeSettings)| &*node.host == host && node.port == port;
        let found = (0u16..).zip(nodes).find(same);
        found.map(|(index, _)| NodeId(index))
    };
    state.reign = written.primary.and_then(|primary| {
        let identifier = primary.system_identifier.and_then(|text| text.parse().ok());
        Some(Reign {
            node: find(&primary.host, primary.port)?,
            system_identifier: identifier,
            timeline: primary.timeline,
            lsn: primary.lsn.and_then(|text| text.parse().ok()),
        })
    });
    for place in written.to_follow {
        if let Some(tenure) = find(&place.host, place.port).and_then(|id| state.tenure(id)) {
            tenure.owed = true;
        }
    }
    for detached in written.detached {
        if let Some(tenure) = find(&detached.host, detached.port).and_then(|id| state.tenure(id)) {
            tenure.standing = Standing::Detached;
            tenure.by = Some(if detached.by_operator {
                By::Operator
            } else {
                By::Policy
            });
        }
    }
    Ok(state)
}

/// What is to be kept, as it is written.
pub(super) fn text(state: &State, nodes: &[NodeSettings]) -> String {
    let primary = state.reign.and_then(|reign| {
        let node = nodes.get(reign.node.index())?;
        Some(Primary {
            host: node.host.to_string(),
            port: node.port,
            system_identifier: reign.system_identifier.map(|id| id.to_string()),
            timeline: reign.timeline,
            lsn: reign.lsn.map(|lsn| lsn.to_string()),
        })
    });
    let tenures = nodes.iter().zip(&state.nodes);
    let detached = tenures.filter(|(_, tenure)| tenure.standing == Standing::Detached);
    let detached = detached.map(|(node, tenure)| Detached {
        host: node.host.to_string(),
        port: node.port,
        by_operator: tenure.by == Some(By::Operator),
    });
    let owed = nodes.iter().zip(&state.nodes);
    let owed = owed.filter(|(_, tenure)| tenure.owed);
    let to_follow = owed.map(|(node, _)| Place {
        host: node.host.to_string(),
        port: node.port,
    });
    let written = Written {
        to_follow: to_follow.collect(),
        primary,
        detached: detached.collect(),
    };
    // Text and numbers can always be written.
    let text = toml::to_string(&written).unwrap_or_default();
    format!("{HEAD}{text}")
}

/// Writes it, whole or not at all. Blocks.
///
/// # Errors
/// It could not be written.
pub(super) fn save(directory: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    files::replace(&directory.join(FILE), text.as_bytes())
}

const FILE: &str = "nodes.toml";
const HEAD: &str = "# The last primary, and nodes that were taken out; written by pgsteer.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_by_host_and_port() {
        let directory = tempfile::tempdir().expect("a directory");
        let nodes = |names: &[&str]| -> Vec<NodeSettings> {
            names
                .iter()
                .map(|name| NodeSettings::new(name, 5432))
                .collect()
        };
        let mut state = State::new(3);
        state.reign = Some(Reign {
            node: NodeId(1),
            system_identifier: Some(u64::MAX),
            timeline: Some(4),
            lsn: Some(9),
        });
        state.nodes[2].standing = Standing::Detached;
        state.nodes[2].by = Some(By::Operator);
        state.nodes[1].owed = true;
        let text = text(&state, &nodes(&["a", "b", "c"]));
        save(directory.path(), &text).expect("written");

        let found = load(directory.path(), &nodes(&["c", "b"])).expect("readable");
        let reign = found.reign.expect("kept");
        assert_eq!((reign.node, reign.timeline), (NodeId(1), Some(4)));
        assert_eq!(reign.lsn, Some(9));
        assert_eq!(reign.system_identifier, Some(u64::MAX));
        assert!(found.nodes[1].owed && !found.nodes[0].owed);
        assert_eq!(found.nodes[0].standing, Standing::Detached);
        assert_eq!(found.nodes[0].by, Some(By::Operator));
        let gone = load(directory.path(), &nodes(&["x"])).expect("readable");
        assert_eq!(gone, State::new(1));
        fs::write(directory.path().join(FILE), "odd = 1").expect("written");
        assert!(
            load(directory.path(), &nodes(&["x"]))
                .expect_err("odd")
                .contains("odd")
        );
    }
}
