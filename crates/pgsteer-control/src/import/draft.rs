//! The TOML that is written: settings gathered one by one, rendered section by section.

use std::fmt::Write as _;

use toml::Value;

use crate::config::hba::Entry;

/// Settings gathered so far.
#[derive(Default)]
pub(crate) struct Draft {
    /// Whose configuration it was; Pgpool-II's if it is empty.
    pub(crate) origin: &'static str,
    /// `[[pools]]`, each with its keys.
    pub(crate) pools: Vec<Vec<(String, Value)>>,
    /// By key path such as `pool.connect_timeout`; sections stay in the order of [`SECTIONS`].
    settings: Vec<(String, Value)>,
    /// Rules of access.
    pub(crate) rules: Vec<Entry>,
    pub(crate) users: Vec<(String, String)>,
    /// Users whose password is known as PostgreSQL stores it.
    pub(crate) users_stored: Vec<(String, String)>,
    /// Users whose password is not known, with how it is stored.
    pub(crate) users_without: Vec<(String, &'static str)>,
    pub(crate) nodes: Vec<Node>,
    /// Users of the tools, with the MD5 of their passwords.
    pub(crate) pcp_users: Vec<(String, String)>,
}

/// One `[[nodes]]`.
pub(crate) struct Node {
    /// As Pgpool-II numbers it.
    pub(crate) number: u32,
    pub(crate) host: String,
    pub(crate) port: Option<i64>,
    pub(crate) weight: f64,
    /// Further keys.
    pub(crate) more: Vec<(String, Value)>,
}

impl Draft {
    /// Sets a value; a second one replaces the first.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.settings.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.settings.push((key.to_owned(), value)),
        }
    }

    /// Sets a key of the node with this number, if there is one; its place.
    pub(crate) fn set_of_node(
        &mut self,
        number: u32,
        key: &str,
        value: impl Into<Value>,
    ) -> Option<String> {
        let found = (0..).zip(&mut self.nodes).find(|(_, n)| n.number == number);
        let (position, node): (usize, _) = found?;
        node.more.push((key.to_owned(), value.into()));
        Some(format!("nodes[{position}].{key}"))
    }

    /// The value as it will be written.
    pub(crate) fn shown(&self, key: &str) -> Option<String> {
        let found = self.settings.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.to_string())
    }

    /// The file.
    pub(crate) fn toml(&self) -> String {
        let origin = if self.origin.is_empty() {
            "Pgpool-II"
        } else {
            self.origin
        };
        let mut out = HEAD.replace("Pgpool-II", origin);
        for section in SECTIONS {
            match section {
                "hba" => self.write_rules(&mut out),
                "users" => self.write_users(&mut out),
                "nodes" => self.write_nodes(&mut out),
                "pcp_users" => self.write_pcp_users(&mut out),
                "pools" => self.write_pools(&mut out),
                _ => self.write_section(section, &mut out),
            }
        }
        out
    }

    fn write_section(&self, section: &str, out: &mut String) {
        let prefix = format!("{section}.");
        let inside = |(key, value): &(String, Value)| {
            let key = key.strip_prefix(&prefix)?;
            Some(format!("{key} = {value}\n"))
        };
        let lines: String = self.settings.iter().filter_map(inside).collect();
        let is_pgpool = self.origin.is_empty();
        let comment = if section == "router" && is_pgpool {
            ROUTER
        } else {
            ""
        };
        if !lines.is_empty() || !comment.is_empty() {
            let _ = write!(out, "\n[{section}]\n{comment}{lines}");
        }
    }

    fn write_rules(&self, out: &mut String) {
        for rule in &self.rules {
            out.push_str("\n[[hba]]\n");
            for (key, value) in rule.settings() {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
    }

    fn write_users(&self, out: &mut String) {
        for (name, password) in &self.users {
            let (name, password) = (quoted(name), quoted(password));
            let _ = write!(out, "\n[[users]]\nname = {name}\npassword = {password}\n");
        }
        for (name, stored) in &self.users_stored {
            let (name, stored) = (quoted(name), quoted(stored));
            let _ = write!(out, "\n[[users]]\nname = {name}\nverifier = {stored}\n");
        }
        for (name, how) in &self.users_without {
            // A name with a line end would leave the comment.
            let name = quoted(&name.replace(char::is_control, " "));
            let _ = write!(
                out,
                "\n# The password is not known: it was {how}. Fill it in.\n\
                 # [[users]]\n# name = {name}\n# password = \"\"\n"
            );
        }
    }

    fn write_pools(&self, out: &mut String) {
        for rule in &self.pools {
            out.push_str("\n[[pools]]\n");
            for (key, value) in rule {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
    }

    fn write_pcp_users(&self, out: &mut String) {
        for (name, hash) in &self.pcp_users {
            let (name, hash) = (quoted(name), quoted(hash));
            let _ = write!(out, "\n[[pcp_users]]\nname = {name}\nmd5 = {hash}\n");
        }
    }

    fn write_nodes(&self, out: &mut String) {
        if self.nodes.is_empty() {
            out.push_str(NO_NODES);
        }
        for node in &self.nodes {
            let _ = write!(out, "\n[[nodes]]\nhost = {}\n", quoted(&node.host));
            if let Some(port) = node.port {
                let _ = writeln!(out, "port = {port}");
            }
            let _ = writeln!(out, "weight = {}", weight(node.weight));
            for (key, value) in &node.more {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
    }
}

/// A weight as one would write it.
pub(crate) fn weight(weight: f64) -> String {
    if weight.fract() == 0.0 && weight < 1e9 {
        format!("{weight:.0}")
    } else {
        format!("{weight:?}")
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

const SECTIONS: [&str; 19] = [
    "listen",
    "tcp",
    "tls",
    "auth",
    "hba",
    "users",
    "nodes",
    "server_tls",
    "pool",
    "pools",
    "limits",
    "timeouts",
    "probe",
    "failover",
    "failover_rules",
    "pcp",
    "pcp_users",
    "console",
    "router",
];

const HEAD: &str = "\
# Made by `pgsteer import` from the configuration of Pgpool-II. What is not here has its default;
# docs/settings.md lists every setting. Check it with `pgsteer check --config FILE`.
# It may hold passwords: keep it readable for the proxy's user only.
";

const NO_NODES: &str = "
# pgpool.conf names no backend. Fill in one [[nodes]] for each server.
# [[nodes]]
# host = \"\"
# port = 5432
";

const ROUTER: &str = "\
# Rules that are safer than Pgpool-II's are on; this brings back its quirks in routing:
# compatibility = \"exact\"
# New: a session sees what it wrote. This is the default:
# read_your_writes = \"session\"
";
