//! How large a component becomes when the compiler expands it: everything inside a component counts
//! once for each time that component is instantiated, so a small file can take all memory there is.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Instance, Payload, Result,
};

/// Counts while the file is read from its beginning to its end.
pub(crate) struct Expansion {
    // The component outside of all, then those inside each other that are being read.
    open: Vec<Frame>,
    handed_over: bool,
}

#[derive(Clone, Copy, Default)]
struct Size {
    instances: u64,
    items: u64,
}

/// A component or a module of which the end was not seen yet.
#[derive(Default)]
struct Frame {
    is_module: bool,
    size: Size,
    // By index; `None` where it is not known before it is instantiated which one it is.
    components: Vec<Option<Size>>,
    modules: Vec<Option<Size>>,
}

impl Expansion {
    pub(crate) fn new() -> Self {
        Self {
            open: vec![Frame::default()],
            handed_over: false,
        }
    }

    /// Takes the next part of the file.
    pub(crate) fn note(&mut self, payload: &Payload<'_>) -> Result<()> {
        match payload {
            Payload::ModuleSection { .. } => self.enter(true),
            Payload::ComponentSection { .. } => self.enter(false),
            Payload::End(_) => self.leave(),
            Payload::ImportSection(imports) => self.add_items(imports.count()),
            Payload::ComponentTypeSection(types) => self.add_items(types.count()),
            Payload::ComponentCanonicalSection(functions) => self.add_items(functions.count()),
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    self.note_instance(&instance?);
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances.clone() {
                    self.note_component_instance(&instance?);
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    self.note_alias(&alias?);
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone() {
                    self.add_items(1);
                    match import?.ty {
                        ComponentTypeRef::Component(_) => self.add_component(None),
                        ComponentTypeRef::Module(_) => self.add_module(None),
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    self.add_items(1);
                    // What is exported gets a further index.
                    match export.kind {
                        ComponentExternalKind::Component => {
                            self.add_component(self.component(0, export.index));
                        }
                        ComponentExternalKind::Module => {
                            self.add_module(self.module(0, export.index));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether it may be compiled, after the whole file was read.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        if self.handed_over {
            return Err(
                "instantiates a component or module that it is handed, which is not supported: \
                 put it into the file as it is"
                    .to_owned(),
            );
        }
        let size = self.open.first().map_or(Size::default(), |root| root.size);
        for (count, max, what) in [
            (size.instances, INSTANCES_MAX, "instances"),
            (size.items, ITEMS_MAX, "items"),
        ] {
            if count > max {
                return Err(format!(
                    "the components in it expand to more than {max} {what}: instantiate less inside \
                     of nested components"
                ));
            }
        }
        Ok(())
    }

    fn enter(&mut self, is_module: bool) {
        self.open.push(Frame {
            is_module,
            ..Frame::default()
        });
    }

    fn leave(&mut self) {
        // The first one stays, for `check`.
        if self.open.len() < 2 {
            return;
        }
        match self.open.pop() {
            Some(frame) if frame.is_module => self.add_module(Some(frame.size)),
            Some(frame) => self.add_component(Some(frame.size)),
            None => {}
        }
    }

    fn note_instance(&mut self, instance: &Instance<'_>) {
        match instance {
            Instance::Instantiate { module_index, args } => {
                self.add_instance(self.module(0, *module_index), args.len());
            }
            Instance::FromExports(exports) => self.add(0, count(exports.len())),
        }
    }

    fn note_component_instance(&mut self, instance: &ComponentInstance<'_>) {
        match instance {
            ComponentInstance::Instantiate {
                component_index,
                args,
            } => self.add_instance(self.component(0, *component_index), args.len()),
            ComponentInstance::FromExports(exports) => self.add(0, count(exports.len())),
        }
    }

    fn note_alias(&mut self, alias: &ComponentAlias<'_>) {
        self.add_items(1);
        match *alias {
            ComponentAlias::Outer { kind, count, index } => match kind {
                ComponentOuterAliasKind::Component => {
                    self.add_component(self.component(count, index));
                }
                ComponentOuterAliasKind::CoreModule => self.add_module(self.module(count, index)),
                _ => {}
            },
            ComponentAlias::InstanceExport { kind, .. } => match kind {
                ComponentExternalKind::Component => self.add_component(None),
                ComponentExternalKind::Module => self.add_module(None),
                _ => {}
            },
            ComponentAlias::CoreInstanceExport { .. } => {}
        }
    }

    /// The component of this index in the one so many levels further out.
    fn component(&self, outward: u32, index: u32) -> Option<Size> {
        let components = &self.frame(outward)?.components;
        *components.get(usize::try_from(index).ok()?)?
    }

    fn module(&self, outward: u32, index: u32) -> Option<Size> {
        let modules = &self.frame(outward)?.modules;
        *modules.get(usize::try_from(index).ok()?)?
    }

    fn frame(&self, outward: u32) -> Option<&Frame> {
        self.open.iter().nth_back(usize::try_from(outward).ok()?)
    }

    fn add_component(&mut self, size: Option<Size>) {
        if let Some(frame) = self.open.last_mut() {
            frame.components.push(size);
        }
    }

    fn add_module(&mut self, size: Option<Size>) {
        if let Some(frame) = self.open.last_mut() {
            frame.modules.push(size);
        }
    }

    fn add_instance(&mut self, of: Option<Size>, arguments: usize) {
        let Some(size) = of else {
            self.handed_over = true;
            return;
        };
        self.add(size.instances.saturating_add(1), size.items);
        // The instance itself is an item too.
        self.add(0, count(arguments).saturating_add(1));
    }

    fn add_items(&mut self, count: u32) {
        self.add(0, u64::from(count));
    }

    fn add(&mut self, instances: u64, items: u64) {
        if let Some(Frame { size, .. }) = self.open.last_mut() {
            size.instances = size.instances.saturating_add(instances);
            size.items = size.items.saturating_add(items);
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Ours: Python has 38 and JavaScript has 11; those made of several have a few times as many.
const INSTANCES_MAX: u64 = 1_000;

/// Ours, of imports, exports, aliases, functions, and so on. Some hundred bytes each.
const ITEMS_MAX: u64 = 200_000;
