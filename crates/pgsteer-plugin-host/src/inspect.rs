//! Looks at a file before anything of it is compiled or run.

use pgsteer_core::policy::{Grants, Hooks, PluginSource};
use wasmparser::{ComponentExternalKind, Parser, Payload, Validator};

use crate::engine::FEATURES;
use crate::error::printable;
use crate::expand::Expansion;

/// What a file says about itself without being run.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Size of the file in bytes.
    pub file_bytes: usize,
    /// Functions in it.
    pub functions: u32,
    /// Hooks it implements.
    pub hooks: Hooks,
    /// Version of the plugin interface it was built for, such as `0.1.0`.
    pub interface: String,
    /// What it imports, by interface, in the order of the file.
    pub imports: Vec<String>,
    /// Grants without which it is refused. `log` is not among them: without it lines are dropped.
    pub grants: Grants,
    /// It writes to the log.
    pub logs: bool,
    has_lifecycle: bool,
}

/// A version of the plugin interface that this proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    V0_1,
}

impl Inspection {
    /// What it has to be linked with.
    pub(crate) fn version(&self) -> Interface {
        // The only one there is so far; `note_version` refuses all others.
        Interface::V0_1
    }
}

/// Checks size, format, imports and exports. What is inside may still be wrong: see [`validate`].
pub(crate) fn inspect(source: &PluginSource) -> Result<Inspection, String> {
    let (bytes, limits) = (&*source.bytes, &source.limits);
    check_format(bytes, limits.file_bytes_max)?;
    let inspection = read_outside(bytes)?;
    check_exports(&inspection)?;
    check_grants(&inspection, source)?;
    if inspection.functions > limits.functions_max {
        let (count, max) = (inspection.functions, limits.functions_max);
        return Err(format!("has {count} functions, allowed are {max}"));
    }
    Ok(inspection)
}

/// Checks every byte, and that nothing is used that is not in [`FEATURES`]. Takes longer than all
/// the rest; a component that was compiled before has passed it.
pub(crate) fn validate(bytes: &[u8]) -> Result<(), String> {
    let validated = Validator::new_with_features(FEATURES).validate_all(bytes);
    validated.map(drop).map_err(invalid)
}

fn check_format(bytes: &[u8], bytes_max: usize) -> Result<(), String> {
    if bytes.len() > bytes_max {
        let length = bytes.len();
        return Err(format!(
            "the file has {length} bytes, allowed are {bytes_max}"
        ));
    }
    if Parser::is_component(bytes) {
        Ok(())
    } else if Parser::is_core_wasm(bytes) {
        Err("a core module, not a component: wrap it with wit-component".to_owned())
    } else {
        Err("not a WebAssembly component".to_owned())
    }
}

fn check_exports(inspection: &Inspection) -> Result<(), String> {
    if !inspection.has_lifecycle {
        return Err(format!("does not export {PACKAGE}/{LIFECYCLE}@{VERSION}.x"));
    }
    if inspection.hooks.is_empty() {
        return Err(format!(
            "does not export a hook, such as {PACKAGE}/{}@{VERSION}.x",
            Hooks::ROUTER
        ));
    }
    Ok(())
}

fn check_grants(inspection: &Inspection, source: &PluginSource) -> Result<(), String> {
    let (given, needed) = (source.grants, inspection.grants);
    if given.has(needed) {
        return Ok(());
    }
    let missing: Vec<&str> = needed
        .names()
        .filter(|name| Grants::from_name(name).is_some_and(|grant| !given.has(grant)))
        .collect();
    let line = grants_line(given.with(needed), &source.name);
    if missing == [WASI_STUBS] {
        let wasi = inspection.imports.iter().find(|i| i.starts_with(WASI));
        return Err(format!(
            "imports {}: there is no WASI here, build for wasm32-unknown-unknown; if it does \
             without, {line}",
            wasi.map_or(WASI, |name| name)
        ));
    }
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let missing = missing.join(", ");
    Err(format!(
        "imports {missing}, which {verb} not granted: {line}"
    ))
}

/// What to write where to grant this.
pub(crate) fn grants_line(grants: Grants, file_name: &str) -> String {
    let names: Vec<String> = grants.names().map(|name| format!("\"{name}\"")).collect();
    format!("add grants = [{}] to {file_name}.toml", names.join(", "))
}

fn read_outside(bytes: &[u8]) -> Result<Inspection, String> {
    let mut inspection = Inspection {
        file_bytes: bytes.len(),
        ..Inspection::default()
    };
    let mut depth = 0_u32;
    let mut expansion = Expansion::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(invalid)?;
        expansion.note(&payload).map_err(invalid)?;
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => {
                inspection.functions = inspection.functions.saturating_add(count);
            }
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    inspection.note_import(import.map_err(invalid)?.name.name)?;
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let export = export.map_err(invalid)?;
                    if export.kind == ComponentExternalKind::Instance {
                        inspection.note_export(export.name.name)?;
                    }
                }
            }
            _ => {}
        }
    }
    expansion.check()?;
    Ok(inspection)
}

fn invalid(error: impl std::fmt::Display) -> String {
    format!("not valid: {}", printable(&error.to_string()))
}

impl Inspection {
    fn note_import(&mut self, name: &str) -> Result<(), String> {
        self.imports.push(printable(name));
        let needed = match self.interface_of(name)? {
            Some("types") => return Ok(()),
            Some("log") => {
                self.logs = true;
                return Ok(());
            }
            Some("metrics") => Grants::METRICS,
            Some("clock") => Grants::CLOCK,
            Some("catalog") => Grants::CATALOG,
            Some("kv") => Grants::KV,
            None if name.starts_with(WASI) => Grants::WASI_STUBS,
            _ => {
                return Err(format!(
                    "imports {}, which this proxy does not offer",
                    printable(name)
                ));
            }
        };
        self.grants = self.grants.with(needed);
        Ok(())
    }

    fn note_export(&mut self, name: &str) -> Result<(), String> {
        match self.interface_of(name)? {
            Some(LIFECYCLE) => self.has_lifecycle = true,
            Some(interface) => {
                // One that is not known is of a later version of the interface: nobody asks it.
                let hook = Hooks::from_name(interface).unwrap_or_default();
                self.hooks = self.hooks.with(hook);
            }
            None => {}
        }
        Ok(())
    }

    /// The interface of our package that is named, if the name is one of ours.
    fn interface_of<'a>(&mut self, name: &'a str) -> Result<Option<&'a str>, String> {
        let ours = name.strip_prefix(PACKAGE);
        let ours = ours.and_then(|rest| rest.strip_prefix('/')?.split_once('@'));
        let Some((interface, version)) = ours else {
            return Ok(None);
        };
        self.note_version(version)?;
        Ok(Some(interface))
    }

    fn note_version(&mut self, version: &str) -> Result<(), String> {
        // Every 0.1.x fits; the linker checks the types.
        match version.strip_prefix(VERSION) {
            Some(patch) if patch.starts_with('.') => {
                self.interface = printable(version);
                Ok(())
            }
            _ => Err(format!(
                "built for plugin interface {}, this proxy offers {VERSION}",
                printable(version)
            )),
        }
    }
}

const PACKAGE: &str = "pgsteer:plugin";
const VERSION: &str = "0.1";
const LIFECYCLE: &str = "lifecycle";
const WASI: &str = "wasi:";
const WASI_STUBS: &str = "wasi-stubs";
