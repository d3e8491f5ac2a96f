//! Which OS user the servers run as, and how a program is started so that it dies with us.
//!
//! PostgreSQL refuses to run as root. As root we therefore drop to the user `postgres`; otherwise
//! everything runs as the user we are. `setpriv` (util-linux) drops the rights and asks the kernel
//! for a signal at our death, in that order: the kernel forgets the request when the user changes.
//! Both need a system call between fork and exec, which Rust cannot do without `unsafe`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// What a child gets from the kernel when the thread that started it ends.
#[derive(Clone, Copy)]
pub(crate) enum DeathSignal {
    /// For servers: PostgreSQL's immediate shutdown. Not the fast one (`INT`), which waits without
    /// limit for server processes, also for those a test has paused; after `QUIT` the postmaster
    /// kills what is left within five seconds.
    Quit,
    /// For programs that run for a moment.
    Kill,
}

/// The OS user of the servers.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    drop_to: Option<Ids>,
}

#[derive(Clone, Copy, Debug)]
struct Ids {
    uid: u32,
    gid: u32,
}

impl Account {
    /// Takes `postgres` when we are root, ourselves otherwise.
    pub(crate) fn current() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { drop_to: None });
        }
        let ids = Ids {
            uid: lookup("-u")?,
            gid: lookup("-g")?,
        };
        Ok(Self { drop_to: Some(ids) })
    }

    /// Ourselves, root or not.
    pub(crate) fn ourselves() -> Self {
        Self { drop_to: None }
    }

    /// Prepares `program` to run as this user, in a process group of its own (Ctrl-C in a terminal
    /// is for us to act upon), without any `PG*` variable of ours, from a directory it may enter.
    ///
    /// The death signal is tied to the *thread* that spawns the command: it has to live as long as
    /// the child should.
    pub(crate) fn command(&self, program: &Path, death: DeathSignal) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("setpriv");
        if let Some(Ids { gid, .. }) = self.drop_to {
            command
                .args(["--reuid", SERVER_USER, "--init-groups", "--regid"])
                .arg(gid.to_string());
        }
        command.arg("--pdeathsig").arg(match death {
            DeathSignal::Quit => "QUIT",
            DeathSignal::Kill => "KILL",
        });
        command
            .arg("--")
            .arg(program)
            .process_group(0)
            .current_dir("/");
        remove_pg_variables(|name| {
            command.env_remove(name);
        });
        command
    }

    /// Gives a file or directory (not what is in it) to this user.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        let Some(Ids { uid, gid }) = self.drop_to else {
            return Ok(());
        };
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .with_context(|| format!("cannot give {} to the user {SERVER_USER}", path.display()))
    }

    /// Checks that this user can create files in `dir`: a directory below a closed home directory
    /// is out of reach for `postgres`, and `initdb` would say so less clearly.
    pub(crate) fn check_writable(&self, dir: &Path) -> Result<()> {
        let status = self
            .command(Path::new("test"), DeathSignal::Kill)
            .arg("-w")
            .arg(dir)
            .status()
            .context("cannot run setpriv (package util-linux)")?;
        let user = if self.drop_to.is_some() {
            SERVER_USER
        } else {
            "this user"
        };
        ensure!(
            status.success(),
            "{user} cannot write to {}: choose a directory it can reach",
            dir.display()
        );
        Ok(())
    }
}

/// Calls `remove` for each variable that libpq or the server would take settings from.
pub(crate) fn remove_pg_variables(mut remove: impl FnMut(&OsStr)) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            remove(&name);
        }
    }
}

fn lookup(flag: &str) -> Result<u32> {
    let output = Command::new("id")
        .args([flag, SERVER_USER])
        .output()
        .context("cannot run id")?;
    if !output.status.success() {
        bail!(
            "PostgreSQL does not run as root and there is no OS user `{SERVER_USER}` to drop to: \
             install PostgreSQL's package, create the user, or start as an ordinary user"
        );
    }
    let text = String::from_utf8(output.stdout)?;
    text.trim()
        .parse()
        .with_context(|| format!("id {flag} {SERVER_USER} answered {text:?}"))
}

/// The user the packages of every distribution create.
const SERVER_USER: &str = "postgres";
