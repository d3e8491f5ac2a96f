//! Looks at a file before anything of it is compiled or run.

use pgsteer_core::settings::PluginLimits;
use wasmparser::{ComponentExternalKind, Parser, Payload, Validator};

use crate::engine::FEATURES;
use crate::error::printable;
use crate::limits::FUNCTIONS_MAX;

/// What the outside of a component says.
#[derive(Debug, Default)]
pub(crate) struct Inspected {
    /// It wants to be told about the nodes.
    pub(crate) listens_to_topology: bool,
    has_lifecycle: bool,
    has_router: bool,
    functions: u32,
}

impl Inspected {
    /// The hooks it implements, in the words of `wit/v0.1/plugin.wit`.
    pub(crate) fn hooks(&self) -> Vec<&'static str> {
        let mut hooks = vec![LIFECYCLE, ROUTER];
        if self.listens_to_topology {
            hooks.push(TOPOLOGY_LISTENER);
        }
        hooks
    }
}

/// Checks size, format, features, imports and exports.
pub(crate) fn inspect(bytes: &[u8], limits: &PluginLimits) -> Result<Inspected, String> {
    check_format(bytes, limits)?;
    Validator::new_with_features(FEATURES)
        .validate_all(bytes)
        .map_err(|error| format!("not valid: {}", printable(&error.to_string())))?;
    let inspected = read_outside(bytes)?;
    if !inspected.has_lifecycle {
        return Err(format!("does not export {PACKAGE}/{LIFECYCLE}@{VERSION}.x"));
    }
    if !inspected.has_router {
        return Err(format!(
            "does not export {PACKAGE}/{ROUTER}@{VERSION}.x, the only hook so far"
        ));
    }
    if inspected.functions > FUNCTIONS_MAX {
        return Err(format!(
            "has {} functions, allowed are {FUNCTIONS_MAX}",
            inspected.functions
        ));
    }
    Ok(inspected)
}

fn check_format(bytes: &[u8], limits: &PluginLimits) -> Result<(), String> {
    if bytes.len() > limits.file_bytes_max {
        let (length, max) = (bytes.len(), limits.file_bytes_max);
        return Err(format!("the file has {length} bytes, allowed are {max}"));
    }
    if Parser::is_component(bytes) {
        Ok(())
    } else if Parser::is_core_wasm(bytes) {
        Err("a core module, not a component: wrap it with wit-component".to_owned())
    } else {
        Err("not a WebAssembly component".to_owned())
    }
}

fn read_outside(bytes: &[u8]) -> Result<Inspected, String> {
    let mut inspected = Inspected::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => {
                inspected.functions = inspected.functions.saturating_add(count);
            }
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    check_import(import.map_err(invalid)?.name.name)?;
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let export = export.map_err(invalid)?;
                    if export.kind == ComponentExternalKind::Instance {
                        note_export(&mut inspected, export.name.name)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(inspected)
}

fn invalid(error: impl std::fmt::Display) -> String {
    format!("not valid: {}", printable(&error.to_string()))
}

fn check_import(name: &str) -> Result<(), String> {
    let interface = interface(name)?;
    match interface {
        Some(interface) if GRANTED.contains(&interface) => Ok(()),
        _ if name.starts_with("wasi:") => Err(format!(
            "imports {}: there is no WASI here, build for wasm32-unknown-unknown",
            printable(name)
        )),
        _ => Err(format!("imports {}, which is not granted", printable(name))),
    }
}

fn note_export(inspected: &mut Inspected, name: &str) -> Result<(), String> {
    match interface(name)? {
        Some(LIFECYCLE) => inspected.has_lifecycle = true,
        Some(ROUTER) => inspected.has_router = true,
        Some(TOPOLOGY_LISTENER) => inspected.listens_to_topology = true,
        Some(_) | None => {}
    }
    Ok(())
}

/// The interface of our package that is named, if the name is one of ours.
fn interface(name: &str) -> Result<Option<&str>, String> {
    let Some((interface, version)) = name
        .strip_prefix(PACKAGE)
        .and_then(|rest| rest.strip_prefix('/')?.split_once('@'))
    else {
        return Ok(None);
    };
    match version.strip_prefix(VERSION) {
        Some(patch) if patch.starts_with('.') => Ok(Some(interface)),
        _ => Err(format!(
            "built for plugin interface {}, this proxy offers {VERSION}",
            printable(version)
        )),
    }
}

const PACKAGE: &str = "pgsteer:plugin";
/// Every 0.1.x fits; the linker checks the types.
const VERSION: &str = "0.1";
const GRANTED: [&str; 2] = ["types", "log"];
pub(crate) const LIFECYCLE: &str = "lifecycle";
pub(crate) const ROUTER: &str = "router";
pub(crate) const TOPOLOGY_LISTENER: &str = "topology-listener";
