//! The file of the admin socket: made where nobody listens, readable for its owner only, removed at
//! the end if it is still ours.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::doors::DoorError;

/// A socket that is listened on.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl AdminSocket {
    /// Makes the socket. What a proxy that was killed left behind is replaced.
    pub(crate) fn open(path: &Path) -> Result<Self, DoorError> {
        let failed = |error| DoorError::Socket(path.to_owned(), error);
        if let Ok(there) = fs::symlink_metadata(path) {
            if !there.file_type().is_socket() {
                return Err(DoorError::NoSocket(path.to_owned()));
            }
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
                Ok(_) => return Err(DoorError::Live(path.to_owned())),
            }
        }
        // Until the mode is set others may connect, as far as the directory lets them; they are
        // refused like everybody whom the kernel does not vouch for.
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let file = identity(path).map_err(failed)?;
        let path = path.to_owned();
        Ok(Self {
            listener,
            path,
            file,
        })
    }

    /// Takes the socket over from the process before this one.
    pub(crate) fn adopt(path: &Path, socket: OwnedFd) -> Result<Self, DoorError> {
        let failed = |error| DoorError::Socket(path.to_owned(), error);
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            file: identity(path).map_err(failed)?,
        })
    }

    /// For the process that takes over from this one.
    pub(crate) fn copy(&self) -> io::Result<OwnedFd> {
        self.listener.try_clone().map(OwnedFd::from)
    }

    /// The file belongs to the process that took over.
    pub(crate) fn leave_file(&mut self) {
        self.file = (0, 0);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// For the runtime this is called on.
    pub(crate) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let there = fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}
