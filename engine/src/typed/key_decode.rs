//! Bytes back to keys. Whatever the bytes are, the answer is a key or an error.

use serde::de::value::U32Deserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, SeqAccess, VariantAccess, Visitor,
};

use super::key_encode::{ABSENT, ESCAPE, LONG_VARIANT, PRESENT, ZERO, order_of_f32, order_of_f64};
use super::key_error::KeyCodecError;

/// The key that these bytes are of, to the last byte.
///
/// Errors: bytes that encoding a key of this type does not give.
pub(super) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, KeyCodecError> {
    let mut decoder = Decoder { rest: bytes };
    let key = T::deserialize(&mut decoder)?;
    match decoder.rest.len() {
        0 => Ok(key),
        left => Err(KeyCodecError::new(format!("{left} bytes are left behind it"))),
    }
}

struct Decoder<'b> {
    rest: &'b [u8],
}

fn too_short() -> KeyCodecError {
    KeyCodecError::new("the bytes end within it")
}

fn unexpected(what: &str, found: u8) -> KeyCodecError {
    KeyCodecError::new(format!("expected {what}, found byte {found:#04x}"))
}

impl Decoder<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], KeyCodecError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(too_short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take_byte(&mut self) -> Result<u8, KeyCodecError> {
        self.take().map(|[byte]| byte)
    }

    fn take_string(&mut self) -> Result<Vec<u8>, KeyCodecError> {
        let mut found = Vec::new();
        loop {
            let end = self.rest.iter().position(|&byte| byte == ZERO).ok_or_else(too_short)?;
            found.extend_from_slice(&self.rest[..end]);
            self.rest = &self.rest[end + 1..];
            match self.take_byte()? {
                ZERO => return Ok(found),
                ESCAPE => found.push(ZERO),
                byte => return Err(unexpected("a zero byte's escape or the end", byte)),
            }
        }
    }

    fn take_is_present(&mut self, what: &str) -> Result<bool, KeyCodecError> {
        match self.take_byte()? {
            ABSENT => Ok(false),
            PRESENT => Ok(true),
            byte => Err(unexpected(what, byte)),
        }
    }

    fn take_variant(&mut self) -> Result<u32, KeyCodecError> {
        let short = self.take_byte()?;
        if short != LONG_VARIANT {
            return Ok(short.into());
        }
        let index = u32::from_be_bytes(self.take()?);
        if index < LONG_VARIANT.into() {
            return Err(KeyCodecError::new(format!("variant {index} in five bytes")));
        }
        Ok(index)
    }
}

macro_rules! integers {
    ($($name:ident $visit:ident: $type:ty, $lowest:expr;)+) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
            visitor.$visit(<$type>::from_be_bytes(self.take()?) ^ $lowest)
        }
    )+};
}

/// The bytes do not say what they are of, so a type must.
macro_rules! refused {
    ($($name:ident)+) => {$(
        fn $name<V: Visitor<'de>>(self, _: V) -> Result<V::Value, KeyCodecError> {
            Err(KeyCodecError::new(
                "a key cannot hold a map, nor what serde flattens, leaves untagged or ignores",
            ))
        }
    )+};
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'_> {
    type Error = KeyCodecError;

    integers! {
        deserialize_u8 visit_u8: u8, 0;
        deserialize_u16 visit_u16: u16, 0;
        deserialize_u32 visit_u32: u32, 0;
        deserialize_u64 visit_u64: u64, 0;
        deserialize_u128 visit_u128: u128, 0;
        deserialize_i8 visit_i8: i8, i8::MIN;
        deserialize_i16 visit_i16: i16, i16::MIN;
        deserialize_i32 visit_i32: i32, i32::MIN;
        deserialize_i64 visit_i64: i64, i64::MIN;
        deserialize_i128 visit_i128: i128, i128::MIN;
    }

    refused! { deserialize_any deserialize_map deserialize_identifier deserialize_ignored_any }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        visitor.visit_bool(match self.take_byte()? {
            0 => false,
            1 => true,
            byte => return Err(unexpected("a bool", byte)),
        })
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        const SIGN: u32 = 1 << 31;
        let order = u32::from_be_bytes(self.take()?);
        let bits = if order & SIGN == 0 { !order } else { order & !SIGN };
        let value = f32::from_bits(bits);
        if order_of_f32(value) != order {
            return Err(KeyCodecError::new(format!("a float that no key holds: {bits:#010x}")));
        }
        visitor.visit_f32(value)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        const SIGN: u64 = 1 << 63;
        let order = u64::from_be_bytes(self.take()?);
        let bits = if order & SIGN == 0 { !order } else { order & !SIGN };
        let value = f64::from_bits(bits);
        if order_of_f64(value) != order {
            return Err(KeyCodecError::new(format!("a float that no key holds: {bits:#018x}")));
        }
        visitor.visit_f64(value)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        let number = u32::from_be_bytes(self.take()?);
        let found = char::from_u32(number);
        let none = || KeyCodecError::new(format!("{number:#x} is no character"));
        visitor.visit_char(found.ok_or_else(none)?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        let text = String::from_utf8(self.take_string()?);
        visitor.visit_string(text.map_err(|error| KeyCodecError::new(error.to_string()))?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        visitor.visit_byte_buf(self.take_string()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        match self.take_is_present("an option")? {
            true => visitor.visit_some(self),
            false => visitor.visit_none(),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        let mut elements = Sequence { decoder: &mut *self, is_over: false };
        let sequence = visitor.visit_seq(&mut elements)?;
        // A visitor with enough may not ask whether there is more.
        if !elements.is_over && self.take_is_present(SEQUENCE)? {
            return Err(KeyCodecError::new("the sequence goes on"));
        }
        Ok(sequence)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        visitor.visit_seq(Fields { decoder: self, left: len })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        visitor.visit_enum(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements of a number that the bytes tell one by one.
struct Sequence<'d, 'b> {
    decoder: &'d mut Decoder<'b>,
    /// Its end was read.
    is_over: bool,
}

const SEQUENCE: &str = "an element or the end of a sequence";

impl<'de> SeqAccess<'de> for &mut Sequence<'_, '_> {
    type Error = KeyCodecError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, KeyCodecError> {
        if self.is_over || !self.decoder.take_is_present(SEQUENCE)? {
            self.is_over = true;
            return Ok(None);
        }
        seed.deserialize(&mut *self.decoder).map(Some)
    }
}

/// Fields of a number that the type tells.
struct Fields<'d, 'b> {
    decoder: &'d mut Decoder<'b>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Fields<'_, '_> {
    type Error = KeyCodecError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, KeyCodecError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> EnumAccess<'de> for &mut Decoder<'_> {
    type Error = KeyCodecError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self), KeyCodecError> {
        let index: U32Deserializer<KeyCodecError> = U32Deserializer::new(self.take_variant()?);
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Decoder<'_> {
    type Error = KeyCodecError;

    fn unit_variant(self) -> Result<(), KeyCodecError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, KeyCodecError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        de::Deserializer::deserialize_tuple(self, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        de::Deserializer::deserialize_tuple(self, fields.len(), visitor)
    }
}
