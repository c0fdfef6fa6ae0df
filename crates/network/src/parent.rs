//! macvlan and ipvlan: networks whose containers sit on an interface of the host's, the parent,
//! with addresses of their own on its wire. There is no bridge, nothing passes our firewall, and no
//! port can be published.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;

use davit_types::id::SHORT_LENGTH;
use davit_types::{Context, Error, Kind, Result};
use netlink_packet_route::link::{IpVlanMode, MacVlanMode};

use crate::definition::Definition;
use crate::link::{self, Mac};
use crate::netlink::Connection;
use crate::sublink::{self, Sublink};

/// The kinds of such networks.
pub(crate) const DRIVERS: [&str; 2] = ["macvlan", "ipvlan"];

/// What the options of such a network say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    /// The host's interface.
    pub(crate) interface: String,
    /// It stands for none: the network ends at this host.
    pub(crate) is_dummy: bool,
    pub(crate) kind: Sublink,
}

impl Parent {
    /// Reads a network's options. Those of others are nobody's business here.
    ///
    /// # Errors
    /// A mode that doesn't exist or isn't done, or loopback as the parent.
    pub(crate) fn read(definition: &Definition) -> Result<Self> {
        let options = &definition.options;
        let given = options.get("parent").map(String::as_str).unwrap_or_default();
        if given == "lo" {
            let driver = &definition.driver;
            let message = format!("loopback interface is not a valid {driver} parent link");
            return Err(Error::invalid(message));
        }
        let kind = match definition.driver.as_str() {
            "ipvlan" => Sublink::Ipvlan(ipvlan_mode(options)?),
            _ => Sublink::Macvlan(macvlan_mode(options)?),
        };
        let (interface, is_dummy) = match given {
            "" => (format!("dm-{}", &definition.id[..SHORT_LENGTH]), true),
            name => (name.to_owned(), false),
        };
        Ok(Self { interface, is_dummy, kind })
    }

    /// A parent in mode passthru belongs to one network alone.
    ///
    /// # Errors
    /// It doesn't.
    pub(crate) fn check_shared(&self, other: &Self, other_id: &str) -> Result<()> {
        let name = &self.interface;
        let other_id = &other_id[..SHORT_LENGTH];
        let is_passthru = |parent: &Self| parent.kind == Sublink::Macvlan(MacVlanMode::Passthrough);
        let message = match (name == &other.interface, is_passthru(self), is_passthru(other)) {
            (true, true, _) => format!(
                "cannot use mode passthru, macvlan network {other_id} is already using parent \
                 interface {name}"
            ),
            (true, false, true) => format!(
                "cannot use parent interface {name}: macvlan network {other_id} is already using \
                 it in mode passthru"
            ),
            _ => return Ok(()),
        };
        Err(Error::new(Kind::Forbidden, message))
    }

    /// Whether the interface is there already, somebody else's.
    pub(crate) fn is_there(&self, route: &Connection) -> Result<bool> {
        let found = link::link(route, &self.interface);
        Ok(found.context(|| format!("look for interface {}", self.interface))?.is_some())
    }

    /// Makes the interface if it isn't there: one that stands for none, or a part of a VLAN.
    ///
    /// # Errors
    /// Its name isn't one of a VLAN (`eth0.10`), or the kernel refuses.
    pub(crate) fn ensure(&self, route: &Connection) -> Result<()> {
        let name = &self.interface;
        if self.is_there(route)? {
            return Ok(());
        }
        let failed = || format!("create parent interface {name}");
        if self.is_dummy {
            return sublink::create_dummy(route, name).context(failed);
        }
        let (base, vlan) = parse_vlan(name)?;
        let found = link::link(route, base).context(|| format!("look for interface {base}"))?;
        let base = found.ok_or_else(|| {
            Error::invalid(format!("failed to find master interface {base} on the Docker host"))
        })?;
        sublink::create_vlan(route, name, (base.index, vlan)).context(failed)
    }

    /// Makes a container's interface.
    ///
    /// # Errors
    /// The parent is gone, or the kernel refuses: it may lack the driver.
    pub(crate) fn attach(
        &self,
        host: &Connection,
        namespace: &File,
        (interface, mac): (&str, Mac),
    ) -> Result<()> {
        let name = &self.interface;
        let found = link::link(host, name).context(|| format!("look for interface {name}"))?;
        let parent = found
            .ok_or_else(|| Error::not_found(format!("parent interface {name} was not found")))?;
        let failed = || format!("create {} {interface} on {name}", self.kind.name());
        sublink::create(host, namespace.as_fd(), (parent.index, interface, mac), &self.kind)
            .context(failed)
    }
}

fn macvlan_mode(options: &BTreeMap<String, String>) -> Result<MacVlanMode> {
    match options.get("macvlan_mode").map(String::as_str).unwrap_or_default() {
        "" | "bridge" => Ok(MacVlanMode::Bridge),
        "private" => Ok(MacVlanMode::Private),
        "vepa" => Ok(MacVlanMode::Vepa),
        "passthru" => Ok(MacVlanMode::Passthrough),
        other => Err(Error::invalid(format!(
            "requested macvlan mode '{other}' is not valid, 'bridge' mode is the macvlan driver \
             default"
        ))),
    }
}

