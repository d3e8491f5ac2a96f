//! Unix sockets for clients, as PostgreSQL makes them: `.s.PGSQL.<port>` with a lock file beside it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The files of a socket that is listened on; removed when dropped, if they are still ours.
#[derive(Debug)]
pub struct UnixSocketFile {
    path: PathBuf,
    /// Device and inode of the socket.
    file: (u64, u64),
}

impl UnixSocketFile {
    /// Listens on the socket of this port in a directory. What a server that was killed left behind
    /// is replaced.
    ///
    /// # Errors
    /// Another server listens there, or the directory may not be written.
    pub fn bind(dir: &Path, port: u16, mode: u32) -> io::Result<(UnixListener, Self)> {
        let path = dir.join(format!(".s.PGSQL.{port}"));
        lock(&path)?;
        let bound = (|| {
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
            let file = identity(&path)?;
            Ok((listener, file))
        })();
        match bound {
            Ok((listener, file)) => Ok((listener, Self { path, file })),
            Err(error) => {
                let _ = fs::remove_file(lock_path(&path));
                Err(error)
            }
        }
    }

    /// Takes over a socket that another process of ours has listened on up to now, which will not
    /// remove its files then.
    ///
    /// # Errors
    /// It has no path, or its files may not be written.
    pub fn adopt(listener: &UnixListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
        let file = identity(path)?;
        fs::write(lock_path(path), lines(path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// The files belong to the process that takes over.
    pub fn leave(&mut self) {
        self.file = (0, 0);
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocketFile {
    fn drop(&mut self) {
        let lock = lock_path(&self.path);
        let ours = owner(&lock) == Some(std::process::id());
        if ours && identity(&self.path).is_ok_and(|there| there == self.file) {
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_file(&lock);
        }
    }
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Makes the lock file. A socket nobody accepts at is a leftover: process ids are used again, after
/// the restart of a container the same ones.
fn lock(socket: &Path) -> io::Result<()> {
    let path = lock_path(socket);
    let in_use = || {
        let text = format!("{} is in use by another server", socket.display());
        io::Error::new(io::ErrorKind::AddrInUse, text)
    };
    for _ in 0..ATTEMPTS_MAX {
        let mut options = OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o600).open(&path);
        let mut file = match made {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if is_live(socket) {
                    return Err(in_use());
                }
                let _ = fs::remove_file(&path);
                continue;
            }
            Err(error) => return Err(error),
        };
        file.write_all(lines(socket).as_bytes())?;
        if is_live(socket) {
            let _ = fs::remove_file(&path);
            return Err(in_use());
        }
        if fs::symlink_metadata(socket).is_ok_and(|there| there.file_type().is_socket()) {
            fs::remove_file(socket)?;
        }
        return Ok(());
    }
    Err(in_use())
}

/// Times a leftover is removed before somebody else is believed to be as quick.
const ATTEMPTS_MAX: usize = 3;

fn is_live(socket: &Path) -> bool {
    match UnixStream::connect(socket) {
        Ok(_) => true,
        // Its queue is full, or it may not be used by us: somebody is there.
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        ),
    }
}

/// What PostgreSQL writes into a lock file, and reads if it finds one: process id, data directory,
/// start, port, directory of the socket.
fn lines(socket: &Path) -> String {
    let dir = socket.parent().unwrap_or(socket).display();
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    let port = name.rsplit('.').next().unwrap_or_default();
    let start = SystemTime::now().duration_since(UNIX_EPOCH);
    let start = start.map_or(0, |since| since.as_secs());
    let pid = std::process::id();
    format!("{pid}\n{dir}\n{start}\n{port}\n{dir}\n")
}

fn owner(lock: &Path) -> Option<u32> {
    fs::read_to_string(lock).ok()?.lines().next()?.parse().ok()
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let there = fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> PathBuf {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("pgsteer-socket-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_socket_comes_and_goes_with_its_lock_file() {
        let dir = directory();
        let (listener, file) = UnixSocketFile::bind(&dir, 5432, 0o750).unwrap();
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
        let lock = fs::read_to_string(dir.join(".s.PGSQL.5432.lock")).unwrap();
        let lines: Vec<_> = lock.lines().collect();
        assert_eq!(lines[0], std::process::id().to_string());
        assert_eq!((lines[3], lines[4]), ("5432", dir.to_str().unwrap()));
        let second = UnixSocketFile::bind(&dir, 5432, 0o750).map(drop);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(file.path()).is_ok(), "it still listens");
        drop(listener);
        drop(file);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn what_was_left_behind_is_replaced() {
        let dir = directory();
        let socket = dir.join(".s.PGSQL.1");
        drop(UnixListener::bind(&socket).unwrap());
        fs::write(lock_path(&socket), "1\n/nowhere\n").unwrap();
        let (_listener, file) = UnixSocketFile::bind(&dir, 1, 0o777).unwrap();
        assert!(UnixStream::connect(&socket).is_ok());
        drop(file);
        fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn whoever_took_over_keeps_the_files() {
        let dir = directory();
        let (listener, old) = UnixSocketFile::bind(&dir, 2, 0o777).unwrap();
        let new = UnixSocketFile::adopt(&listener).unwrap();
        // As the other process sees it.
        fs::write(lock_path(new.path()), "1\n").unwrap();
        drop(old);
        assert!(UnixStream::connect(new.path()).is_ok());
        fs::remove_dir_all(&dir).unwrap();
    }
}
