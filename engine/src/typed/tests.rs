use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::key_decode::from_bytes;
use super::key_encode::to_bytes;
use super::keyspace::TypedKeyspace;
use crate::ids::{KeyspaceId, Lsn};
use crate::keyspace::{Keyspace, KeyspaceDef};
use crate::limits::KEY_BYTES_MAX;
use crate::options::Routing;

#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
struct Named {
    id: i32,
    name: String,
    tags: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
enum Any {
    Nothing,
    Number(i64),
    Pair(u8, Option<String>),
    Named { at: f64, inner: Box<Any> },
    Last(Unit),
}

/// Bytes in which what the encoding treats apart is frequent.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0_u8), Just(1), Just(0xFE), Just(0xFF), any::<u8>()]
}

fn text() -> impl Strategy<Value = String> {
    let letter = prop_oneof![Just('\0'), Just('\u{1}'), Just('a'), Just('b'), any::<char>()];
    vec(letter, 0..5).prop_map(String::from_iter)
}

fn float() -> impl Strategy<Value = f64> {
    let sharp = [0.0, -0.0, 1.0, -1.0, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY];
    prop_oneof![prop::sample::select(sharp.to_vec()), any::<f64>()]
}

fn named() -> impl Strategy<Value = Named> {
    (-2..2_i32, text(), vec(text(), 0..3)).prop_map(|(id, name, tags)| Named { id, name, tags })
}

fn any_key() -> impl Strategy<Value = Any> {
    let leaf = prop_oneof![
        Just(Any::Nothing),
        any::<i64>().prop_map(Any::Number),
        (0..3_u8, prop::option::of(text())).prop_map(|(a, b)| Any::Pair(a, b)),
        Just(Any::Last(Unit)),
    ];
    leaf.prop_recursive(3, 8, 1, |inner| {
        (float(), inner).prop_map(|(at, inner)| Any::Named { at, inner: Box::new(inner) })
    })
}

/// The order of the bytes is the order of the keys, no bytes begin others, and they decode.
fn judge<K>(a: &K, b: &K) -> Result<(), TestCaseError>
where
    K: PartialOrd + Debug + Serialize + DeserializeOwned,
{
    let encode = |key: &K| to_bytes(key).map_err(|error| TestCaseError::fail(error.to_string()));
    let (bytes_a, bytes_b) = (encode(a)?, encode(b)?);
    prop_assert_eq!(Some(bytes_a.cmp(&bytes_b)), a.partial_cmp(b), "{:?} {:?}", bytes_a, bytes_b);
    if bytes_a != bytes_b {
        prop_assert!(!bytes_a.starts_with(&bytes_b) && !bytes_b.starts_with(&bytes_a));
    }
    let back: K = from_bytes(&bytes_a).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(back.partial_cmp(a), Some(Ordering::Equal));
    Ok(())
}

/// Any bytes are a key's very bytes, or an error.
fn judge_bytes<K: Debug + Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(key) = from_bytes::<K>(bytes) {
        let again = to_bytes(&key).ok();
        prop_assert_eq!(again.as_deref(), Some(bytes), "{:?}", key);
    }
    Ok(())
}

/// Any bytes are a value, or an error that names them.
fn judge_value<V: Debug + DeserializeOwned>(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (id, routing) = (KeyspaceId::new(3), Routing::range());
    let def = KeyspaceDef { id, name: "k".to_owned(), routing, created_lsn: Lsn::ZERO };
    let keyspace: TypedKeyspace<u8, V> = TypedKeyspace::new(Keyspace::new(def));
    if let Err(error) = keyspace.decode_value(b"key", bytes) {
        prop_assert!(error.to_string().starts_with("keyspace \"k\", key key: its value"));
    }
    Ok(())
}

type Numbers = (u8, i8, u16, i16, u32, i32, u64, i64, u128, i128);

