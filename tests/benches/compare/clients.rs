//! Clients without a driver: they log in without a password and look at no row.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Context, Result, bail, ensure};

use crate::stage::USER;

/// A connection that is logged in.
pub(crate) struct RawClient {
    stream: BufReader<TcpStream>,
}

impl RawClient {
    /// Connects and logs in.
    ///
    /// # Errors
    /// It is not let in.
    pub(crate) fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("cannot connect")?;
        stream.set_nodelay(true)?;
        let stream = BufReader::with_capacity(BUFFER_LEN, stream);
        let mut client = Self { stream };
        let mut startup = 196_608_u32.to_be_bytes().to_vec();
        for text in ["user", USER, "database", "postgres", ""] {
            startup.extend(text.as_bytes());
            startup.push(0);
        }
        let len = u32::try_from(startup.len() + 4)?;
        client.stream.get_mut().write_all(&len.to_be_bytes())?;
        client.stream.get_mut().write_all(&startup)?;
        client.until(b'Z')?;
        Ok(client)
    }

    /// Runs statements and reads all that comes back; how many bytes that was.
    ///
    /// # Errors
    /// The other side says one, or is gone.
    pub(crate) fn query(&mut self, sql: &str) -> Result<usize> {
        self.send(b'Q', &[sql.as_bytes(), b"\0"].concat())?;
        self.until(b'Z')
    }

    /// Sends rows for `COPY ... FROM STDIN`: as many as it takes until all are sent.
    ///
    /// # Errors
    /// The other side says one, or is gone.
    pub(crate) fn copy_in(&mut self, sql: &str, row: &[u8], rows: usize) -> Result<()> {
        self.send(b'Q', &[sql.as_bytes(), b"\0"].concat())?;
        self.until(b'G')?;
        let mut chunk = Vec::new();
        // As libpq does: a message for each row, and many of them in a write.
        let rows_of_chunk = (65_536 / row.len()).max(1);
        for _ in 0..rows_of_chunk {
            chunk.extend(message(b'd', row)?);
        }
        for _ in 0..rows / rows_of_chunk {
            self.stream.get_mut().write_all(&chunk)?;
        }
        for _ in 0..rows % rows_of_chunk {
            self.send(b'd', row)?;
        }
        self.send(b'c', b"")?;
        self.until(b'Z')?;
        Ok(())
    }

    /// Says good-bye.
    pub(crate) fn close(mut self) {
        // The other side may be gone already.
        let _ = self.send(b'X', b"");
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
    }

    pub(crate) fn send(&mut self, tag: u8, body: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(&message(tag, body)?)?)
    }

    /// Reads up to a message of this kind; the bytes of all messages until then.
    pub(crate) fn until(&mut self, tag: u8) -> Result<usize> {
        let mut total = 0;
        loop {
            let mut header = [0; 5];
            self.stream.read_exact(&mut header)?;
            let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
            let len = usize::try_from(len)?;
            ensure!(len >= 4, "a message without a length");
            let mut body = vec![0; len - 4];
            self.stream.read_exact(&mut body)?;
            total += len + 1;
            if header[0] == b'E' {
                bail!("an error came: {}", String::from_utf8_lossy(&body));
            }
            if header[0] == tag {
                return Ok(total);
            }
        }
    }
}

fn message(tag: u8, body: &[u8]) -> Result<Vec<u8>> {
    let len = u32::try_from(body.len() + 4)?;
    Ok([&[tag], &len.to_be_bytes()[..], body].concat())
}

/// As many clients as are asked for, or as there can be.
pub(crate) fn crowd(port: u16, wanted: usize) -> Result<Vec<RawClient>> {
    let wanted = wanted.min(files_max()?.saturating_sub(500));
    (0..wanted)
        .map(|number| {
            RawClient::connect(port).with_context(|| format!("client {number} of {wanted}"))
        })
        .collect()
}

/// Files this process may have open.
fn files_max() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let number = line.and_then(|line| line.split_whitespace().nth(3));
    Ok(number.context("a limit of files")?.parse()?)
}

const BUFFER_LEN: usize = 16 * 1024;
