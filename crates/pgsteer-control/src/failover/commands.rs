//! The operator's commands: what their placeholders stand for, and how they are run.

use std::process::Stdio;
use std::time::Duration;

use pgsteer_core::NodeId;
use pgsteer_core::settings::{FailoverSettings, NodeSettings};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tracing::{info, warn};

use super::state::{Command, CommandKind, Outcome};

/// The command as the operator wrote it.
pub(super) fn text(kind: CommandKind, rules: &FailoverSettings) -> &str {
    match kind {
        CommandKind::Failover => &rules.failover_command,
        CommandKind::Failback => &rules.failback_command,
        CommandKind::FollowPrimary => &rules.follow_primary_command,
        CommandKind::Demote => &rules.demote_command,
    }
}

/// Puts in what Pgpool-II's placeholders stand for. One that stands for nothing becomes `""`, a node
/// that is not there -1.
pub(super) fn expand(text: &str, command: &Command, nodes: &[NodeSettings]) -> String {
    let number = |id: Option<NodeId>| id.map_or("-1".to_owned(), |id| id.to_string());
    let of = |id: Option<NodeId>, read: &dyn Fn(&NodeSettings) -> String| {
        let node = id.and_then(|id| nodes.get(id.index()));
        node.map(read)
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "\"\"".to_owned())
    };
    let host = |id| of(id, &|node| node.host.to_string());
    let port = |id| of(id, &|node| node.port.to_string());
    let data_dir = |id| of(id, &|node| node.data_dir.to_string());
    let (node, new, old) = (Some(command.node), command.new_main, command.old_primary);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str(&number(node)),
            Some('h') => out.push_str(&host(node)),
            Some('p') => out.push_str(&port(node)),
            Some('D') => out.push_str(&data_dir(node)),
            Some('m') => out.push_str(&number(new)),
            Some('H') => out.push_str(&host(new)),
            Some('r') => out.push_str(&port(new)),
            Some('R') => out.push_str(&data_dir(new)),
            Some('M' | 'P') => out.push_str(&number(old)),
            Some('N') => out.push_str(&host(old)),
            Some('S') => out.push_str(&port(old)),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

/// Runs a command to its end, or kills it with everything it started. What it says goes to the log.
pub(super) async fn run(setting: &'static str, line: String, limit: Duration) -> Outcome {
    info!(setting, command = line, "running a command");
    let spawned = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(&line)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what it started can be killed with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Outcome::Failed(format!("sh could not be started: {error}")),
    };
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let mut talk = std::pin::pin!(async {
            tokio::join!(log(setting, out), log(setting, err));
        });
        let mut talks = true;
        let status = loop {
            tokio::select! {
                // Cancel safe, as its documentation says.
                status = child.wait() => break status,
                // Not cancelled: it goes on in the next round.
                () = &mut talk, if talks => talks = false,
            }
        };
        // What it left running in the background may hold its output open for ever.
        if talks {
            let _said = tokio::time::timeout(LAST_WORDS, talk).await;
        }
        status.map_err(|error| error.to_string())
    };
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(status)) if status.success() => Outcome::Done,
        Ok(Ok(status)) => Outcome::Failed(format!("it ended with {status}")),
        Ok(Err(why)) => Outcome::Unknown(why),
        Err(_) => {
            kill(&child);
            Outcome::Unknown(format!("it was killed after {} s", limit.as_secs()))
        }
    }
}

fn kill(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(group) = pid.and_then(rustix::process::Pid::from_raw) {
        // It may have ended by itself meanwhile.
        let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Logs lines, as many as anybody would read.
async fn log(setting: &'static str, stream: Option<impl AsyncRead + Unpin>) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    let mut said = 0;
    loop {
        line.clear();
        match read_line(&mut reader, &mut line).await {
            Ok(true) if said < LINES_MAX => {
                let text = String::from_utf8_lossy(&line);
                let text: String = text.chars().filter(|c| !c.is_control()).collect();
                info!(setting, "{text}");
                said += 1;
            }
            Ok(true) if said == LINES_MAX => {
                warn!(setting, "the command says more than is logged");
                said += 1;
            }
            // Read on, so that it is not held up.
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}

/// Reads a line, of which only the beginning is kept if it is long.
async fn read_line<R: AsyncRead + Unpin>(
    reader: &mut BufReader<R>,
    line: &mut Vec<u8>,
) -> std::io::Result<bool> {
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = bytes.iter().position(|b| *b == b'\n');
        let len = end.unwrap_or(bytes.len());
        let room = LINE_LEN_MAX.saturating_sub(line.len()).min(len);
        line.extend_from_slice(bytes.get(..room).unwrap_or_default());
        reader.consume(end.map_or(len, |end| end + 1));
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// How long what it said last may take to arrive after its end (ours).
const LAST_WORDS: Duration = Duration::from_millis(200);
// Ours.
const LINES_MAX: usize = 200;
const LINE_LEN_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_those_of_pgpool() {
        let mut nodes = [NodeSettings::new("a", 1), NodeSettings::new("b", 2)];
        nodes[0].data_dir = "/data/a".into();
        let command = Command {
            kind: CommandKind::Failover,
            node: NodeId(0),
            new_main: Some(NodeId(1)),
            old_primary: Some(NodeId(0)),
        };
        let all = "%d %h %p %D|%m %H %r %R|%M %P %N %S|%% %x %";
        assert_eq!(
            expand(all, &command, &nodes),
            "0 a 1 /data/a|1 b 2 \"\"|0 0 a 1|% %x %"
        );
        let nobody = Command {
            new_main: None,
            old_primary: None,
            ..command
        };
        assert_eq!(expand("%m %H %P %N", &nobody, &nodes), "-1 \"\" -1 \"\"");
    }

    #[tokio::test]
    async fn a_command_ends_well_badly_or_is_killed() {
        let run = |line: &str, limit| run("failover_command", line.to_owned(), limit);
        let long = Duration::from_secs(60);
        assert_eq!(run("echo said; echo more >&2", long).await, Outcome::Done);
        let failed = run("exit 3", long).await;
        assert!(
            matches!(&failed, Outcome::Failed(why) if why.contains('3')),
            "{failed:?}"
        );
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("pid");
        let line = format!("sleep 600 & echo $! > {}; wait", file.display());
        let killed = run(&line, Duration::from_secs(1)).await;
        assert!(
            matches!(&killed, Outcome::Unknown(why) if why.contains("killed")),
            "{killed:?}"
        );
        // What it had started is killed with it.
        let pid = std::fs::read_to_string(&file).expect("written before it waited");
        let gone = || {
            let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            status.is_err() || status.is_ok_and(|text| text.contains(") Z "))
        };
        crate::testing::until("the end of what it started", gone).await;
        // What it left in the background is not waited for. It ends soon: nobody else ends it.
        assert_eq!(run("sleep 5 & echo $!", long).await, Outcome::Done);
    }

    #[tokio::test]
    async fn a_command_that_says_much_is_not_held_up() {
        let line = "yes | head -c 3000000; head -c 3000000 /dev/zero".to_owned();
        let outcome = run("failover_command", line, Duration::from_secs(60)).await;
        assert_eq!(outcome, Outcome::Done);
    }
}
