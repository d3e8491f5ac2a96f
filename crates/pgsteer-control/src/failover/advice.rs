//! Asks the failover policies, one after the other, until one has an answer.

use std::collections::HashMap;
use std::sync::Arc;

use pgsteer_core::Snapshot;
use pgsteer_core::policy::{Crisis, Hooks, Plugin, Policy, PolicyError, Remedy};
use tracing::warn;

/// Instances for questions about failovers, by generation of the plugin.
#[derive(Default)]
pub(super) struct Advisers(HashMap<u64, Box<dyn Policy>>);

impl Advisers {
    /// The first answer that is not "abstain". Runs plugins: blocks, needs their stack.
    ///
    /// # Errors
    /// No plugin answers such questions, or those that do failed.
    pub(super) fn ask(&mut self, snapshot: &Snapshot, crisis: &Crisis) -> Result<Remedy, String> {
        let plugins = &snapshot.policies.plugins;
        let advise = |plugin: &&Arc<Plugin>| plugin.hooks.has(Hooks::FAILOVER);
        let advisers: Vec<_> = plugins.iter().filter(advise).collect();
        let generations: Vec<u64> = advisers.iter().map(|p| p.generation.0).collect();
        self.0
            .retain(|generation, _| generations.contains(generation));
        let mut failed = None;
        for plugin in &advisers {
            if plugin.is_quarantined() {
                continue;
            }
            match self.ask_one(plugin, snapshot, crisis) {
                Ok(Remedy::Abstain) => {}
                Ok(remedy) => return Ok(remedy),
                Err(error) => {
                    let (file, error) = (&*plugin.file_name, error.to_string());
                    warn!(plugin = file, error, "failover policy failed");
                    failed = Some(format!("{file}: {error}"));
                }
            }
        }
        match failed {
            Some(why) => Err(why),
            None if advisers.is_empty() => {
                Err("no plugin decides about failovers: see SHOW pool_plugins".to_owned())
            }
            None => Ok(Remedy::Abstain),
        }
    }

    fn ask_one(
        &mut self,
        plugin: &Arc<Plugin>,
        snapshot: &Snapshot,
        crisis: &Crisis,
    ) -> Result<Remedy, PolicyError> {
        let generation = plugin.generation.0;
        let mut policy = match self.0.remove(&generation) {
            Some(policy) if !policy.is_worn() => policy,
            _ => plugin.factory().instantiate()?,
        };
        if plugin.hooks.has(Hooks::TOPOLOGY_LISTENER) {
            policy.topology_changed(&snapshot.topology)?;
        }
        let remedy = policy.remedy(crisis);
        count(plugin, remedy.as_ref().err());
        match &remedy {
            Ok(_) => {
                self.0.insert(generation, policy);
            }
            // An instance that failed is not asked again.
            Err(_) => plugin.tell_trouble(),
        }
        remedy
    }
}

/// Counts a question. A counter has one writing thread: those of the first worker are ours if no
/// worker asks this plugin anything.
fn count(plugin: &Plugin, error: Option<&PolicyError>) {
    let asked_by_workers = [
        Hooks::SESSION,
        Hooks::REWRITER,
        Hooks::ROUTER,
        Hooks::OBSERVER,
        Hooks::OPERATOR,
    ];
    if asked_by_workers.iter().any(|hook| plugin.hooks.has(*hook)) {
        return;
    }
    let counters = plugin.counters(0);
    counters.calls.add(1);
    if let Some(error) = error
        && let Some(failures) = counters.failures.get(error.class as usize)
    {
        failures.add(1);
    }
}
