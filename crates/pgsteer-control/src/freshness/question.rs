//! What a node is asked, and how its answer is read. Positions alone many times a second, the rest
//! now and then; one statement for both kinds of node, for they change.

use pgsteer_core::Role;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Row, Statement};

use super::follow::Receiver;
use crate::probe::Fault;

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What it is by its own account.
    pub(super) role: Role,
    /// A primary: end of the WAL that was inserted; a replica: end of the WAL that was replayed.
    pub(super) position: u64,
    /// If that was asked for too.
    pub(super) details: Option<Details>,
}

/// Whose WAL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Details {
    /// Timeline of a primary.
    pub(super) timeline: Option<u32>,
    /// WAL receiver of a replica.
    pub(super) receiver: Receiver,
}

/// The prepared questions of a connection.
pub(super) struct Questions {
    position: Statement,
    details: Statement,
    pages: Pages,
}

/// Sizes a server was built and initialised with.
#[derive(Clone, Copy, Debug)]
struct Pages {
    block: u64,
    segment: u64,
}

impl Questions {
    /// Prepares them.
    ///
    /// # Errors
    /// The node does not know one of the functions, or was lost.
    pub(super) async fn prepare(client: &Client) -> Result<Self, Fault> {
        let fault = |error| Fault::from_postgres(&error);
        let position = client.prepare(POSITION).await.map_err(fault)?;
        let details = client.prepare(DETAILS).await.map_err(fault)?;
        let row = client.query_one(PAGES, &[]).await.map_err(fault)?;
        let size = |column| -> Result<u64, Fault> {
            let bytes: i64 = row.try_get(column).map_err(|_| Fault::Nonsense)?;
            u64::try_from(bytes).map_err(|_| Fault::Nonsense)
        };
        let (block, segment) = (size(0)?, size(1)?);
        Ok(Self {
            position,
            details,
            pages: Pages { block, segment },
        })
    }

    /// Asks one of them.
    ///
    /// # Errors
    /// The node refused, was lost, or answered something else.
    pub(super) async fn ask(&self, client: &Client, details: bool) -> Result<Answer, Fault> {
        let statement = if details {
            &self.details
        } else {
            &self.position
        };
        let row = client
            .query_one(statement, &[])
            .await
            .map_err(|error| Fault::from_postgres(&error))?;
        read(&row, details, self.pages).map_err(|_| Fault::Nonsense)
    }
}

fn read(row: &Row, details: bool, pages: Pages) -> Result<Answer, tokio_postgres::Error> {
    let role = if row.try_get(0)? {
        Role::Replica
    } else {
        Role::Primary
    };
    // A replica that has replayed nothing yet says null.
    let position: Option<PgLsn> = row.try_get(1)?;
    let position = end_of_record(position.map_or(0, u64::from), pages);
    let details = if details {
        let file: Option<&str> = row.try_get(2)?;
        let own: Option<i32> = row.try_get(4)?;
        let receiver = match row.try_get(3)? {
            true => Receiver::Present(own.map(i32::cast_unsigned)),
            false => Receiver::Absent,
        };
        Some(Details {
            timeline: file.and_then(timeline),
            receiver,
        })
    } else {
        None
    };
    Ok(Answer {
        role,
        position,
        details,
    })
}

/// The timeline in the name of a WAL file: its first eight hexadecimal digits.
fn timeline(file: &str) -> Option<u32> {
    u32::from_str_radix(file.get(..8)?, 16).ok()
}

/// The insert position is where the next record will begin, behind the header of a new page; the
/// position of somebody who has replayed everything is the end of the last record, before it. They
/// would differ until the next record is written, which may take minutes.
fn end_of_record(position: u64, pages: Pages) -> u64 {
    let in_segment = position.checked_rem(pages.segment).unwrap_or_default();
    let in_block = position.checked_rem(pages.block).unwrap_or_default();
    match (in_segment, in_block) {
        (LONG_HEADER, _) => position - LONG_HEADER,
        (segment, SHORT_HEADER) if segment != SHORT_HEADER => position - SHORT_HEADER,
        _ => position,
    }
}

const POSITION: &str = "\
SELECT pg_catalog.pg_is_in_recovery(), \
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
       ELSE pg_catalog.pg_current_wal_insert_lsn() END";

const DETAILS: &str = "\
SELECT pg_catalog.pg_is_in_recovery(), \
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
       ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
  CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
       THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END, \
  EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver), \
  (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver)";

const PAGES: &str = "\
SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_block_size')), \
  pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))";

/// Size of the header of the first page of a WAL segment and of the others (PostgreSQL's
/// `XLogLongPageHeaderData` and `XLogPageHeaderData`, the same since version 9.3).
const LONG_HEADER: u64 = 40;
const SHORT_HEADER: u64 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timelines_are_read_from_file_names() {
        assert_eq!(timeline("0000000200000000000000A1"), Some(2));
        assert_eq!(timeline("0000"), None);
    }

    #[test]
    fn headers_of_pages_are_no_records() {
        let pages = Pages {
            block: 8192,
            segment: 1 << 24,
        };
        let segment = 3 << 24;
        for (position, end) in [
            (segment, segment),
            (segment + 40, segment),
            (segment + 24, segment + 24),
            (segment + 8192 + 24, segment + 8192),
            (segment + 8192 + 40, segment + 8192 + 40),
            (0, 0),
        ] {
            assert_eq!(end_of_record(position, pages), end, "{position:X}");
        }
    }
}
