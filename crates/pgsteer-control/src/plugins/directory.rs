//! Looks at the directory of plugins: which files are there, which have settled, what is in them.
//! All of it blocks; call it off the reactor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::beside::Beside;

/// A component as it was read, with the file beside it.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) sha256: String,
    pub(crate) beside: Beside,
}

/// What a look at the directory brought.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Names (without extension) of all components that are there.
    pub(crate) present: BTreeSet<String>,
    /// Those that are new or changed since they were last reported, or why they cannot be taken.
    pub(crate) changed: Vec<(String, Result<Component, String>)>,
    /// Some file is new and must stay as it is for a while first: look again soon.
    pub(crate) settling: bool,
    /// Names of files that look like plugins but are not named so; each is reported once.
    pub(crate) misnamed: Vec<String>,
    /// Why the directory could not be read; nothing else is filled in then.
    pub(crate) unreadable: Option<String>,
}

/// The directory and what was seen in it.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    seen: BTreeMap<String, Seen>,
    misnamed: BTreeSet<String>,
}

#[derive(Debug)]
struct Seen {
    stamp: (Stamp, Option<Stamp>),
    since: Instant,
    reported: bool,
}

/// What tells a changed file from an unchanged one.
#[derive(Clone, Debug, PartialEq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    // Number of the file and time of the last change to its entry: they tell a file that was put in
    // place with the size and time of the old one.
    inode: u64,
    changed: (i64, i64),
    is_file: bool,
}

impl Directory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            seen: BTreeMap::new(),
            misnamed: BTreeSet::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks once. A file is reported when it stayed the same for `settle`; with zero, at once.
    pub(crate) fn scan(&mut self, now: Instant, settle: Duration, file_bytes_max: usize) -> Scan {
        let mut scan = Scan::default();
        let names = match names(&self.path) {
            Ok(names) => names,
            Err(error) => {
                scan.unreadable = Some(error.to_string());
                return scan;
            }
        };
        for name in names {
            let Some(stem) = name.strip_suffix(".wasm") else {
                continue;
            };
            if !is_plugin_name(stem) {
                if self.misnamed.insert(name.clone()) {
                    scan.misnamed.push(name);
                }
                continue;
            }
            let Ok(stamp) = self.stamp(stem) else {
                continue;
            };
            scan.present.insert(stem.to_owned());
            self.look_at(stem, stamp, (now, settle, file_bytes_max), &mut scan);
        }
        self.seen.retain(|stem, _| scan.present.contains(stem));
        scan
    }

    fn look_at(
        &mut self,
        stem: &str,
        stamp: (Stamp, Option<Stamp>),
        (now, settle, file_bytes_max): (Instant, Duration, usize),
        scan: &mut Scan,
    ) {
        let seen = self.seen.entry(stem.to_owned()).or_insert_with(|| Seen {
            stamp: stamp.clone(),
            since: now,
            reported: false,
        });
        if seen.stamp != stamp {
            *seen = Seen {
                stamp,
                since: now,
                reported: false,
            };
        }
        if seen.reported {
            return;
        }
        if now.saturating_duration_since(seen.since) < settle {
            scan.settling = true;
            return;
        }
        seen.reported = true;
        let before = seen.stamp.clone();
        let component = read(&self.path, stem, file_bytes_max);
        if self.stamp(stem).is_ok_and(|after| after == before) {
            scan.changed.push((stem.to_owned(), component));
        } else {
            // It was written to while it was read: begin again.
            self.seen.remove(stem);
            scan.settling = true;
        }
    }

    fn stamp(&self, stem: &str) -> io::Result<(Stamp, Option<Stamp>)> {
        let (component, beside) = paths(&self.path, stem);
        let beside = match std::fs::metadata(beside) {
            Ok(metadata) => Some(Stamp::of(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok((Stamp::of(&std::fs::metadata(component)?), beside))
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            is_file: metadata.is_file(),
        }
    }
}

/// Two digits, a dash, a name of letters, digits, dashes and underscores.
pub(crate) fn is_plugin_name(stem: &str) -> bool {
    let Some((number, name)) = stem.split_once('-') else {
        return false;
    };
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    number.len() == 2
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(is_name_byte)
}

/// The name without `NN-`: what says that a file replaces the built-in router.
pub(crate) fn stem_without_number(name: &str) -> &str {
    name.split_once('-').map_or(name, |(_, stem)| stem)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        // A name that is not UTF-8 cannot be a plugin's.
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

fn paths(directory: &Path, stem: &str) -> (PathBuf, PathBuf) {
    (
        directory.join(format!("{stem}.wasm")),
        directory.join(format!("{stem}.toml")),
    )
}

fn read(directory: &Path, stem: &str, file_bytes_max: usize) -> Result<Component, String> {
    let (component, beside) = paths(directory, stem);
    let bytes = read_regular(&component, file_bytes_max)?;
    let beside_name = format!("{stem}.toml");
    let beside = match std::fs::metadata(&beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Beside::default(),
        Err(error) => return Err(format!("{beside_name} cannot be read: {error}")),
        Ok(_) => {
            let text = String::from_utf8(read_regular(&beside, BESIDE_BYTES_MAX)?)
                .map_err(|_| format!("{beside_name} is not UTF-8 text"))?;
            Beside::parse(&text, &beside_name)?
        }
    };
    Ok(Component {
        sha256: super::sha256(&bytes),
        bytes: bytes.into(),
        beside,
    })
}

/// Reads a regular file, or what a symbolic link to one names. Pipes and devices are not opened.
fn read_regular(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let cannot = |error: io::Error| format!("{name} cannot be read: {error}");
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err(format!("{name} is not a regular file"));
    }
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let too_large = || format!("{name} is larger than {bytes_max} bytes (plugins.file_max)");
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    let file = File::open(path).map_err(cannot)?;
    // It may have grown since.
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() > bytes_max {
        Err(too_large())
    } else {
        Ok(bytes)
    }
}

/// Size of a file beside a component (ours).
const BESIDE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
