//! Checks where operators give orders: the admin socket and the port for the tools of Pgpool-II.

use std::collections::HashMap;
use std::path::Path;

use pgsteer_core::settings::{
    AdminSettings, ConsoleSettings, Endpoint, MetricsSettings, PcpSettings, TracingSettings,
};
use toml::Value;

use super::check::Checker;
use super::raw;
use super::validate::{addresses_of, number};
use crate::pcp;

/// `[console]` as far as it is about the database of that name.
pub(super) fn console(
    watchers: raw::Given,
    databases: raw::Given,
    checker: &mut Checker<'_>,
) -> ConsoleSettings {
    let databases = match databases {
        None => CONSOLES.map(str::to_owned).to_vec(),
        given => checker.list("console.databases", given),
    };
    ConsoleSettings {
        databases,
        watchers: checker.list("console.watchers", watchers),
    }
}

/// Names of the console: PgBouncer's, and ours.
const CONSOLES: [&str; 2] = ["pgbouncer", "pgsteer"];

/// `[admin]`
pub(super) fn admin(raw: raw::Admin, checker: &mut Checker<'_>) -> AdminSettings {
    const KEY: &str = "admin.socket";
    let given = raw.socket.is_some();
    let socket = given.then(|| checker.path(KEY, raw.socket)).flatten();
    if let Some(path) = &socket {
        check_socket_path(KEY, path, checker);
    }
    AdminSettings { socket }
}

/// Says if the path of a Unix socket is too long for the operating system.
pub(super) fn check_socket_path(key: &str, path: &Path, checker: &mut Checker<'_>) {
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let problem = format!("is a path of {length} bytes");
        let advice = format!("use one of at most {SOCKET_PATH_MAX} bytes");
        checker.error(key, problem, advice);
    }
}

/// `[pcp]` and `[[pcp_users]]`
pub(super) fn pcp(
    raw: raw::Pcp,
    raw_users: Vec<raw::PcpUser>,
    checker: &mut Checker<'_>,
) -> PcpSettings {
    const LISTEN: &str = "pcp.listen";
    const FILE: &str = "pcp.users_file";
    let listen = match raw.listen {
        None => vec![LISTEN_DEFAULT.to_owned()],
        given => checker.list(LISTEN, given),
    };
    let listen = addresses_of(LISTEN, listen, checker);
    let mut users = HashMap::new();
    if raw.users_file.is_some()
        && let Some(path) = checker.path(FILE, raw.users_file)
        && let Some(text) = checker.file(FILE, &path)
    {
        let (found, problems) = pcp::users(&text);
        for (line, problem) in problems {
            let advice = "write user:md5, as `pg_md5` of Pgpool-II prints it";
            checker.error(FILE, format!("line {line} {problem}"), advice);
        }
        users.extend(found);
    }
    for (index, raw) in raw_users.into_iter().enumerate() {
        let prefix = format!("pcp_users[{index}].");
        let name = checker.required(&format!("{prefix}name"), raw.name.clone());
        let (Some(name), Some(hash)) = (name, hash(&prefix, raw, checker)) else {
            continue;
        };
        let problem = format!("repeats the user {name}");
        if users.insert(name, hash).is_some() {
            checker.error(&format!("{prefix}name"), problem, "remove one");
        }
    }
    PcpSettings { listen, users }
}

/// `[metrics]`
pub(super) fn metrics(raw: raw::Metrics, checker: &mut Checker<'_>) -> MetricsSettings {
    const LISTEN: &str = "metrics.listen";
    let listen = checker.list(LISTEN, raw.listen);
    MetricsSettings {
        listen: addresses_of(LISTEN, listen, checker),
        pools_max: number(checker.count("metrics.pools_max", raw.pools_max)),
    }
}

/// `[tracing]`
pub(super) fn tracing(raw: raw::Tracing, checker: &mut Checker<'_>) -> TracingSettings {
    const ENDPOINT: &str = "tracing.otlp_endpoint";
    let given = raw.otlp_endpoint.is_some();
    let text = given.then(|| checker.text(ENDPOINT, raw.otlp_endpoint));
    let text = text.flatten();
    let found = text.as_deref().and_then(endpoint);
    if let Some(text) = text.filter(|_| found.is_none()) {
        let advice = "write http://, a host and a port, such as \"http://127.0.0.1:4318\"; a \
                      collector elsewhere is reached over one on this machine";
        checker.error(ENDPOINT, format!("is \"{text}\""), advice);
    }
    let name = checker.text("tracing.service_name", raw.service_name);
    TracingSettings {
        endpoint: found,
        service_name: name.unwrap_or_default().into(),
    }
}

