//! `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf` of a container, written before each start.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use davit_network::Endpoint;
use davit_network::files::{
    Hosts, ResolvConf, host_resolv_conf, hosts, internal_resolv_conf, resolv_conf, sets_ndots,
};
use davit_types::{Context, Error, Result};

use super::Join;
use super::links::{self, Child};
use super::resolver::uses_resolver;
use crate::container::{Container, Snapshot};
use crate::engine::Inner;
use crate::spec::{Mount, Namespace};
use crate::store::{self, Durability};

/// Writes the files, notes their paths in the record and returns the mounts. One that shares another
/// container's network shares its files.
pub(crate) fn write_files(
    inner: &Inner,
    container: &Container,
    snapshot: &mut Snapshot,
    (join, children): (&Join, &[Child]),
) -> Result<Vec<Mount>> {
    if let Some(donor) = &join.donor {
        let donor = donor.snapshot();
        let record = &mut snapshot.record;
        record.hostname_path.clone_from(&donor.record.hostname_path);
        record.hosts_path.clone_from(&donor.record.hosts_path);
        record.resolv_conf_path.clone_from(&donor.record.resolv_conf_path);
        record.config.hostname.clone_from(&donor.record.config.hostname);
        return Ok(mounts(snapshot));
    }
    let path = |name: &str| container.directory.join(name);
    let is_host = join.namespace == Namespace::Host;
    write(&path("hostname"), &format!("{}\n", snapshot.record.config.hostname))?;
    write(&path("hosts"), &hosts_text(inner, snapshot, (join, children))?)?;
    write(
        &path("resolv.conf"),
        &resolv_conf_text(inner, snapshot, (is_host, uses_resolver(snapshot)))?,
    )?;
    let record = &mut snapshot.record;
    record.hostname_path = path("hostname").display().to_string();
    record.hosts_path = path("hosts").display().to_string();
    record.resolv_conf_path = path("resolv.conf").display().to_string();
    Ok(mounts(snapshot))
}

fn write(path: &Path, text: &str) -> Result<()> {
    store::write_file(path, text.as_bytes(), 0o644, Durability::Relaxed)
}

/// The three files, unless the user mounts over them.
fn mounts(snapshot: &Snapshot) -> Vec<Mount> {
    let record = &snapshot.record;
    let access = if snapshot.host_config.readonly_rootfs { "ro" } else { "rw" };
    [
        (&record.resolv_conf_path, "/etc/resolv.conf"),
        (&record.hostname_path, "/etc/hostname"),
        (&record.hosts_path, "/etc/hosts"),
    ]
    .into_iter()
    .filter(|(source, target)| !source.is_empty() && !record.mount_points.contains_key(*target))
    .map(|(source, target)| Mount {
        kind: "bind".to_owned(),
        source: source.into(),
        destination: target.into(),
        options: ["rbind", "rprivate", access].map(str::to_owned).to_vec(),
    })
    .collect()
}

fn hosts_text(
    inner: &Inner,
    snapshot: &Snapshot,
    (join, children): (&Join, &[Child]),
) -> Result<String> {
    let given = snapshot.host_config.extra_hosts.as_deref().unwrap_or_default();
    if join.namespace == Namespace::Host && given.is_empty() {
        return std::fs::read_to_string("/etc/hosts").context(|| "read /etc/hosts");
    }
    let mut extra = extra_hosts(inner, given)?;
    extra.extend(links::hosts(children));
    let names = host_names(snapshot);
    let endpoints = join.sandbox.iter().flat_map(|sandbox| &sandbox.endpoints);
    let addresses = endpoints.flat_map(Endpoint::addresses);
    let own: Vec<(IpAddr, String)> = addresses.map(|ip| (ip, names.clone())).collect();
    let ipv6 = Path::new("/proc/sys/net/ipv6").exists();
    Ok(hosts(&Hosts { ipv6, extra: &extra, own: &own }))
}

/// What the container calls itself in its file of hosts.
fn host_names(snapshot: &Snapshot) -> String {
    let config = &snapshot.record.config;
    match config.domainname.as_str() {
        "" => config.hostname.clone(),
        domain => format!("{0}.{domain} {0}", config.hostname),
    }
}

