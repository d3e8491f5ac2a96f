//! One request over the admin socket, and the answer.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use pgsteer_control::admin::{Reply, Request};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// Nothing was asked.
    Unreachable(String),
    /// It was asked, and no answer came.
    Lost(String),
}

/// Asks the proxy at this socket, and waits at most so long for its answer.
pub(super) fn ask(socket: &Path, request: &Request, limit: Duration) -> Result<Reply, AskError> {
    let deadline = Instant::now() + limit;
    let shown = socket.display();
    let connected = UnixStream::connect(socket);
    let mut stream = connected.map_err(|error| AskError::Unreachable(advice(socket, &error)))?;
    let mut line = serde_json::to_string(request).unwrap_or_default();
    line.push('\n');
    // A proxy that refuses may answer before it has read anything: its answer counts.
    let sent = stream
        .set_write_timeout(Some(limit))
        .and_then(|()| stream.write_all(line.as_bytes()));
    let answer = read(&mut stream, deadline);
    let _ = stream.shutdown(Shutdown::Both);
    match (sent, answer) {
        (_, Ok(answer)) if !answer.is_empty() => serde_json::from_slice(&answer)
            .map_err(|error| AskError::Lost(format!("the answer is not understood: {error}"))),
        (Err(error), _) => Err(AskError::Unreachable(format!(
            "the proxy at {shown} takes no request: {error}"
        ))),
        (Ok(()), Ok(_)) => Err(AskError::Lost(format!(
            "the proxy at {shown} closed the connection without an answer; look at the nodes \
             before you repeat it"
        ))),
        (Ok(()), Err(error)) => Err(AskError::Lost(format!(
            "no answer from the proxy at {shown}: {error}; look at the nodes before you repeat it"
        ))),
    }
}

/// One line, or everything up to the end, within the time there is.
fn read(stream: &mut UnixStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(read) => {
                answer.extend_from_slice(chunk.get(..read).unwrap_or_default());
                if answer.ends_with(b"\n") {
                    return Ok(answer);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
    }
}

fn advice(socket: &Path, error: &io::Error) -> String {
    let shown = socket.display();
    let what = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "is the proxy running, and is this its `admin.socket`?"
        }
        io::ErrorKind::PermissionDenied => "run this as the user of the proxy or as root",
        _ => "is this the `admin.socket` of a proxy?",
    };
    format!("no proxy answers at {shown}: {error}; {what}")
}

/// Far more than the most nodes take.
const ANSWER_BYTES_MAX: usize = 1 << 20;
