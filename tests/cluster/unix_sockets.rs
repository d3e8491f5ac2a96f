//! Clients that come through a Unix socket.

use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use pgsteer_testkit::psql;

use crate::support::{Options, cluster, runtime};

#[test]
fn a_client_of_a_unix_socket_is_served_and_shown_as_local() -> Result<()> {
    let dir = cluster().socket_dir();
    let listen = format!("unix_socket_dir = {dir:?}\nunix_socket_mode = \"0700\"");
    let options = Options {
        listen: listen.leak(),
        ..Options::default()
    };
    let proxy = options.start();
    let socket = dir.join(format!(".s.PGSQL.{}", proxy.port()));
    let lock = dir.join(format!(".s.PGSQL.{}.lock", proxy.port()));
    let mode = std::fs::metadata(&socket)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(lock.exists());
    let conninfo = format!(
        "host={} port={} user=postgres dbname=postgres",
        dir.display(),
        proxy.port()
    );
    runtime().block_on(async {
        let answer = psql(&conninfo, "SELECT 1 + 1").await?.success()?;
        assert_eq!(answer, "2");
        let rows = psql(&conninfo, "SHOW pool_pools").await?.success()?;
        assert!(rows.contains("|[local]|0|"), "{rows}");
        anyhow::Ok(())
    })?;
    drop(proxy);
    assert!(!socket.exists() && !lock.exists(), "removed at the end");
    Ok(())
}
