//! Keeps some users out, and gives all others a limit on the time of a statement.

use pgsteer_plugin_sdk::{Admission, Admitted, Gatekeeper, Manifest, Plugin, Rejection, Session};
use pgsteer_plugin_sdk::{config, export, json, manifest};

struct Policy(Vec<String>);

impl Plugin for Policy {
    const MANIFEST: Manifest = manifest!().deterministic();

    fn configure(json: &str) -> Result<Self, String> {
        let mut refused = vec!["postgres".to_owned()];
        for (key, value) in json::object(json)? {
            match &*key {
                "refused" => refused = config::texts(&key, &value)?,
                _ => return Err(config::unknown(&key, &value, &["refused"])),
            }
        }
        Ok(Self(refused))
    }
}

impl Gatekeeper for Policy {
    fn admit(&mut self, session: &Session) -> Admitted {
        if self.0.contains(&session.user) {
            return Rejection::forbidden("this user connects to the server itself").into();
        }
        let admission = Admission::default();
        admission.with_parameter("statement_timeout", "30s").into()
    }
}

export!(Policy: Gatekeeper);
#[cfg(test)]
mod tests;
