//! Every session has a tenant, which it cannot change: the proxy sets it again at the beginning of
//! each transaction, and what would change it in between is refused.
//!
//! `settings` reads the configuration, `tenant` finds the tenant of a session, `tampering` looks at
//! texts.

use pgsteer_plugin_sdk::{
    Admission, Admitted, Gatekeeper, Manifest, Needs, Plugin, Rejection, Rewriter, Rewriting,
    Session, Statement, export, manifest,
};

mod settings;
mod tampering;
mod tenant;

use settings::Settings;

/// The plugin.
pub struct TenantIsolation {
    settings: Settings,
}

impl Plugin for TenantIsolation {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        Ok(Self {
            settings: Settings::from_json(json)?,
        })
    }

    fn needs(&self) -> Needs {
        // A rewriter has the text anyway.
        Needs::none().relations().functions()
    }
}

impl Gatekeeper for TenantIsolation {
    fn admit(&mut self, session: &Session) -> Admitted {
        if self.settings.exempt_users.contains(&session.user) {
            return Admitted::admit();
        }
        let Some(tenant) = tenant::of(&self.settings, session) else {
            let from = self.settings.from.word();
            let message = format!("this session has no tenant: its {from} names none");
            let hint = format!("Connect with a {from} that stands for a tenant.");
            return Rejection::forbidden(message).hint(hint).into();
        };
        let role = self.settings.role.replace(TENANT, &tenant);
        let admission = Admission::default()
            // Texts are read as they are with this.
            .with_parameter(tampering::STRINGS, "on")
            .enforcing(self.settings.setting.as_str(), tenant);
        match role.is_empty() {
            true => admission.into(),
            false => admission.as_role(role).into(),
        }
    }
}

impl Rewriter for TenantIsolation {
    fn classify(&mut self, session: &Session) -> u32 {
        u32::from(self.settings.exempt_users.contains(&session.user))
    }

    fn rewrite(&mut self, statement: &Statement) -> Rewriting {
        if statement.session_class == EXEMPT {
            return Rewriting::keep().reusable();
        }
        let found = tampering::found(&self.settings, statement);
        let answer = found.map_or_else(Rewriting::keep, |what| Rewriting::reject(refused(&what)));
        answer.reusable()
    }
}

fn refused(what: &str) -> Rejection {
    let message = format!("{what} is not allowed in a session of a tenant");
    Rejection::forbidden(message).hint("The tenant comes from how the session connected.")
}

/// What stands for the tenant in a name of the configuration.
const TENANT: &str = "{tenant}";

/// Class of sessions that may do as they like.
const EXEMPT: u32 = 1;

export!(TenantIsolation: Gatekeeper, Rewriter);

#[cfg(test)]
mod tests;
