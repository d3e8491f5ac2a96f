//! A released plugin interface never changes: plugins that were built for it must go on to load.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::{File, Violations};

/// Interfaces that were released: the version, its file, and the SHA-256 of the file, as
/// `sha256sum` prints it. A release adds a line; none is ever changed or taken away.
const RELEASED: &[Released] = &[Released {
    version: "0.1.0",
    path: "wit/v0.1/plugin.wit",
    sha256: "fd7cb6ff0ef96c04b046703f401277205e080ff006ca31b998f8c346c4c04f9d",
}];

/// A version of the interface.
#[derive(Clone, Copy)]
struct Released {
    version: &'static str,
    path: &'static str,
    sha256: &'static str,
}

/// Checks the files of all released versions.
pub(crate) fn check(files: &[File], found: &mut Violations) {
    check_released(RELEASED, files, found);
}

fn check_released(released: &[Released], files: &[File], found: &mut Violations) {
    for Released {
        version,
        path,
        sha256,
    } in released
    {
        let Some(file) = files.iter().find(|file| file.path == *path) else {
            let what = format!("interface {version} is released: its file must stay");
            found.add(path, 1, what);
            continue;
        };
        let package = format!("@{version};");
        let names_it = |line: &str| line.starts_with("package ") && line.ends_with(&package);
        if !file.text.lines().any(names_it) {
            let what =
                format!("describes no package with version {version}, as tests/tidy/wit.rs says");
            found.add(path, 1, what);
        }
        let hash = hash(&file.text);
        if hash != *sha256 {
            found.add(path, 1, changed(version, &hash));
        }
    }
}

fn changed(version: &str, hash: &str) -> String {
    format!(
        "interface {version} is released and was changed (SHA-256 {hash}): plugins built for it \
         would not load. Take the change back; put what is new into a new interface, in a new file \
         of the directory or in a new version beside this one. Only if nothing but comments \
         changed, enter the new hash in tests/tidy/wit.rs"
    )
}

fn hash(text: &str) -> String {
    let mut hash = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        // Writing to a string cannot fail.
        let _written = write!(hash, "{byte:02x}");
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "package a:b@1.0.0;\n";
    const HASH: &str = "f4eba5f18e71dc0ed1c28c3f29f46d2478d99b3dfc7afc2256533f844497a6ca";

    fn violations(path: &str, text: &str) -> Vec<String> {
        let released = [Released {
            version: "1.0.0",
            path: "wit/v1/a.wit",
            sha256: HASH,
        }];
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut found = Violations::default();
        check_released(&released, &[file], &mut found);
        found.0
    }

    #[test]
    fn a_released_interface_may_stay_as_it_is() {
        assert_eq!(violations("wit/v1/a.wit", TEXT), Vec::<String>::new());
    }

    #[test]
    fn a_changed_one_is_found_and_says_what_to_do() {
        let changed = format!("{TEXT}interface new {{}}\n");
        let found = violations("wit/v1/a.wit", &changed);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("wit/v1/a.wit:1: interface 1.0.0 is released and was changed")
                && found[0].contains("a new interface"),
            "{found:?}"
        );
    }

    #[test]
    fn one_that_is_gone_or_has_another_version_is_found() {
        let gone = violations("wit/v2/a.wit", TEXT);
        assert!(gone[0].contains("its file must stay"), "{gone:?}");
        let renamed = violations("wit/v1/a.wit", "package a:b@1.0.1;\n");
        assert_eq!(renamed.len(), 2, "the version and the hash: {renamed:?}");
    }
}
