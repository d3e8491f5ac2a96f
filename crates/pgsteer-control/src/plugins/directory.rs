//! Looks at the directory of plugins: which files are there, which have settled, what is in them.
//! All of it blocks; call it off the reactor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pgsteer_core::policy::LoadError;

use super::beside::Beside;
use super::verify;

/// A component as it was read, with the file beside it.
#[derive(Clone, Debug, PartialEq)]
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
    pub(crate) changed: Vec<(String, Result<Component, LoadError>)>,
    /// What changed is to go live together or not at all.
    pub(crate) is_set: bool,
    /// Nothing is to be taken now; nothing else is filled in then.
    pub(crate) held: bool,
    /// What is wrong with the directory itself.
    pub(crate) exposed: Option<String>,
    /// Some file is new and must stay as it is for a while first: look again soon.
    pub(crate) settling: bool,
    /// When the next of them has stayed the same for long enough.
    pub(crate) settles_in: Option<Duration>,
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
    // There was a file that holds everything back, and what came meanwhile was not taken yet.
    held: bool,
}

/// How to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The time.
    pub(crate) now: Instant,
    /// How long a file must have stayed the same to be read; zero: it is read at once, even if
    /// everything is held back.
    pub(crate) settle: Duration,
    /// The largest component that is read.
    pub(crate) file_bytes_max: usize,
    /// Everything was held back at some moment since the last look.
    pub(crate) was_held: bool,
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
            held: false,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks once. A file is reported when it stayed the same for a while.
    pub(crate) fn scan(&mut self, look: Look) -> Scan {
        let mut scan = Scan::default();
        let names = match names(&self.path) {
            Ok(names) => names,
            Err(error) => {
                scan.unreadable = Some(error.to_string());
                return scan;
            }
        };
        let hold = names.iter().any(|name| name == HOLD);
        self.held |= look.was_held;
        if hold && !look.settle.is_zero() {
            self.held = true;
            scan.held = true;
            return scan;
        }
        let metadata = std::fs::metadata(&self.path);
        scan.exposed = metadata.ok().as_ref().and_then(verify::directory);
        for name in names {
            self.note(&name, look, &mut scan);
        }
        self.seen.retain(|stem, _| scan.present.contains(stem));
        if !(self.held && scan.settling) {
            self.read_settled(look, &mut scan);
        }
        // At a start all is taken, and what changes later is held back.
        self.held |= hold;
        scan
    }

    /// Notes what can be said about a name without reading the file.
    fn note(&mut self, name: &str, look: Look, scan: &mut Scan) {
        let Some(stem) = name.strip_suffix(".wasm") else {
            return;
        };
        if !is_plugin_name(stem) {
            if self.misnamed.insert(name.to_owned()) {
                scan.misnamed.push(name.to_owned());
            }
            return;
        }
        let Ok(stamp) = self.stamp(stem) else {
            return;
        };
        scan.present.insert(stem.to_owned());
        let seen = self.seen.entry(stem.to_owned());
        let seen = seen
            .and_modify(|seen| {
                if seen.stamp != stamp {
                    *seen = Seen::new(stamp.clone(), look.now);
                }
            })
            .or_insert_with(|| Seen::new(stamp, look.now));
        if !seen.reported && !seen.is_settled(look) {
            let left = look
                .settle
                .saturating_sub(look.now.saturating_duration_since(seen.since));
            scan.settling = true;
            scan.settles_in = Some(scan.settles_in.map_or(left, |other| other.min(left)));
        }
    }

    fn read_settled(&mut self, look: Look, scan: &mut Scan) {
        let settled = |(stem, seen): (&String, &mut Seen)| {
            let now = !seen.reported && seen.is_settled(look);
            seen.reported |= now;
            now.then(|| (stem.clone(), seen.stamp.clone()))
        };
        let ready: Vec<_> = self.seen.iter_mut().filter_map(settled).collect();
        for (stem, before) in ready {
            let component = read(&self.path, &stem, look.file_bytes_max);
            if self.stamp(&stem).is_ok_and(|after| after == before) {
                scan.changed.push((stem, component));
            } else {
                // It was written to while it was read: begin again.
                self.seen.remove(&stem);
                scan.settling = true;
            }
        }
        if self.held && scan.settling {
            for (stem, _) in scan.changed.drain(..) {
                self.seen.remove(&stem);
            }
            return;
        }
        scan.is_set = std::mem::take(&mut self.held);
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

impl Seen {
    fn new(stamp: (Stamp, Option<Stamp>), since: Instant) -> Self {
        Self {
            stamp,
            since,
            reported: false,
        }
    }

    fn is_settled(&self, look: Look) -> bool {
        look.now.saturating_duration_since(self.since) >= look.settle
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

fn read(directory: &Path, stem: &str, file_bytes_max: usize) -> Result<Component, LoadError> {
    let (component, beside) = paths(directory, stem);
    let bytes = read_trusted(&component, file_bytes_max)?;
    let beside_name = format!("{stem}.toml");
    let beside = match std::fs::metadata(&beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Beside::default(),
        Err(error) => return Err(unread(format!("{beside_name} cannot be read: {error}"))),
        Ok(_) => {
            let text = String::from_utf8(read_trusted(&beside, BESIDE_BYTES_MAX)?);
            let text = text.map_err(|_| unread(format!("{beside_name} is not UTF-8 text")))?;
            Beside::parse(&text, &beside_name).map_err(unread)?
        }
    };
    Ok(Component {
        sha256: super::sha256(&bytes),
        bytes: bytes.into(),
        beside,
    })
}

/// Reads a regular file, or what a symbolic link to one names, if nobody else can have written it.
/// Pipes and devices are not opened.
fn read_trusted(path: &Path, bytes_max: usize) -> Result<Vec<u8>, LoadError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let cannot = |error: io::Error| unread(format!("{name} cannot be read: {error}"));
    let irregular = || untrusted(format!("{name} is not a regular file"));
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(irregular());
    }
    let file = File::open(path).map_err(cannot)?;
    // Of what was opened, not of what has the name now.
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(irregular());
    }
    verify::file(&name, &metadata).map_err(untrusted)?;
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let too_large = || {
        untrusted(format!(
            "{name} is larger than {bytes_max} bytes (plugins.file_max)"
        ))
    };
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
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

fn unread(reason: String) -> LoadError {
    let stage = "read";
    LoadError { stage, reason }
}

fn untrusted(reason: String) -> LoadError {
    let stage = "verify";
    LoadError { stage, reason }
}

/// While a file of this name is there, nothing is taken.
pub(crate) const HOLD: &str = "HOLD";

/// Size of a file beside a component (ours).
const BESIDE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
