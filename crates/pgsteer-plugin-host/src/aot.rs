//! Compiled components on disk: after a restart nothing is compiled again.
//!
//! Whoever can write such a file can run code in the proxy. So the directory must belong to the
//! user the proxy runs as, and to nobody else, and each file carries a MAC under a key that only
//! this user can read. Whatever is not right about a file is no error: the component is compiled
//! again.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::FEATURES;

/// The directory of compiled components below a state directory.
#[derive(Debug)]
pub(crate) struct CompiledFiles {
    state_dir: PathBuf,
    dir: PathBuf,
}

impl CompiledFiles {
    pub(crate) fn new(state_dir: PathBuf) -> Self {
        let dir = state_dir.join("compiled");
        Self { state_dir, dir }
    }

    /// The component, if it was compiled before by this version with these settings.
    pub(crate) fn get(&self, engine: &Engine, bytes: &[u8]) -> Option<Component> {
        let key = CacheKey::new(engine, bytes);
        let path = self.dir.join(key.file_name());
        let found = self.read(&path, &key);
        let image = match found {
            Ok(image) => image?,
            Err(error) => {
                let file = path.display();
                tracing::warn!(%file, %error, "a compiled component is not used");
                return None;
            }
        };
        match deserialize(engine, &image) {
            Ok(component) => Some(component),
            Err(error) => {
                let (file, error) = (path.display(), format!("{error:#}"));
                tracing::warn!(%file, error, "a compiled component is not used");
                None
            }
        }
    }

    /// Keeps it. What goes wrong is logged: the component is there, only not the next time.
    pub(crate) fn put(&self, engine: &Engine, bytes: &[u8], component: &Component) {
        let written = component
            .serialize()
            .map_err(|error| io::Error::other(format!("{error:#}")))
            .and_then(|image| self.write(&CacheKey::new(engine, bytes), &image));
        if let Err(error) = written {
            let dir = self.dir.display();
            tracing::warn!(%dir, %error, "a compiled component is not kept");
        }
    }

    /// The image, if there is one.
    fn read(&self, path: &Path, key: &CacheKey) -> io::Result<Option<Vec<u8>>> {
        match fs::symlink_metadata(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => check_private(&other?, Kind::Directory)?,
        }
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        check_private(&file.metadata()?, Kind::File)?;
        let mut tagged = Vec::new();
        file.read_to_end(&mut tagged)?;
        let Some((tag, image)) = tagged.split_at_checked(TAG_BYTES) else {
            return Err(io::Error::other("it is truncated"));
        };
        let mac = mac(&self.mac_key()?, key, image);
        mac.verify_slice(tag)
            .map_err(|_| io::Error::other("it was not written by this proxy, or it is damaged"))?;
        // It is in use: others go first when there is no room.
        let _ = file.set_modified(SystemTime::now());
        tagged.drain(..TAG_BYTES);
        Ok(Some(tagged))
    }

    fn write(&self, key: &CacheKey, image: &[u8]) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.dir)?;
        check_private(&fs::symlink_metadata(&self.dir)?, Kind::Directory)?;
        let tag = mac(&self.mac_key()?, key, image).finalize().into_bytes();
        self.make_room(TAG_BYTES + image.len())?;
        let temporary = Temporary::create(&self.dir)?;
        (&temporary.file).write_all(&tag)?;
        (&temporary.file).write_all(image)?;
        temporary.file.sync_all()?;
        fs::rename(&temporary.path, self.dir.join(key.file_name()))
    }

    /// Removes files, those that were not used for longest first, until so many bytes fit.
    fn make_room(&self, bytes: usize) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        total = total.saturating_add(bytes as u64);
        for (_, length, path) in files {
            if total <= BYTES_MAX {
                break;
            }
            fs::remove_file(path)?;
            total -= length;
        }
        Ok(())
    }

    /// The key of the MAC, which is made if there is none.
    fn mac_key(&self) -> io::Result<[u8; KEY_BYTES]> {
        let path = self.state_dir.join("key");
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_key(&path)?;
                File::open(&path)?
            }
            other => other?,
        };
        let about = |error| io::Error::other(format!("{}: {error}", path.display()));
        check_private(&file.metadata()?, Kind::File).map_err(about)?;
        let mut key = [0; KEY_BYTES];
        file.read_exact(&mut key).map_err(about)?;
        Ok(key)
    }

    fn make_key(&self, path: &Path) -> io::Result<()> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        let temporary = Temporary::create(&self.state_dir)?;
        (&temporary.file).write_all(&key)?;
        temporary.file.sync_all()?;
        // A link, for it fails if somebody else was faster; theirs is as good.
        match fs::hard_link(&temporary.path, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}

