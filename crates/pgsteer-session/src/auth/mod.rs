//! Whether a client is who it says it is: the rule for it, and the method of that rule.
//!
//! `exchange` speaks with the client, `known` finds out what is known of a user, `failures` counts
//! what went wrong, `refusal` has the words, `keys` keeps what servers are shown later.

mod exchange;
mod failures;
mod keys;
mod known;
mod refusal;

use std::net::SocketAddr;

use pgsteer_core::Settings;
use pgsteer_core::auth::{AuthMethod, Certificate, Claim, Rule, Secret, Shown};
use pgsteer_pool::{Channel, Credential, Stream};
use pgsteer_wire::{encode, md5};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::end::End;
use crate::worker::Worker;

pub(crate) use failures::Failures;
pub(crate) use keys::{Keyring, Keys};
pub(crate) use known::DERIVING_MAX;

/// What a client asks for at its login.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) user: &'a str,
    pub(crate) database: &'a str,
    /// Whether it wants physical replication, which is about no database.
    pub(crate) is_physical_replication: bool,
    /// None on a Unix socket.
    pub(crate) address: Option<SocketAddr>,
}

/// What came of a method.
enum Proof {
    /// The client is the user; with this the proxy can be the user, too.
    Given(Credential),
    /// It is not, or nobody can tell: why, for the log.
    Failed(&'static str),
}

/// Everything a method may look at.
struct Login<'a> {
    worker: &'a Worker,
    settings: &'a Settings,
    user: &'a str,
}

/// Lets the client prove that it is the user it says it is. Answers what the proxy can log in to
/// servers with.
pub(crate) async fn authenticate(
    client: &mut Channel,
    worker: &Worker,
    settings: &Settings,
    asked: &Asked<'_>,
) -> Result<Credential, End> {
    // Rules for Unix sockets are for these alone, not for whoever's address is not known.
    let is_local = matches!(client.stream(), Stream::Unix(_));
    if asked.address.is_none() != is_local {
        return Err(End::ClientGone);
    }
    let shown = client.tls().map(|tls| tls.peer_name.clone());
    let certificate = match &shown {
        None => Shown::Plain,
        Some(None) => Shown::Nothing,
        Some(Some(name)) => Shown::Name(name),
    };
    let claim = Claim {
        user: asked.user,
        database: asked.database,
        is_physical_replication: asked.is_physical_replication,
        address: asked.address.map(|address| address.ip().to_canonical()),
        certificate,
    };
    let (rule, method) = match &settings.auth.rules {
        None => (None, settings.auth.method),
        Some(rules) => match rules.find(&claim) {
            Some(rule) => (Some(rule), rule.method),
            None => {
                refused(&claim, None, "no rule fits");
                return Err(refusal::no_entry(&claim));
            }
        },
    };
    let login = Login {
        worker,
        settings,
        user: asked.user,
    };
    match login.prove(client, &claim, rule, method).await {
        Ok(Proof::Given(credential)) => {
            encode::authentication_ok(&mut client.output);
            let (user, database, place) = (claim.user, claim.database, place(rule));
            debug!(
                user,
                database,
                place,
                method = method.as_str(),
                "client authenticated"
            );
            Ok(credential)
        }
        Ok(Proof::Failed(why)) => {
            refused(&claim, rule, why);
            Err(refusal::failed(method, claim.user))
        }
        Err(end) => {
            if let End::Fatal(reply) = &end {
                refused(&claim, rule, &reply.message);
            }
            Err(end)
        }
    }
}

/// Where a rule stands.
fn place(rule: Option<&Rule>) -> &str {
    rule.map_or("auth.method", |rule| &rule.place)
}

/// Says in the log why a client was not let in, which the client itself is not told.
fn refused(claim: &Claim<'_>, rule: Option<&Rule>, why: &str) {
    let client = claim.address.map(|address| address.to_string());
    let client = client.as_deref().unwrap_or("[local]");
    let place = match why {
        "no rule fits" => "",
        _ => place(rule),
    };
    let (user, database) = (claim.user, claim.database);
    warn!(user, database, client, place, why, "client was not let in");
}

