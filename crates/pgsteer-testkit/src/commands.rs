//! Shell commands with which another program has nodes of a cluster stopped or made replicas: the
//! `demote_command` and `follow_primary_command` of a proxy.
//!
//! The servers are children of this process, so a script only asks: it leaves a file in a
//! directory, waits for another one, and ends with the status in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{MissedTickBehavior, interval};

use crate::cluster::Cluster;
use crate::node::{Mode, Node};

impl Cluster {
    /// A shell command that stops node `%d` and ends when its server has. Somebody must
    /// [`serve_commands`](Self::serve_commands).
    pub fn demote_command(&self) -> String {
        format!("{} %d", shell_quote(&self.root.join(DEMOTE)))
    }

    /// A shell command that makes node `%d` a replica of node `%m` and ends when it streams.
    pub fn follow_primary_command(&self) -> String {
        format!("{} %d %m", shell_quote(&self.root.join(FOLLOW)))
    }

    /// Carries out what the commands ask for, until it is dropped.
    ///
    /// # Errors
    /// The directory of the requests cannot be read or written.
    ///
    /// # Cancel safety
    /// A command that was taken stays without an answer.
    pub async fn serve_commands(&self) -> Result<()> {
        let dir = self.root.join(REQUESTS);
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for request in waiting(&dir)? {
                let text = fs::read_to_string(&request)?;
                fs::remove_file(&request)?;
                let (status, words) = match self.carry_out(text.trim()).await {
                    Ok(done) => (0, done),
                    Err(error) => (1, format!("{error:#}")),
                };
                tracing::info!(request = text.trim(), status, words, "command");
                let part = request.with_extension("part");
                fs::write(&part, format!("{status}\n{words}\n"))?;
                fs::rename(&part, request.with_extension("answer"))?;
            }
        }
    }

    async fn carry_out(&self, request: &str) -> Result<String> {
        let words: Vec<&str> = request.split_ascii_whitespace().collect();
        match words.as_slice() {
            [DEMOTE, node] => {
                let node = self.named(node)?;
                node.demote().await?;
                Ok(format!("{} is stopped", node.name()))
            }
            [FOLLOW, node, primary] => {
                let (node, primary) = (self.named(node)?, self.named(primary)?);
                ensure!(!node.is_left_alone(), "{} is left alone", node.name());
                let how = node.rejoin(primary).await?;
                Ok(format!(
                    "{} follows {}: {how:?}",
                    node.name(),
                    primary.name()
                ))
            }
            _ => bail!("{request:?} is not understood: demote NODE, or follow NODE PRIMARY"),
        }
    }

    fn named(&self, number: &str) -> Result<&Node> {
        let index = number.parse::<usize>().ok();
        let node = index.and_then(|index| self.nodes.get(index));
        node.with_context(|| format!("there is no node {number}"))
    }
}

impl Node {
    /// Stops a primary in order, when the replicas have all it wrote. It stays stopped.
    ///
    /// # Errors
    /// When the server does not end even after SIGKILL.
    pub async fn demote(&self) -> Result<()> {
        let _alone = self.surgery.lock().await;
        self.stop(Mode::Fast).await
    }
}

/// Writes the scripts, and forgets requests of another time.
pub(crate) fn write_scripts(root: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let requests = root.join(REQUESTS);
    crate::replication::remove_dir(&requests)?;
    fs::create_dir(&requests)?;
    for name in [DEMOTE, FOLLOW] {
        let path = root.join(name);
        fs::write(&path, SCRIPT.replace("@request@", name))
            .with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Requests by their names, which are numbers of processes.
fn waiting(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "ask"))
        .collect())
}

fn shell_quote(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

const DEMOTE: &str = "demote";
const FOLLOW: &str = "follow";
const REQUESTS: &str = "requests";
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Gives up after five minutes, when nobody serves it.
const SCRIPT: &str = r#"#!/bin/sh
# Asks the program that runs the servers below this directory. Written at every start.
set -eu
requests=$(dirname -- "$0")/requests
ask=$requests/$$.ask
answer=$requests/$$.answer
printf '%s\n' "@request@ $*" > "$ask.part"
mv -- "$ask.part" "$ask"
tries=0
until [ -e "$answer" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 6000 ]; then
        rm -f -- "$ask"
        echo "nobody answered: does the program that started the servers still run?" >&2
        exit 1
    fi
    sleep 0.05
done
status=$(head -n 1 -- "$answer")
tail -n +2 -- "$answer"
rm -f -- "$answer"
exit "$status"
"#;
