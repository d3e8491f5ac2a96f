//! A client of a running proxy, for commands of the program that ask it something.

use std::time::Duration;

use thiserror::Error;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::DbError;

use crate::tls;

/// Where the proxy is and who asks.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host name, address, or directory of a Unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User to log in as.
    pub user: String,
    /// Database to log in to.
    pub database: String,
    /// Password, if one is needed.
    pub password: Option<String>,
}

/// The proxy could not be asked, or refused to answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// No connection, or it was lost.
    #[error("cannot ask the proxy at {host}:{port}: {source}")]
    Connection {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// What went wrong.
        source: tokio_postgres::Error,
    },
    /// It answered with an error.
    #[error("{message}")]
    Refused {
        /// Severity, message, code, and what to do about it.
        message: String,
    },
}

/// Rows of an answer as text, and what their columns are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows; a null is empty.
    pub rows: Vec<Vec<String>>,
}

/// Asks one question and returns the rows of the answer as text; a null is empty.
///
/// # Errors
/// The proxy does not answer, or answers with an error.
///
/// # Cancel safety
/// Cancel safe: the connection is closed.
pub async fn ask(target: &Target, sql: &str) -> Result<Vec<Vec<String>>, AskError> {
    Ok(ask_table(target, sql).await?.rows)
}

/// Like [`ask`], with the names of the columns.
///
/// # Errors
/// The proxy does not answer, or answers with an error.
///
/// # Cancel safety
/// Cancel safe: the connection is closed.
pub async fn ask_table(target: &Target, sql: &str) -> Result<Answer, AskError> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(&target.host)
        .port(target.port)
        .user(&target.user)
        .dbname(&target.database)
        .application_name("pgsteer")
        .connect_timeout(CONNECT_TIMEOUT);
    if let Some(password) = &target.password {
        config.password(password);
    }
    let lost = |source: tokio_postgres::Error| match source.as_db_error() {
        Some(error) => AskError::Refused {
            message: in_words(error),
        },
        None => AskError::Connection {
            host: target.host.clone(),
            port: target.port,
            source,
        },
    };
    let (client, connection) = config.connect(tls::if_offered()).await.map_err(lost)?;
    let driver = tokio::spawn(connection);
    let answered = client.simple_query(sql).await.map_err(lost);
    driver.abort();
    let mut answer = Answer::default();
    for message in answered? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                answer.columns = columns.iter().map(|c| c.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                let column = |index| row.get(index).unwrap_or_default().to_owned();
                answer.rows.push((0..row.len()).map(column).collect());
            }
            _ => {}
        }
    }
    Ok(answer)
}

fn in_words(error: &DbError) -> String {
    let (severity, message, code) = (error.severity(), error.message(), error.code().code());
    let hint = error.hint().map(|hint| format!("\nhint: {hint}"));
    format!("{severity}: {message} ({code}){}", hint.unwrap_or_default())
}

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
