//! A serialiser that writes nothing and shows every struct and field to a walk.

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Serializer};
use serde_json::Value;

use super::{Element, Visited, Walk};

/// Nothing can go wrong; serde wants an error type all the same.
#[derive(Debug)]
pub(crate) struct Never;

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value cannot be visited")
    }
}

impl std::error::Error for Never {}

impl ser::Error for Never {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self
    }
}

/// Shows a value to a walk.
pub(crate) struct Visitor<'w, 'a>(pub(crate) &'w mut Walk<'a>);

/// A struct that is being shown.
pub(crate) struct Fields<'w, 'a> {
    walk: &'w mut Walk<'a>,
    visited: Visited,
}

/// The value of a field that is a string, else an empty one.
pub(crate) fn text<T: Serialize + ?Sized>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

/// The value of a field that is a number, else zero.
pub(crate) fn number<T: Serialize + ?Sized>(value: &T) -> u64 {
    let value = serde_json::to_value(value).ok();
    value.and_then(|v| v.as_u64()).unwrap_or(0)
}

/// The value of a field that is a switch, else off.
pub(crate) fn boolean<T: Serialize + ?Sized>(value: &T) -> bool {
    matches!(serde_json::to_value(value), Ok(Value::Bool(true)))
}

/// Leaves of the tree, which nobody looks at.
macro_rules! leaves {
    ($($method:ident: $kind:ty,)+) => {
        $(fn $method(self, _value: $kind) -> Result<(), Never> {
            Ok(())
        })+
    };
}

impl<'w, 'a> Serializer for Visitor<'w, 'a> {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = ser::Impossible<(), Never>;
    type SerializeTupleVariant = ser::Impossible<(), Never>;
    type SerializeMap = ser::Impossible<(), Never>;
    type SerializeStruct = Fields<'w, 'a>;
    type SerializeStructVariant = ser::Impossible<(), Never>;

    leaves! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str,
        serialize_bytes: &[u8],
    }

    fn serialize_bool(self, value: bool) -> Result<(), Never> {
        self.0.element.is_true = value;
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Never> {
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Never> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Never> {
        value.serialize(self)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Never> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
    ) -> Result<(), Never> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        let element = &mut self.0.element;
        if std::mem::take(&mut element.fresh) {
            (element.is_constant, element.is_true) = (variant == "AConst", false);
        }
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self, Never> {
        self.0.list(len);
        Ok(self)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Self, Never> {
        Ok(self)
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleStruct, Never> {
        Err(Never)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, Never> {
        Err(Never)
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, Never> {
        Err(Never)
    }

    fn serialize_struct(
        self,
        name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStruct, Never> {
        let visited = self.0.enter(name);
        Ok(Fields {
            walk: self.0,
            visited,
        })
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, Never> {
        Err(Never)
    }
}

impl ser::SerializeSeq for Visitor<'_, '_> {
    type Ok = ();
    type Error = Never;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        let outer = self.0.element;
        self.0.element = Element {
            fresh: true,
            ..Element::default()
        };
        value.serialize(Visitor(self.0))?;
        self.0.last_element = std::mem::replace(&mut self.0.element, outer);
        Ok(())
    }

    fn end(self) -> Result<(), Never> {
        Ok(())
    }
}

impl ser::SerializeTuple for Visitor<'_, '_> {
    type Ok = ();
    type Error = Never;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        value.serialize(Visitor(self.0))
    }

    fn end(self) -> Result<(), Never> {
        Ok(())
    }
}

impl ser::SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Never;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        self.walk.field(&mut self.visited, key, value)
    }

    fn end(self) -> Result<(), Never> {
        self.walk.leave(self.visited);
        Ok(())
    }
}
