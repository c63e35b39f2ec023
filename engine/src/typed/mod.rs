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
//!   on an enum with a variant for each version from the beginning. A variant with `#[serde(skip)]`
//!   must be the last, and new ones go before it: serde counts it when it writes those behind it,
//!   not when it reads them ([serde 2614](https://github.com/serde-rs/serde/issues/2614)), and
//!   where the number fits, nothing notices.
//! - **Attributes of serde.** `skip_serializing_if`, `flatten`, `untagged`, `tag`, a field skipped
//!   in one direction alone, and types that take what they find (`serde_json::Value`) need bytes
//!   that say what is there. These do not, so such rows cannot be read. With debug assertions `put`
//!   decodes what it encoded and refuses what does not decode; what decodes to another value it
//!   does not notice.
//! - **Order of keys** is the derived `Ord`, but enums sort by the place of the variant whatever
//!   its discriminant: tuples and structs field by field, strings by bytes, `None` before `Some`,
//!   a sequence before a longer one that begins with it. `-0.0` comes back as `0.0`, and there is
//!   one NaN, behind all other floats. A type that serializes itself as something else sorts as
//!   that (`Reverse<T>` as `T`). What has no order of its own is no key: hash maps and hash sets
//!   (any map is refused; a hash set looks like a sequence and is not noticed). Nor is what has no
//!   bytes: `()`, a struct without fields.
//! - **Foreign bytes.** Types that contain themselves are decoded as deep as the bytes say: a deep
//!   value, or one of another type, can exhaust the stack. Elements without bytes (`Vec<()>`) are
//!   counted, not read: a length of another type keeps the thread busy.
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
//! So a `Vec<u8>`, a sequence, takes two bytes for each; `[u8; N]` takes N, and for byte strings
//! there is `serde_bytes::ByteBuf`.
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

pub use error::{RowPart, TypedError};
pub use handles::{Reader, View, Writer};
pub use key_types::{EncodesAs, KeyPrefix};
pub use keyspace::TypedKeyspace;
pub use scan::TypedScan;
