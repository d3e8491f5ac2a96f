//! The nodes as a table for people.

use pgsteer_control::admin::{Listed, ListedNode};

/// A head, a line for each node, and what is being done about the primary.
pub(crate) fn nodes(listed: &Listed) -> String {
    let head = HEAD.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head)
        .chain(listed.nodes.iter().map(row))
        .collect();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| {
            let of_row = |row: &[String; COLUMNS]| row.get(column).map_or(0, |t| t.chars().count());
            rows.iter().map(of_row).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(text, width)| format!("{text:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    match (listed.activity.as_str(), listed.primary) {
        ("none", Some(_)) => {}
        ("none", None) => lines.push("there is no primary".to_owned()),
        (activity, _) => lines.push(format!("in progress: {activity}")),
    }
    lines.join("\n")
}

const COLUMNS: usize = 10;

const HEAD: [&str; COLUMNS] = [
    "node",
    "address",
    "role",
    "health",
    "standing",
    "weight",
    "timeline",
    "lsn",
    "lag",
    "replication",
];

fn row(node: &ListedNode) -> [String; COLUMNS] {
    let replication = [&node.replication_state, &node.replication_sync_state];
    let replication: Vec<_> = replication.into_iter().filter(|t| !t.is_empty()).collect();
    let role = match (node.role.as_str(), node.follows) {
        ("replica", false) => "replica (does not follow)",
        (role, _) => role,
    };
    [
        node.id.to_string(),
        format!("{}:{}", node.host, node.port),
        role.to_owned(),
        node.health.clone(),
        node.standing.clone(),
        node.weight.to_string(),
        node.timeline.map_or_else(String::new, |t| t.to_string()),
        node.lsn.clone().unwrap_or_default(),
        node.lag_bytes
            .map_or_else(String::new, |lag| lag.to_string()),
        replication
            .into_iter()
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u16, role: &str) -> ListedNode {
        ListedNode {
            id,
            host: "db".to_owned(),
            port: 5432,
            role: role.to_owned(),
            health: "up".to_owned(),
            standing: "in service".to_owned(),
            usable: true,
            follows: true,
            weight: 1.0,
            timeline: Some(1),
            lsn: Some("0/3000060".to_owned()),
            lag_bytes: None,
            replication_state: String::new(),
            replication_sync_state: String::new(),
            since: String::new(),
        }
    }

    #[test]
    fn columns_stand_below_each_other() {
        let replica = ListedNode {
            follows: false,
            lag_bytes: Some(7),
            ..node(1, "replica")
        };
        let mut listed = Listed {
            primary: Some(0),
            activity: "none".to_owned(),
            nodes: vec![node(0, "primary"), replica],
        };
        let shown = nodes(&listed);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = |line: &str, text: &str| line.find(text);
        assert_eq!(column(lines[0], "health"), column(lines[1], "up"));
        assert_eq!(column(lines[0], "lag"), column(lines[2], "7"));
        assert!(lines[2].contains("does not follow"));
        listed.primary = None;
        assert!(nodes(&listed).ends_with("there is no primary"));
        listed.activity = "promoting 1".to_owned();
        assert!(nodes(&listed).ends_with("in progress: promoting 1"));
    }
}
