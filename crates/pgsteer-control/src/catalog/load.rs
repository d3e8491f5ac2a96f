//! Reads the catalog of a database over one connection.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use pgsteer_core::Catalog;
use pgsteer_core::settings::{NodeSettings, ProbeSettings};
use thiserror::Error;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::question;
use super::rows::{COLUMNS_MAX, Columns, Rows};
use crate::probe::Fault;

/// Why a catalog was not loaded.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// The node did not let it happen.
    #[error("{0}")]
    Node(#[from] Fault),
    /// It is larger than an operator wants it.
    #[error("there are more than {1} {0}")]
    TooMany(&'static str, usize),
    /// Between the list of views and their queries.
    #[error("a view was dropped meanwhile")]
    ViewVanished,
    /// Not PostgreSQL, or one that is too old.
    #[error("the rows were not those asked for")]
    Nonsense,
    /// There is nobody to ask.
    #[error("no node is usable")]
    Nobody,
}

impl Trouble {
    /// Whether the next try may well succeed.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Node(Fault::Refused { sqlstate, .. }) if PASSING.contains(&sqlstate.as_str()) => {
                true
            }
            Self::Node(fault) => fault.is_passing(),
            Self::ViewVanished | Self::Nobody => true,
            Self::TooMany(..) | Self::Nonsense => false,
        }
    }

    /// What an operator can do about it.
    pub(super) fn advice(&self, node: Option<&NodeSettings>, settings: &ProbeSettings) -> String {
        match (self, node) {
            (Self::Node(fault), Some(node)) => fault.advice(node, settings, true),
            (Self::TooMany(..), _) => "raise catalog.relations_max if there is memory".to_owned(),
            _ => "it is tried again".to_owned(),
        }
    }
}

/// Loads it. `epoch` is the schema epoch of the database, read before this begins. After an error
/// the connection must be closed: its transaction may still be open.
///
/// # Errors
/// The node did not answer as it should, or the catalog is too large.
pub(super) async fn load(client: &Client, epoch: u64, rows_max: usize) -> Result<Catalog, Trouble> {
    let mut rows = Rows::new(epoch, rows_max);
    // One more than is wanted: then there are too many.
    let names = question::names(rows_max.saturating_add(1));
    read(client, &names, &mut rows).await?;
    for views in rows.views_wanted().chunks(VIEWS_MAX) {
        read(client, &question::views(views), &mut rows).await?;
    }
    if rows.server_path_is_hidden() {
        match read(client, question::FILE, &mut rows).await {
            Ok(()) => rows.files_were_read(),
            // Not for the probe role: then the path is not known.
            Err(Trouble::Node(Fault::Refused { .. })) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    rows.finish()
}

/// Runs statements and takes in their rows as they come.
async fn read(client: &Client, text: &str, rows: &mut Rows) -> Result<(), Trouble> {
    let fault = |error| Trouble::Node(Fault::from_postgres(&error));
    let mut messages = pin!(client.simple_query_raw(text).await.map_err(fault)?);
    let mut taken = 0_usize;
    while let Some(message) = messages.try_next().await.map_err(fault)? {
        let SimpleQueryMessage::Row(row) = message else {
            continue;
        };
        let column = |index| row.try_get(index).ok().flatten();
        let columns: Columns<'_> = std::array::from_fn::<_, COLUMNS_MAX, _>(column);
        rows.take(&columns)?;
        taken += 1;
        if taken.is_multiple_of(ROWS_PER_TURN) {
            // Probes and the clock run on the same thread.
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// `lock_not_available` and `query_canceled`: somebody changes the schema, or holds us up. An object
/// that goes away under `pg_get_viewdef` is an internal error or an undefined table.
const PASSING: [&str; 4] = ["55P03", "57014", "XX000", "42P01"];
/// Views whose queries are read in one transaction (ours). A transaction has room for 64 locks on
/// average (`max_locks_per_transaction`), of which others use few.
const VIEWS_MAX: usize = 100;
/// Rows taken in before others get their turn (ours; a fraction of a millisecond).
const ROWS_PER_TURN: usize = 256;
