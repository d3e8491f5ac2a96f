//! Checks `[tls]` and `[server_tls]`, which means that it reads certificates and keys: a proxy that
//! starts, or reloads, has those it was told to use.

use std::path::PathBuf;

use pgsteer_tls::{
    ClientSpec, ClientTls, Files, Mode, Negotiation, Protocol, ServerSpec, ServerTls, TlsError,
};

use super::check::Checker;
use super::raw;

/// `[tls]`
pub(super) fn clients(raw: raw::Tls, checker: &mut Checker<'_>) -> ClientTls {
    const SECTION: &str = "tls";
    let spec = ClientSpec {
        mode: mode(SECTION, raw.mode, checker),
        files: files(SECTION, (raw.cert_file, raw.key_file, raw.ca_file), checker),
        min_protocol: min_protocol(SECTION, raw.min_protocol, checker),
    };
    if spec.mode == Mode::Disable && spec.files != Files::default() {
        checker.warning(
            "tls.mode",
            "is disable, so that no client can use TLS and the files are not read; set it to \
             prefer, or to require",
        );
    }
    ClientTls::load(spec, checker.reader()).unwrap_or_else(|error| {
        complain(SECTION, error, checker);
        ClientTls::default()
    })
}

/// `[server_tls]`
pub(super) fn servers(raw: raw::ServerTls, checker: &mut Checker<'_>) -> ServerTls {
    const SECTION: &str = "server_tls";
    let direct = checker.choice("server_tls.negotiation", raw.negotiation) == Some("direct");
    let spec = ServerSpec {
        mode: mode(SECTION, raw.mode, checker),
        files: files(SECTION, (raw.cert_file, raw.key_file, raw.ca_file), checker),
        min_protocol: min_protocol(SECTION, raw.min_protocol, checker),
        negotiation: if direct {
            Negotiation::Direct
        } else {
            Negotiation::Postgres
        },
    };
    if direct && spec.mode < Mode::Require {
        // As libpq has it: who does not insist on TLS cannot begin with it.
        let problem = "is direct, which needs TLS in any case";
        let advice = "set `server_tls.mode` to require, verify-ca or verify-full";
        checker.error("server_tls.negotiation", problem, advice);
    }
    ServerTls::load(spec, checker.reader()).unwrap_or_else(|error| {
        complain(SECTION, error, checker);
        ServerTls::default()
    })
}

fn mode(section: &str, given: raw::Given, checker: &mut Checker<'_>) -> Mode {
    let word = checker.choice(&format!("{section}.mode"), given);
    word.and_then(Mode::from_word).unwrap_or_default()
}

fn min_protocol(section: &str, given: raw::Given, checker: &mut Checker<'_>) -> Protocol {
    let word = checker.choice(&format!("{section}.min_protocol"), given);
    word.and_then(Protocol::from_word).unwrap_or_default()
}

type Three = (raw::Given, raw::Given, raw::Given);

fn files(section: &str, (cert, key, ca): Three, checker: &mut Checker<'_>) -> Files {
    let mut path = |name: &str, given: raw::Given| -> Option<PathBuf> {
        let given = Some(given?);
        checker.path(&format!("{section}.{name}"), given)
    };
    Files {
        cert: path("cert_file", cert),
        key: path("key_file", key),
        ca: path("ca_file", ca),
    }
}

fn complain(section: &str, error: TlsError, checker: &mut Checker<'_>) {
    let key = format!("{section}.{}", error.setting);
    checker.error(&key, error.problem, error.advice);
}
