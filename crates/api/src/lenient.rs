//! Reading JSON as tolerantly as Go does: `null` for any value, a string for a list.

use serde::de::{Deserialize, Deserializer, IgnoredAny};
use serde::{Deserialize as DeserializeDerive, Serialize, Serializer};

/// Go's `struct{}`: the value of its maps that are sets. Written as `{}`, read from anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Empty;

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        serializer.serialize_map(Some(0))?.end()
    }
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Reads `null` as the default.
///
/// # Errors
/// The value has another type.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads a list of strings, or one string as a list of one, as `Cmd` and `Entrypoint` allow.
///
/// # Errors
/// The value is neither.
pub fn string_or_list<'de, D>(deserializer: D) -> Result<Option<Vec<String>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(DeserializeDerive)]
    #[serde(untagged)]
    enum StringOrList {
        One(String),
        Many(Vec<String>),
    }
    let value = Option::<StringOrList>::deserialize(deserializer)?;
    Ok(value.map(|value| match value {
        StringOrList::One(one) => vec![one],
        StringOrList::Many(many) => many,
    }))
}

/// Whether a value is left out by Go's `omitempty`.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
