//! Catalogs of real databases.

use pgsteer_core::Moment;
use pgsteer_core::catalog::{
    Function, Persistence, Relation, RelationKind, SearchPath, Volatility,
};
use pgsteer_testkit::{Cluster, Mode, Node};

use super::*;
use crate::Control;
use crate::freshness::Patience;
use crate::testing::{settings_for, start_on, until};

async fn cluster(replicas: usize) -> Cluster {
    let cluster = Cluster::builder().replicas(replicas).fast(true);
    cluster.start().await.expect("a cluster")
}

async fn start(nodes: &[&Node], settings: Settings) -> (Control, Arc<Facts>) {
    start_on(nodes, settings, Patience::default()).await
}

/// Waits for the catalog of a database that a session uses.
async fn catalog(database: &Database) -> Arc<Catalog> {
    until("a catalog", || database.catalog().is_some()).await;
    database.catalog().expect("there is one")
}

fn relation<'a>(catalog: &'a Catalog, schema: &str, name: &str) -> &'a Relation {
    let all = catalog.relations_named(name);
    let found = all.iter().find(|relation| &*relation.schema == schema);
    found.unwrap_or_else(|| panic!("{schema}.{name} is not there"))
}

fn function<'a>(catalog: &'a Catalog, name: &str) -> &'a Function {
    let [function] = catalog.functions_named(name) else {
        panic!("one function {name}");
    };
    function
}

const SCHEMA: &[&str] = &[
    "CREATE SCHEMA app",
    "CREATE TABLE app.t (a int PRIMARY KEY)",
    "CREATE UNLOGGED TABLE app.fast (a int)",
    "CREATE TABLE app.parts (a int) PARTITION BY RANGE (a)",
    "CREATE TABLE app.half PARTITION OF app.parts FOR VALUES FROM (0) TO (9) PARTITION BY LIST (a)",
    "CREATE UNLOGGED TABLE app.leaf PARTITION OF app.half FOR VALUES IN (1)",
    "CREATE VIEW app.v AS SELECT a, now() AS at FROM app.t",
    "CREATE MATERIALIZED VIEW app.m AS SELECT a FROM app.t",
    "CREATE SEQUENCE app.s",
    "CREATE FUNCTION app.over(a int) RETURNS int STABLE LANGUAGE sql RETURN 1",
    "CREATE FUNCTION app.over(a int, b int, c int DEFAULT 1) RETURNS int LANGUAGE sql RETURN 1",
    "CREATE FUNCTION app.many(a int, VARIADIC b int[]) RETURNS int IMMUTABLE LANGUAGE sql RETURN 1",
    "CREATE PROCEDURE app.proc() LANGUAGE sql AS ''",
    "CREATE FUNCTION app.step(int, int) RETURNS int LANGUAGE sql RETURN 1",
    "CREATE AGGREGATE app.agg(int) (sfunc = app.step, stype = int)",
    "CREATE ROLE alice",
    "CREATE ROLE bob",
    "ALTER ROLE alice SET search_path = alice, public",
    "ALTER ROLE bob SET search_path = elsewhere",
    "ALTER ROLE bob IN DATABASE postgres SET search_path = \"Bob's\", public",
    "ALTER DATABASE postgres SET search_path = app, public",
];

#[tokio::test]
async fn what_is_in_a_database_is_loaded() {
    let cluster = cluster(0).await;
    let node = cluster.primary();
    for statement in SCHEMA {
        node.sql(statement).await.expect("created");
    }
    let session = node.connect("postgres").await.expect("a session");
    let temporary = "CREATE TEMP TABLE mine (a int)";
    session.batch_execute(temporary).await.expect("created");
    let (control, facts) = start(&[node], settings_for(&[node])).await;
    let database = facts.catalogs.enter("postgres");
    let catalog = catalog(&database).await;

    for (name, persistence) in [
        ("t", Persistence::Permanent),
        ("fast", Persistence::Unlogged),
        ("leaf", Persistence::Unlogged),
        ("half", Persistence::Unlogged),
        ("parts", Persistence::Unlogged),
        ("m", Persistence::Permanent),
        ("s", Persistence::Permanent),
    ] {
        let relation = relation(&catalog, "app", name);
        assert_eq!(relation.persistence, persistence, "{name}");
        assert_eq!(relation.kind, RelationKind::Stored, "{name}");
    }
    let mine = catalog.relations_named("mine").first().expect("temporary");
    assert_eq!(mine.persistence, Persistence::Temporary);
    assert!(mine.schema.starts_with("pg_temp_"), "{}", mine.schema);
    let RelationKind::View(text) = &relation(&catalog, "app", "v").kind else {
        panic!("a view");
    };
    assert!(text.contains("FROM app.t"), "{text}");
    let system = relation(&catalog, "pg_catalog", "pg_stat_activity");
    assert_eq!(system.kind, RelationKind::Stored);
    assert!(catalog.relations_named("t_pkey").is_empty(), "an index");

    let path = SearchPath::parse("app", "x");
    for (arguments, volatilities) in [
        (1, vec![Volatility::Stable]),
        (2, vec![Volatility::Volatile]),
        (3, vec![Volatility::Volatile]),
        (4, vec![]),
    ] {
        let found = catalog.functions(None, "over", Some(arguments), &path);
        let found: Vec<_> = found.map(|f| f.volatility).collect();
        assert_eq!(found, volatilities, "{arguments}");
    }
    let many = function(&catalog, "many");
    assert_eq!((many.arguments_min, many.arguments_max), (1, u16::MAX));
    assert_eq!(function(&catalog, "agg").volatility, Volatility::Volatile);
    // Procedures are known, too: CALL asks what they may leave in the session.
    assert_eq!(catalog.functions_named("proc").len(), 1);
    for (name, arguments, volatility) in [
        ("count", 0, Volatility::Immutable),
        ("now", 0, Volatility::Stable),
        ("random", 0, Volatility::Volatile),
        ("percentile_cont", 1, Volatility::Immutable),
        ("json_agg", 1, Volatility::Stable),
        ("row_number", 0, Volatility::Immutable),
    ] {
        let found = catalog.functions(None, name, Some(arguments), &path);
        let found: Vec<_> = found.map(|f| f.volatility).collect();
        assert!(found.contains(&volatility), "{name}: {found:?}");
    }

    for (role, path) in [
        ("alice", "alice, public"),
        ("bob", "\"Bob's\", public"),
        ("carol", "app, public"),
    ] {
        assert_eq!(catalog.default_search_path(role), Some(path), "{role}");
    }
    control.shutdown().await;
}