fn ipvlan_mode(options: &BTreeMap<String, String>) -> Result<IpVlanMode> {
    let option = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
    if !matches!(option("ipvlan_flag"), "" | "bridge") {
        let message = format!("ipvlan flag '{}' is not supported", option("ipvlan_flag"));
        return Err(Error::new(Kind::NotImplemented, message));
    }
    match option("ipvlan_mode") {
        "" | "l2" => Ok(IpVlanMode::L2),
        mode @ ("l3" | "l3s") => {
            Err(Error::new(Kind::NotImplemented, format!("ipvlan mode {mode} is not supported")))
        }
        other => Err(Error::invalid(format!(
            "requested ipvlan mode '{other}' is not valid, 'l2' mode is the ipvlan driver default"
        ))),
    }
}

/// `eth0.10`
fn parse_vlan(name: &str) -> Result<(&str, u16)> {
    let invalid = || {
        Error::invalid(format!(
            "invalid subinterface vlan name {name}, example formatting is eth0.10"
        ))
    };
    let (base, id) = name.split_once('.').ok_or_else(invalid)?;
    let vlan = id.parse().map_err(|_| invalid())?;
    if base.is_empty() {
        return Err(invalid());
    }
    if !(1..=4094).contains(&vlan) {
        return Err(Error::invalid(format!("vlan id must be between 1-4094, received: {vlan}")));
    }
    Ok((base, vlan))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn read(driver: &str, options: &[(&str, &str)]) -> Result<Parent> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Parent::read(&Definition {
            id: "ab".repeat(32),
            name: "n".to_owned(),
            driver: driver.to_owned(),
            created: SystemTime::UNIX_EPOCH,
            ipv4: true,
            ipv6: false,
            internal: false,
            attachable: false,
            options: options.collect(),
            labels: BTreeMap::new(),
            ipam_options: None,
            subnets: Vec::new(),
            config_only: false,
            config_from: String::new(),
            owns_parent: false,
        })
    }

    #[test]
    fn options_name_a_parent_and_a_mode() {
        let parent = read("macvlan", &[("parent", "eth0"), ("macvlan_mode", "vepa")]).expect("ok");
        assert_eq!((parent.interface.as_str(), parent.is_dummy), ("eth0", false));
        assert_eq!(parent.kind, Sublink::Macvlan(MacVlanMode::Vepa));
        let alone = read("ipvlan", &[]).expect("ok");
        assert_eq!((alone.interface.as_str(), alone.is_dummy), ("dm-abababababab", true));
        for (driver, options, message) in [
            (
                "macvlan",
                ("macvlan_mode", "x"),
                "requested macvlan mode 'x' is not valid, 'bridge' mode is the macvlan driver \
                 default",
            ),
            ("macvlan", ("parent", "lo"), "loopback interface is not a valid macvlan parent link"),
            (
                "ipvlan",
                ("ipvlan_mode", "x"),
                "requested ipvlan mode 'x' is not valid, 'l2' mode is the ipvlan driver default",
            ),
            ("ipvlan", ("ipvlan_mode", "l3s"), "ipvlan mode l3s is not supported"),
            ("ipvlan", ("ipvlan_flag", "vepa"), "ipvlan flag 'vepa' is not supported"),
        ] {
            let error = read(driver, &[options]).expect_err("refused");
            assert_eq!(error.message(), message);
        }
    }

    #[test]
    fn parts_of_vlans_are_named_by_their_number() {
        assert_eq!(parse_vlan("eth0.10").expect("valid"), ("eth0", 10));
        for (name, message) in [
            ("eth0", "invalid subinterface vlan name eth0, example formatting is eth0.10"),
            ("eth0.x", "invalid subinterface vlan name eth0.x, example formatting is eth0.10"),
            (".7", "invalid subinterface vlan name .7, example formatting is eth0.10"),
            ("eth0.4095", "vlan id must be between 1-4094, received: 4095"),
        ] {
            assert_eq!(parse_vlan(name).expect_err(name).message(), message);
        }
    }

    #[test]
    fn passthru_shares_no_parent() {
        let parent = |mode| read("macvlan", &[("parent", "e0"), ("macvlan_mode", mode)]);
        let (bridge, passthru) = (parent("bridge").expect("ok"), parent("passthru").expect("ok"));
        let id = "cd".repeat(32);
        bridge.check_shared(&bridge, &id).expect("bridge networks share");
        assert!(bridge.check_shared(&passthru, &id).is_err());
        let refused = passthru.check_shared(&bridge, &id).expect_err("in use");
        assert_eq!(
            refused.message(),
            "cannot use mode passthru, macvlan network cdcdcdcdcdcd is already using parent \
             interface e0"
        );
    }
}