/// The parts of `http://host:port/path`.
fn endpoint(text: &str) -> Option<Endpoint> {
    let rest = text.strip_prefix("http://")?;
    let (place, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (place, 80),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let plain = |c: char| c.is_ascii_graphic() && !"?#@\"<>\\^`{|}".contains(c);
    let path = path.trim_end_matches('/');
    (!host.is_empty() && port != 0 && host.chars().all(plain) && path.chars().all(plain)).then(
        || Endpoint {
            host: host.into(),
            port,
            path: path.into(),
        },
    )
}

/// The MD5 of a password that is given in one of three ways.
fn hash(prefix: &str, raw: raw::PcpUser, checker: &mut Checker<'_>) -> Option<String> {
    let key = format!("{prefix}md5");
    let has_password = raw.password.is_some() || raw.password_file.is_some();
    match (raw.md5, has_password) {
        (None, false) => {
            let advice = "give it, the file it is in, or its `md5`";
            checker.error(&format!("{prefix}password"), "is missing", advice);
            None
        }
        (None, true) => {
            let password = checker.secret(prefix, raw.password, raw.password_file);
            password.map(|password| pcp::digest(&password))
        }
        (Some(_), true) => {
            checker.error(
                &key,
                "is given together with a password",
                "keep one of them",
            );
            None
        }
        (Some(Value::String(text)), false) if pcp::is_digest(&text) => {
            Some(text.to_ascii_lowercase())
        }
        (Some(_), false) => {
            checker.error(&key, "is no MD5", "write its 32 digits in quotes");
            None
        }
    }
}

/// As in the table of settings.
const LISTEN_DEFAULT: &str = "127.0.0.1:9898";

/// What fits into an address of a Unix socket (`sun_path`), with the zero at its end.
const SOCKET_PATH_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Changes, Loaded, Source, load_with};

    const MINIMAL: &str = "[[nodes]]\nhost = \"h\"\n[probe]\npassword = \"x\"\n";

    fn load(text: &str) -> Result<Loaded, Vec<String>> {
        let read = |path: &Path| match path.file_name().and_then(|name| name.to_str()) {
            Some("pcp.conf") => Ok("# users\nscript:5EBE2294ECD0E0F08EAB7690D2A6EE69\n".to_owned()),
            Some("bad.conf") => Ok("script:secret\n".to_owned()),
            _ => Ok(format!("{MINIMAL}{text}")),
        };
        let loaded = load_with(
            &Source::File("/etc/pgsteer/x.toml".into()),
            &Changes::default(),
            [],
            &read,
            1,
        );
        loaded.map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn operators_are_let_in_where_the_file_says() {
        let settings = load("").expect("valid").settings;
        assert_eq!(settings.admin.socket, None);
        assert_eq!(settings.pcp.listen, ["127.0.0.1:9898".parse().unwrap()]);
        assert!(settings.pcp.users.is_empty());
        let text = "[admin]\nsocket = \"admin.sock\"\n[pcp]\nlisten = []\n\
                    users_file = \"pcp.conf\"\n[[pcp_users]]\nname = \"me\"\npassword = \"secret\"\n";
        let settings = load(text).expect("valid").settings;
        let socket = settings.admin.socket.expect("one");
        assert_eq!(socket, Path::new("/etc/pgsteer/admin.sock"));
        assert!(settings.pcp.listen.is_empty());
        let hash = "5ebe2294ecd0e0f08eab7690d2a6ee69";
        assert_eq!(settings.pcp.users["script"], hash);
        assert_eq!(settings.pcp.users["me"], hash);
        assert!(!format!("{:?}", settings.pcp).contains(hash));
    }

    #[test]
    fn a_collector_is_an_address_of_http() {
        for (text, expected) in [
            ("http://127.0.0.1:4318", Some(("127.0.0.1", 4318, ""))),
            ("http://otel", Some(("otel", 80, ""))),
            ("http://[::1]:4318/a/b/", Some(("::1", 4318, "/a/b"))),
            ("https://otel:4318", None),
            ("otel:4318", None),
            ("http://", None),
            ("http://otel:x", None),
            ("http://otel:0", None),
            ("http://a b", None),
            ("http://a/?x", None),
        ] {
            let found = super::endpoint(text);
            let found = found.as_ref().map(|e| (&*e.host, e.port, &*e.path));
            assert_eq!(found, expected, "{text}");
        }
        let loaded = load("[tracing]\notlp_endpoint = \"https://x\"\n").expect_err("a mistake");
        assert!(
            loaded[0].starts_with("/etc/pgsteer/x.toml: tracing.otlp_endpoint: is")
                || loaded[0].contains("tracing.otlp_endpoint: is \"https://x\""),
            "{loaded:?}"
        );
        let settings = load("").expect("valid").settings;
        assert_eq!(settings.tracing.endpoint, None);
        assert_eq!(&*settings.tracing.service_name, "pgsteer");
    }

    #[test]
    fn mistakes_are_named_and_show_no_password() {
        let long = format!("[admin]\nsocket = \"/{}\"\n", "x".repeat(107));
        for (text, expected) in [
            (
                "[pcp]\nlisten = [\"localhost:1\"]\n",
                "pcp.listen: is \"localhost:1\"",
            ),
            (
                "[pcp]\nusers_file = \"bad.conf\"\n",
                "pcp.users_file: line 1 is not of the form",
            ),
            (
                "[[pcp_users]]\nname = \"a\"\n",
                "pcp_users[0].password: is missing",
            ),
            (
                "[pcp]\nusers_file = \"pcp.conf\"\n[[pcp_users]]\nname = \"script\"\npassword = \"x\"\n",
                "pcp_users[0].name: repeats the user script",
            ),
            (
                "[[pcp_users]]\nname = \"a\"\nmd5 = \"secret\"\n",
                "pcp_users[0].md5: is no MD5",
            ),
            (
                "[[pcp_users]]\nname = \"a\"\nmd5 = \"x\"\npassword = \"secret\"\n",
                "pcp_users[0].md5: is given together",
            ),
            (long.as_str(), "admin.socket: is a path of 108 bytes"),
        ] {
            let errors = load(text).expect_err("a mistake");
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].contains(expected), "{errors:?}");
            assert!(!errors[0].contains("secret"), "{errors:?}");
        }
    }
}
