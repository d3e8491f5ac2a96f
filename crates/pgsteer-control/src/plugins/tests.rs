//! Tests of the supervisor on a real directory: drop a file, see it in the snapshot.

use std::path::Path;

use pgsteer_core::Facts;
use pgsteer_core::admin::Order;
use pgsteer_core::policy::{PluginLoader, PluginState, Sample};

use super::*;
use crate::control::Control;
use crate::testing::{self, FakeLoader, until};

async fn start(directory: &Path) -> (Control, Arc<FakeLoader>) {
    let mut settings = testing::settings();
    settings.plugins.dir = Some(directory.to_owned());
    start_with(settings, testing::facts()).await
}

async fn start_with(settings: Settings, facts: Arc<Facts>) -> (Control, Arc<FakeLoader>) {
    let loader = Arc::new(FakeLoader::default());
    let embedded = vec![testing::embedded(b"built-in")];
    let used = Arc::clone(&loader) as Arc<dyn PluginLoader>;
    let control = Control::start(settings, embedded, used, 2, facts)
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

/// What the report of the plugin in this state says.
fn reason(control: &Control, state: PluginState) -> Option<String> {
    let reports = Arc::clone(&control.current().plugin_reports);
    let report = reports.iter().find(|report| report.state == state);
    report.map(|report| report.reason.clone())
}

#[tokio::test]
async fn a_plugin_that_traps_is_rolled_back_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    drop_file(directory.path(), "10-a.wasm", "1");
    let (control, _) = start(directory.path()).await;
    drop_file(directory.path(), "10-a.wasm", "2");
    until("watched", || {
        reason(&control, PluginState::Probation).is_some()
    })
    .await;
    let plugin = Arc::clone(&control.current().policies.plugins[0]);
    assert_eq!(plugin.version, "2");
    let counters = plugin.counters(1);
    counters.calls.add(5000);
    for _ in 0..5 {
        counters.calls.add(1);
        counters.failures[0].add(1);
        plugin.tell_trouble();
    }
    until("rolled back", || {
        in_force(&control) == ["10-a=1", "90-router=built-in"]
    })
    .await;
    let story = reason(&control, PluginState::Refused).expect("refused");
    assert!(
        story.contains("it failed 5 times in 5005 questions (5 trap)"),
        "{story}"
    );
    assert!(story.contains("version 1 ("), "{story}");
    control.shutdown().await;
}

#[tokio::test]
async fn a_shadow_compares_what_comes_through_the_tap() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = testing::settings();
    settings.plugins.dir = Some(directory.path().to_owned());
    settings.plugins.rollout.shadow_share = 1.0;
    settings.plugins.rollout.shadow_decisions = 64;
    drop_file(directory.path(), "10-a.wasm", "1");
    let facts = testing::facts();
    let (control, _) = start_with(settings, Arc::clone(&facts)).await;
    assert_eq!(facts.tap.every(), 1024, "for the golden set");
    let feed = |different_every: u64| {
        let sample = |fingerprint| Sample {
            fingerprint,
            sql: "SELECT $1".to_owned(),
            ..Sample::default()
        };
        for number in 1..=64 {
            facts.tap.put(sample(number * different_every));
        }
    };
    drop_file(directory.path(), "10-a.wasm", "other 1000");
    until("compared", || facts.tap.every() == 1).await;
    assert_eq!(in_force(&control)[0], "10-a=1", "the old version decides");
    feed(1);
    until("it may decide", || {
        in_force(&control)[0] == "10-a=other 1000"
    })
    .await;

    drop_file(directory.path(), "10-a.wasm", "primary");
    until("compared", || facts.tap.every() == 1).await;
    feed(1);
    until("refused", || {
        reason(&control, PluginState::Refused).is_some()
    })
    .await;
    let story = reason(&control, PluginState::Refused).expect("refused");
    assert!(
        story.contains("stage shadow: 64 statements compared, 64 answered in another"),
        "{story}"
    );
    assert!(
        story.contains("SELECT $1: before: abstain; now: primary"),
        "{story}"
    );
    assert_eq!(in_force(&control)[0], "10-a=other 1000");
    until("the tap is narrow again", || facts.tap.every() == 1024).await;
    control.shutdown().await;
}

#[tokio::test]
async fn the_golden_set_is_what_came_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = testing::settings();
    settings.plugins.dir = Some(directory.path().to_owned());
    let facts = testing::facts();
    let (control, _) = start_with(settings, Arc::clone(&facts)).await;
    for _ in 0..300 {
        facts.tap.put(Sample::default());
    }
    // An order is carried out after what came before it was taken.
    let unknown = facts.desk.ask(Order::Pin("x".to_owned()), "alice").await;
    assert!(
        unknown
            .expect_err("unknown")
            .contains("there are: 90-router")
    );
    drop_file(directory.path(), "10-a.wasm", "1");
    until("live", || in_force(&control).len() == 2).await;
    let golden = control.current().policies.plugins[0].report.golden_asked;
    assert_eq!(golden, 256);
    control.shutdown().await;
}

