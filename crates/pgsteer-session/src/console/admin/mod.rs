//! The console as a database of its own, as PgBouncer has it: who may connect to it, and what is
//! answered there. No server takes part.
//!
//! `command` is the grammar, `columns` what the tables look like, `stats`, `sockets`, `lists` and
//! `config` what is in them, `orders` what operators may have done, `extended` the second protocol.

mod columns;
mod command;
mod config;
mod extended;
mod lists;
mod orders;
mod sockets;
mod stats;
mod table;

use bytes::BytesMut;
use pgsteer_core::Settings;
use pgsteer_sql::TEXT_LEN_MAX;
use pgsteer_wire::backend::TransactionStatus;
use pgsteer_wire::frontend::tag;
use pgsteer_wire::{ErrorReply, Header, SqlState, encode, frontend};

pub(crate) use extended::Extended;

use super::Answer;
use crate::end::End;
use crate::session::{Rare, Session, query_text};
use command::{Command, Misread, Show};
use table::{Column, Formats, Row, Value, put_columns, put_row, texts};

/// What a client of the console may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Look.
    Watch,
    /// Look and give orders.
    Order,
}

/// Whether it is the name of the console.
pub(crate) fn is_console(settings: &Settings, database: &str) -> bool {
    settings
        .console
        .databases
        .iter()
        .any(|name| name == database)
}

/// What a user may do in the console.
///
/// # Errors
/// Nothing.
pub(crate) fn access(settings: &Settings, user: &str, database: &str) -> Result<Access, End> {
    let is_among = |names: &[String]| names.iter().any(|name| name == user);
    if is_among(&settings.operators) {
        return Ok(Access::Order);
    }
    if is_among(&settings.console.watchers) {
        return Ok(Access::Watch);
    }
    let text = format!("permission denied for database \"{database}\"");
    let reply = ErrorReply::fatal(SqlState::INSUFFICIENT_PRIVILEGE, text);
    Err(End::Fatal(reply.with_hint(
        "It is the console of the proxy: add the user to console.watchers or console.operators.",
    )))
}

/// What the console says of itself to a client that logs in; its version is that of the PgBouncer
/// whose columns it has.
pub(crate) const WELCOME: [(&str, &str); 7] = [
    ("server_version", "1.25.0/bouncer"),
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "GMT"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "on"),
];

