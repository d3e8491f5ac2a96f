//! What is known of a user: from the settings, or from the servers. What takes milliseconds to
//! calculate is done on another thread, little at a time.

use std::sync::Arc;

use pgsteer_core::Settings;
use pgsteer_core::auth::{Found, Secret, User};
use pgsteer_pool::Credential;
use pgsteer_wire::scram::Verifier;

use super::{credential, refusal};
use crate::end::End;
use crate::worker::Worker;

/// Passwords that are derived at one time, in the whole proxy. Each takes a few milliseconds of a
/// processor; more at a time would slow down everybody's statements.
pub(crate) const DERIVING_MAX: usize = 2;

/// What is known of a user.
pub(super) struct Known {
    user: Result<User, &'static str>,
    /// Whether a server was asked, now or a while ago.
    pub(super) is_looked_up: bool,
}

impl Known {
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.user.as_ref().ok().map(|user| &user.secret)
    }

    /// Why nobody can log in as this user, for the log.
    pub(super) fn reason(&self) -> &'static str {
        self.user.as_ref().err().copied().unwrap_or_default()
    }

    pub(super) fn credential(&self) -> Credential {
        self.secret().map(credential).unwrap_or_default()
    }
}

/// Finds out.
pub(super) async fn user(worker: &Worker, settings: &Settings, name: &str) -> Result<Known, End> {
    if let Some(user) = settings.users.get(name) {
        return Ok(Known {
            user: Ok(user.clone()),
            is_looked_up: false,
        });
    }
    if settings.auth.query.is_none() {
        return Ok(Known {
            user: Err("the proxy knows no such user"),
            is_looked_up: false,
        });
    }
    let user = match worker.shared.facts.lookups.ask(name).await {
        Found::User(user) => Ok(user),
        Found::Nobody => Err("auth.query knows no such user that may log in"),
        Found::NoPassword => Err("the user has no password, or it has expired"),
        Found::Failed => return Err(refusal::not_looked_up(name)),
    };
    Ok(Known {
        user,
        is_looked_up: true,
    })
}

/// What the user's password is checked with in SCRAM; for a user that nothing is known of, one that
/// no password fits.
pub(super) async fn verifier(worker: &Worker, known: &Known, name: &str) -> Arc<Verifier> {
    let mock = || Arc::new(Verifier::mock(&worker.shared.secret, name));
    let Ok(user) = &known.user else {
        return mock();
    };
    if let Some(verifier) = user.verifier() {
        return Arc::clone(verifier);
    }
    let Secret::Password(password) = &user.secret else {
        return mock();
    };
    // Never closed, so there is always a permit in the end.
    let _permit = worker.shared.deriving.acquire().await;
    // Whoever waited for the same password has it now.
    if let Some(verifier) = user.verifier() {
        return Arc::clone(verifier);
    }
    let password = Arc::clone(password);
    let make = move || Verifier::from_password(&password);
    match tokio::task::spawn_blocking(make).await {
        Ok(Ok(made)) => Arc::clone(user.keep_verifier(Arc::new(made))),
        // No random numbers, or no thread: nobody gets in.
        Ok(Err(_)) | Err(_) => mock(),
    }
}

/// Whether this is the password behind a verifier.
pub(super) async fn check(worker: &Worker, verifier: &Arc<Verifier>, given: String) -> bool {
    let _permit = worker.shared.deriving.acquire().await;
    let verifier = Arc::clone(verifier);
    let check = move || verifier.check(&given);
    tokio::task::spawn_blocking(check).await.unwrap_or(false)
}
