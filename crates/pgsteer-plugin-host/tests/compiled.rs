//! Compiled components on disk: taken again when everything about them is right, and only then.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use pgsteer_core::policy::{PluginLoader as _, PluginSource};
use pgsteer_plugin_host::Options;
use tempfile::TempDir;

use support::{BAD, Guest, context, new_loader, source, statement, topology};

mod support;

/// A state directory.
struct State(TempDir);

impl State {
    /// With one component compiled into it.
    fn filled() -> Self {
        let state = Self(TempDir::new().expect("a directory"));
        assert!(!state.load_fresh(), "nothing was there");
        state
    }

    /// Loads the component as after a restart; whether it was compiled already.
    fn load_fresh(&self) -> bool {
        self.load(&source(Guest::default().build()))
    }

    fn load(&self, source: &PluginSource) -> bool {
        let loader = new_loader(Options {
            state_dir: Some(self.0.path().to_owned()),
            ..Options::default()
        });
        let loaded = loader.load(source, &context(&topology(), 1));
        let mut loaded = loaded.expect("a good guest, whatever is in the directory");
        assert!(loaded.instances[0].decide(&statement(BAD, "")).is_ok());
        loaded.report.was_compiled
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("compiled")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("key")
    }

    /// All files in the directory.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir()).expect("it is there");
        let mut files: Vec<_> = entries.map(|e| e.expect("readable").path()).collect();
        files.sort();
        files
    }

    fn file(&self) -> PathBuf {
        let files = self.files();
        assert_eq!(files.len(), 1, "{files:?}");
        files.into_iter().next().expect("one")
    }

    /// Compiled again, and kept: the time after that it is taken.
    #[track_caller]
    fn check_recovers(&self) {
        assert!(!self.load_fresh(), "it must not be used");
        assert!(self.load_fresh(), "it was written again");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn a_restart_compiles_nothing() {
    let state = State::filled();
    assert!(state.load_fresh());
    assert!(state.load_fresh());
    assert_eq!(
        (mode(&state.dir()), mode(&state.file()), mode(&state.key())),
        (0o700, 0o600, 0o600)
    );
    assert_eq!(fs::read(state.key()).expect("readable").len(), 32);
    let other = Guest {
        fields: "(global i32 (i32.const 7))".to_owned(),
        ..Guest::default()
    };
    assert!(!state.load(&source(other.build())), "that is another one");
    assert_eq!(state.files().len(), 2);
}

#[test]
fn the_state_directory_is_made() {
    let outside = TempDir::new().expect("a directory");
    let options = Options {
        state_dir: Some(outside.path().join("var").join("state")),
        ..Options::default()
    };
    for expected in [false, true] {
        let loader = new_loader(options.clone());
        let loaded = loader.load(&source(Guest::default().build()), &context(&topology(), 1));
        assert_eq!(loaded.expect("a good guest").report.was_compiled, expected);
    }
}

#[test]
fn one_loader_compiles_once() {
    let loader = new_loader(Options::default());
    let source = source(Guest::default().build());
    for expected in [false, true] {
        let loaded = loader.load(&source, &context(&topology(), 1));
        assert_eq!(loaded.expect("good").report.was_compiled, expected);
    }
}

#[test]
fn damaged_files_are_compiled_again() {
    let state = State::filled();
    let whole = fs::read(state.file()).expect("readable");
    for position in [0, 31, 32, whole.len() / 2, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[position] ^= 1;
        fs::write(state.file(), flipped).expect("writable");
        state.check_recovers();
    }
    for length in [0, 10, 32, 4096, whole.len() - 1] {
        fs::write(state.file(), &whole[..length]).expect("writable");
        state.check_recovers();
    }
    let mut longer = whole;
    longer.push(0);
    fs::write(state.file(), longer).expect("writable");
    state.check_recovers();
}

#[test]
fn files_of_others_are_not_used() {
    let state = State::filled();
    set_mode(&state.file(), 0o644);
    state.check_recovers();

    set_mode(&state.dir(), 0o755);
    assert!(!state.load_fresh());
    assert!(!state.load_fresh(), "nothing is kept in such a directory");
    set_mode(&state.dir(), 0o700);
    assert!(state.load_fresh());

    // Only root can give files away.
    if chown(state.dir(), Some(12_345), None).is_ok() {
        assert!(!state.load_fresh());
        assert!(!state.load_fresh());
    }
}

#[test]
fn another_key_is_another_proxy() {
    let state = State::filled();
    fs::write(state.key(), [7; 32]).expect("writable");
    state.check_recovers();
    set_mode(&state.key(), 0o640);
    assert!(!state.load_fresh());
    assert!(!state.load_fresh(), "a key that others know is none");
    set_mode(&state.key(), 0o600);
    fs::write(state.key(), [7; 31]).expect("writable");
    assert!(!state.load_fresh(), "a key that is too short is none");
    fs::remove_file(state.key()).expect("it was there");
    state.check_recovers();
}

#[test]
fn a_file_under_the_name_of_another_is_not_used() {
    let state = State::filled();
    let first = state.file();
    let other = Guest {
        fields: "(global i32 (i32.const 7))".to_owned(),
        ..Guest::default()
    };
    assert!(!state.load(&source(other.build())));
    let second = state.files().into_iter().find(|file| *file != first);
    let second = second.expect("there are two");
    fs::copy(second, &first).expect("writable");
    state.check_recovers();
}

#[test]
fn links_are_not_followed_to_the_directory() {
    let state = State::filled();
    let elsewhere = state.0.path().join("elsewhere");
    fs::rename(state.dir(), &elsewhere).expect("it is ours");
    std::os::unix::fs::symlink(&elsewhere, state.dir()).expect("nothing is there");
    assert!(!state.load_fresh());
    assert!(!state.load_fresh());
}

#[test]
fn without_a_usable_directory_everything_is_compiled() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    for state_dir in [file.path().to_owned(), file.path().join("below")] {
        let loader = new_loader(Options {
            state_dir: Some(state_dir),
            ..Options::default()
        });
        let loaded = loader.load(&source(Guest::default().build()), &context(&topology(), 1));
        assert!(!loaded.expect("a good guest").report.was_compiled);
    }
}

#[test]
fn room_is_made_for_new_files() {
    let state = State::filled();
    let old = state.dir().join("old.image");
    let file = fs::File::create(&old).expect("writable");
    // As large as all may be together; no byte of it is written.
    file.set_len(256 * 1024 * 1024).expect("sparse");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .expect("ours");
    let other = Guest {
        fields: "(global i32 (i32.const 7))".to_owned(),
        ..Guest::default()
    };
    assert!(!state.load(&source(other.build())));
    assert!(!old.exists(), "the oldest goes");
    assert!(state.load_fresh(), "the newer one stays");
}
