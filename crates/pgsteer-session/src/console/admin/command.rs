//! What is understood in the console: PgBouncer's commands, in its grammar.

use pgsteer_core::NodeId;
use pgsteer_core::traffic::TrafficOrder;

/// Something that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Help,
    Pools,
    Clients,
    Servers,
    Sockets,
    ActiveSockets,
    Stats,
    StatsTotals,
    StatsAverages,
    Totals,
    Databases,
    Users,
    Peers,
    PeerPools,
    Fds,
    Config,
    Lists,
    Version,
    Mem,
    DnsHosts,
    DnsZones,
    State,
}

impl Show {
    /// All, by name.
    pub(crate) const ALL: [(&'static str, Self); 22] = [
        ("help", Self::Help),
        ("pools", Self::Pools),
        ("clients", Self::Clients),
        ("servers", Self::Servers),
        ("sockets", Self::Sockets),
        ("active_sockets", Self::ActiveSockets),
        ("stats", Self::Stats),
        ("stats_totals", Self::StatsTotals),
        ("stats_averages", Self::StatsAverages),
        ("totals", Self::Totals),
        ("databases", Self::Databases),
        ("users", Self::Users),
        ("peers", Self::Peers),
        ("peer_pools", Self::PeerPools),
        ("fds", Self::Fds),
        ("config", Self::Config),
        ("lists", Self::Lists),
        ("version", Self::Version),
        ("mem", Self::Mem),
        ("dns_hosts", Self::DnsHosts),
        ("dns_zones", Self::DnsZones),
        ("state", Self::State),
    ];

    fn of_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, show)| *show)
    }
}

/// How the proxy is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shutdown {
    AtOnce,
    /// Sessions may finish their transactions.
    WaitForServers,
    /// Clients go when they want to.
    WaitForClients,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Nothing but blanks and semicolons.
    Nothing,
    Show(Show),
    /// A parameter that clients like to ask for, and its value.
    Parameter(&'static str, &'static str),
    /// `SET` of such a parameter.
    SetParameter,
    Set(Box<str>, Box<str>),
    Traffic(TrafficOrder),
    WaitClose(Option<Box<str>>),
    KillClient(u64),
    /// A node takes no new work, and is left.
    DrainNode(NodeId),
    Reload,
    Shutdown(Shutdown),
}

/// Why a text is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misread {
    /// It is something else altogether.
    Unknown,
    /// `DISABLE` and `ENABLE` are about a database.
    NoDatabase,
    /// `KILL_CLIENT` is about a number.
    NoClient,
}

/// Parameters that clients ask for or set without need, with what PgBouncer answers.
const PARAMETERS: [(&str, &str); 6] = [
    ("client_encoding", "UTF-8"),
    ("default_transaction_isolation", "read committed"),
    ("standard_conforming_strings", "on"),
    ("datestyle", "ISO"),
    ("timezone", "GMT"),
    ("extra_float_digits", "2"),
];

/// Reads a command: a word, perhaps an argument, perhaps a semicolon; or SET.
pub(crate) fn parse(text: &str) -> Result<Command, Misread> {
    let text = text.trim_ascii().trim_end_matches(';').trim_ascii();
    if text.is_empty() {
        return Ok(Command::Nothing);
    }
    let (verb, rest) = word(text).ok_or(Misread::Unknown)?;
    let verb = verb.to_ascii_lowercase();
    if verb == "set" {
        return set(rest);
    }
    let (argument, rest) = match rest.is_empty() {
        true => (None, rest),
        false => {
            let (argument, rest) = word(rest).ok_or(Misread::Unknown)?;
            (Some(argument), rest)
        }
    };
    if verb == "drain"
        && argument
            .as_deref()
            .is_some_and(|a| a.eq_ignore_ascii_case("node"))
        && !rest.is_empty()
    {
        return rest
            .parse()
            .map(|n| Command::DrainNode(NodeId(n)))
            .map_err(|_| Misread::Unknown);
    }
    if !rest.is_empty() {
        return Err(Misread::Unknown);
    }
    order(&verb, argument)
}

fn order(verb: &str, argument: Option<String>) -> Result<Command, Misread> {
    let lower = argument.as_deref().map(str::to_ascii_lowercase);
    let name = argument.map(String::into_boxed_str);
    let required = |name: Option<Box<str>>| name.ok_or(Misread::NoDatabase);
    Ok(match verb {
        "show" | "select" => return show(lower.as_deref().unwrap_or_default()),
        "pause" => Command::Traffic(TrafficOrder::Pause(name)),
        "resume" => Command::Traffic(TrafficOrder::Resume(name)),
        "reconnect" => Command::Traffic(TrafficOrder::Reconnect(name)),
        "kill" => Command::Traffic(TrafficOrder::Kill(name)),
        "disable" => Command::Traffic(TrafficOrder::Disable(required(name)?)),
        "enable" => Command::Traffic(TrafficOrder::Enable(required(name)?)),
        "drain" => match name {
            Some(name) => Command::Traffic(TrafficOrder::Drain(name)),
            None => Command::Shutdown(Shutdown::WaitForServers),
        },
        "suspend" if name.is_none() => Command::Traffic(TrafficOrder::Suspend),
        "reload" if name.is_none() => Command::Reload,
        "wait_close" => Command::WaitClose(name),
        "kill_client" => {
            let id = name.and_then(|id| id.parse().ok());
            Command::KillClient(id.ok_or(Misread::NoClient)?)
        }
        "shutdown" => Command::Shutdown(match lower.as_deref() {
            None => Shutdown::AtOnce,
            Some("wait_for_servers") => Shutdown::WaitForServers,
            Some("wait_for_clients") => Shutdown::WaitForClients,
            Some(_) => return Err(Misread::Unknown),
        }),
        _ => return Err(Misread::Unknown),
    })
}

