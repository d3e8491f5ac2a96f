//! How many clients there may be of a user, a database, an address. Counted when one logs in and only
//! where there is such a limit.

use pgsteer_core::Settings;
use pgsteer_wire::{ErrorReply, SqlState};

use crate::cancel::CancelRegistry;
use crate::end::End;
use crate::whereabouts::About;

/// Refuses a client that is entered already if it is one too many.
///
/// # Errors
/// It is.
pub(crate) fn check(
    settings: &Settings,
    registry: &CancelRegistry,
    about: &About,
) -> Result<(), End> {
    if about.is_console {
        return Ok(());
    }
    let (pool, all) = (&settings.pool, &settings.client_limits);
    let database = pool.clients_of_database_max(&about.database, all);
    let user = pool.clients_of_user_max(&about.user, all);
    let address = if about.client_port == 0 {
        0
    } else {
        all.per_address_max
    };
    if database == 0 && user == 0 && address == 0 {
        return Ok(());
    }
    let sessions = registry.list();
    let count = |fits: &dyn Fn(&About) -> bool| {
        let of_kind = sessions.iter().filter(|(_, slot)| !slot.about.is_console);
        of_kind.filter(|(_, slot)| fits(&slot.about)).count()
    };
    let over = |max: u32, fits: &dyn Fn(&About) -> bool| {
        max > 0 && count(fits) > usize::try_from(max).unwrap_or(usize::MAX)
    };
    let what = if over(database, &|other| other.database == about.database) {
        format!("too many connections for database \"{}\"", about.database)
    } else if over(user, &|other| other.user == about.user) {
        format!("too many connections for role \"{}\"", about.user)
    } else if over(address, &|other| other.client_host == about.client_host) {
        format!("too many connections from {}", about.client_host)
    } else {
        return Ok(());
    };
    let reply = ErrorReply::fatal(SqlState::TOO_MANY_CONNECTIONS, what);
    Err(End::Fatal(reply.with_hint(
        "See [limits] and `clients_max` in [[pools]] in the proxy's configuration.",
    )))
}
