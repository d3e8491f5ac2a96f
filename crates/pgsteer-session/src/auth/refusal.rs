//! What a client is told that is not let in: PostgreSQL's own words where it has them
//! (`src/backend/libpq/auth.c`).

use std::net::IpAddr;
use std::time::Duration;

use pgsteer_core::auth::{AuthMethod, Claim, Shown};
use pgsteer_wire::{ErrorReply, SqlState};

use crate::end::End;

fn not_authorized(text: String) -> End {
    End::Fatal(ErrorReply::fatal(SqlState::INVALID_AUTHORIZATION, text))
}

/// `host "...", user "...", database "...", no encryption`
fn described(claim: &Claim<'_>) -> String {
    let host = claim.address.map(|address| address.to_string());
    let host = host.as_deref().unwrap_or("[local]");
    let encryption = match claim.certificate {
        Shown::Plain => "no encryption",
        Shown::Nothing | Shown::Name(_) => "SSL encryption",
    };
    let (user, database) = (claim.user, claim.database);
    match claim.is_physical_replication {
        true => format!("host \"{host}\", user \"{user}\", {encryption}"),
        false => format!("host \"{host}\", user \"{user}\", database \"{database}\", {encryption}"),
    }
}

/// No rule fits.
pub(super) fn no_entry(claim: &Claim<'_>) -> End {
    let described = described(claim);
    not_authorized(match claim.is_physical_replication {
        true => format!("no pg_hba.conf entry for replication connection from {described}"),
        false => format!("no pg_hba.conf entry for {described}"),
    })
}

/// The method is `reject`.
pub(super) fn rejected(claim: &Claim<'_>) -> End {
    let described = described(claim);
    not_authorized(match claim.is_physical_replication {
        true => format!("pg_hba.conf rejects replication connection for {described}"),
        false => format!("pg_hba.conf rejects connection for {described}"),
    })
}

/// A rule wants a certificate and there is none.
pub(super) fn no_certificate() -> End {
    not_authorized("connection requires a valid client certificate".to_owned())
}

/// PostgreSQL stores no empty passwords and takes none.
pub(super) fn empty_password() -> End {
    let text = "empty password returned by client";
    End::Fatal(ErrorReply::fatal(SqlState::INVALID_PASSWORD, text))
}

/// The client did not prove it.
pub(super) fn failed(method: AuthMethod, user: &str) -> End {
    match method {
        AuthMethod::Password | AuthMethod::Md5 | AuthMethod::ScramSha256 => {
            let text = format!("password authentication failed for user \"{user}\"");
            End::Fatal(ErrorReply::fatal(SqlState::INVALID_PASSWORD, text))
        }
        AuthMethod::Cert => not_authorized(format!(
            "certificate authentication failed for user \"{user}\""
        )),
        AuthMethod::Trust | AuthMethod::Reject => {
            let method = method.as_str();
            not_authorized(format!(
                "\"{method}\" authentication failed for user \"{user}\""
            ))
        }
    }
}

/// Nobody could be asked about the user.
pub(super) fn not_looked_up(user: &str) -> End {
    let text = format!("the password of user \"{user}\" cannot be looked up now");
    let reply = ErrorReply::fatal(SqlState::CANNOT_CONNECT_NOW, text);
    End::Fatal(reply.with_hint("The proxy's log says what became of auth.query."))
}

/// There were too many wrong passwords.
pub(super) fn too_many_failures(address: IpAddr, wait: Duration) -> End {
    let text = format!("too many failed logins from \"{address}\"");
    let seconds = wait.as_secs() + 1;
    let hint = format!("Logins from there are looked at again in {seconds} s.");
    let reply = ErrorReply::fatal(SqlState::INVALID_PASSWORD, text);
    End::Fatal(reply.with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(end: End) -> String {
        match end {
            End::Fatal(reply) => format!("{} {}", reply.sqlstate, reply.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_words_are_those_of_postgresql() {
        let claim = Claim {
            user: "ann",
            database: "shop",
            is_physical_replication: false,
            address: "10.0.0.7".parse().ok(),
            certificate: Shown::Plain,
        };
        assert_eq!(
            text(no_entry(&claim)),
            "28000 no pg_hba.conf entry for host \"10.0.0.7\", user \"ann\", database \"shop\", no encryption"
        );
        let local = Claim {
            address: None,
            is_physical_replication: true,
            certificate: Shown::Nothing,
            ..claim
        };
        assert_eq!(
            text(rejected(&local)),
            "28000 pg_hba.conf rejects replication connection for host \"[local]\", user \"ann\", SSL encryption"
        );
        assert_eq!(
            text(failed(AuthMethod::Cert, "ann")),
            "28000 certificate authentication failed for user \"ann\""
        );
    }
}
