//! Tests of looking at the directory.

use super::*;

const SETTLE: Duration = Duration::from_millis(200);

fn changed(scan: &Scan) -> Vec<&str> {
    scan.changed.iter().map(|(name, _)| name.as_str()).collect()
}

fn look(now: Instant, settle: Duration, file_bytes_max: usize) -> Look {
    Look {
        now,
        settle,
        file_bytes_max,
        was_held: false,
    }
}

fn refusal(scan: &Scan) -> String {
    match scan.changed.as_slice() {
        [(_, Err(error))] => error.to_string(),
        other => panic!("one refusal, not {other:?}"),
    }
}

#[test]
fn a_file_is_read_once_it_has_settled() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut directory = Directory::new(temporary.path().to_owned());
    let start = Instant::now();
    let component = temporary.path().join("10-a.wasm");
    std::fs::write(&component, b"one").expect("written");

    let scan = directory.scan(look(start, SETTLE, 100));
    assert!(scan.settling && scan.changed.is_empty() && scan.present.contains("10-a"));
    std::fs::write(&component, b"longer").expect("written");
    let scan = directory.scan(look(start + SETTLE, SETTLE, 100));
    assert!(
        scan.settling && scan.changed.is_empty(),
        "it changed, so it begins again"
    );
    let scan = directory.scan(look(start + 2 * SETTLE, SETTLE, 100));
    assert!(!scan.settling);
    assert_eq!(changed(&scan), ["10-a"]);
    let scan = directory.scan(look(start + 3 * SETTLE, SETTLE, 100));
    assert!(scan.changed.is_empty(), "reported once");

    std::fs::write(temporary.path().join("10-a.toml"), "[config]\nx = 1").expect("written");
    assert!(
        directory
            .scan(look(start + 4 * SETTLE, SETTLE, 100))
            .settling
    );
    let scan = directory.scan(look(start + 5 * SETTLE, SETTLE, 100));
    assert_eq!(changed(&scan), ["10-a"], "a new configuration is a change");

    std::fs::remove_file(&component).expect("removed");
    let scan = directory.scan(look(start + 6 * SETTLE, SETTLE, 100));
    assert!(scan.present.is_empty() && scan.unreadable.is_none());
}

#[test]
fn a_file_of_the_same_size_and_time_is_noticed() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut directory = Directory::new(temporary.path().to_owned());
    let component = temporary.path().join("10-a.wasm");
    let put = |text: &str| {
        let part = temporary.path().join("part");
        std::fs::write(&part, text).expect("written");
        let file = File::options().write(true).open(&part).expect("opened");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("set");
        std::fs::rename(part, &component).expect("renamed");
    };
    put("one");
    assert_eq!(
        changed(&directory.scan(look(Instant::now(), Duration::ZERO, 4))),
        ["10-a"]
    );
    put("two");
    assert_eq!(
        changed(&directory.scan(look(Instant::now(), Duration::ZERO, 4))),
        ["10-a"]
    );
}

#[test]
fn names_decide_what_is_a_plugin() {
    let cases = [
        ("10-a", true),
        ("00-read_only-2", true),
        ("1-a", false),
        ("100-a", false),
        ("10-", false),
        ("10", false),
        ("a-10", false),
        ("10-a b", false),
        (".10-a", false),
        ("10-a.1", false),
    ];
    for (name, expected) in cases {
        assert_eq!(is_plugin_name(name), expected, "{name}");
    }
    let temporary = tempfile::tempdir().expect("a directory");
    for name in ["router.wasm", "10-a.toml", "README", ".10-a.wasm"] {
        std::fs::write(temporary.path().join(name), b"x").expect("written");
    }
    let mut directory = Directory::new(temporary.path().to_owned());
    let scan = directory.scan(look(Instant::now(), Duration::ZERO, 100));
    assert_eq!(scan.misnamed, [".10-a.wasm", "router.wasm"]);
    assert!(
        directory
            .scan(look(Instant::now(), Duration::ZERO, 100))
            .misnamed
            .is_empty()
    );
}

