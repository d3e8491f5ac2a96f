//! WASI for guests that import it because their language does, with the grant `wasi-stubs`: there
//! is nothing behind it. Every function answers with the default value of its type, or traps if
//! there is none; a few need an answer that does not make the guest wait for ever.

use pgsteer_core::policy::LoadError;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{
    Component, Linker, LinkerInstance, Resource, ResourceAny, ResourceType, Type, Val,
};
use wasmtime::{Result, StoreContextMut};

use crate::error::{printable, refused};
use crate::state::HostState;

/// What stands for every resource: a handle that leads nowhere.
struct Nothing;

/// The linker with stubs for everything of `wasi:*` that the component imports.
pub(crate) fn linker_with_stubs(
    linker: &Linker<HostState>,
    component: &Component,
) -> std::result::Result<Linker<HostState>, LoadError> {
    let mut linker = linker.clone();
    define(&mut linker, component).map_err(|error| {
        let error = printable(&format!("{error:#}"));
        refused("link", format!("WASI stubs: {error}"))
    })?;
    Ok(linker)
}

fn define(linker: &mut Linker<HostState>, component: &Component) -> Result<()> {
    let engine = component.engine().clone();
    for (name, import) in component.component_type().imports(&engine) {
        if !name.starts_with("wasi:") {
            continue;
        }
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            wasmtime::bail!("{name} is not an interface");
        };
        let mut stubs = linker.instance(name)?;
        for (name, item) in instance.exports(&engine) {
            define_item(&mut stubs, name, item.ty)?;
        }
    }
    Ok(())
}

fn define_item(
    stubs: &mut LinkerInstance<'_, HostState>,
    name: &str,
    item: ComponentItem,
) -> Result<()> {
    match item {
        ComponentItem::ComponentFunc(_) => {
            let called = name.to_owned();
            stubs.func_new(name, move |store, ty, arguments, results| {
                answer(store, &called, &ty, arguments, results)
            })
        }
        ComponentItem::Resource(_) => {
            stubs.resource(name, ResourceType::host::<Nothing>(), |_, _| Ok(()))
        }
        ComponentItem::Type(_) => Ok(()),
        _ => wasmtime::bail!("{name} is neither a function nor a type"),
    }
}

fn answer(
    mut store: StoreContextMut<'_, HostState>,
    name: &str,
    ty: &ComponentFunc,
    arguments: &[Val],
    results: &mut [Val],
) -> Result<()> {
    if name == "exit" {
        wasmtime::bail!("the guest ended itself");
    }
    drop_handles(&mut store, arguments)?;
    let mut defaults = Defaults {
        store: &mut store,
        name,
        values_left: DEFAULT_VALUES_MAX,
        name_bytes_left: DEFAULT_NAME_BYTES_MAX,
    };
    for (result, ty) in results.iter_mut().zip(ty.results()) {
        *result = match special(name, arguments) {
            Some(value) => value,
            None => defaults.value(&ty)?,
        };
    }
    Ok(())
}

