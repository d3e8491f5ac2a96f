//! Addresses in rules: CIDR, masks, and the networks of this machine for `samehost` and `samenet`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use pgsteer_core::auth::Network;

use crate::config::check::ReadFile;

/// Reads `10.0.0.0/8`; `None` if it is no such thing.
pub(super) fn cidr(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/')?;
    let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| is_number)?;
    Network::with_prefix(address.parse().ok()?, prefix)
}

/// `localhost` and nothing else: other names would have to be looked up at each login.
pub(super) fn localhost() -> Vec<Network> {
    let addresses = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    addresses.into_iter().filter_map(host).collect()
}

fn host(address: IpAddr) -> Option<Network> {
    Network::with_prefix(address, if address.is_ipv4() { 32 } else { 128 })
}

/// The addresses of this machine, as they are now.
pub(super) fn same_host(read_file: ReadFile<'_>) -> Vec<Network> {
    let text = |path: &str| read_file(Path::new(path)).unwrap_or_default();
    let mut found = localhost();
    found.extend(Network::with_prefix(IpAddr::V4(Ipv4Addr::LOCALHOST), 8));
    found.extend(own_v4(&text("/proc/net/fib_trie")));
    let own_v6 = interfaces_v6(&text("/proc/net/if_inet6"));
    found.extend(
        own_v6
            .iter()
            .filter_map(|(address, _)| host(IpAddr::V6(*address))),
    );
    found
}

/// The networks this machine is in, as they are now.
pub(super) fn same_net(read_file: ReadFile<'_>) -> Vec<Network> {
    let text = |path: &str| read_file(Path::new(path)).unwrap_or_default();
    let mut found = same_host(read_file);
    found.extend(routes_v4(&text("/proc/net/route")));
    let own_v6 = interfaces_v6(&text("/proc/net/if_inet6"));
    let network =
        |(address, prefix): &(Ipv6Addr, u8)| Network::with_prefix(IpAddr::V6(*address), *prefix);
    found.extend(own_v6.iter().filter_map(network));
    found
}

/// `|-- 10.0.0.7` with `/32 host LOCAL` below it.
fn own_v4(fib_trie: &str) -> Vec<Network> {
    let mut last = None;
    let mut found = Vec::new();
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last.and_then(|address| host(IpAddr::V4(address))));
        }
    }
    found
}

/// Columns 1, 3 and 7 are network, flags and mask, in hexadecimal as the processor stores them.
fn routes_v4(route: &str) -> Vec<Network> {
    const GATEWAY: u32 = 2;
    let row = |line: &str| {
        let number = |text: &&str| u32::from_str_radix(text, 16).ok();
        let columns: Vec<_> = line.split_whitespace().collect();
        let flags = columns.get(3).and_then(number)?;
        let network = columns.get(1).and_then(number)?.swap_bytes();
        let mask = columns.get(7).and_then(number)?.swap_bytes();
        (flags & GATEWAY == 0 && mask != 0).then_some(Network::V4(network, mask))
    };
    route.lines().skip(1).filter_map(row).collect()
}

/// Columns 0 and 2 are address and prefix, in hexadecimal.
fn interfaces_v6(if_inet6: &str) -> Vec<(Ipv6Addr, u8)> {
    let row = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let address = u128::from_str_radix(columns.first()?, 16).ok()?;
        let prefix = u8::from_str_radix(columns.get(2)?, 16).ok()?;
        Some((Ipv6Addr::from_bits(address), prefix))
    };
    if_inet6.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn files(path: &Path) -> io::Result<String> {
        let text = match path.to_str() {
            Some("/proc/net/fib_trie") => {
                "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                 |-- 172.17.0.2\n        /32 host LOCAL\n     |-- 172.17.255.255\n        /32 link BROADCAST\n"
            }
            Some("/proc/net/route") => {
                "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                 eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                 eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
            }
            Some("/proc/net/if_inet6") => {
                "00000000000000000000000000000001 01 80 10 80       lo\n\
                 fe800000000000000042acfffe110002 02 40 20 80     eth0\n"
            }
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(text.to_owned())
    }

    #[test]
    fn this_machine_and_its_networks_are_found() {
        let inside = |networks: &[Network], address: &str| {
            let address = address.parse().expect("an address");
            networks.iter().any(|network| network.contains(address))
        };
        let host = same_host(&files);
        let net = same_net(&files);
        for (address, is_host, is_net) in [
            ("127.0.0.1", true, true),
            ("::1", true, true),
            ("172.17.0.2", true, true),
            ("172.17.0.3", false, true),
            ("172.18.0.2", false, false),
            ("172.17.255.255", false, true),
            ("fe80::42:acff:fe11:2", true, true),
            ("fe80::1", false, true),
            ("2001:db8::1", false, false),
        ] {
            assert_eq!(inside(&host, address), is_host, "{address}");
            assert_eq!(inside(&net, address), is_net, "{address}");
        }
    }

    #[test]
    fn prefixes_are_whole_numbers_within_the_family() {
        for text in [
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "x/8",
            "10.0.0.0",
            "/8",
        ] {
            assert_eq!(cidr(text), None, "{text}");
        }
        assert!(cidr("10.0.0.0/0").is_some());
        assert!(cidr("fe80::/10").is_some());
    }
}
