//! Where clients connect, how many, and what happens to server connections: parameters that make
//! one setting together.

use super::Work;
use super::items::{Answer, Items};
use super::report::Verdict::{CarriedOver, NotNeeded, NotThere, OtherMeaning};
use super::rules::{count, duration, whole, wrong};
use super::values::Unit;

/// Answers these parameters.
pub(crate) fn answer(items: &Items, work: &mut Work) {
    addresses(items, work);
    unix_sockets(items, work);
    pcp(items, work);
    clients(items, work);
    connections(items, work);
    reset_query(items, work);
    mode(items, work);
}

fn addresses(items: &Items, work: &mut Work) {
    const ADDRESS: &str = "listen.address";
    let mut port = PORT;
    if let Some((index, item)) = items.get("port") {
        if let Some(number) = whole(item, work) {
            port = number;
        }
        if !(1..=65_535).contains(&port) {
            wrong(item, "a port, 1 to 65535", work);
        }
        work.answers
            .insert(index, Answer::to(CarriedOver, ADDRESS, ""));
    }
    let (addresses, names) = ips(items, "listen_addresses");
    let list: Vec<_> = addresses.iter().map(|ip| format!("{ip}:{port}")).collect();
    match list.as_slice() {
        [one] => work.draft.set(ADDRESS, one.as_str()),
        _ => work.draft.set(ADDRESS, list),
    }
    let Some((index, item)) = items.get("listen_addresses") else {
        return;
    };
    let answer = if names.is_empty() && item.entry.value.is_empty() {
        let text = "there is always a TCP address: this one is for clients of this machine";
        Answer::to(OtherMeaning, ADDRESS, text)
    } else if names.is_empty() {
        let text = match item.entry.value.trim() {
            "*" => "all IPv4 addresses; add \"[::]:PORT\" for IPv6 only if it is needed",
            _ => "",
        };
        Answer::to(CarriedOver, ADDRESS, text)
    } else {
        let text = format!(
            "an address of this machine is wanted instead of the name {}: add it",
            names.join(", ")
        );
        Answer::to(OtherMeaning, ADDRESS, text).warn()
    };
    work.answers.insert(index, answer);
}

fn unix_sockets(items: &Items, work: &mut Work) {
    const DIRECTORY: &str = "listen.unix_socket_dir";
    const MODE: &str = "listen.unix_socket_mode";
    if let Some((index, item)) = items.get("unix_socket_directories") {
        let value = &item.entry.value;
        let mut directories = value.split(',').map(str::trim).filter(|d| !d.is_empty());
        let answer = match (directories.next(), directories.next()) {
            (None, _) => Answer::new(NotNeeded, "it is empty"),
            (Some(first), more) => {
                work.draft.set(DIRECTORY, first);
                match more {
                    None => Answer::to(CarriedOver, DIRECTORY, ""),
                    Some(_) => Answer::to(OtherMeaning, DIRECTORY, "the first of them only").warn(),
                }
            }
        };
        work.answers.insert(index, answer);
    }
    if let Some((index, item)) = items.get("unix_socket_permissions") {
        let mode = item.entry.value.trim();
        if u32::from_str_radix(mode, 8).is_ok_and(|bits| bits <= 0o777) {
            work.draft.set(MODE, mode);
        } else {
            wrong(item, "permissions in octal, such as 0777", work);
        }
        work.answers
            .insert(index, Answer::to(CarriedOver, MODE, ""));
    }
}

/// The port for the tools.
fn pcp(items: &Items, work: &mut Work) {
    const LISTEN: &str = "pcp.listen";
    let (addresses, port) = (items.get("pcp_listen_addresses"), items.get("pcp_port"));
    if addresses.is_none() && port.is_none() {
        return;
    }
    let mut number = PCP_PORT;
    if let Some((index, item)) = port {
        number = whole(item, work).unwrap_or(number);
        if !(1..=65_535).contains(&number) {
            wrong(item, "a port, 1 to 65535", work);
        }
        work.answers
            .insert(index, Answer::to(CarriedOver, LISTEN, ""));
    }
    let is_off = addresses.is_some_and(|(_, item)| item.entry.value.trim().is_empty());
    let (ips, names) = ips(items, "pcp_listen_addresses");
    let list: Vec<_> = ips.iter().map(|ip| format!("{ip}:{number}")).collect();
    work.draft
        .set(LISTEN, if is_off { Vec::new() } else { list });
    if let Some((index, _)) = addresses {
        let answer = if names.is_empty() {
            Answer::to(CarriedOver, LISTEN, "")
        } else {
            let names = names.join(", ");
            let text = format!("an address of this machine is wanted instead of the name {names}");
            Answer::to(OtherMeaning, LISTEN, text).warn()
        };
        work.answers.insert(index, answer);
    }
}

