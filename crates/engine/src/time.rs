//! Time inside the engine: nanoseconds since the epoch, absent for "never".

use davit_api::Time;
use jiff::Timestamp;

/// Nanoseconds since the epoch, now.
pub(crate) fn now() -> i64 {
    nanoseconds(Timestamp::now())
}

/// As clients see it: year 1 for "never".
pub(crate) fn api(time: Option<i64>) -> Time {
    time.map_or_else(Time::default, Time::from_nanoseconds)
}

/// From what a client or a record says.
pub(crate) fn from_api(time: Time) -> Option<i64> {
    (!time.is_zero()).then(|| nanoseconds(time.0))
}

fn nanoseconds(time: Timestamp) -> i64 {
    // Overflows in the year 2262.
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// Serialises an `Option<i64>` as the API's time.
pub(crate) mod optional {
    use davit_api::Time;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option)] // the signature is serde's
    pub(crate) fn serialize<S: Serializer>(time: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
        super::api(*time).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
        Time::deserialize(from).map(super::from_api)
    }
}