/// Adds an endpoint's addresses to the file of hosts of a running container, or takes them away.
/// The file is a mount inside: it is changed in place.
pub(crate) fn edit_hosts(snapshot: &Snapshot, endpoint: &Endpoint, add: bool) -> Result<()> {
    let path = Path::new(&snapshot.record.hosts_path);
    let failed = || format!("edit {}", path.display());
    let text = std::fs::read_to_string(path).context(failed)?;
    let names = host_names(snapshot);
    let lines: Vec<String> = endpoint.addresses().map(|ip| format!("{ip}\t{names}")).collect();
    let mut edited: String = text
        .lines()
        .filter(|line| !lines.iter().any(|other| other == line))
        .flat_map(|line| [line, "\n"])
        .collect();
    if add {
        edited.extend(lines.iter().flat_map(|line| [line.as_str(), "\n"]));
    }
    std::fs::write(path, edited).context(failed)
}

/// `name:address`, `name=address`; `host-gateway` is the bridge's address.
fn extra_hosts(inner: &Inner, given: &[String]) -> Result<Vec<(String, IpAddr)>> {
    given
        .iter()
        .map(|line| {
            let invalid = || Error::invalid(format!("bad format for add-host: {line:?}"));
            let (name, address) = line.split_once([':', '=']).ok_or_else(invalid)?;
            let address = match address {
                "host-gateway" => {
                    let bridge = inner.networks.get("bridge")?.definition;
                    bridge.subnets.first().and_then(|subnet| subnet.gateway)
                }
                text => text.trim_matches(['[', ']']).parse().ok(),
            };
            Ok((name.to_owned(), address.ok_or_else(invalid)?))
        })
        .collect()
}

/// The servers that are asked from inside; none: the host's.
pub(crate) fn nameservers(inner: &Inner, snapshot: &Snapshot) -> Result<Vec<IpAddr>> {
    let servers = match snapshot.host_config.dns.as_deref() {
        None | Some([]) => &inner.config.dns,
        Some(given) => given,
    };
    let parse = |text: &String| {
        text.parse().map_err(|_| Error::invalid(format!("invalid DNS server: {text:?}")))
    };
    servers.iter().map(parse).collect()
}

/// Brings `resolv.conf` of a running container in line with its networks, unless somebody has
/// changed it. The file is a mount inside: it is changed in place.
pub(crate) fn update_resolv_conf(inner: &Inner, before: &Snapshot, now: &Snapshot) -> Result<()> {
    let (was, is) = (uses_resolver(before), uses_resolver(now));
    if was == is {
        return Ok(());
    }
    let path = Path::new(&now.record.resolv_conf_path);
    let failed = || format!("edit {}", path.display());
    let present = std::fs::read_to_string(path).context(failed)?;
    if present != resolv_conf_text(inner, before, (false, was))? {
        return Ok(());
    }
    let text = resolv_conf_text(inner, now, (false, is))?;
    std::fs::write(path, text).context(failed)
}

/// The text for a container on the host's network, or with the resolver.
fn resolv_conf_text(
    inner: &Inner,
    snapshot: &Snapshot,
    (is_host, internal): (bool, bool),
) -> Result<String> {
    let host_config = &snapshot.host_config;
    let nameservers = nameservers(inner, snapshot)?;
    if is_host && nameservers.is_empty() {
        return std::fs::read_to_string("/etc/resolv.conf").or_else(|_| Ok(String::new()));
    }
    let (path, text) = if internal {
        // The resolver asks from the host: its stub will do.
        (
            PathBuf::from("/etc/resolv.conf"),
            std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        )
    } else {
        host_resolv_conf()?
    };
    let write = if internal { internal_resolv_conf } else { resolv_conf };
    Ok(write(&ResolvConf {
        host: &text,
        host_path: &path.display().to_string(),
        ipv6: false,
        nameservers: &nameservers,
        search: or_default(host_config.dns_search.as_deref(), &inner.config.dns_search),
        options: or_default(host_config.dns_options.as_deref(), &inner.config.dns_options),
    }))
}

/// What the container asks for, else what the daemon has for all.
fn or_default<'a>(given: Option<&'a [String]>, default: &'a [String]) -> &'a [String] {
    given.filter(|given| !given.is_empty()).unwrap_or(default)
}

/// Whether somebody has said which names are complete without a dot.
pub(crate) fn ndots_are_set(inner: &Inner, snapshot: &Snapshot) -> bool {
    let options =
        or_default(snapshot.host_config.dns_options.as_deref(), &inner.config.dns_options);
    // The resolver's text starts from this file, too; without one nothing is set.
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    sets_ndots(options, &host)
}
