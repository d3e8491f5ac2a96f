//! The rules of this repository, executed. Prints every violation with its path and line.
//!
//! A rule that is wrong is changed here, in the commit that needs it, with a reason.

mod dependencies;
mod files;
mod interface;
mod links;
mod pages;
mod plugins;
mod sources;
mod wit;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the repository: its path from the root, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

/// What was found wrong, one line each.
#[derive(Default)]
struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, path: &str, line: usize, what: impl std::fmt::Display) {
        self.0.push(format!("{path}:{line}: {what}"));
    }
}

#[test]
fn tidy() {
    let root = root();
    let paths = list_files(&root);
    let files = read_text_files(&root, &paths);
    assert!(
        files.iter().any(|file| file.path == "Cargo.toml"),
        "this is not the repository"
    );
    let mut found = Violations::default();
    dependencies::check(&files, &mut found);
    files::check(&files, &mut found);
    sources::check(&files, &mut found);
    links::check(&root, &files, &mut found);
    pages::check(&files, &mut found);
    pages::check_router_keys(&files, &mut found);
    interface::check(&root, &files, &mut found);
    wit::check(&files, &mut found);
    plugins::check(&files, &mut found);
    let Violations(lines) = found;
    assert!(
        lines.is_empty(),
        "{} violations:\n{}\n",
        lines.len(),
        lines.join("\n")
    );
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("this package is in a directory of the repository")
        .to_owned()
}

/// Asks git for what is tracked or would be by the next `git add`; without git (an unpacked archive,
/// an owner git does not trust) walks the directories.
fn list_files(root: &Path) -> Vec<String> {
    let git = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output();
    match git {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            let text = String::from_utf8(output.stdout).expect("paths here are UTF-8");
            text.split_terminator('\0').map(str::to_owned).collect()
        }
        _ => {
            let mut paths = Vec::new();
            walk(root, root, &mut paths);
            paths
        }
    }
}

fn walk(root: &Path, dir: &Path, paths: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("a directory of the repository can be read") {
        let entry = entry.expect("a directory of the repository can be read");
        let name = entry
            .file_name()
            .into_string()
            .expect("names here are UTF-8");
        if NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        if entry.path().is_dir() {
            walk(root, &entry.path(), paths);
        } else {
            let path = entry.path();
            let path = path
                .strip_prefix(root)
                .expect("it was found below the root");
            paths.push(path.to_str().expect("names here are UTF-8").to_owned());
        }
    }
}

/// Skips what is deleted but still known to git, and what is no text.
fn read_text_files(root: &Path, paths: &[String]) -> Vec<File> {
    let read = |path: &String| {
        let text = String::from_utf8(std::fs::read(root.join(path)).ok()?).ok()?;
        Some(File {
            path: path.clone(),
            text,
        })
    };
    paths.iter().filter_map(read).collect()
}

/// Names that git leaves out; needed only where git is not.
const NOT_OURS: [&str; 4] = [".git", "target", "lab", ".env"];
