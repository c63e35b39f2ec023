//! Keys and values as types of your own, by serde: a [`TypedKeyspace`] around a
//! [`Keyspace`](crate::Keyspace). Feature `serde`.
//!
//! Keys become bytes that sort as the keys do, so that scans and prefixes work; values become
//! [postcard](https://docs.rs/postcard). Neither writes down which type the bytes are of:
//!
//! - **Changes of a type.** Renaming types and fields, and new variants behind the last one of an
//!   enum, are compatible. Everything else is not: a field added, removed, moved or of another
//!   type. What was written before then fails to decode ([`TypedError::Decode`]) or, where the
//!   bytes happen to fit, decodes to something else. So make the type of a value that will live
//!   on an enum with a variant for each version from the beginning.
//! - **Order of keys** is the derived `Ord`: tuples and structs field by field, enums by the place
//!   of the variant, strings by bytes, `None` before `Some`, a sequence before a longer one that
//!   begins with it, NaN behind all floats. A type that serializes itself as something else sorts
//!   as that (`Reverse<T>` as `T`). What has no order of its own is no key: hash maps and hash
//!   sets (any map is refused; a hash set looks like a sequence and is not noticed).
//! - **Types that contain themselves** are decoded as deep as the bytes say: a deep value, or one
//!   of another type, can exhaust the stack. Better is a sequence.
//!
//! # Bytes of a key
//!
//! What a key is made of stands one behind the other; the bytes of the leading fields are a prefix
//! of the whole, and those of no value are the beginning of another's of its type.
//!
//! | part of a key | bytes |
//! |---|---|
//! | `u8` … `u128` | big-endian, as many as it has |
//! | `i8` … `i128` | the same, the sign bit turned |
//! | `f32`, `f64` | big-endian; negative ones with all bits turned, others with the sign bit set |
//! | `bool` | 0 or 1 |
//! | `char` | its number, 4 bytes big-endian |
//! | string, bytes (`serialize_bytes`) | itself, 0xFF behind each zero byte; two zero bytes |
//! | `Option` | 0, or 1 and the value |
//! | sequence (`Vec`, `BTreeSet`; not a string or an array) | 1 and the value for each, then 0 |
//! | tuple, array, struct, newtype | its fields |
//! | enum | number of the variant, one byte (from 255 on: 0xFF, 4 bytes big-endian); its fields |
//!
//! `Routing::hash(n)` routes by the first n of these bytes. A leading `u64` is 8 of them: with
//! `(u64, String)` as key and `Routing::hash(8)`, all rows of one number lie together and in order.
//! So lead with fields of a fixed size and sum them up; what follows a shorter string within the
//! first n bytes counts as well and spreads the rows of that string.

mod error;
mod handles;
mod key_decode;
mod key_encode;
mod key_error;
mod key_types;
mod keyspace;
mod scan;
#[cfg(test)]
mod tests;

pub use error::TypedError;
pub use handles::{Reader, View, Writer};
pub use key_types::{EncodesAs, KeyPrefix};
pub use keyspace::TypedKeyspace;
pub use scan::TypedScan;
