//! The first questions to a plugin: who it is, whether its configuration suits it, and what it
//! needs.

use std::sync::{Arc, Mutex};

use pgsteer_core::Topology;
use pgsteer_core::policy::{Grants, LoadError, PolicyError, needs};

use super::bindings::exports::pgsteer::plugin::lifecycle::Manifest;
use super::guest::{WasmPolicy, configure};
use super::{Code, Guests};
use crate::error::{failed, printable, refused};
use crate::inspect::grants_line;
use crate::instance::{Instance, Limit};
use crate::plugin::{Description, Guest, Linked, Profile};
use crate::state::Environment;

impl Code {
    /// A fresh instance that nobody has asked anything.
    pub(super) fn instance(
        &self,
        environment: &Arc<Environment>,
    ) -> Result<Instance<Guests>, PolicyError> {
        Instance::new(&self.pre, environment, |store, instance| {
            self.indices.load(store, instance)
        })
    }
}

impl Linked for Code {
    fn describe(&self, environment: &Arc<Environment>) -> Result<Description, LoadError> {
        let instance = self.instance(environment);
        let mut instance = instance.map_err(|error| failed("link", &error))?;
        let manifest = instance
            .ask(Limit::Configure, |store, guests| {
                guests.lifecycle.call_describe(store)
            })
            .map_err(|error| failed("describe", &error))?;
        check(&manifest)?;
        configure(&mut instance, &environment.config)
            .map_err(|error| failed("configure", &error))?
            .map_err(|reason| refused("configure", printable(&reason)))?;
        let needs = instance
            .ask(Limit::Configure, |store, guests| {
                guests.lifecycle.call_needs(store)
            })
            .map_err(|error| failed("configure", &error))?;
        let needs = needs & manifest.needs;
        let grants = environment.grants;
        if needs & needs::VALUES != 0 && !grants.has(Grants::VALUES) {
            let line = grants_line(grants.with(Grants::VALUES), &environment.plugin);
            return Err(refused(
                "configure",
                format!("needs the values of parameters, which are not granted: {line}"),
            ));
        }
        Ok(Description {
            name: manifest.name,
            version: manifest.version,
            description: printable(&manifest.description),
            profile: Profile {
                needs,
                deterministic: manifest.deterministic,
            },
        })
    }

    fn build(
        &self,
        environment: &Arc<Environment>,
        profile: Profile,
        newest: &Arc<Mutex<Topology>>,
    ) -> Result<Box<dyn Guest>, PolicyError> {
        let policy = WasmPolicy::new(self, environment, profile, newest)?;
        Ok(Box::new(policy))
    }
}

fn check(manifest: &Manifest) -> Result<(), LoadError> {
    for (what, text) in [("name", &manifest.name), ("version", &manifest.version)] {
        let clean = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > MANIFEST_TEXT_BYTES_MAX || !clean {
            return Err(refused(
                "describe",
                format!(
                    "its {what} must be 1 to {MANIFEST_TEXT_BYTES_MAX} visible ASCII characters"
                ),
            ));
        }
    }
    if manifest.needs & !needs::ALL != 0 {
        let needs = manifest.needs;
        return Err(refused(
            "describe",
            format!("it needs something this proxy does not have (bits {needs:#x})"),
        ));
    }
    Ok(())
}

const MANIFEST_TEXT_BYTES_MAX: usize = 64;