fn show(name: &str) -> Result<Command, Misread> {
    if let Some((name, value)) = PARAMETERS.iter().find(|(known, _)| *known == name) {
        return Ok(Command::Parameter(name, value));
    }
    let found = Show::of_name(name).map(Command::Show);
    found.ok_or(Misread::Unknown)
}

/// `key = value` or `key TO value`.
fn set(text: &str) -> Result<Command, Misread> {
    let end = text
        .find(|c: char| c == '=' || c.is_ascii_whitespace())
        .ok_or(Misread::Unknown)?;
    let (key, rest) = text.split_at(end);
    let key = key.trim_matches('"');
    let rest = rest.trim_ascii_start();
    let to = || {
        let (to, value) = rest.split_at_checked(2)?;
        let ends = value.starts_with(|c: char| c.is_ascii_whitespace());
        (to.eq_ignore_ascii_case("to") && ends).then_some(value)
    };
    let value = rest.strip_prefix('=').or_else(to).ok_or(Misread::Unknown)?;
    let value = value.trim_ascii();
    let quoted = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
    let value = match quoted {
        Some(quoted) => quoted.replace("''", "'"),
        None => value.trim_matches('"').to_owned(),
    };
    if key.is_empty() || value.is_empty() && quoted.is_none() {
        return Err(Misread::Unknown);
    }
    let is_parameter = |(known, _): &(&str, &str)| known.eq_ignore_ascii_case(key);
    if PARAMETERS.iter().any(is_parameter) {
        return Ok(Command::SetParameter);
    }
    Ok(Command::Set(key.into(), value.into()))
}

/// The first word, in double quotes or not, and what follows it.
fn word(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut name = String::new();
        let mut rest = quoted;
        loop {
            let (part, after) = rest.split_once('"')?;
            name.push_str(part);
            match after.strip_prefix('"') {
                Some(more) => {
                    name.push('"');
                    rest = more;
                }
                None => return Some((name, after.trim_ascii_start())),
            }
        }
    }
    let is_word = |c: char| !c.is_ascii_whitespace() && !"\"';=".contains(c);
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let ends = rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_whitespace());
    (!word.is_empty() && ends).then(|| (word.to_owned(), rest.trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_pgbouncer_reads_them() {
        let name = |name: &str| Some(Box::<str>::from(name));
        for (text, expected) in [
            (" show Pools ; ", Ok(Command::Show(Show::Pools))),
            ("SELECT version", Ok(Command::Show(Show::Version))),
            (" ;; ", Ok(Command::Nothing)),
            ("SHOW timezone", Ok(Command::Parameter("timezone", "GMT"))),
            ("SET timezone='UTC'", Ok(Command::SetParameter)),
            (
                "SET a_b = 'it''s'",
                Ok(Command::Set("a_b".into(), "it's".into())),
            ),
            ("set a TO 5;", Ok(Command::Set("a".into(), "5".into()))),
            ("PAUSE", Ok(Command::Traffic(TrafficOrder::Pause(None)))),
            (
                "PAUSE \"My \"\"db\"",
                Ok(Command::Traffic(TrafficOrder::Pause(name("My \"db")))),
            ),
            (
                "RESUME Mixed",
                Ok(Command::Traffic(TrafficOrder::Resume(name("Mixed")))),
            ),
            ("DISABLE", Err(Misread::NoDatabase)),
            ("KILL_CLIENT 7", Ok(Command::KillClient(7))),
            ("KILL_CLIENT x", Err(Misread::NoClient)),
            ("DRAIN NODE 2", Ok(Command::DrainNode(NodeId(2)))),
            (
                "DRAIN node",
                Ok(Command::Traffic(TrafficOrder::Drain("node".into()))),
            ),
            (
                "SHUTDOWN wait_for_clients",
                Ok(Command::Shutdown(Shutdown::WaitForClients)),
            ),
            ("SHUTDOWN soon", Err(Misread::Unknown)),
            ("RELOAD now", Err(Misread::Unknown)),
            ("SHOW", Err(Misread::Unknown)),
            ("SHOW a b", Err(Misread::Unknown)),
            ("SHOW POOLS; SHOW STATS", Err(Misread::Unknown)),
            ("SELECT 1", Err(Misread::Unknown)),
            ("SET a", Err(Misread::Unknown)),
            ("\"open", Err(Misread::Unknown)),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
