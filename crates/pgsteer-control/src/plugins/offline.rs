//! A component with what stands beside it, for tools that look at plugins without a proxy.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use pgsteer_core::policy::PluginSource;

use super::beside::Beside;
use super::sha256;
use crate::config::check::{Checker, Origin};
use crate::config::{plugins, raw};

/// Reads a component and its configuration, limits and grants: from `beside`, or from the file of
/// the same name with `.toml` if it is there. What neither says is as in a proxy whose
/// configuration does not mention plugins.
///
/// # Errors
/// A file cannot be read, or everything that is wrong in the one beside the component.
pub fn read_plugin(component: &Path, beside: Option<&Path>) -> Result<PluginSource, String> {
    let cannot = |path: &Path, error| format!("{}: cannot be read: {error}", path.display());
    let bytes = std::fs::read(component).map_err(|error| cannot(component, error))?;
    let usual = component.with_extension("toml");
    let path = beside.unwrap_or(&usual);
    let given = match std::fs::read_to_string(path) {
        Ok(text) => Beside::parse(&text, &path.display().to_string())?,
        Err(error) if beside.is_none() && error.kind() == ErrorKind::NotFound => Beside::default(),
        Err(error) => return Err(cannot(path, error)),
    };
    let origin = Origin::default();
    let mut checker = Checker::new(&origin, &|_| Err(ErrorKind::Unsupported.into()));
    let settings = plugins::settings(raw::Plugins::default(), &mut checker);
    let name = component.file_stem().unwrap_or_default();
    Ok(PluginSource {
        name: name.to_string_lossy().into_owned(),
        sha256: sha256(&bytes),
        bytes: Arc::from(bytes),
        config: given.config.clone().unwrap_or_else(|| "{}".to_owned()),
        limits: given.limits.over(&settings.limits),
        grants: given.grants.unwrap_or(settings.grants),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pgsteer_core::policy::Grants;

    use super::*;

    #[test]
    fn the_file_beside_is_found_or_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let component = dir.path().join("10-x.wasm");
        assert!(read_plugin(&component, None).is_err(), "no component");
        std::fs::write(&component, "bytes").expect("written");
        let bare = read_plugin(&component, None).expect("a component is enough");
        assert_eq!((&*bare.name, &*bare.config), ("10-x", "{}"));
        assert_eq!(bare.limits.decision_timeout, Duration::from_millis(3));
        let text = "grants = [\"kv\"]\n[config]\na = 1\n[limits]\ndecision_timeout = \"5ms\"\n";
        std::fs::write(dir.path().join("10-x.toml"), text).expect("written");
        let source = read_plugin(&component, None).expect("both");
        assert_eq!(source.config, "{\"a\":1}");
        assert_eq!(source.grants, Grants::KV);
        assert_eq!(source.limits.decision_timeout, Duration::from_millis(5));
        let other = dir.path().join("other.toml");
        assert!(
            read_plugin(&component, Some(&other)).is_err(),
            "named and not there"
        );
        std::fs::write(&other, "[limit]").expect("written");
        let error = read_plugin(&component, Some(&other)).expect_err("a mistake");
        assert!(error.contains("other.toml"), "{error}");
    }
}