/// What the client gets for a command.
enum Reply {
    /// A table and its tag.
    Table(Vec<Column>, Vec<Row>, &'static str),
    /// A table of `SHOW pool_*`: its columns are those of [`super::columns`].
    Texts(Vec<Column>, Vec<Vec<String>>),
    /// A notice, if there is one, and a tag.
    Done(Option<ErrorReply>, String),
    /// An empty query.
    Nothing,
}

impl Reply {
    fn done(tag: &str) -> Self {
        Self::Done(None, tag.to_owned())
    }
}

impl Session {
    /// Serves a frame of a client of the console.
    pub(crate) fn serve_console<'a>(&'a mut self, header: Header) -> Rare<'a, Result<(), End>> {
        Box::pin(async move {
            if header.tag != tag::QUERY {
                return self.extended_console(header).await;
            }
            let text = self.console_query(header).await?;
            let answered = self.answer_console(&text).await;
            let out = &mut self.client.output;
            match answered {
                Ok(reply) => {
                    put_description(out, &reply, &Formats::Simple);
                    put_reply(out, &reply, &Formats::Simple);
                }
                Err(reply) => encode::error(out, &reply),
            }
            encode::ready(out, TransactionStatus::Idle);
            Ok(self.client.flush().await?)
        })
    }

    /// The text of a Query, which is taken off the client's input.
    async fn console_query(&mut self, header: Header) -> Result<String, End> {
        if header.frame_len() > TEXT_LEN_MAX {
            let text = "the command is too long";
            let reply = ErrorReply::fatal(SqlState::PROGRAM_LIMIT_EXCEEDED, text);
            return Err(End::Fatal(reply));
        }
        self.complete(header, TEXT_LEN_MAX).await?;
        let input = self.client.input.bytes();
        frontend::query(input.get(5..header.frame_len()).unwrap_or_default())?;
        let text = String::from_utf8_lossy(query_text(input)).into_owned();
        self.client.input.consume(header.frame_len());
        Ok(text)
    }

    async fn answer_console(&mut self, text: &str) -> Result<Reply, ErrorReply> {
        let command = match command::parse(text) {
            Ok(command) => command,
            Err(misread) => return self.answer_other(text, misread).await,
        };
        match command {
            Command::Nothing => Ok(Reply::Nothing),
            Command::Show(Show::Help) => Ok(Reply::Done(Some(help()), "SHOW".to_owned())),
            Command::Show(show) => {
                let rows = self.show(show)?;
                Ok(Reply::Table(columns::columns(show).to_vec(), rows, "SHOW"))
            }
            Command::Parameter(name, value) => {
                let columns = texts(&[name]);
                Ok(Reply::Table(columns, vec![vec![value.into()]], "SHOW"))
            }
            Command::SetParameter => {
                let notice = ErrorReply::notice("SET ignored".to_owned());
                Ok(Reply::Done(Some(notice), "SET".to_owned()))
            }
            order => {
                self.check_order()?;
                self.carry_out(order).await
            }
        }
    }

    /// What is no command of PgBouncer may be one of ours.
    async fn answer_other(&mut self, text: &str, misread: Misread) -> Result<Reply, ErrorReply> {
        let analysis = self.steering.worker.analyze(text.as_bytes());
        if let Some(console) = analysis
            .console
            .as_ref()
            .filter(|_| misread == Misread::Unknown)
        {
            let names = texts(&super::columns(console).unwrap_or_default());
            return match self.command(console).await? {
                Answer::Rows(rows) => Ok(Reply::Texts(names, rows)),
                Answer::Done(tag) => Ok(Reply::done(tag)),
            };
        }
        let text = match misread {
            Misread::Unknown => format!("invalid command '{text}', use SHOW HELP;"),
            Misread::NoDatabase => "a database is required".to_owned(),
            Misread::NoClient => "invalid client pointer supplied".to_owned(),
        };
        Err(ErrorReply::error(SqlState::SYNTAX_ERROR, text))
    }

    /// Only operators give orders.
    fn check_order(&self) -> Result<(), ErrorReply> {
        if self.steering.identity.access == Some(Access::Order) {
            return Ok(());
        }
        let reply = ErrorReply::error(SqlState::INSUFFICIENT_PRIVILEGE, "admin access needed");
        Err(reply.with_hint("Add the user to console.operators in the configuration."))
    }

    fn show(&self, show: Show) -> Result<Vec<Row>, ErrorReply> {
        Ok(match show {
            Show::Help => Vec::new(),
            Show::Fds => return Err(self.no_fds()),
            Show::Pools => self.pool_rows(),
            Show::Clients => self.client_rows(),
            Show::Servers => self.server_rows(),
            Show::Sockets => self.socket_rows(false),
            Show::ActiveSockets => self.socket_rows(true),
            Show::Stats | Show::StatsTotals | Show::StatsAverages => self.stats_rows(show),
            Show::Totals => self.totals_rows(),
            Show::Databases => self.database_rows(),
            Show::Users => self.user_rows(),
            // Peers share cancel requests of PgBouncers behind one address. Workers of one proxy
            // share them without.
            Show::Peers | Show::PeerPools => Vec::new(),
            Show::Config => self.config_rows(),
            Show::Lists => self.list_rows(),
            Show::Version => vec![vec![VERSION.into()]],
            Show::Mem => self.memory_rows(),
            // Names are looked up by the operating system, which keeps what it found.
            Show::DnsHosts | Show::DnsZones => Vec::new(),
            Show::State => self.state_rows(),
        })
    }

    fn no_fds(&self) -> ErrorReply {
        if let Err(reply) = self.check_order() {
            return reply;
        }
        let text = "file descriptors are not handed out";
        ErrorReply::error(SqlState::FEATURE_NOT_SUPPORTED, text)
            .with_hint("PgBouncer does this to restart itself. See SHOW SOCKETS for connections.")
    }
}