proptest! {
    #[test]
    fn key_bytes_sort_as_integers_do(a: Numbers, b: Numbers, at in 0..10_usize) {
        judge(&a, &b)?;
        match at {
            0 => judge(&a.0, &b.0)?, 1 => judge(&a.1, &b.1)?, 2 => judge(&a.2, &b.2)?,
            3 => judge(&a.3, &b.3)?, 4 => judge(&a.4, &b.4)?, 5 => judge(&a.5, &b.5)?,
            6 => judge(&a.6, &b.6)?, 7 => judge(&a.7, &b.7)?, 8 => judge(&a.8, &b.8)?,
            _ => judge(&a.9, &b.9)?,
        }
    }

    #[test]
    fn key_bytes_sort_as_small_numbers_of_both_signs_do(a in -3..3_i64, b in -3..3_i64) {
        judge(&a, &b)?;
        judge(&(a as i8), &(b as i8))?;
        judge(&i128::from(a), &i128::from(b))?;
    }

    #[test]
    fn key_bytes_sort_as_floats_do(a in float(), b in float()) {
        judge(&a, &b)?;
        judge(&(a as f32), &(b as f32))?;
    }

    #[test]
    fn key_bytes_sort_as_strings_and_characters_do(
        a in (text(), any::<char>(), any::<bool>()),
        b in (text(), any::<char>(), any::<bool>()),
    ) {
        judge(&a.0, &b.0)?;
        judge(&a.1, &b.1)?;
        judge(&a, &b)?;
    }

    #[test]
    fn key_bytes_sort_as_tuples_do_whatever_follows_a_string(
        a in (text(), byte(), text(), byte()),
        b in (text(), byte(), text(), byte()),
    ) {
        judge(&a, &b)?;
    }

    #[test]
    fn key_bytes_sort_as_sequences_options_and_sets_do(
        a in (vec(byte(), 0..4), prop::option::of(-1..2_i16), vec(vec(byte(), 0..3), 0..3)),
        b in (vec(byte(), 0..4), prop::option::of(-1..2_i16), vec(vec(byte(), 0..3), 0..3)),
    ) {
        judge(&a, &b)?;
        let set = |elements: &[u8]| elements.iter().copied().collect::<BTreeSet<u8>>();
        judge(&set(&a.0), &set(&b.0))?;
    }

    #[test]
    fn key_bytes_sort_as_structs_do(a in named(), b in named()) {
        judge(&a, &b)?;
    }

    #[test]
    fn key_bytes_sort_as_enums_do(a in any_key(), b in any_key()) {
        judge(&a, &b)?;
        judge(&(a.clone(), 1_u8), &(b.clone(), 2_u8))?;
    }

    #[test]
    fn key_bytes_of_leading_fields_are_a_prefix_of_the_whole(
        key in (text(), any::<i32>(), text()),
    ) {
        let whole = to_bytes(&key).unwrap();
        let (a, b, c) = key;
        prop_assert!(whole.starts_with(&to_bytes(&(&a,)).unwrap()));
        prop_assert!(whole.starts_with(&to_bytes(&(&a, b)).unwrap()));
        let named = Named { id: b, name: c, tags: vec![a] };
        let leading = to_bytes(&(named.id, &named.name)).unwrap();
        prop_assert!(to_bytes(&named).unwrap().starts_with(&leading));
    }

    #[test]
    fn key_decoding_of_any_bytes_gives_the_key_of_these_bytes_or_an_error(
        bytes in vec(byte(), 0..40),
    ) {
        judge_bytes::<Numbers>(&bytes)?;
        judge_bytes::<(f32, f64, bool)>(&bytes)?;
        judge_bytes::<f64>(&bytes)?;
        judge_bytes::<char>(&bytes)?;
        judge_bytes::<String>(&bytes)?;
        judge_bytes::<(String, Option<u8>, String)>(&bytes)?;
        judge_bytes::<Vec<Option<u8>>>(&bytes)?;
        judge_bytes::<Vec<()>>(&bytes)?;
        judge_bytes::<Named>(&bytes)?;
        judge_bytes::<Any>(&bytes)?;
        judge_bytes::<[Any; 3]>(&bytes)?;
    }

    #[test]
    fn value_decoding_of_any_bytes_gives_a_value_or_an_error(bytes in vec(byte(), 0..40)) {
        judge_value::<Any>(&bytes)?;
        judge_value::<Named>(&bytes)?;
        judge_value::<(u64, Vec<Option<String>>, BTreeMap<char, f32>)>(&bytes)?;
    }

    #[test]
    fn key_decoding_refuses_a_key_that_was_cut_or_goes_on(key in any_key(), more in byte()) {
        let mut bytes = to_bytes(&key).unwrap();
        for end in 0..bytes.len() {
            prop_assert!(from_bytes::<Any>(&bytes[..end]).is_err());
        }
        bytes.push(more);
        prop_assert!(from_bytes::<Any>(&bytes).is_err());
    }
}