/// Addresses as they are written before a port, and names that are none. Never empty.
fn ips(items: &Items, parameter: &str) -> (Vec<String>, Vec<String>) {
    let given = items.get(parameter);
    let given = given.map_or("localhost", |(_, item)| item.entry.value.as_str());
    let (mut addresses, mut names) = (Vec::new(), Vec::new());
    for name in given
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let address = match (name, name.parse()) {
            ("*", _) => Some("0.0.0.0".to_owned()),
            ("localhost", _) => Some("127.0.0.1".to_owned()),
            (_, Ok(std::net::IpAddr::V4(ip))) => Some(ip.to_string()),
            (_, Ok(std::net::IpAddr::V6(ip))) => Some(format!("[{ip}]")),
            (_, Err(_)) => None,
        };
        match address {
            Some(address) if addresses.contains(&address) => {}
            Some(address) => addresses.push(address),
            None => names.push(name.to_owned()),
        }
    }
    if addresses.is_empty() {
        addresses.push("127.0.0.1".to_owned());
    }
    (addresses, names)
}

fn clients(items: &Items, work: &mut Work) {
    const CLIENTS: &str = "listen.clients_max";
    const PER_NODE: &str = "pool.connections_per_node_max";
    let mut number = |name: &str| {
        let (index, item) = items.get(name)?;
        Some((index, whole(item, work)?))
    };
    let children = number("num_init_children");
    let reserved = number("reserved_connections");
    let pool = number("max_pool");
    if let Some((index, children)) = children {
        let reserved = reserved.map_or(0, |(_, reserved)| reserved);
        count(CLIENTS, children.saturating_sub(reserved), work);
        let text = "a limit on clients, no processes; they cost little, so more are fine";
        work.answers
            .insert(index, Answer::to(OtherMeaning, CLIENTS, text));
    }
    if let Some((index, reserved)) = reserved {
        let text = "is subtracted from num_init_children; a client too many is always refused";
        let answer = match (children, reserved) {
            (_, 0) => Answer::new(NotNeeded, "a client too many is always refused with 53300"),
            (Some(_), _) => Answer::to(OtherMeaning, CLIENTS, text),
            (None, _) => Answer::new(NotNeeded, "num_init_children is not given"),
        };
        work.answers.insert(index, answer);
    }
    if let Some((index, pool)) = pool {
        let answer = match children {
            Some((_, children)) => {
                count(PER_NODE, children.saturating_mul(pool), work);
                let text = "times num_init_children, for the whole proxy; keep it below the \
                            node's max_connections";
                Answer::to(OtherMeaning, PER_NODE, text)
            }
            None => Answer::new(
                NotNeeded,
                "it counts per child; `pool.connections_per_node_max` limits all together",
            ),
        };
        work.answers.insert(index, answer);
    }
}

fn connections(items: &Items, work: &mut Work) {
    const TIMEOUT: &str = "pool.connect_timeout";
    let Some((first, item)) = items.get("connect_timeout") else {
        return;
    };
    if duration(item, TIMEOUT, Unit::Milliseconds, "10m", work).is_some() {
        work.answers
            .insert(first, Answer::to(CarriedOver, TIMEOUT, ""));
    }
    for (index, _) in items
        .all("connect_timeout")
        .filter(|(index, _)| *index != first)
    {
        let answer = Answer::to(
            OtherMeaning,
            TIMEOUT,
            "one for all nodes; this one does not count",
        );
        work.answers.insert(index, answer);
    }
}

fn reset_query(items: &Items, work: &mut Work) {
    const RESET: &str = "pool.reset_query";
    let Some((index, item)) = items.get("reset_query_list") else {
        return;
    };
    let queries = item.entry.value.split(';').map(str::trim);
    let queries: Vec<_> = queries.filter(|query| !query.is_empty()).collect();
    let is = |query: &&&str, words: &[&str]| words.iter().any(|w| w.eq_ignore_ascii_case(query));
    let other: Vec<_> = queries
        .iter()
        .filter(|query| !is(query, &["abort", "rollback", "discard all"]))
        .copied()
        .collect();
    let discards = queries.iter().any(|query| is(&query, &["discard all"]));
    let answer = if other.is_empty() {
        work.draft.set(RESET, "DISCARD ALL");
        Answer::to(
            CarriedOver,
            RESET,
            "ABORT is not needed: a connection inside a transaction is not kept",
        )
    } else if discards {
        work.draft.set(RESET, "DISCARD ALL");
        Answer::to(
            OtherMeaning,
            RESET,
            "only one query that stands alone is possible; the others were left out",
        )
    } else {
        work.draft.set(RESET, other.join("; "));
        let text = "DISCARD ALL is safer: what this leaves behind, such as temporary tables, the next client finds";
        Answer::to(OtherMeaning, RESET, text).warn()
    };
    work.answers.insert(index, answer);
}

/// Ways of running Pgpool-II other than over streaming replication.
fn mode(items: &Items, work: &mut Work) {
    let fine = [
        ("backend_clustering_mode", "streaming_replication"),
        ("master_slave_sub_mode", "stream"),
    ];
    for (name, word) in fine {
        let Some((index, item)) = items.get(name) else {
            continue;
        };
        let answer = if item.entry.value.eq_ignore_ascii_case(word) {
            Answer::new(NotNeeded, "streaming replication is what is served")
        } else {
            let text = "only streaming replication is served: do not switch before the nodes are a \
                        primary with replicas, or there is one node only";
            Answer::new(NotThere, text).warn()
        };
        work.answers.insert(index, answer);
    }
}

/// Pgpool-II's own default; a package may have another.
const PORT: i64 = 9999;

/// The same of its tools.
const PCP_PORT: i64 = 9898;