/// What an image was made from, and by what.
struct CacheKey([u8; 32]);

impl CacheKey {
    fn new(engine: &Engine, bytes: &[u8]) -> Self {
        let mut hasher = Feed(Sha256::new());
        hasher.write(&Sha256::digest(bytes));
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.write(env!("CARGO_PKG_VERSION").as_bytes());
        // What is not in here was refused before it was compiled.
        hasher.write(format!("{FEATURES:?}").as_bytes());
        Self(hasher.0.finalize().into())
    }

    fn file_name(&self) -> String {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        hex + ".image"
    }
}

/// Whatever is hashed goes into a digest that is the same for every process.
struct Feed(Sha256);

impl Hasher for Feed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Nobody asks: the digest is taken instead.
        0
    }
}

/// Covers the key of the cache too: a file under another's name is not taken for it.
fn mac(mac_key: &[u8; KEY_BYTES], key: &CacheKey, image: &[u8]) -> Hmac<Sha256> {
    let mut padded = [0; BLOCK_BYTES];
    padded[..KEY_BYTES].copy_from_slice(mac_key);
    let mut mac = Hmac::<Sha256>::new(&padded.into());
    mac.update(b"pgsteer compiled component");
    mac.update(&key.0);
    mac.update(image);
    mac
}

#[expect(unsafe_code, reason = "the engine offers no other way to use an image")]
fn deserialize(engine: &Engine, image: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the image must be what `Component::serialize` made, for it holds machine code. Its
    // MAC was verified under a key that only the user of the proxy can read, and this module puts
    // nothing else under that key. The engine checks that it was made by the same version of it
    // with the same settings.
    unsafe { Component::deserialize(engine, image) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
}

/// Whether it is what it should be, ours, and nobody else can read or write it.
fn check_private(metadata: &fs::Metadata, kind: Kind) -> io::Result<()> {
    let is_kind = match kind {
        Kind::Directory => metadata.is_dir(),
        Kind::File => metadata.is_file(),
    };
    let wrong = |what: &str| Err(io::Error::other(what.to_owned()));
    if !is_kind {
        return wrong("it is no directory or file of its own");
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return wrong("it belongs to another user");
    }
    if metadata.mode() & 0o077 != 0 {
        return wrong("others may use it: its mode must be 0700, that of files 0600");
    }
    Ok(())
}

/// A new file that only its owner can use; removed when dropped, if it is still there.
struct Temporary {
    file: File,
    path: PathBuf,
}

impl Temporary {
    fn create(dir: &Path) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let name = format!(".new-{:016x}", u64::from_ne_bytes(random));
        let path = dir.join(name);
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { file, path })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It was renamed, or there is nothing to be done about it.
        let _ = fs::remove_file(&self.path);
    }
}

const TAG_BYTES: usize = 32;
const KEY_BYTES: usize = 32;

/// Block of SHA-256: a key of this length is taken as it is, a shorter one is filled with zeros.
const BLOCK_BYTES: usize = 64;

/// Ours: a hundred generations of ordinary plugins, or a few that bring an interpreter.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