/// Handles that were handed over or lent: a call may not end with one of them still there.
fn drop_handles(store: &mut StoreContextMut<'_, HostState>, values: &[Val]) -> Result<()> {
    for value in values {
        match value {
            Val::Resource(handle) => handle.resource_drop(&mut *store)?,
            Val::List(values) | Val::Tuple(values) => drop_handles(store, values)?,
            Val::Option(Some(value)) => drop_handles(store, std::slice::from_ref(value))?,
            Val::Record(fields) => {
                for (_, value) in fields {
                    drop_handles(store, std::slice::from_ref(value))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Answers where the default would make a guest wait, or count on something.
fn special(name: &str, arguments: &[Val]) -> Option<Val> {
    let ok = |value| Some(Val::Result(Ok(Some(Box::new(value)))));
    match name {
        // Writing vanishes, so there is always room.
        "[method]output-stream.check-write" => ok(Val::U64(WRITE_BYTES)),
        // Nothing will ever come.
        "[method]input-stream.read"
        | "[method]input-stream.blocking-read"
        | "[method]input-stream.skip"
        | "[method]input-stream.blocking-skip" => {
            let closed = Val::Variant("closed".to_owned(), None);
            Some(Val::Result(Err(Some(Box::new(closed)))))
        }
        // Whatever is waited for has happened.
        "[method]pollable.ready" => Some(Val::Bool(true)),
        "poll" => match arguments {
            [Val::List(pollables)] => {
                let count = u32::try_from(pollables.len()).ok()?;
                Some(Val::List((0..count).map(Val::U32).collect()))
            }
            _ => None,
        },
        // As many as were asked for; hash tables of guests are seeded with them.
        "get-random-bytes" | "get-insecure-random-bytes" => match arguments {
            [Val::U64(length)] if *length <= RANDOM_BYTES_MAX => {
                Some(Val::List((0..*length).map(|_| Val::U8(0)).collect()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Promised to a guest that asks how much it may write.
const WRITE_BYTES: u64 = 64 * 1024;

const RANDOM_BYTES_MAX: u64 = 4 * 1024;

/// Makes default values. Types are the guest's, so a budget bounds what is made of them.
struct Defaults<'a, 'b> {
    store: &'a mut StoreContextMut<'b, HostState>,
    /// The function that is answered.
    name: &'a str,
    values_left: usize,
    name_bytes_left: usize,
}

impl Defaults<'_, '_> {
    fn value(&mut self, ty: &Type) -> Result<Val> {
        self.values_left = self.take(self.values_left, 1)?;
        Ok(match ty {
            Type::Bool => Val::Bool(false),
            Type::S8 => Val::S8(0),
            Type::U8 => Val::U8(0),
            Type::S16 => Val::S16(0),
            Type::U16 => Val::U16(0),
            Type::S32 => Val::S32(0),
            Type::U32 => Val::U32(0),
            Type::S64 => Val::S64(0),
            Type::U64 => Val::U64(0),
            Type::Float32 => Val::Float32(0.0),
            Type::Float64 => Val::Float64(0.0),
            Type::Char => Val::Char(' '),
            Type::String => Val::String(String::new()),
            Type::List(_) => Val::List(Vec::new()),
            Type::Map(_) => Val::Map(Vec::new()),
            Type::Option(_) => Val::Option(None),
            Type::Flags(_) => Val::Flags(Vec::new()),
            Type::Enum(ty) => match ty.names().next() {
                Some(name) => Val::Enum(self.copy(name)?),
                None => return Err(self.none()),
            },
            Type::Record(ty) => {
                let fields = ty.fields();
                let fields =
                    fields.map(|field| Ok((self.copy(field.name)?, self.value(&field.ty)?)));
                Val::Record(fields.collect::<Result<_>>()?)
            }
            Type::Tuple(ty) => {
                let values = ty.types().map(|ty| self.value(&ty));
                Val::Tuple(values.collect::<Result<_>>()?)
            }
            Type::Variant(ty) => match ty.cases().next() {
                Some(case) => Val::Variant(self.copy(case.name)?, self.boxed(case.ty.as_ref())?),
                None => return Err(self.none()),
            },
            Type::Result(ty) => Val::Result(Ok(self.boxed(ty.ok().as_ref())?)),
            Type::Own(_) => {
                let resource = Resource::<Nothing>::new_own(0);
                Val::Resource(ResourceAny::try_from_resource(resource, &mut *self.store)?)
            }
            Type::Borrow(_)
            | Type::Future(_)
            | Type::Stream(_)
            | Type::ErrorContext
            | Type::FixedLengthList(_) => return Err(self.none()),
        })
    }

    fn boxed(&mut self, ty: Option<&Type>) -> Result<Option<Box<Val>>> {
        ty.map(|ty| self.value(ty).map(Box::new)).transpose()
    }

    fn copy(&mut self, name: &str) -> Result<String> {
        self.name_bytes_left = self.take(self.name_bytes_left, name.len())?;
        Ok(name.to_owned())
    }

    fn take(&self, left: usize, needed: usize) -> Result<usize> {
        left.checked_sub(needed).ok_or_else(|| {
            let name = self.name;
            wasmtime::format_err!("there is no WASI: {name} was called, whose type is too large")
        })
    }

    /// A part that cannot be made leaves the whole without a default.
    fn none(&self) -> wasmtime::Error {
        let name = self.name;
        wasmtime::format_err!("there is no WASI: {name} was called")
    }
}

/// Ours: answers of WASI have a few dozen.
const DEFAULT_VALUES_MAX: usize = 1_000;

const DEFAULT_NAME_BYTES_MAX: usize = 64 * 1024;
