//! Who may have written a plugin: whoever can write one decides about every statement.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Whether a file may be trusted: it belongs to the proxy's user or to root, and nobody else can
/// write it.
///
/// # Errors
/// Why not, and what to do about it.
pub(crate) fn file(name: &str, metadata: &Metadata) -> Result<(), String> {
    let own = rustix::process::geteuid().as_raw();
    judge(name, metadata.uid(), metadata.mode(), own)
}

fn judge(name: &str, uid: u32, mode: u32, own: u32) -> Result<(), String> {
    if uid != own && uid != ROOT {
        return Err(format!(
            "{name} belongs to user {uid}, not to the proxy's user ({own}) or root, so its owner \
             would decide about every statement: chown {own} {name}"
        ));
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(format!(
            "{name} can be written by its group or by others (mode {:o}), who would decide about \
             every statement: chmod go-w {name}",
            mode & 0o7777
        ));
    }
    Ok(())
}

/// What is wrong with the directory, if something is: in one that others can write, files can be
/// taken away and put back.
pub(crate) fn directory(metadata: &Metadata) -> Option<String> {
    let mode = metadata.mode();
    let own = rustix::process::geteuid().as_raw();
    let uid = metadata.uid();
    if uid != own && uid != ROOT {
        return Some(format!(
            "it belongs to user {uid}, not to the proxy's user ({own}) or root"
        ));
    }
    let is_open = mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0;
    is_open.then(|| {
        let mode = mode & 0o7777;
        format!("its group or others can write it (mode {mode:o})")
    })
}

const ROOT: u32 = 0;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn only_the_own_user_and_root_are_trusted() {
        let cases = [
            (7, 0o100_644, Ok(())),
            (0, 0o100_600, Ok(())),
            (
                8,
                0o100_644,
                Err("belongs to user 8, not to the proxy's user (7)"),
            ),
            (7, 0o100_664, Err("(mode 664)")),
            (0, 0o100_646, Err("chmod go-w 10-a.wasm")),
        ];
        for (uid, mode, expected) in cases {
            match (judge("10-a.wasm", uid, mode, 7), expected) {
                (Ok(()), Ok(())) => {}
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
                (other, _) => panic!("{uid} {mode:o}: {other:?}"),
            }
        }
    }
}