#[tokio::test]
async fn decisions_are_recorded() {
    let facts = testing::facts();
    let (control, _) = start_with(testing::settings(), Arc::clone(&facts)).await;
    let ask = |count, values| {
        let facts = Arc::clone(&facts);
        tokio::spawn(async move { facts.desk.ask(Order::Record(count, values), "alice").await })
    };
    let recording = ask(3, true);
    until("open", || {
        facts.tap.every() == 1 && facts.tap.takes_values()
    })
    .await;
    let busy = ask(1, false).await.expect("not cancelled");
    assert!(
        busy.expect_err("one at a time")
            .contains("alice records already")
    );
    for fingerprint in 0..5 {
        facts.tap.put(Sample {
            fingerprint,
            ..Sample::default()
        });
    }
    let lines = recording.await.expect("not cancelled").expect("recorded");
    assert_eq!(lines.len(), 4);
    assert!(
        lines[3].starts_with("# 3 of 3 decisions recorded"),
        "{lines:?}"
    );
    let samples = crate::recording::read(&lines.join("\n")).expect("readable");
    assert_eq!(
        samples.iter().map(|s| s.fingerprint).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert!(!facts.tap.takes_values() && facts.tap.every() == 1024);
    control.shutdown().await;
}

#[tokio::test]
async fn what_operators_said_outlives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = tempfile::tempdir().expect("a directory");
    let mut settings = testing::settings();
    settings.plugins.dir = Some(directory.path().to_owned());
    settings.plugins.state_dir = Some(state.path().to_owned());
    drop_file(directory.path(), "10-a.wasm", "1");
    drop_file(directory.path(), "20-b.wasm", "1");
    let facts = testing::facts();
    let (control, _) = start_with(settings.clone(), Arc::clone(&facts)).await;
    drop_file(directory.path(), "10-a.wasm", "2");
    until("live", || in_force(&control)[0] == "10-a=2").await;
    let order = |order| facts.desk.ask(order, "alice");
    let lines = order(Order::Rollback("a".to_owned())).await.expect("done");
    assert!(lines[0].starts_with("10-a: version 1 ("), "{lines:?}");
    order(Order::Disable("20-b".to_owned()))
        .await
        .expect("done");
    assert_eq!(in_force(&control), ["10-a=1", "90-router=built-in"]);
    control.shutdown().await;

    let facts = testing::facts();
    let (control, _) = start_with(settings, Arc::clone(&facts)).await;
    assert_eq!(in_force(&control), ["10-a=1", "90-router=built-in"]);
    let order = |order| facts.desk.ask(order, "alice");
    order(Order::Enable("b".to_owned())).await.expect("done");
    until("enabled", || in_force(&control).len() == 3).await;
    control.shutdown().await;
}

#[tokio::test]
async fn what_was_held_back_goes_live_together() {
    let directory = tempfile::tempdir().expect("a directory");
    drop_file(directory.path(), "10-a.wasm", "1");
    drop_file(directory.path(), "HOLD", "");
    let (control, loader) = start(directory.path()).await;
    assert_eq!(in_force(&control), ["10-a=1", "90-router=built-in"]);
    drop_file(directory.path(), "10-a.wasm", "2");
    drop_file(directory.path(), "20-b.wasm", "bad");
    std::fs::remove_file(directory.path().join("HOLD")).expect("removed");
    until("refused", || {
        reason(&control, PluginState::Refused).is_some()
    })
    .await;
    let story = reason(&control, PluginState::Refused).expect("refused");
    assert!(
        story.contains("20-b of the same set was refused at stage compile: bad"),
        "{story}"
    );
    assert_eq!(in_force(&control), ["10-a=1", "90-router=built-in"]);
    drop_file(directory.path(), "20-b.wasm", "1");
    until("both", || {
        in_force(&control) == ["10-a=2", "20-b=1", "90-router=built-in"]
    })
    .await;
    assert_eq!(
        loader
            .loads()
            .iter()
            .filter(|load| *load == "10-a=2")
            .count(),
        2
    );
    control.shutdown().await;
}

#[tokio::test]
async fn state_that_cannot_be_read_stops_the_start_and_stays() {
    let state = tempfile::tempdir().expect("a directory");
    let mut settings = testing::settings();
    settings.plugins.state_dir = Some(state.path().to_owned());
    let file = state.path().join("plugins.toml");
    let text = "[plugins.10-a]\ndisabled = true\nodd = 1\n";
    std::fs::write(&file, text).expect("written");
    let embedded = vec![testing::embedded(b"built-in")];
    let loader = Arc::new(FakeLoader::default());
    let started = Control::start(settings, embedded, loader, 2, testing::facts()).await;
    let error = started.expect_err("refused").to_string();
    for part in ["plugins.toml", "odd", "mend the file, or move it away"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("there"), text);
}

#[tokio::test]
async fn an_order_that_is_not_kept_says_so_and_is_kept_later() {
    let parent = tempfile::tempdir().expect("a directory");
    let state = parent.path().join("state");
    let mut settings = testing::settings();
    settings.plugins.state_dir = Some(state.clone());
    let facts = testing::facts();
    let (control, _) = start_with(settings, Arc::clone(&facts)).await;
    std::fs::write(&state, "in the way").expect("written");
    let order = Order::Disable("router".to_owned());
    let lines = facts.desk.ask(order, "alice").await.expect("done");
    let last = lines.last().expect("lines");
    assert!(
        last.starts_with("done, but not kept over a restart: "),
        "{lines:?}"
    );
    std::fs::remove_file(&state).expect("removed");
    until("kept", || state.join("plugins.toml").exists()).await;
    control.shutdown().await;
}
