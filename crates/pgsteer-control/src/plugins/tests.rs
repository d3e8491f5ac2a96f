//! Tests of the supervisor on a real directory: drop a file, see it in the snapshot.

use std::path::Path;

use pgsteer_core::policy::PluginState;

use super::*;
use crate::control::Control;
use crate::testing::{self, FakeLoader, until};

async fn start(directory: &Path) -> (Control, Arc<FakeLoader>) {
    let loader = Arc::new(FakeLoader::default());
    let mut settings = testing::settings();
    settings.plugins.dir = Some(directory.to_owned());
    let embedded = Embedded {
        name: "90-router".to_owned(),
        bytes: (*b"built-in").into(),
    };
    let used = Arc::clone(&loader) as Arc<dyn PluginLoader>;
    let control = Control::start(settings, embedded, used, 2, testing::facts())
        .await
        .expect("starts");
    (control, loader)
}

fn in_force(control: &Control) -> Vec<String> {
    let snapshot = control.current();
    let line = |plugin: &Arc<pgsteer_core::policy::Plugin>| {
        format!("{}={}", plugin.file_name, plugin.version)
    };
    snapshot.policies.plugins.iter().map(line).collect()
}

fn drop_file(directory: &Path, name: &str, text: &str) {
    let part = directory.join(format!("{name}.part"));
    std::fs::write(&part, text).expect("written");
    std::fs::rename(part, directory.join(name)).expect("renamed");
}

#[tokio::test]
async fn what_is_there_at_the_start_is_in_the_first_snapshot() {
    let directory = tempfile::tempdir().expect("a directory");
    drop_file(directory.path(), "10-a.wasm", "1");
    drop_file(directory.path(), "20-b.wasm", "bad");
    drop_file(directory.path(), "30-c.wasm", "panic");
    let (control, _) = start(directory.path()).await;
    assert_eq!(in_force(&control), ["10-a=1", "90-router=built-in"]);
    let reports = Arc::clone(&control.current().plugin_reports);
    let refused = reports
        .iter()
        .filter(|report| report.state == PluginState::Refused);
    assert_eq!(refused.count(), 2);
    control.shutdown().await;
}

#[tokio::test]
async fn a_dropped_file_goes_live_and_a_broken_one_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let (control, loader) = start(directory.path()).await;
    drop_file(directory.path(), "10-a.wasm", "1");
    until("live", || {
        in_force(&control) == ["10-a=1", "90-router=built-in"]
    })
    .await;
    drop_file(directory.path(), "10-a.wasm", "2");
    until("replaced", || {
        in_force(&control) == ["10-a=2", "90-router=built-in"]
    })
    .await;
    drop_file(directory.path(), "10-a.wasm", "bad");
    until("refused", || {
        let reports = Arc::clone(&control.current().plugin_reports);
        reports
            .iter()
            .any(|report| report.state == PluginState::Refused)
    })
    .await;
    assert_eq!(in_force(&control), ["10-a=2", "90-router=built-in"]);
    drop_file(directory.path(), "10-a.toml", "[config]\nx = 1");
    drop_file(directory.path(), "10-a.wasm", "3");
    until("mended", || {
        in_force(&control) == ["10-a=3", "90-router=built-in"]
    })
    .await;
    assert_eq!(
        loader.loads().first().map(String::as_str),
        Some("90-router=built-in")
    );
    control.shutdown().await;
}

#[tokio::test]
async fn a_directory_may_come_and_go() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("plugins");
    let (control, _) = start(&directory).await;
    assert_eq!(in_force(&control), ["90-router=built-in"]);
    std::fs::create_dir(&directory).expect("made");
    drop_file(&directory, "10-a.wasm", "1");
    until("live", || {
        in_force(&control) == ["10-a=1", "90-router=built-in"]
    })
    .await;
    std::fs::remove_dir_all(&directory).expect("removed");
    std::fs::create_dir(&directory).expect("made");
    drop_file(&directory, "20-b.wasm", "1");
    until("live", || {
        in_force(&control) == ["10-a=1", "20-b=1", "90-router=built-in"]
    })
    .await;
    control.shutdown().await;
}
