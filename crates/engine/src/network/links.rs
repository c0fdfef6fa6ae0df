//! `--link` on the default bridge: the linking container (the parent) finds the linked one (the
//! child) by an alias in its file of hosts, which follows the child's address.
//!
//! On networks of the user's a link is an alias that only the linking container knows, and the
//! resolver's business.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use davit_api::container::HostConfig;
use davit_types::{Context, Error, Kind, Result};

use super::link_env::{Linked, variables};
use crate::container::{Container, Snapshot};
use crate::engine::Inner;

const BRIDGE: &str = "bridge";

/// A container that another one is linked to.
pub(crate) struct Child {
    alias: String,
    snapshot: Arc<Snapshot>,
}

/// The ids of the containers that a new one links to, by alias.
///
/// # Errors
/// There is no such container, or it is on the host's network. Neither is a 404: clients take that
/// for a missing image.
pub(crate) fn resolve(inner: &Inner, host_config: &HostConfig) -> Result<BTreeMap<String, String>> {
    let mut links = BTreeMap::new();
    if is_users(&host_config.network_mode) {
        return Ok(links);
    }
    for text in host_config.links.iter().flatten() {
        let (name, alias) = parse(text)?;
        let find = |name: &str| {
            let failed = || format!("could not get container for {name}");
            let found = inner.containers.find(name);
            found.map_err(|cause| cause.with_kind(Kind::InvalidParameter)).context(failed)
        };
        let mut child = find(name)?;
        let mut mode = child.snapshot().host_config.network_mode.clone();
        while let Some(donor) = mode.strip_prefix("container:") {
            child = find(donor)?;
            mode = child.snapshot().host_config.network_mode.clone();
        }
        if mode == "host" {
            return Err(Error::invalid(
                "conflicting options: host type networking can't be used with links. This would \
                 result in undefined behavior",
            ));
        }
        // The first one of an alias counts, as with Docker.
        links.entry(alias.to_owned()).or_insert_with(|| child.id.to_string());
    }
    Ok(links)
}

/// `NAME` or `NAME:ALIAS`.
fn parse(text: &str) -> Result<(&str, &str)> {
    let invalid = || Error::invalid(format!("bad format for links: {text}"));
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    if name.is_empty() || alias.is_empty() || alias.contains(':') {
        return Err(invalid());
    }
    Ok((name, alias))
}

fn is_users(mode: &str) -> bool {
    !matches!(mode, "" | "default" | BRIDGE | "host" | "none") && !mode.starts_with("container:")
}

/// The containers that one links to, those that are gone left out.
fn children(inner: &Inner, snapshot: &Snapshot) -> Vec<Child> {
    let child = |(alias, id): (&String, &String)| {
        let snapshot = inner.containers.by_id(id)?.snapshot();
        Some(Child { alias: alias.clone(), snapshot })
    };
    snapshot.record.links.iter().filter_map(child).collect()
}

/// `HostConfig.Links` as inspect shows it; absent without links that are kept here.
pub(crate) fn shown(inner: &Inner, snapshot: &Snapshot) -> Option<Vec<String>> {
    if snapshot.record.links.is_empty() {
        return None;
    }
    let name = &snapshot.record.name;
    let text = |child: Child| format!("{}:{name}/{}", child.snapshot.record.name, child.alias);
    Some(children(inner, snapshot).into_iter().map(text).collect())
}

/// The names that containers have as others' children, by id.
pub(crate) fn names(inner: &Inner) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for container in inner.containers.all() {
        let parent = container.snapshot();
        for (alias, child) in &parent.record.links {
            let name = format!("{}/{alias}", parent.record.name);
            names.entry(child.clone()).or_default().push(name);
        }
    }
    names
}

/// The children of a container that is about to start on the default bridge.
///
/// # Errors
/// One doesn't run, or isn't on that network.
pub(crate) fn ready(inner: &Inner, snapshot: &Snapshot) -> Result<Vec<Child>> {
    let networks = &snapshot.record.network_settings.networks;
    if snapshot.record.links.is_empty() || !networks.contains_key(BRIDGE) {
        return Ok(Vec::new());
    }
    let children = children(inner, snapshot);
    for child in &children {
        let record = &child.snapshot.record;
        if !record.network_settings.networks.contains_key(BRIDGE) {
            return Err(Error::internal(format!(
                "Cannot link to {}, as it does not belong to the default network",
                record.name
            )));
        }
        if !record.state.running {
            let (name, parent, alias) = (&record.name, &snapshot.record.name, &child.alias);
            return Err(Error::internal(format!(
                "Cannot link to a non running container: {name} AS {parent}/{alias}"
            )));
        }
    }
    Ok(children)
}

