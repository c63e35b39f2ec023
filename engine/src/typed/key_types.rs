//! Which types stand for a key or value, and which for the beginning of a key.

use serde::Serialize;

mod sealed {
    pub trait Sealed<T> {}

    impl<T> Sealed<T> for T {}
    impl Sealed<String> for str {}
    impl<T> Sealed<Vec<T>> for [T] {}
}

/// What may be given where a `T` is to be stored or looked for: a `T`, a `str` for a `String`, a
/// slice for a `Vec`.
pub trait EncodesAs<T>: Serialize + sealed::Sealed<T> {}

impl<T: Serialize> EncodesAs<T> for T {}
impl EncodesAs<String> for str {}
impl<T: Serialize> EncodesAs<Vec<T>> for [T] {}

/// The leading fields of a key `K`, as a tuple. For keys that are tuples of up to six fields it
/// is there; for a struct write it down, in the order of the fields:
///
/// ```
/// # use sombra::typed::KeyPrefix;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct OrderKey {
///     customer: u64,
///     number: u32,
/// }
///
/// impl KeyPrefix<OrderKey> for (u64,) {} // by customer
/// ```
pub trait KeyPrefix<K>: Serialize {}

macro_rules! prefixes_of_tuples {
    ($(($($a:ident)+ / $($b:ident)+))+) => {$(
        impl<$($a: Serialize,)+ $($b),+> KeyPrefix<($($a,)+ $($b,)+)> for ($($a,)+) {}
    )+};
}

prefixes_of_tuples! {
    (A / B)
    (A / B C) (A B / C)
    (A / B C D) (A B / C D) (A B C / D)
    (A / B C D E) (A B / C D E) (A B C / D E) (A B C D / E)
    (A / B C D E F) (A B / C D E F) (A B C / D E F) (A B C D / E F) (A B C D E / F)
}
