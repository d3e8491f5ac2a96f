//! Compiled components by what they were compiled from: a file that comes back is not compiled
//! again.

use std::collections::VecDeque;
use std::sync::Arc;

use pgsteer_core::policy::PluginSource;
use wasmtime::component::Component;

/// The last compiled components, newest at the end.
#[derive(Default)]
pub(crate) struct ComponentCache(VecDeque<Entry>);

struct Entry {
    sha256: String,
    bytes: Arc<[u8]>,
    component: Component,
}

impl ComponentCache {
    pub(crate) fn get(&mut self, source: &PluginSource) -> Option<Component> {
        // The hash is the caller's word; running other code than was asked for is not an option.
        let same = |entry: &Entry| entry.sha256 == source.sha256 && entry.bytes == source.bytes;
        let position = self.0.iter().position(same)?;
        let entry = self.0.remove(position)?;
        let component = entry.component.clone();
        self.0.push_back(entry);
        Some(component)
    }

    pub(crate) fn put(&mut self, source: &PluginSource, component: Component) {
        if self.0.len() == COMPONENTS_MAX {
            self.0.pop_front();
        }
        let (sha256, bytes) = (source.sha256.clone(), Arc::clone(&source.bytes));
        self.0.push_back(Entry {
            sha256,
            bytes,
            component,
        });
    }
}

/// Ours: the plugins in force and a few generations to go back to.
const COMPONENTS_MAX: usize = 16;
