//! Clients that do not behave, at a proxy in a process of its own: its memory stays bounded and
//! others are served. The figures are printed (`--nocapture`).

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pgsteer_testkit::ports::free_port;
use pgsteer_testkit::{Cluster, DEFAULT_PASSWORD, wait_until};

const PGSTEER: &str = env!("CARGO_BIN_EXE_pgsteer");
const DEADLINE: Duration = Duration::from_secs(120);

/// A proxy in front of one server.
struct Site {
    cluster: Cluster,
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Site {
    async fn start(settings: &str) -> Result<Self> {
        let cluster = Cluster::builder().replicas(0).fast(true).start().await?;
        let (dir, port) = (tempfile::tempdir()?, free_port()?);
        let config = dir.path().join("pgsteer.toml");
        let node = cluster.primary();
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:{port}\"\nlogin_timeout = \"2s\"\n\
             [auth]\nmethod = \"trust\"\n[pool]\nconnections_per_node_max = 20\n{settings}\n\
             [[users]]\nname = \"postgres\"\npassword = \"{DEFAULT_PASSWORD}\"\n\
             [[nodes]]\nhost = \"{}\"\nport = {}\n",
            node.host(),
            node.port()
        );
        std::fs::write(&config, text)?;
        // With the usual limit of open files, which it raises itself.
        let mut serve = Command::new("sh");
        serve.args(["-c", "ulimit -Sn 1024; exec \"$0\" \"$@\"", PGSTEER]);
        serve.args(["serve", "--config"]).arg(&config);
        let child = serve.stderr(Stdio::null()).spawn()?;
        let site = Self {
            cluster,
            child,
            port,
            _dir: dir,
        };
        let served = || async { site.serves().is_ok() };
        wait_until(DEADLINE, "the proxy to serve", served).await?;
        Ok(site)
    }

    fn open(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A session, logged in.
    fn session(&self) -> Result<TcpStream> {
        let mut stream = self.open()?;
        stream.write_all(&startup())?;
        until_ready(&mut stream)?;
        Ok(stream)
    }

    /// A client that behaves is served.
    fn serves(&self) -> Result<()> {
        let mut stream = self.session()?;
        stream.write_all(&query("SELECT 'still'"))?;
        let answer = until_ready(&mut stream)?;
        ensure!(answer.windows(5).any(|w| w == b"still"), "no answer");
        Ok(())
    }

    /// Resident memory of the proxy, now and at its peak, in KiB.
    fn memory(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name| {
            let line = status.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            number.and_then(|n| n.parse().ok()).context("Linux")
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short");
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    frame(b' ', body).split_off(1)
}

/// Everything up to ReadyForQuery.
fn until_ready(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut header = [0; 5];
        if let Err(error) = stream.read_exact(&mut header) {
            let said = all.escape_ascii();
            return Err(io::Error::other(format!("{error}, after: {said}")));
        }
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut body = vec![0; usize::try_from(length).expect("fits") - 4];
        stream.read_exact(&mut body)?;
        all.extend(&body);
        if header[0] == b'Z' {
            return Ok(all);
        }
    }
}

/// Reads until the other side closes the connection.
fn until_closed(stream: &mut TcpStream) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                anyhow::bail!("it stays open")
            }
            Err(_) => return Ok(()),
        }
    }
}

/// At each stage of a login a client stops, or sends byte by byte what never ends.
#[tokio::test]
async fn a_client_that_dawdles_at_the_login_is_closed_and_others_are_served() -> Result<()> {
    let site = Site::start("").await?;
    let whole = startup();
    let endless = frame(b' ', &[&b"\0\x03\0\0"[..], &[b'x'; 9000]].concat()).split_off(1);
    let stages: Vec<Vec<u8>> = vec![
        Vec::new(),
        whole[..2].to_vec(),
        whole[..6].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec(),
    ];
    let mut streams = Vec::new();
    for bytes in &stages {
        for _ in 0..20 {
            let mut stream = site.open()?;
            stream.write_all(bytes)?;
            streams.push(stream);
        }
    }
    let mut drip = site.open()?;
    for byte in endless {
        // Ends with the connection, long before the bytes end.
        if drip.write_all(&[byte]).is_err() {
            break;
        }
        site.serves()?;
    }
    for mut stream in streams {
        until_closed(&mut stream)?;
    }
    site.serves()
}

/// A session may be slow, and holds up nobody but itself.
#[tokio::test]
async fn half_a_message_holds_no_server_connection() -> Result<()> {
    let site = Site::start("").await?;
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = site.session()?;
        stream.write_all(&query("SELECT 'half'")[..9])?;
        slow.push(stream);
    }
    site.serves()?;
    for mut stream in slow {
        stream.write_all(&query("SELECT 'half'")[9..])?;
        let answer = until_ready(&mut stream)?;
        ensure!(answer.windows(4).any(|w| w == b"half"), "no answer");
    }
    Ok(())
}

/// Half-open: the client says it sends no more, and still wants its answer.
#[tokio::test]
async fn a_client_that_closes_its_half_gets_its_answer_and_the_server_connection_is_free()
-> Result<()> {
    let site = Site::start("").await?;
    for _ in 0..60 {
        let mut stream = site.session()?;
        stream.write_all(&query("SELECT 'last words'"))?;
        stream.shutdown(Shutdown::Write)?;
        let answer = until_ready(&mut stream)?;
        ensure!(answer.windows(10).any(|w| w == b"last words"), "no answer");
        until_closed(&mut stream)?;
    }
    site.serves()
}

