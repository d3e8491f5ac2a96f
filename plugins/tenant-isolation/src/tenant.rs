//! The tenant of a session.

use pgsteer_plugin_sdk::Session;

use crate::settings::{From, Settings};

/// The tenant; `None` if the session has none.
pub(crate) fn of(settings: &Settings, session: &Session) -> Option<String> {
    let whole = match settings.from {
        From::User => &session.user,
        From::Database => &session.database,
        From::ApplicationName => &session.application_name,
    };
    let rest = whole.strip_prefix(settings.prefix.as_str())?;
    let name = rest.strip_suffix(settings.suffix.as_str())?;
    if settings.tenants.is_empty() {
        return (!name.is_empty()).then(|| name.to_owned());
    }
    let mut tenants = settings.tenants.iter();
    let found = tenants.find(|(known, _)| known == name);
    found.map(|(_, tenant)| tenant.clone())
}