/// The columns of a command's answer, if they can be told before it is carried out.
fn described(text: &str) -> Option<Vec<Column>> {
    match command::parse(text) {
        Ok(Command::Show(show)) => Some(columns::columns(show).to_vec()),
        Ok(Command::Parameter(name, _)) => Some(texts(&[name])),
        Ok(_) => Some(Vec::new()),
        Err(_) => {
            let analysis = pgsteer_sql::analyze(text.as_bytes());
            let names = super::columns(analysis.console.as_ref()?);
            Some(texts(&names.unwrap_or_default()))
        }
    }
}

fn put_description(out: &mut BytesMut, reply: &Reply, formats: &Formats) {
    match reply {
        Reply::Table(columns, ..) if !columns.is_empty() => put_columns(out, columns, formats),
        Reply::Texts(columns, _) if !columns.is_empty() => put_columns(out, columns, formats),
        _ => {}
    }
}

fn put_reply(out: &mut BytesMut, reply: &Reply, formats: &Formats) {
    match reply {
        Reply::Table(columns, rows, tag) => {
            for row in rows {
                put_row(out, columns, row, formats);
            }
            encode::command_complete(out, tag);
        }
        Reply::Texts(_, rows) => {
            for row in rows {
                encode::data_row(out, row);
            }
            encode::command_complete(out, &format!("SELECT {}", rows.len()));
        }
        Reply::Done(notice, tag) => {
            if let Some(notice) = notice {
                encode::error(out, notice);
            }
            encode::command_complete(out, tag);
        }
        Reply::Nothing => encode::frame(out, b'I', b""),
    }
}

/// `SHOW HELP`.
fn help() -> ErrorReply {
    let mut names: Vec<String> = Show::ALL.iter().map(|(n, _)| n.to_uppercase()).collect();
    names.sort();
    let detail = format!("\n\tSHOW {}\n{ORDERS}", names.join("|"));
    ErrorReply::notice("Console usage".to_owned()).with_detail(detail)
}

const ORDERS: &str = "\
\tSHOW pool_nodes and the other SHOW pool_*, PGPOOL SHOW ALL
\tSET key = arg
\tRELOAD
\tPAUSE [<db>]
\tRESUME [<db>]
\tDISABLE <db>
\tENABLE <db>
\tDRAIN [<db>]
\tDRAIN NODE <number>
\tRECONNECT [<db>]
\tKILL [<db>]
\tKILL_CLIENT <client_id>
\tSUSPEND
\tSHUTDOWN
\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS
\tWAIT_CLOSE [<db>]
\tPGSTEER NODE <number> ATTACH|DETACH|PROMOTE|SWITCHOVER
\tPGSTEER PLUGIN <name> ...";

/// PgBouncer's is what tools look for.
const VERSION: &str = concat!(
    "pgsteer ",
    env!("CARGO_PKG_VERSION"),
    " (answers as PgBouncer 1.25.0)"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_described_before_they_are_asked_for() {
        let names = |text: &str| -> Option<Vec<std::borrow::Cow<'static, str>>> {
            Some(
                described(text)?
                    .into_iter()
                    .map(|column| column.name)
                    .collect(),
            )
        };
        assert_eq!(
            names("SHOW state"),
            Some(vec!["key".into(), "value".into()])
        );
        assert_eq!(names("SHOW timezone"), Some(vec!["timezone".into()]));
        assert_eq!(names("PAUSE"), Some(Vec::new()));
        assert_eq!(
            names("SHOW pool_version"),
            Some(vec!["pool_version".into()])
        );
        assert_eq!(names("SELECT 1"), None);
        assert!(
            help()
                .detail
                .is_some_and(|text| text.contains("STATS_AVERAGES"))
        );
    }
}
