//! `GET /containers/json`: which containers, newest first, each on a line.

use std::collections::BTreeSet;
use std::sync::Arc;

use davit_api::Filters;
use davit_api::container::{HealthSummary, NetworkSettingsSummary, Summary, SummaryHostConfig};
use davit_api::filters::{CONTAINERS, invalid_value};
use davit_api::time::parse_moment;
use davit_types::{Error, Result};
use regex_lite::Regex;

use super::record::Snapshot;
use super::{Container, human, inspect, mounts};
use crate::engine::Inner;
use crate::options::ListOptions;
use crate::{Engine, network, time};

const STATES: &[&str] =
    &["created", "running", "paused", "restarting", "removing", "exited", "dead"];

impl Engine {
    /// The containers that pass the filters.
    ///
    /// # Errors
    /// An unknown filter, or a value that makes no sense.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<Summary>> {
        let wanted = Wanted::new(self.inner(), &options.filters)?;
        let all = options.all
            || options.limit > 0
            || ["status", "exited"].iter().any(|key| options.filters.contains(key));
        let mut found: Vec<(Arc<Container>, Arc<Snapshot>)> = self
            .inner()
            .containers
            .all()
            .into_iter()
            .map(|container| {
                let snapshot = container.snapshot();
                (container, snapshot)
            })
            .filter(|(_, snapshot)| all || snapshot.record.state.running)
            .filter(|(_, snapshot)| wanted.matches(snapshot))
            .collect();
        found.sort_by(|(_, one), (_, other)| {
            (other.record.created, &other.record.id).cmp(&(one.record.created, &one.record.id))
        });
        if options.limit > 0 {
            found.truncate(options.limit);
        }
        let mut linked = network::links::names(self.inner());
        let mut list = Vec::with_capacity(found.len());
        for (container, snapshot) in found {
            let mut line = summary(self.inner(), &snapshot);
            line.names.extend(linked.remove(container.id.as_str()).unwrap_or_default());
            if options.size {
                let (rw, root) = inspect::sizes(self.inner(), &container).await;
                line.size_rw = Some(rw);
                line.size_root_fs = Some(root);
            }
            list.push(line);
        }
        Ok(list)
    }
}

/// A container's line.
pub(crate) fn summary(inner: &Inner, snapshot: &Snapshot) -> Summary {
    let record = &snapshot.record;
    Summary {
        id: record.id.to_string(),
        names: vec![record.name.clone()],
        image: shown_image(inner, snapshot),
        image_id: record.image.clone(),
        image_manifest_descriptor: inspect::manifest_descriptor(snapshot),
        command: human::command_line(&record.path, &record.args),
        created: record.created.unix(),
        ports: network::listed_ports(&record.network_settings.ports),
        size_rw: None,
        size_root_fs: None,
        labels: record.config.labels.clone().unwrap_or_default(),
        state: record.state.word().to_owned(),
        status: record.state.text(time::now()),
        host_config: SummaryHostConfig {
            network_mode: snapshot.host_config.network_mode.clone(),
            annotations: snapshot.host_config.annotations.clone(),
        },
        health: Some(HealthSummary { status: "none".to_owned(), failing_streak: 0 }),
        network_settings: NetworkSettingsSummary {
            networks: record
                .network_settings
                .networks
                .iter()
                .map(|(name, endpoint)| (name.clone(), endpoint.settings.clone()))
                .collect(),
        },
        mounts: mounts::mount_points(&record.mount_points),
    }
}

/// The image as it was named, unless that name means another image now.
fn shown_image(inner: &Inner, snapshot: &Snapshot) -> String {
    let (name, id) = (&snapshot.record.config.image, &snapshot.record.image);
    match inner.images.resolve(name) {
        Ok(image) if image.id.as_str() == id => name.clone(),
        _ => id.clone(),
    }
}

/// The time before which things must have been made (`until`).
pub(crate) fn until(filters: &Filters) -> Result<Option<i64>> {
    let mut values = filters.get("until");
    let Some(text) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid("more than one until filter specified"));
    }
    let moment = parse_moment(text, jiff::Timestamp::now())?;
    Ok(time::from_api(moment.into()))
}