/// What a container's file of hosts says of its children: the alias comes first.
pub(crate) fn hosts(children: &[Child]) -> Vec<(String, IpAddr)> {
    let lines = children.iter().flat_map(|child| {
        let (name, hostname) = (child.snapshot.name(), &child.snapshot.record.config.hostname);
        let names = match child.alias == name {
            true => format!("{name} {hostname}"),
            false => format!("{} {hostname} {name}", child.alias),
        };
        addresses(&child.snapshot).into_iter().map(move |ip| (names.clone(), ip))
    });
    lines.collect()
}

/// The variables that tell a container of its children; none unless the daemon was told to keep
/// them.
pub(crate) fn environment(inner: &Inner, parent: &Snapshot) -> Vec<String> {
    if !inner.config.link_variables {
        return Vec::new();
    }
    let of = |child: &Child| {
        let record = &child.snapshot.record;
        let ip = addresses(&child.snapshot).into_iter().next();
        let linked = Linked {
            alias: &child.alias,
            name: format!("{}/{}", parent.record.name, child.alias),
            ip: ip.map(|ip| ip.to_string()).unwrap_or_default(),
            ports: record.config.exposed_ports.keys().map(String::as_str).collect(),
            env: record.config.env.as_deref().unwrap_or_default(),
        };
        variables(&linked)
    };
    children(inner, parent).iter().flat_map(of).collect()
}

/// Tells the running containers that link to one where it is now.
pub(crate) fn tell_parents(inner: &Inner, child: &Snapshot) {
    let networks = &child.record.network_settings.networks;
    if !networks.contains_key(BRIDGE) {
        return;
    }
    for parent in inner.containers.all() {
        let snapshot = parent.snapshot();
        let aliases =
            snapshot.record.links.iter().filter(|(_, id)| *id == child.record.id.as_str());
        for (alias, _) in aliases.filter(|_| snapshot.record.state.running) {
            if let Err(failure) = update(&parent, &snapshot, alias, child) {
                let error = crate::error::chain(&failure);
                tracing::warn!(id = %parent.id, alias, error, "update the address of a link");
            }
        }
    }
}

/// Changes the alias's address in a running container's file of hosts, in place: it is a mount.
fn update(parent: &Container, snapshot: &Snapshot, alias: &str, child: &Snapshot) -> Result<()> {
    let path = Path::new(&snapshot.record.hosts_path);
    let failed = || format!("edit the hosts of container {}: {}", parent.id, path.display());
    let text = std::fs::read_to_string(path).context(failed)?;
    let edited = readdressed(&text, alias, &addresses(child));
    if edited == text {
        return Ok(());
    }
    std::fs::write(path, edited).context(failed)
}

/// The lines whose first name is `alias` get the address of their family. Pure.
fn readdressed(text: &str, alias: &str, addresses: &[IpAddr]) -> String {
    let line = |line: &str| {
        let Some((present, names)) = line.split_once('\t') else { return line.to_owned() };
        let is_alias = names.split_whitespace().next() == Some(alias);
        let Ok(present) = present.parse::<IpAddr>() else { return line.to_owned() };
        let next = addresses.iter().find(|ip| ip.is_ipv4() == present.is_ipv4());
        match next.filter(|_| is_alias) {
            Some(ip) => format!("{ip}\t{names}"),
            None => line.to_owned(),
        }
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// Where a container is on the default bridge.
fn addresses(snapshot: &Snapshot) -> Vec<IpAddr> {
    let endpoint = snapshot.record.network_settings.networks.get(BRIDGE);
    let texts = endpoint.into_iter().flat_map(|endpoint| {
        [&endpoint.settings.ip_address, &endpoint.settings.global_ipv6_address]
    });
    texts.filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_a_container_and_maybe_an_alias() {
        assert_eq!(parse("db").expect("valid"), ("db", "db"));
        assert_eq!(parse("db:store").expect("valid"), ("db", "store"));
        assert_eq!(parse("/db:/web/store").expect("valid"), ("/db", "store"));
        for bad in [":", "db:", ":x", "a:b:c", ""] {
            assert_eq!(
                parse(bad).expect_err(bad).message(),
                format!("bad format for links: {bad}")
            );
        }
    }

    #[test]
    fn only_the_aliass_lines_get_the_new_address() {
        let text = "127.0.0.1\tlocalhost\n172.17.0.2\tstore abc db\nfd00::2\tstore abc db\n\
                    172.17.0.3\tother store\n172.17.0.4\tstorehouse\n";
        let addresses = ["172.17.0.9", "fd00::9"].map(|ip| ip.parse().expect("an address"));
        assert_eq!(
            readdressed(text, "store", &addresses),
            "127.0.0.1\tlocalhost\n172.17.0.9\tstore abc db\nfd00::9\tstore abc db\n\
             172.17.0.3\tother store\n172.17.0.4\tstorehouse\n"
        );
        assert_eq!(readdressed(text, "store", &[]), text);
    }
}