#[tokio::test]
async fn changes_are_noticed_and_unused_databases_left_alone() {
    let cluster = cluster(1).await;
    let node = cluster.primary();
    let nodes = [node, cluster.replicas()[0]];
    node.sql("CREATE DATABASE quiet").await.expect("created");
    let mut settings = settings_for(&nodes);
    settings.catalog.refresh_interval = Duration::from_millis(300);
    let (control, facts) = start(&nodes, settings.clone()).await;
    let quiet = facts.catalogs.enter("quiet");
    // It was written to, so it is not forgotten when the last session leaves.
    quiet.note_write(Moment(1));
    facts.catalogs.leave(&quiet);
    let database = facts.catalogs.enter("postgres");
    assert_eq!(
        catalog(&database).await.default_search_path("x"),
        Some("\"$user\", public")
    );

    // Through the proxy.
    database.schema_changed();
    node.sql("CREATE TABLE one ()").await.expect("created");
    database.schema_changed();
    let one = catalog(&database).await;
    assert_eq!(one.relations_named("one").len(), 1);

    // Past it.
    node.sql("CREATE TABLE two ()").await.expect("created");
    until("it ages", || {
        let catalog = database.catalog();
        catalog.is_some_and(|catalog| catalog.relations_named("two").len() == 1)
    })
    .await;
    let version = database.version();
    let caught_up = cluster.wait_until_caught_up(Duration::from_secs(60)).await;
    caught_up.expect("the replica has all of it");

    // Without the primary, from the replica; what it says is nothing new.
    node.stop(Mode::Kill9).await.expect("stopped");
    until("the primary is away", || {
        control.current().topology.primary().is_none()
    })
    .await;
    database.schema_changed();
    let survived = catalog(&database).await;
    assert_eq!(survived.relations_named("two").len(), 1);
    assert!(database.version() > version);

    assert!(quiet.catalog().is_none(), "nobody uses it");
    assert!(Arc::ptr_eq(&facts.catalogs.enter("quiet"), &quiet));
    catalog(&quiet).await;
    facts.catalogs.leave(&quiet);
    until("it is let go", || quiet.catalog().is_none()).await;

    settings.catalog.relations_max = 10;
    control.reload(settings);
    until("there are too many", || database.catalog().is_none()).await;
    control.shutdown().await;
}

#[tokio::test]
async fn a_lock_holds_up_nobody_but_the_load() {
    let cluster = cluster(0).await;
    let node = cluster.primary();
    for statement in ["CREATE TABLE t ()", "CREATE VIEW v AS SELECT FROM t"] {
        node.sql(statement).await.expect("created");
    }
    let (control, facts) = start(&[node], settings_for(&[node])).await;
    let database = facts.catalogs.enter("postgres");
    catalog(&database).await;
    let session = node.connect("postgres").await.expect("a session");
    let lock = "BEGIN; ALTER TABLE t ADD COLUMN a int";
    session.batch_execute(lock).await.expect("locked");
    database.schema_changed();
    let waits = "SELECT count(*) FROM pg_stat_activity \
                 WHERE application_name = 'pgsteer catalog' AND wait_event_type = 'Lock'";
    let wait =
        pgsteer_testkit::wait_until(Duration::from_secs(20), "a load that waits", || async {
            node.value(waits).await.is_ok_and(|count| count == "1")
        });
    wait.await.expect("waits");
    assert!(database.catalog().is_none());
    session.batch_execute("COMMIT").await.expect("committed");
    catalog(&database).await;
    control.shutdown().await;
}
