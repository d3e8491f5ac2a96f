//! The directories of a cluster: where they are, whose they are, and that nobody else uses them.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::account::Account;

/// A place where a cluster can be made, held by a lock until the file is closed.
pub(crate) struct Site {
    pub(crate) root: PathBuf,
    pub(crate) socket_dir: PathBuf,
    pub(crate) temporary: Vec<TempDir>,
    pub(crate) keeps_data: bool,
    pub(crate) lock: File,
}

impl Site {
    /// Prepares `root`, or a temporary directory without one.
    pub(crate) fn prepare(root: Option<&Path>, account: &Account) -> Result<Self> {
        let mut temporary = Vec::new();
        let keeps_data = root.is_some();
        let root = match root {
            Some(root) => given_root(root)?,
            None => temporary_dir(&mut temporary)?,
        };
        let lock = lock(&root)?;
        account.own(&root)?;
        account.check_writable(&root)?;
        let mut socket_dir = root.join("sockets");
        if socket_path_len(&socket_dir) > SOCKET_PATH_LEN_MAX {
            socket_dir = short_temporary_dir(&mut temporary)?;
        }
        fs::create_dir_all(&socket_dir)
            .with_context(|| format!("cannot create {}", socket_dir.display()))?;
        account.own(&socket_dir)?;
        Ok(Self {
            root,
            socket_dir,
            temporary,
            keeps_data,
            lock,
        })
    }
}

/// Accepts a directory that is new, empty or was ours before; anything else stays untouched.
fn given_root(root: &Path) -> Result<PathBuf> {
    let root = std::path::absolute(root)?;
    fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    let is_empty = fs::read_dir(&root)?.next().is_none();
    ensure!(
        is_empty || root.join(LOCK_FILE).exists(),
        "{} holds something else than a cluster of ours: choose another directory",
        root.display()
    );
    Ok(root)
}

fn temporary_dir(keep: &mut Vec<TempDir>) -> Result<PathBuf> {
    let dir = tempfile::Builder::new()
        .prefix("pgsteer-")
        .tempdir()
        .context("cannot create a temporary directory")?;
    let path = dir.path().to_owned();
    keep.push(dir);
    Ok(path)
}

/// `TMPDIR` may be the long one, so the short one is always below `/tmp`.
fn short_temporary_dir(keep: &mut Vec<TempDir>) -> Result<PathBuf> {
    let dir = tempfile::Builder::new()
        .prefix("pgsteer-")
        .tempdir_in("/tmp")
        .context("cannot create a directory for sockets")?;
    let path = dir.path().to_owned();
    keep.push(dir);
    Ok(path)
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK_FILE);
    let file =
        File::create(&path).with_context(|| format!("cannot write to {}", root.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another process runs its cluster from {}", root.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn socket_path_len(dir: &Path) -> usize {
    dir.join(".s.PGSQL.65535").as_os_str().len()
}

/// `sun_path` has 108 bytes on Linux, one of them for the final zero.
const SOCKET_PATH_LEN_MAX: usize = 107;
/// Also the mark by which a data root of ours is known.
const LOCK_FILE: &str = ".pgsteer-cluster";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_directories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        let error = given_root(dir.path()).unwrap_err();
        assert!(error.to_string().contains("something else"), "{error}");
    }

    #[test]
    fn one_cluster_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).is_err());
        drop(held);
        lock(dir.path()).unwrap();
    }
}
