//! Filters of list, prune and event requests: `{"key":{"value":true}}` or the old `{"key":["value"]}`.

use std::collections::{BTreeMap, BTreeSet};

use davit_types::{Error, Result};
use serde::Deserialize;

/// Keys of the container list.
pub const CONTAINERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
/// Keys of the image list.
pub const IMAGES: &[&str] =
    &["before", "dangling", "label", "label!", "reference", "since", "until"];
/// Keys of the network list.
pub const NETWORKS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];
/// Keys of the volume list.
pub const VOLUMES: &[&str] = &["dangling", "driver", "label", "name"];
/// Keys of the event stream.
pub const EVENTS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];
/// Keys of the container and network prunes.
pub const PRUNE: &[&str] = &["label", "label!", "until"];
/// Keys of the image prune.
pub const IMAGES_PRUNE: &[&str] = &["dangling", "label", "label!", "until"];
/// Keys of the volume prune.
pub const VOLUMES_PRUNE: &[&str] = &["all", "label", "label!"];

/// Values by key. Several values of a key are alternatives, except for labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads either encoding; an empty text is no filter.
    ///
    /// # Errors
    /// The text is neither.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Values {
            Map(BTreeMap<String, bool>),
            List(Vec<String>),
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parsed: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|_| Error::invalid("invalid filter"))?;
        let values = |values| match values {
            Values::Map(map) => map.into_iter().filter(|(_, on)| *on).map(|(key, _)| key).collect(),
            Values::List(list) => list.into_iter().collect(),
        };
        Ok(Self(parsed.into_iter().map(|(key, found)| (key, values(found))).collect()))
    }

    /// The newer encoding.
    pub fn to_json(&self) -> String {
        let flags = |values: &BTreeSet<String>| -> BTreeMap<String, bool> {
            values.iter().map(|value| (value.clone(), true)).collect()
        };
        let map: BTreeMap<_, _> = self.0.iter().map(|(key, values)| (key, flags(values))).collect();
        serde_json::to_string(&map).expect("a map of maps with string keys is always JSON")
    }

    /// Adds a value.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().insert(value.into());
    }

    /// Fails for a key that is not among `accepted`, in Docker's words.
    ///
    /// # Errors
    /// There is such a key.
    pub fn check(&self, accepted: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !accepted.contains(&key.as_str())) {
            Some(key) => Err(Error::invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// The values of `key`, none if it is not there.
    pub fn get(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Whether `key` is there with at least one value.
    pub fn contains(&self, key: &str) -> bool {
        self.get(key).next().is_some()
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeSet::is_empty)
    }

    /// Whether `key` is absent or has exactly this value.
    pub fn exact_match(&self, key: &str, value: &str) -> bool {
        !self.contains(key) || self.get(key).any(|wanted| wanted == value)
    }

    /// The truth value of `key`, or `default` when it is absent.
    ///
    /// # Errors
    /// The value is no truth value, or there are contradicting ones.
    pub fn truth(&self, key: &str, default: bool) -> Result<bool> {
        let mut found = BTreeSet::new();
        for value in self.get(key) {
            match value {
                "1" | "true" => found.insert(true),
                "0" | "false" => found.insert(false),
                _ => return Err(invalid_value(key, value)),
            };
        }
        match (found.len(), found.first()) {
            (0, _) => Ok(default),
            (1, Some(value)) => Ok(*value),
            _ => Err(Error::invalid(format!("invalid filter '{key}'"))),
        }
    }

    /// Whether `labels` has all the labels wanted (`label`) and none of those not wanted (`label!`).
    pub fn match_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.get("label").all(has) && !self.get("label!").any(has)
    }
}

/// The error for a value that a key can't have.
pub fn invalid_value(key: &str, value: &str) -> Error {
    Error::invalid(format!("invalid filter '{key}={value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_are_the_same() {
        let new = Filters::from_json(r#"{"label":{"a=b":true,"c":true,"d":false}}"#);
        let old = Filters::from_json(r#"{"label":["a=b","c"]}"#);
        let new = new.expect("valid");
        assert_eq!(new, old.expect("valid"));
        assert_eq!(new.to_json(), r#"{"label":{"a=b":true,"c":true}}"#);
    }

    #[test]
    fn unknown_keys_and_bad_text_fail_in_dockers_words() {
        let filters = Filters::from_json(r#"{"nosuch":{"x":true}}"#).expect("valid");
        let error = filters.check(CONTAINERS).expect_err("unknown key");
        assert_eq!(error.to_string(), "invalid filter 'nosuch'");
        assert_eq!(Filters::from_json("x").expect_err("bad").to_string(), "invalid filter");
        assert!(Filters::from_json("").expect("none").is_empty());
    }

    #[test]
    fn labels_must_all_match() {
        let mut filters = Filters::default();
        filters.add("label", "a=1");
        filters.add("label", "b");
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert!(filters.match_labels(&labels(&[("a", "1"), ("b", "x")])));
        assert!(!filters.match_labels(&labels(&[("a", "1")])));
        assert!(!filters.match_labels(&labels(&[("a", "2"), ("b", "x")])));
        filters.add("label!", "c");
        assert!(!filters.match_labels(&labels(&[("a", "1"), ("b", "x"), ("c", "")])));
    }

    #[test]
    fn truth_values_are_strict() {
        let mut filters = Filters::default();
        assert!(filters.truth("dangling", true).expect("absent"));
        filters.add("dangling", "false");
        assert!(!filters.truth("dangling", true).expect("given"));
        filters.add("dangling", "maybe");
        let error = filters.truth("dangling", true).expect_err("no truth value");
        assert_eq!(error.to_string(), "invalid filter 'dangling=maybe'");
    }
}