/// Lengths that are wrong or enormous, in every message, a hundred at once.
#[tokio::test]
async fn messages_of_a_gigabyte_cost_no_memory() -> Result<()> {
    let site = Site::start("").await?;
    let before = site.memory()?.1;
    for length in [0, 3, 0x3fff_ffff_u32, 0x4000_0000, u32::MAX] {
        let mut streams = Vec::new();
        for tag in *b"QPBDECHSFdcfXp?" {
            for _ in 0..7 {
                let mut stream = site.session()?;
                let mut bytes = vec![tag];
                bytes.extend(length.to_be_bytes());
                bytes.resize(64 * 1024, b'x');
                // It may be refused before all of it is sent.
                let _ = stream.write_all(&bytes);
                streams.push(stream);
            }
        }
        site.serves()?;
    }
    let after = site.memory()?.1;
    println!("messages of 1 GB, 105 at once: peak {before} KiB, then {after} KiB");
    ensure!(after < before + 64 * 1024, "{before} KiB, then {after} KiB");
    Ok(())
}

#[tokio::test]
async fn garbage_ends_its_own_session_only() -> Result<()> {
    let site = Site::start("").await?;
    let before = site.memory()?.1;
    let mut state = 4711_u32;
    let mut garbage = || -> Vec<u8> {
        let byte = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u8::try_from(state >> 24).expect("a byte")
        };
        (0..2000).map(byte).collect()
    };
    for round in 0..300 {
        let mut stream = if round % 2 == 0 {
            site.open()?
        } else {
            site.session()?
        };
        let mut bytes = garbage();
        if round % 4 == 1 {
            // A short message of a kind that there is.
            bytes[0] = b"QPBDECHSFdcf"[round % 12];
            bytes[1..5].copy_from_slice(&40_u32.to_be_bytes());
        }
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        until_closed(&mut stream)?;
    }
    let after = site.memory()?.1;
    println!("garbage: peak {before} KiB, then {after} KiB");
    ensure!(after < before + 64 * 1024, "{before} KiB, then {after} KiB");
    site.serves()
}

/// Clients that ask for 10 GB and read none of it.
#[tokio::test]
async fn a_result_that_nobody_reads_waits_at_the_server() -> Result<()> {
    const CLIENTS: usize = 8;
    let site = Site::start("").await?;
    let before = site.memory()?.1;
    let sql = "SELECT repeat('x', 1000000) FROM generate_series(1, 10000)";
    let mut streams = Vec::new();
    for number in 0..CLIENTS {
        let mut stream = site.session()?;
        stream.write_all(&match number % 2 {
            0 => query(sql),
            _ => query(&format!("COPY ({sql}) TO STDOUT")),
        })?;
        streams.push(stream);
    }
    let blocked = format!(
        "SELECT count(*) = {CLIENTS} FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"
    );
    let primary = site.cluster.primary();
    let all_blocked =
        || async { site.serves().is_ok() && primary.value(&blocked).await.is_ok_and(|t| t == "t") };
    wait_until(DEADLINE, "the servers to wait", all_blocked).await?;
    let after = site.memory()?.1;
    println!("{CLIENTS} results of 10 GB that nobody reads: peak {before} KiB, then {after} KiB");
    ensure!(after < before + 64 * 1024, "{before} KiB, then {after} KiB");
    drop(streams);
    let gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE '%1000000%' AND state = 'active' AND pid <> pg_backend_pid()";
    let none = || async { primary.value(gone).await.is_ok_and(|t| t == "t") };
    wait_until(DEADLINE, "the statements to end", none).await
}

/// As many as the limit of open files allows, up to 10,000.
#[tokio::test]
async fn ten_thousand_clients_at_once() -> Result<()> {
    let most = raise_open_files()?;
    let count = usize::try_from(most)?.saturating_sub(500).min(9_990);
    let site = Site::start("").await?;
    let before = site.memory()?.0;
    let began = Instant::now();
    let mut sessions = Vec::new();
    for number in 0..count {
        let session = site.session();
        sessions.push(session.with_context(|| format!("client {number} of {count}"))?);
    }
    let took = began.elapsed();
    let (after, _) = site.memory()?;
    let each = (after.saturating_sub(before)) * 1024 / u64::try_from(count)?;
    println!(
        "{count} clients logged in within {took:?}: {before} KiB, then {after} KiB, {each} bytes each"
    );
    ensure!(each < 64 * 1024, "{each} bytes for each idle client");
    site.serves()?;
    for session in sessions.iter_mut().step_by(100) {
        session.write_all(&query("SELECT 1"))?;
        until_ready(session)?;
        session.write_all(b"X\0\0\0\x04")?;
        until_closed(session)?;
    }
    drop(sessions);
    site.serves()
}

/// Raises the limit of this process and those it starts; returns it.
fn raise_open_files() -> Result<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(4));
    let hard: u64 = hard.and_then(|n| n.parse().ok()).unwrap_or(1024);
    let mut command = Command::new("prlimit");
    let pid = std::process::id().to_string();
    command.args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]);
    let raised = command
        .status()
        .context("prlimit of util-linux is missing")?;
    ensure!(raised.success(), "prlimit: {raised}");
    Ok(hard)
}
