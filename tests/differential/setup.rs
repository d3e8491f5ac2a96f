//! Where programs run: a schema for each client in two databases, one for direct connections and
//! one for the proxy.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pgsteer_testkit::Cluster;

use crate::support::{Wire, runtime};

/// Clients at the same time at most.
pub(crate) const CLIENTS: usize = 4;

/// Two databases of the same make.
pub(crate) struct Stage {
    pub(crate) direct: String,
    pub(crate) proxied: String,
    /// Programs that ended PostgreSQL itself.
    pub(crate) crashes: Cell<u32>,
}

impl Stage {
    pub(crate) fn new(cluster: &Cluster, name: &str) -> Result<Self> {
        let stage = Self {
            direct: format!("{name}_direct"),
            proxied: format!("{name}_proxied"),
            crashes: Cell::default(),
        };
        runtime().block_on(async {
            for database in [&stage.direct, &stage.proxied] {
                let primary = cluster.primary();
                primary.sql(&format!("CREATE DATABASE {database}")).await?;
                // No read at a replica may be stale.
                let sync = "SET synchronous_commit = 'remote_apply'";
                let alter = format!("ALTER DATABASE {database}");
                primary.sql(&format!("{alter} {sync}")).await?;
                // A server that has seen such a name once knows it for ever, so all are to know it.
                for own in ["my.own", "a.b"] {
                    primary.sql(&format!("{alter} SET {own} = ''")).await?;
                }
            }
            anyhow::Ok(())
        })?;
        Ok(stage)
    }

    /// Makes everything in both databases anew.
    pub(crate) fn reset(&self, port: u16) -> Result<()> {
        for database in [&self.direct, &self.proxied] {
            let mut wire = Wire::connect(port, database);
            for client in 0..CLIENTS {
                let text = SETUP.replace("{c}", &client.to_string());
                let frames = wire.query(&text);
                let failed = frames.iter().find(|frame| frame.tag == b'E');
                ensure!(failed.is_none(), "setup: {failed:?}");
            }
        }
        Ok(())
    }

    /// Waits until what earlier programs left behind is gone: a server needs a moment to notice that
    /// its client has.
    pub(crate) fn await_unlocked(&self, port: u16) {
        let text = format!(
            "SELECT locktype, mode, state, query FROM pg_locks JOIN pg_stat_activity USING (pid)
             WHERE datname IN ('{}', '{}') AND (locktype = 'advisory' OR mode ~ 'Exclusive')
             AND locktype <> 'virtualxid'",
            self.direct, self.proxied
        );
        let end = Instant::now() + PATIENCE;
        let mut wire = connect_before(end, port);
        loop {
            let frames = wire.query(&text);
            let Some(row) = frames.iter().find(|frame| frame.tag == b'D') else {
                return;
            };
            let lock = row.values();
            assert!(Instant::now() < end, "a lock is left behind: {lock:?}");
            std::thread::yield_now();
        }
    }
}

/// Connects to a server, which starts again by itself when one of its processes has crashed.
fn connect_before(end: Instant, port: u16) -> Wire {
    loop {
        match Wire::try_connect(port, "postgres", PATIENCE) {
            Ok(wire) => return wire,
            Err(error) => assert!(Instant::now() < end, "the server is gone: {error}"),
        }
        std::thread::yield_now();
    }
}

/// How long clients that have left may be noticed by nobody.
const PATIENCE: Duration = Duration::from_secs(20);

/// Startup options of a client.
pub(crate) fn options(client: usize) -> String {
    format!("-c search_path=c{client}")
}

const SETUP: &str = "
SET client_min_messages = error;
SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid::bigint / 10 = 900{c};
DROP SCHEMA IF EXISTS c{c}, other{c} CASCADE;
CREATE SCHEMA c{c};
CREATE SCHEMA other{c};
GRANT ALL ON SCHEMA c{c}, other{c} TO alice;
SET search_path = c{c};
CREATE TABLE p (id int PRIMARY KEY, v int);
INSERT INTO p SELECT g, g * 10 FROM generate_series(1, 5) g;
CREATE TABLE d (a int, b text);
INSERT INTO d VALUES (1, '10'), (2, '20');
CREATE TABLE secret AS SELECT 1 AS a;
CREATE SEQUENCE sq;
CREATE TABLE numbered (id serial, a int);
GRANT ALL ON p, d, sq, numbered, numbered_id_seq TO alice;
CREATE TABLE other{c}.only_there AS SELECT {c} AS a;
CREATE FUNCTION say(what text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RAISE NOTICE 'hear: %', what; RETURN 1; END $$;
CREATE FUNCTION sets(what text, value text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RETURN set_config(what, value, false); END $$;
CREATE FUNCTION has_own() RETURNS text LANGUAGE sql SET work_mem = '9MB' AS
    $$ SELECT current_setting('work_mem') $$;
CREATE PROCEDURE proc(n int) LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('work_mem', n || 'MB', false); COMMIT; END $$;
RESET search_path";
