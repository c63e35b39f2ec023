//! Keys as bytes that sort as the keys do.
//!
//! Our own, because those there are fail on what a store can hold: memcomparable 0.2 panics on
//! bytes that end early and cannot read types that ask for borrowed text, storekey 0.5 ends a
//! string at its first zero byte, bytekey-fix 0.5 sorts strings with zero bytes wrongly.

use serde::Serialize;
use serde::ser;

use super::key_error::KeyCodecError;

/// The bytes of a key. Of two keys of one type the smaller has the smaller bytes, and the bytes
/// of none are the beginning of another's.
///
/// Errors: a type without an order of its own (a map), or a field that is left out.
pub(super) fn to_bytes<T: Serialize + ?Sized>(key: &T) -> Result<Vec<u8>, KeyCodecError> {
    let mut encoder = Encoder { bytes: Vec::new() };
    key.serialize(&mut encoder)?;
    Ok(encoder.bytes)
}

/// What precedes the bytes of each element of a sequence, and of a value that is there.
pub(super) const PRESENT: u8 = 1;
/// What ends a sequence, and stands for a value that is not there.
pub(super) const ABSENT: u8 = 0;
/// A zero byte within a string, and what follows it; two of them end the string.
pub(super) const ZERO: u8 = 0;
pub(super) const ESCAPE: u8 = 0xFF;
/// The variant numbers from here on take this byte and four more.
pub(super) const LONG_VARIANT: u8 = 0xFF;

struct Encoder {
    bytes: Vec<u8>,
}

/// The number whose order as an unsigned integer is the order of floats; all NaNs are one, above
/// everything, and both zeros are one.
pub(super) fn order_of_f32(value: f32) -> u32 {
    const SIGN: u32 = 1 << 31;
    let bits = match value {
        nan if nan.is_nan() => 0x7FC0_0000,
        0.0 => 0,
        other => other.to_bits(),
    };
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// As [`order_of_f32`].
pub(super) fn order_of_f64(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let bits = match value {
        nan if nan.is_nan() => 0x7FF8_0000_0000_0000,
        0.0 => 0,
        other => other.to_bits(),
    };
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

impl Encoder {
    fn add(&mut self, bytes: &[u8]) -> Result<(), KeyCodecError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn add_variant(&mut self, index: u32) {
        match u8::try_from(index) {
            Ok(short) if short != LONG_VARIANT => self.bytes.push(short),
            _ => {
                self.bytes.push(LONG_VARIANT);
                self.bytes.extend_from_slice(&index.to_be_bytes());
            }
        }
    }
}

macro_rules! integers {
    ($($name:ident: $type:ty, $lowest:expr;)+) => {$(
        fn $name(self, value: $type) -> Result<(), KeyCodecError> {
            // The lowest number becomes zero: for signed ones that turns the sign bit.
            self.add(&(value ^ $lowest).to_be_bytes())
        }
    )+};
}

impl ser::Serializer for &mut Encoder {
    type Ok = ();
    type Error = KeyCodecError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = ser::Impossible<(), KeyCodecError>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    integers! {
        serialize_u8: u8, 0;
        serialize_u16: u16, 0;
        serialize_u32: u32, 0;
        serialize_u64: u64, 0;
        serialize_u128: u128, 0;
        serialize_i8: i8, i8::MIN;
        serialize_i16: i16, i16::MIN;
        serialize_i32: i32, i32::MIN;
        serialize_i64: i64, i64::MIN;
        serialize_i128: i128, i128::MIN;
    }

    fn serialize_bool(self, value: bool) -> Result<(), KeyCodecError> {
        self.add(&[u8::from(value)])
    }

    fn serialize_f32(self, value: f32) -> Result<(), KeyCodecError> {
        self.add(&order_of_f32(value).to_be_bytes())
    }

    fn serialize_f64(self, value: f64) -> Result<(), KeyCodecError> {
        self.add(&order_of_f64(value).to_be_bytes())
    }

    fn serialize_char(self, value: char) -> Result<(), KeyCodecError> {
        self.add(&u32::from(value).to_be_bytes())
    }

    fn serialize_str(self, value: &str) -> Result<(), KeyCodecError> {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), KeyCodecError> {
        for (at, part) in value.split(|&byte| byte == ZERO).enumerate() {
            if at > 0 {
                self.add(&[ZERO, ESCAPE])?;
            }
            self.add(part)?;
        }
        self.add(&[ZERO, ZERO])
    }

    fn serialize_none(self) -> Result<(), KeyCodecError> {
        self.add(&[ABSENT])
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), KeyCodecError> {
        self.add(&[PRESENT])?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), KeyCodecError> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), KeyCodecError> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), KeyCodecError> {
        self.add_variant(index);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), KeyCodecError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), KeyCodecError> {
        self.add_variant(index);
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, KeyCodecError> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, KeyCodecError> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, KeyCodecError> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, KeyCodecError> {
        self.add_variant(index);
        Ok(self)
    }

    /// A hash map would have other bytes each time.
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, KeyCodecError> {
        Err(KeyCodecError::new("a key must not hold a map"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, KeyCodecError> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, KeyCodecError> {
        self.add_variant(index);
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl ser::SerializeSeq for &mut Encoder {
    type Ok = ();
    type Error = KeyCodecError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyCodecError> {
        self.add(&[PRESENT])?;
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), KeyCodecError> {
        self.add(&[ABSENT])
    }
}

/// Fields of a known number stand one behind the other, with nothing around them: so the bytes of
/// the leading ones are a prefix of the whole.
macro_rules! unnamed_fields {
    ($($kind:ident $method:ident),+) => {$(
        impl ser::$kind for &mut Encoder {
            type Ok = ();
            type Error = KeyCodecError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyCodecError> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), KeyCodecError> {
                Ok(())
            }
        }
    )+};
}

macro_rules! named_fields {
    ($($kind:ident),+) => {$(
        impl ser::$kind for &mut Encoder {
            type Ok = ();
            type Error = KeyCodecError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _: &'static str,
                value: &T,
            ) -> Result<(), KeyCodecError> {
                value.serialize(&mut **self)
            }

            /// Decoding could not tell that it is not there.
            fn skip_field(&mut self, name: &'static str) -> Result<(), KeyCodecError> {
                Err(KeyCodecError::new(format!("a key must not leave out a field ({name})")))
            }

            fn end(self) -> Result<(), KeyCodecError> {
                Ok(())
            }
        }
    )+};
}

unnamed_fields!(
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);
named_fields!(SerializeStruct, SerializeStructVariant);