/// Filters with their values read.
struct Wanted<'a> {
    inner: &'a Inner,
    filters: &'a Filters,
    patterns: Vec<(&'static str, Vec<Regex>)>,
    exited: BTreeSet<i32>,
    /// Made before this one, made after this one.
    before: Option<i64>,
    since: Option<i64>,
    ancestors: BTreeSet<String>,
    ports: Vec<(&'static str, Vec<String>)>,
    networks: Vec<String>,
}

impl<'a> Wanted<'a> {
    fn new(inner: &'a Inner, filters: &'a Filters) -> Result<Self> {
        filters.check(CONTAINERS)?;
        if let Some(word) = filters.get("status").find(|word| !STATES.contains(word)) {
            return Err(Error::invalid(format!(
                "invalid filter 'status={word}': invalid value for state ({word}): must be one of {}",
                STATES.join(", ")
            )));
        }
        for word in filters.get("health") {
            if !matches!(word, "starting" | "healthy" | "unhealthy" | "none") {
                return Err(Error::invalid(format!(
                    "invalid filter 'health={word}': invalid value for health ({word}): must be one \
                     of none, starting, healthy, unhealthy"
                )));
            }
        }
        let exited = filters
            .get("exited")
            .map(|code| code.parse().map_err(|_| invalid_value("exited", code)))
            .collect::<Result<_>>()?;
        let created = |key: &str| -> Result<Option<i64>> {
            let Some(name) = filters.get(key).last() else { return Ok(None) };
            Ok(time::from_api(inner.containers.find(name)?.snapshot().record.created))
        };
        Ok(Self {
            inner,
            filters,
            patterns: vec![("name", patterns(filters, "name")), ("id", patterns(filters, "id"))],
            exited,
            before: created("before")?,
            since: created("since")?,
            ancestors: ancestors(inner, filters),
            ports: vec![
                ("publish", port_values(filters, "publish")?),
                ("expose", port_values(filters, "expose")?),
            ],
            networks: filters
                .get("network")
                .map(|name| inner.networks.get(name).map_or(name.to_owned(), |network| network.id))
                .collect(),
        })
    }

    fn matches(&self, snapshot: &Snapshot) -> bool {
        let record = &snapshot.record;
        let state = &record.state;
        let created = time::from_api(record.created).unwrap_or_default();
        let labels = record.config.labels.clone().unwrap_or_default();
        let task = self.filters.get("is-task").all(|value| !matches!(value, "true" | "1"));
        self.filters.match_labels(&labels)
            && task
            && self.filters.exact_match("status", state.word())
            && self.filters.exact_match("health", "none")
            && (self.exited.is_empty()
                || (state.finished_at.is_some()
                    && !state.running
                    && self.exited.contains(&state.exit_code)))
            && self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self.matches_patterns(snapshot)
            && self.matches_ancestor(snapshot)
            && self.matches_volume(snapshot)
            && self.matches_network(snapshot)
            && self.matches_ports(snapshot)
    }

    fn matches_patterns(&self, snapshot: &Snapshot) -> bool {
        self.patterns.iter().all(|(key, patterns)| {
            let matches = |pattern: &Regex| match *key {
                "name" => {
                    pattern.is_match(&snapshot.record.name) || pattern.is_match(snapshot.name())
                }
                _ => pattern.is_match(snapshot.record.id.as_str()),
            };
            !self.filters.contains(key) || patterns.iter().any(matches)
        })
    }

    fn matches_ancestor(&self, snapshot: &Snapshot) -> bool {
        !self.filters.contains("ancestor") || self.ancestors.contains(&snapshot.record.image)
    }

    fn matches_volume(&self, snapshot: &Snapshot) -> bool {
        !self.filters.contains("volume")
            || self.filters.get("volume").any(|wanted| {
                snapshot.record.mount_points.values().any(|mount| {
                    [&mount.name, &mount.source, &mount.destination].contains(&&wanted.to_owned())
                })
            })
    }

    fn matches_network(&self, snapshot: &Snapshot) -> bool {
        let networks = &snapshot.record.network_settings.networks;
        self.networks.is_empty()
            || networks.iter().any(|(name, endpoint)| {
                let id =
                    self.inner.networks.get(name).map(|network| network.id).unwrap_or_default();
                self.networks.contains(name)
                    || self.networks.contains(&id)
                    || self.networks.contains(&endpoint.settings.network_id)
            })
    }

    fn matches_ports(&self, snapshot: &Snapshot) -> bool {
        let record = &snapshot.record;
        self.ports.iter().all(|(key, wanted)| {
            let has = |port: &String| match *key {
                "expose" => record.config.exposed_ports.contains_key(port),
                _ => {
                    record.network_settings.ports.get(port).is_some_and(|bound| bound.is_some())
                        || snapshot
                            .host_config
                            .port_bindings
                            .as_ref()
                            .is_some_and(|ports| ports.contains_key(port))
                }
            };
            wanted.is_empty() || wanted.iter().any(has)
        })
    }
}

/// The values of a filter as patterns; one that is none is taken literally.
fn patterns(filters: &Filters, key: &str) -> Vec<Regex> {
    filters
        .get(key)
        .filter_map(|text| Regex::new(text).or_else(|_| Regex::new(&regex_lite::escape(text))).ok())
        .collect()
}

/// Ids of the images named.
fn ancestors(inner: &Inner, filters: &Filters) -> BTreeSet<String> {
    filters
        .get("ancestor")
        .filter_map(|name| inner.images.resolve(name).ok())
        .map(|image| image.id.to_string())
        .collect()
}

/// `80`, `80/udp`, `8000-8010/tcp` as single ports with protocol.
fn port_values(filters: &Filters, key: &str) -> Result<Vec<String>> {
    let mut ports = Vec::new();
    for text in filters.get(key) {
        let invalid =
            || Error::invalid(format!("filter for '{key}' should not contain ':': {text}"));
        if text.contains(':') {
            return Err(invalid());
        }
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| {
            text.parse::<u16>().map_err(|_| Error::invalid(format!("invalid port: {text:?}")))
        };
        let protocol = protocol.to_ascii_lowercase();
        ports.extend((number(from)?..=number(to)?).map(|port| format!("{port}/{protocol}")));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_filters_are_ports_or_ranges_without_colon() {
        let mut filters = Filters::default();
        filters.add("publish", "80-81/UDP");
        assert_eq!(port_values(&filters, "publish").expect("range"), ["80/udp", "81/udp"]);
        filters.add("publish", "1:2");
        assert!(port_values(&filters, "publish").is_err());
    }
}
