//! Rules about Rust sources: headers, hot files, what `pgsteer-core` must not touch, plugin names.

use std::collections::BTreeSet;

use crate::{File, Violations};

/// Checks every Rust file.
pub(crate) fn check(files: &[File], found: &mut Violations) {
    let plugins = plugin_names(files);
    for file in files {
        if file.path.starts_with("crates/") {
            check_plugin_names(file, &plugins, found);
        }
        if !file.path.ends_with(".rs") {
            continue;
        }
        if !file.text.starts_with("//!") {
            found.add(
                &file.path,
                1,
                "does not begin with `//!`: say what the file is responsible for",
            );
        }
        if HOT_FILES.contains(&file.path.as_str()) {
            check_banned(
                file,
                &HOT_BANNED,
                "is not for a file that works per frame",
                found,
            );
        }
        if file.path.starts_with("crates/pgsteer-core/src/") {
            check_banned(
                file,
                &CORE_BANNED,
                "is I/O or time, which pgsteer-core has none of",
                found,
            );
            check_core_addresses(file, found);
        }
    }
}

fn check_banned(file: &File, banned: &[&str], why: &str, found: &mut Violations) {
    for (number, line) in code_lines(&file.text) {
        for word in banned.iter().filter(|word| line.contains(**word)) {
            found.add(&file.path, number, format!("`{word}` {why}"));
        }
    }
}

/// An address is a value; everything else in `std::net` opens sockets or asks a resolver.
fn check_core_addresses(file: &File, found: &mut Violations) {
    for (number, line) in code_lines(&file.text) {
        let Some((_, path)) = line.split_once("std::net::") else {
            continue;
        };
        let names = path.split(|c: char| !c.is_alphanumeric());
        if names.clone().all(str::is_empty) || names.filter(|n| !n.is_empty()).any(is_socket) {
            found.add(
                &file.path,
                number,
                "only address types of std::net are for pgsteer-core",
            );
        }
    }
}

fn is_socket(name: &str) -> bool {
    [
        "TcpListener",
        "TcpStream",
        "UdpSocket",
        "ToSocketAddrs",
        "self",
    ]
    .contains(&name)
}

/// Lines of code with their numbers: without comments, and up to the tests at the end of a file.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line));
    numbered
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(number, line)| (number, line.split_once("//").map_or(line, |(code, _)| code)))
}

fn plugin_names(files: &[File]) -> BTreeSet<String> {
    let manifests = files.iter().filter_map(|file| {
        let name = file
            .path
            .strip_prefix("plugins/")?
            .strip_suffix("/Cargo.toml")?;
        (!name.contains('/')).then(|| name.to_owned())
    });
    manifests
        .flat_map(|name| [name.replace('-', "_"), name])
        .collect()
}

/// The host must not know its guests, except for the program that embeds the default ones, tests
/// and benchmarks.
fn check_plugin_names(file: &File, plugins: &BTreeSet<String>, found: &mut Violations) {
    if file.path.starts_with("crates/pgsteer-proxy/")
        || file.path.contains("/tests/")
        || file.path.contains("/benches/")
    {
        return;
    }
    for (index, line) in file.text.lines().enumerate() {
        for name in plugins.iter().filter(|name| line.contains(name.as_str())) {
            found.add(&file.path, index + 1, format!("names the plugin {name}"));
        }
    }
}

/// Files whose code runs for every frame; one that does not exist yet is skipped.
const HOT_FILES: [&str; 2] = [
    "crates/pgsteer-session/src/relay.rs",
    "crates/pgsteer-wire/src/frame.rs",
];
const HOT_BANNED: [&str; 6] = [
    "format!",
    "to_string()",
    "to_vec()",
    "Mutex",
    "Instant::now",
    "info!",
];
const CORE_BANNED: [&str; 5] = [
    "std::fs",
    "tokio::fs",
    "tokio::net",
    "tokio::time",
    "use std::net;",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<String> {
        let mut found = Violations::default();
        let plugin = File {
            path: "plugins/my-router/Cargo.toml".to_owned(),
            text: String::new(),
        };
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&[plugin, file], &mut found);
        found.0
    }

    #[test]
    fn a_header_is_wanted() {
        assert_eq!(violations("a.rs", "fn main() {}\n").len(), 1);
        assert!(violations("a.rs", "//! A.\n").is_empty());
    }

    #[test]
    fn hot_files_do_not_format_except_in_comments_and_tests() {
        let text = "//! H.\n// format! is slow\nlet a = format!(\"\");\n#[cfg(test)]\nx.to_vec()\n";
        let found = violations(HOT_FILES[0], text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(":3:"), "{found:?}");
        assert!(violations("crates/pgsteer-wire/src/md5.rs", text).is_empty());
    }

    #[test]
    fn core_has_addresses_but_no_sockets() {
        let path = "crates/pgsteer-core/src/a.rs";
        assert!(violations(path, "//! A.\nuse std::net::{IpAddr, SocketAddr};\n").is_empty());
        assert_eq!(
            violations(path, "//! A.\nuse std::net::{IpAddr, TcpStream};\n").len(),
            1
        );
        assert_eq!(
            violations(path, "//! A.\nuse tokio::time::sleep;\n").len(),
            1
        );
    }

    #[test]
    fn only_the_program_names_a_plugin() {
        let text = "//! Uses my_router.\n";
        assert_eq!(violations("crates/pgsteer-session/src/a.rs", text).len(), 1);
        assert!(violations("crates/pgsteer-session/tests/a.rs", text).is_empty());
        assert!(violations("crates/pgsteer-proxy/src/a.rs", text).is_empty());
    }
}