impl Login<'_> {
    async fn prove(
        &self,
        client: &mut Channel,
        claim: &Claim<'_>,
        rule: Option<&Rule>,
        method: AuthMethod,
    ) -> Result<Proof, End> {
        if method == AuthMethod::Reject {
            return Err(refusal::rejected(claim));
        }
        let wanted = rule.map_or(Certificate::NotNeeded, |rule| rule.certificate);
        let name = match claim.certificate {
            Shown::Name(name) => Some(name),
            Shown::Plain | Shown::Nothing => None,
        };
        if wanted != Certificate::NotNeeded && name.is_none() {
            return Err(refusal::no_certificate());
        }
        let proof = match method {
            AuthMethod::Password | AuthMethod::Md5 | AuthMethod::ScramSha256 => {
                self.password(client, claim, method).await?
            }
            AuthMethod::Trust | AuthMethod::Cert | AuthMethod::Reject => {
                let user = self.settings.users.get(self.user);
                Proof::Given(user.map(|u| credential(&u.secret)).unwrap_or_default())
            }
        };
        let is_of_user = || {
            let allows = rule
                .zip(name)
                .map(|(rule, name)| rule.allows(name, self.user));
            allows.unwrap_or(false)
        };
        match proof {
            Proof::Given(_) if wanted == Certificate::OfUser && !is_of_user() => {
                Ok(Proof::Failed("the certificate is not for this user"))
            }
            proof => Ok(proof),
        }
    }

    /// A method with a password, unless there were too many wrong ones from this address.
    async fn password(
        &self,
        client: &mut Channel,
        claim: &Claim<'_>,
        method: AuthMethod,
    ) -> Result<Proof, End> {
        let auth = &self.settings.auth;
        let failures = &self.worker.shared.failures;
        if let Some(address) = claim.address
            && let Some(wait) = failures.wait(address, auth, Instant::now())
        {
            return Err(refusal::too_many_failures(address, wait));
        }
        let user = known::user(self.worker, self.settings, self.user).await?;
        let proof = match method {
            AuthMethod::Password => self.cleartext(client, &user).await?,
            AuthMethod::Md5 if self.speaks_md5(&user) => self.md5(client, &user).await?,
            _ => self.scram(client, &user).await?,
        };
        if let Proof::Failed(_) = proof {
            if let Some(address) = claim.address {
                failures.note(address, auth, Instant::now());
            }
            if user.is_looked_up {
                self.worker.shared.facts.lookups.doubt(self.user);
            }
        }
        Ok(proof)
    }

    async fn cleartext(&self, client: &mut Channel, user: &known::Known) -> Result<Proof, End> {
        let given = exchange::cleartext(client).await?;
        if given.is_empty() {
            return Err(refusal::empty_password());
        }
        let Ok(given) = String::from_utf8(given) else {
            return Ok(Proof::Failed("the password is not UTF-8"));
        };
        let is_right = match user.secret() {
            None => return Ok(Proof::Failed(user.reason())),
            Some(Secret::Password(known)) => md5::equal(known.as_bytes(), given.as_bytes()),
            Some(Secret::Md5(stored)) => {
                let given = md5::stored(self.user, &given);
                md5::equal(stored.as_bytes(), given.as_bytes())
            }
            Some(Secret::Scram(verifier)) => {
                known::check(self.worker, verifier, given.clone()).await
            }
        };
        Ok(match is_right {
            true => Proof::Given(Credential::Password(given.into())),
            false => Proof::Failed(WRONG_PASSWORD),
        })
    }

    /// Whether a rule with the method `md5` asks for MD5. A user of whom nothing is known must look
    /// as most others do.
    fn speaks_md5(&self, user: &known::Known) -> bool {
        let is_scram = |secret: &Secret| matches!(secret, Secret::Scram(_));
        match user.secret() {
            Some(secret) => !is_scram(secret),
            None => {
                let mut users = self.settings.users.values();
                self.settings.auth.query.is_none() && !users.any(|user| is_scram(&user.secret))
            }
        }
    }

    async fn md5(&self, client: &mut Channel, user: &known::Known) -> Result<Proof, End> {
        let (salt, given) = exchange::md5(client).await?;
        let expected = match user.secret() {
            Some(Secret::Password(password)) => md5::hash(self.user, password, salt),
            Some(Secret::Md5(stored)) => md5::answer(stored, salt),
            Some(Secret::Scram(_)) | None => return Ok(Proof::Failed(user.reason())),
        };
        Ok(match md5::equal(expected.as_bytes(), &given) {
            true => Proof::Given(user.credential()),
            false => Proof::Failed(WRONG_PASSWORD),
        })
    }

    async fn scram(&self, client: &mut Channel, user: &known::Known) -> Result<Proof, End> {
        let verifier = known::verifier(self.worker, user, self.user).await;
        let keys = exchange::scram(client, &verifier).await?;
        Ok(match (keys, user.credential()) {
            (None, _) if user.secret().is_none() => Proof::Failed(user.reason()),
            (None, Credential::Md5(_)) => {
                Proof::Failed("an MD5 hash is all that is known of the password")
            }
            (None, _) => Proof::Failed(WRONG_PASSWORD),
            (Some(_), Credential::Password(password)) => {
                Proof::Given(Credential::Password(password))
            }
            (Some(keys), _) => Proof::Given(Credential::Scram(keys.into())),
        })
    }
}

/// What the proxy can log in with, by what it knows of a user.
pub(crate) fn credential(secret: &Secret) -> Credential {
    match secret {
        Secret::Password(password) => Credential::Password(password.clone()),
        Secret::Md5(stored) => Credential::Md5(stored.clone()),
        Secret::Scram(_) => Credential::Nothing,
    }
}

const WRONG_PASSWORD: &str = "the password is wrong";
