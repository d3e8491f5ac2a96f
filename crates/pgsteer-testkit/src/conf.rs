//! The text of the configuration files of a node. Pure: nothing here touches a file.

/// What `pgsteer.conf`, included by a node's `postgresql.conf`, depends on.
pub(crate) struct NodeConf<'a> {
    pub(crate) name: &'a str,
    pub(crate) port: u16,
    pub(crate) socket_dir: &'a str,
    /// Speed before durability; see [`FAST`].
    pub(crate) fast: bool,
    /// Names of replicas one of which has to keep each commit; none for asynchronous replication.
    pub(crate) synchronous: &'a [String],
    /// Lines of the caller, last so that they win.
    pub(crate) extra: &'a [String],
}

/// Writes the settings of one node.
pub(crate) fn node_conf(conf: &NodeConf<'_>) -> String {
    let NodeConf {
        name,
        port,
        socket_dir,
        fast,
        synchronous,
        extra,
    } = conf;
    let mut text = format!(
        "# Written at every start; put your own settings into postgresql.conf below the include.\n\
         cluster_name = '{name}'\n\
         listen_addresses = '127.0.0.1'\n\
         port = {port}\n\
         unix_socket_directories = {}\n\
         {ALWAYS}",
        quote(socket_dir)
    );
    if *fast {
        text.push_str(FAST);
    }
    if !synchronous.is_empty() {
        let names = format!("ANY 1 ({})", synchronous.join(", "));
        text.push_str(&format!("synchronous_standby_names = {}\n", quote(&names)));
    }
    for line in *extra {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Writes `pg_hba.conf`; `extra` comes first, because PostgreSQL takes the first line that matches.
pub(crate) fn hba_conf(extra: &[String]) -> String {
    let mut text = String::new();
    for line in extra {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(
        "local all         all     trust\n\
         local replication all     trust\n\
         host  all         all all scram-sha-256\n\
         host  replication all all scram-sha-256\n",
    );
    text
}

/// Replaces the lines that say whom a replica follows in a `postgresql.auto.conf`.
///
/// They stay in that file, where `pg_basebackup -R` puts them, because there `ALTER SYSTEM` can
/// change them: that is how a replica is made to follow another primary.
pub(crate) fn auto_conf(old: &str, primary_conninfo: &str, slot: &str) -> String {
    let ours = ["primary_conninfo", "primary_slot_name"];
    let mut text = String::new();
    for line in old.lines() {
        let name = line.split(['=', ' ']).next().unwrap_or_default();
        if !ours.contains(&name) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str(&format!("primary_conninfo = {}\n", quote(primary_conninfo)));
    text.push_str(&format!("primary_slot_name = {}\n", quote(slot)));
    text
}

/// The login role of replica `number`, counted from 1: `replicator`, `replicator2`, ...
pub(crate) fn replication_role(number: usize) -> String {
    numbered("replicator", number)
}

/// The physical slot of replica `number`, counted from 1: `replication_slot`, ...
pub(crate) fn replication_slot(number: usize) -> String {
    numbered("replication_slot", number)
}

/// Quotes a value for a configuration file, a connection string or SQL: doubled quotes are right in
/// all three as long as there is no backslash, and what we quote has none (connection strings for
/// libpq are quoted by [`quote_conninfo`]).
pub(crate) fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Quotes a value for a libpq connection string.
pub(crate) fn quote_conninfo(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn numbered(base: &str, number: usize) -> String {
    if number == 1 {
        base.to_owned()
    } else {
        format!("{base}{number}")
    }
}

/// Password of every replication role.
pub(crate) const REPLICATION_PASSWORD: &str = "replicator_password";

/// `wal_keep_size` lets a replica follow a node that was promoted, where it has no slot yet;
/// `max_slot_wal_keep_size` keeps a replica that is stopped for long from filling the disk.
/// `wal_log_hints` is what `pg_rewind` needs. With the default of a minute for `wal_receiver_timeout`
/// a replica would count as connected for half of it after its primary froze, and with five seconds
/// between two attempts to connect it would come late to a new primary.
const ALWAYS: &str = "\
wal_level = replica
hot_standby = on
max_connections = 300
max_wal_senders = 20
max_replication_slots = 20
wal_keep_size = 256MB
max_slot_wal_keep_size = 1GB
wal_log_hints = on
wal_receiver_timeout = 5s
wal_retrieve_retry_interval = 500ms
password_encryption = scram-sha-256
log_line_prefix = '%m [%p] %q%u@%d '
";

/// Data need not outlive a crash of the machine. (`full_page_writes` stays on: `pg_rewind` wants it.)
/// Dynamic shared memory in files of the data
/// directory leaves nothing in `/dev/shm` behind when a server is killed.
const FAST: &str = "\
fsync = off
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_slots_have_the_names_of_the_container_environment() {
        assert_eq!(replication_role(1), "replicator");
        assert_eq!(replication_role(2), "replicator2");
        assert_eq!(replication_slot(1), "replication_slot");
        assert_eq!(replication_slot(2), "replication_slot2");
    }

    #[test]
    fn the_followed_primary_is_replaced_and_the_rest_kept() {
        let old = "work_mem = '8MB'\nprimary_conninfo = 'port=1'\nprimary_slot_name='x'\n";
        let new = auto_conf(old, "port=2 password='a'", "s");
        assert_eq!(
            new,
            "work_mem = '8MB'\nprimary_conninfo = 'port=2 password=''a'''\nprimary_slot_name = 's'\n"
        );
    }

    #[test]
    fn lines_of_the_caller_win() {
        let extra = ["max_connections = 7".to_owned()];
        let conf = NodeConf {
            name: "n",
            port: 1,
            socket_dir: "/s",
            fast: true,
            synchronous: &["node1".to_owned(), "node2".to_owned()],
            extra: &extra,
        };
        let synchronous = "\nsynchronous_standby_names = 'ANY 1 (node1, node2)'\n";
        assert!(node_conf(&conf).contains(synchronous));
        assert!(node_conf(&conf).ends_with("max_connections = 7\n"));
        let hba = hba_conf(&["host all m all md5".to_owned()]);
        assert!(hba.starts_with("host all m all md5\nlocal all"));
    }
}