/// Stores on disk hold these bytes: they never change.
#[test]
fn key_bytes_of_known_keys_never_change() {
    fn of<K: Serialize>(key: K) -> Vec<u8> {
        to_bytes(&key).unwrap()
    }
    assert_eq!(of(0x0102_0304_u32), [1, 2, 3, 4]);
    assert_eq!(of((-1_i16, 1_i8)), [0x7F, 0xFF, 0x81]);
    assert_eq!(of((-1.0_f32, 1.0_f32)), [0x40, 0x7F, 0xFF, 0xFF, 0xBF, 0x80, 0, 0]);
    assert_eq!(of((0.0_f64, -0.0_f64)), [0x80, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(of((f64::NAN, true)), [0xFF, 0xF8, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(of(('a', "")), [0, 0, 0, b'a', 0, 0]);
    assert_eq!(of("a\0b"), [b'a', 0, 0xFF, b'b', 0, 0]);
    assert_eq!(of((Some(7_u8), None::<u8>, [1_u8, 2])), [1, 7, 0, 1, 2]);
    assert_eq!(of(vec![5_u8, 6]), [1, 5, 1, 6, 0]);
    assert_eq!(of((Any::Pair(3, None), Any::Last(Unit))), [2, 3, 0, 4]);
}

/// An enum by numbers alone.
struct Numbered(u32);

impl Serialize for Numbered {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit_variant("Numbered", self.0, "variant")
    }
}

#[test]
fn key_bytes_sort_as_variants_do_beyond_what_one_byte_counts() {
    let numbers = [0, 1, 253, 254, 255, 256, 65_536, u32::MAX];
    let bytes = numbers.map(|number| to_bytes(&Numbered(number)).unwrap());
    assert!(bytes.is_sorted());
    assert_eq!(bytes[3], [254]);
    assert_eq!(bytes[4], [0xFF, 0, 0, 0, 255]);
    // Named by five bytes, or not there: no variant of `Any`.
    for bytes in [&[0xFF, 0, 0, 0, 1][..], &[0xFF, 0, 0, 1, 0], &[5], &[0xFF, 0]] {
        assert!(from_bytes::<Any>(bytes).is_err());
    }
}

/// Reads itself as third-party types of dates and addresses do: by `deserialize_str`.
#[derive(Debug, PartialEq)]
struct Visited(String);

impl<'de> Deserialize<'de> for Visited {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Visited;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Visited, E> {
                Ok(Visited(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[test]
fn key_decoding_serves_types_that_ask_for_borrowed_text() {
    let bytes = to_bytes("2026-01-01").unwrap();
    assert_eq!(from_bytes::<Visited>(&bytes).unwrap(), Visited("2026-01-01".to_owned()));
    assert!(from_bytes::<Visited>(&[0xC3, 0, 0]).is_err(), "not UTF-8");
}

#[test]
fn key_encoding_refuses_maps_and_left_out_fields() {
    #[derive(Serialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none")]
        rare: Option<u8>,
    }
    let of_map = to_bytes(&BTreeMap::from([(1_u8, 2_u8)])).unwrap_err().to_string();
    assert!(of_map.contains("map"), "{of_map}");
    let of_field = to_bytes(&Sparse { rare: None }).unwrap_err().to_string();
    assert!(of_field.contains("rare"), "{of_field}");
}

/// A test's thread has 2 MiB of stack, as threads have by default.
#[test]
fn key_decoding_of_the_deepest_key_fits_the_stack() {
    #[derive(Debug, Deserialize)]
    enum Deep {
        #[allow(dead_code, reason = "only built")]
        Within(Option<Box<Deep>>),
    }
    let bytes = [0, 1].repeat(KEY_BYTES_MAX / 2);
    assert!(from_bytes::<Deep>(&bytes).is_err(), "its innermost part is missing");
}

/// A visitor that stops when it has two, and one that asks on after the end.
#[test]
fn sequence_ends_where_its_bytes_end_whatever_its_visitor_asks() {
    struct Two(u8, u8);
    impl<'de> Deserialize<'de> for Two {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Two, D::Error> {
            struct Take;
            impl<'de> serde::de::Visitor<'de> for Take {
                type Value = Two;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("two numbers")
                }
                fn visit_seq<A: serde::de::SeqAccess<'de>>(
                    self,
                    mut from: A,
                ) -> Result<Two, A::Error> {
                    let two = (from.next_element()?, from.next_element()?);
                    match two {
                        (Some(a), Some(b)) => Ok(Two(a, b)),
                        (a, None) => {
                            assert_eq!(from.next_element::<u8>()?, None);
                            Ok(Two(a.unwrap_or(0), 0))
                        }
                        (None, Some(_)) => unreachable!(),
                    }
                }
            }
            from.deserialize_seq(Take)
        }
    }
    let read = |elements: &[u8]| from_bytes::<(Two, u8)>(&to_bytes(&(elements, 9_u8)).unwrap());
    for (elements, found) in [(&[3, 4][..], (3, 4)), (&[3], (3, 0)), (&[], (0, 0))] {
        let (two, behind) = read(elements).unwrap();
        assert_eq!(((two.0, two.1), behind), (found, 9));
    }
    assert!(read(&[3, 4, 5]).is_err(), "it has more than was asked for");
}

/// Should serde ever count alike on both sides, the advice in the module's header can go, and what
/// was written before then decodes to another variant.
#[test]
fn skipped_variant_still_shifts_those_behind_it() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Skipping {
        A,
        #[serde(skip)]
        _B,
        C,
        D,
    }
    assert_eq!(from_bytes::<Skipping>(&to_bytes(&Skipping::C).unwrap()).unwrap(), Skipping::D);
    assert!(from_bytes::<Skipping>(&to_bytes(&Skipping::D).unwrap()).is_err());
    assert_eq!(from_bytes::<Skipping>(&to_bytes(&Skipping::A).unwrap()).unwrap(), Skipping::A);
    let value = postcard::to_allocvec(&Skipping::C).unwrap();
    assert_eq!(postcard::from_bytes::<Skipping>(&value).unwrap(), Skipping::D);
}
