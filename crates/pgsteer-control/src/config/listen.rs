//! `[listen]` beside its addresses, and `[tcp]`: Unix sockets, and signs of life.

use pgsteer_core::settings::{TcpSettings, UnixSocketSettings};

use super::check::Checker;
use super::operation::check_socket_path;
use super::raw;

/// The Unix sockets for clients, if there are to be any.
pub(super) fn unix_socket(
    dir: raw::Given,
    mode: raw::Given,
    checker: &mut Checker<'_>,
) -> Option<UnixSocketSettings> {
    const DIR: &str = "listen.unix_socket_dir";
    const MODE: &str = "listen.unix_socket_mode";
    let text = checker.text(MODE, mode).unwrap_or_default();
    let mode = u32::from_str_radix(&text, 8).ok().filter(|m| *m <= 0o777);
    if mode.is_none() {
        let advice = "write permissions in octal, such as \"0770\"";
        checker.error(MODE, format!("is \"{text}\""), advice);
    }
    dir.as_ref()?;
    let dir = checker.path(DIR, dir)?;
    check_socket_path(DIR, &dir.join(".s.PGSQL.65535"), checker);
    Some(UnixSocketSettings {
        dir,
        mode: mode.unwrap_or_default(),
    })
}

/// `[tcp]`
pub(super) fn tcp(raw: raw::Tcp, checker: &mut Checker<'_>) -> TcpSettings {
    TcpSettings {
        keepalive: checker.switch("tcp.keepalive", raw.keepalive),
        keepidle: checker.duration("tcp.keepidle", raw.keepidle),
        keepintvl: checker.duration("tcp.keepintvl", raw.keepintvl),
        keepcnt: u32::try_from(checker.count("tcp.keepcnt", raw.keepcnt)).unwrap_or(0),
        user_timeout: checker.duration("tcp.user_timeout", raw.user_timeout),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::config::{Changes, Loaded, Source, load_with};

    fn load(text: &str) -> Result<Loaded, Vec<String>> {
        let text = format!("[[nodes]]\nhost = \"h\"\n[probe]\npassword = \"x\"\n{text}");
        let read = |_: &Path| Ok(text.clone());
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
    fn sockets_and_signs_of_life_arrive() {
        let settings = load("").expect("valid").settings;
        assert_eq!(settings.unix_socket, None);
        let text = "[listen]\nunix_socket_dir = \"run\"\nunix_socket_mode = \"0750\"\n\
                    [tcp]\nkeepalive = false\nuser_timeout = \"5s\"\nkeepcnt = 3\n";
        let settings = load(text).expect("valid").settings;
        let unix = settings.unix_socket.expect("one");
        assert_eq!(unix.dir, Path::new("/etc/pgsteer/run"));
        assert_eq!(unix.mode, 0o750);
        let tcp = settings.pool.tcp;
        assert!(!tcp.keepalive);
        assert_eq!((tcp.keepcnt, tcp.keepidle), (3, Duration::from_secs(60)));
        assert_eq!(tcp.user_timeout, Duration::from_secs(5));
    }

    #[test]
    fn mistakes_are_named() {
        let long = format!("[listen]\nunix_socket_dir = \"/{}\"\n", "x".repeat(100));
        for (text, expected) in [
            (
                "[listen]\nunix_socket_mode = \"0788\"\n",
                "listen.unix_socket_mode: is \"0788\"",
            ),
            (
                "[listen]\nunix_socket_mode = \"7777\"\n",
                "listen.unix_socket_mode: is \"7777\"",
            ),
            (
                long.as_str(),
                "listen.unix_socket_dir: is a path of 116 bytes",
            ),
        ] {
            let errors = load(text).expect_err("a mistake");
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].contains(expected), "{errors:?}");
        }
    }
}