#[test]
fn what_cannot_be_taken_says_why() {
    let check = |prepare: &dyn Fn(&Path), expected: &str| {
        let temporary = tempfile::tempdir().expect("a directory");
        prepare(temporary.path());
        let mut directory = Directory::new(temporary.path().to_owned());
        let scan = directory.scan(look(Instant::now(), Duration::ZERO, 4));
        assert!(refusal(&scan).contains(expected), "{expected}: {scan:?}");
    };
    let write = |path: PathBuf, text: &str| std::fs::write(path, text).expect("written");
    check(
        &|d| write(d.join("10-a.wasm"), "12345"),
        "larger than 4 bytes (plugins.file_max)",
    );
    check(
        &|d| {
            write(d.join("10-a.wasm"), "1");
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o646);
            std::fs::set_permissions(d.join("10-a.wasm"), open).expect("set");
        },
        "refused at stage verify: 10-a.wasm can be written by its group or by others (mode 646)",
    );
    check(
        &|d| {
            write(d.join("10-a.wasm"), "1");
            write(d.join("10-a.toml"), "");
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o664);
            std::fs::set_permissions(d.join("10-a.toml"), open).expect("set");
        },
        "refused at stage verify: 10-a.toml can be written",
    );
    check(
        &|d| std::fs::create_dir(d.join("10-a.wasm")).expect("made"),
        "not a regular file",
    );
    check(
        &|d| {
            write(d.join("10-a.wasm"), "1");
            write(d.join("10-a.toml"), "[limits]\nmemory = 1");
        },
        "unknown field",
    );
}

#[test]
fn links_are_followed_to_regular_files_only() {
    let temporary = tempfile::tempdir().expect("a directory");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let target = elsewhere.path().join("component");
    std::fs::write(&target, b"x").expect("written");
    let link = temporary.path().join("10-a.wasm");
    std::os::unix::fs::symlink(&target, &link).expect("linked");
    let mut directory = Directory::new(temporary.path().to_owned());
    let scan = directory.scan(look(Instant::now(), Duration::ZERO, 4));
    assert!(matches!(scan.changed.as_slice(), [(_, Ok(_))]), "{scan:?}");

    std::fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", &link).expect("linked");
    let scan = directory.scan(look(Instant::now(), Duration::ZERO, 4));
    assert!(refusal(&scan).contains("not a regular file"));
}

#[test]
fn a_lost_directory_is_said_and_nothing_more() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut directory = Directory::new(temporary.path().join("gone"));
    let scan = directory.scan(look(Instant::now(), Duration::ZERO, 4));
    assert!(scan.unreadable.is_some() && scan.present.is_empty());
}

#[test]
fn what_is_held_back_comes_as_one_set() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut directory = Directory::new(temporary.path().to_owned());
    let start = Instant::now();
    let at = |n: u32| look(start + n * SETTLE, SETTLE, 100);
    let write = |name: &str| std::fs::write(temporary.path().join(name), b"x").expect("written");
    let remove = |name: &str| std::fs::remove_file(temporary.path().join(name)).expect("removed");
    write("HOLD");
    write("10-a.wasm");
    for n in 0..3 {
        let scan = directory.scan(at(n));
        assert!(scan.held && scan.changed.is_empty() && scan.present.is_empty());
    }
    write("20-b.wasm");
    remove("HOLD");
    assert!(directory.scan(at(3)).settling);
    write("30-c.wasm");
    let scan = directory.scan(at(4));
    assert!(
        scan.settling && scan.changed.is_empty(),
        "they wait for the last"
    );
    let scan = directory.scan(at(5));
    assert!(scan.is_set && !scan.settling);
    assert_eq!(changed(&scan), ["10-a", "20-b", "30-c"]);
    write("40-d.wasm");
    directory.scan(at(6));
    let scan = directory.scan(at(7));
    assert!(
        !scan.is_set && changed(&scan) == ["40-d"],
        "the next is on its own again"
    );

    write("HOLD");
    let mut other = Directory::new(temporary.path().to_owned());
    let scan = other.scan(look(start, Duration::ZERO, 100));
    assert_eq!(scan.changed.len(), 4, "a start takes what is there");
}
