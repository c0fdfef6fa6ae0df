//! Network devices of the host that the container gets: `linux.netDevices`.

use std::collections::BTreeSet;

use davit_sys::namespace;
use davit_types::oci::runtime::Linux;

use super::{Namespaces, config};
use crate::Failure;

const OBJECT: &str = "linux.netDevices";

/// A network device that moves into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub host: String,
    /// Its name in the container; with `%d` in it the kernel puts the first free number there.
    pub name: String,
}

impl NetDevice {
    /// Whether the kernel finds a free name.
    pub fn is_numbered(&self) -> bool {
        self.name.contains('%')
    }
}

/// By their names on the host.
pub(super) fn plan(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<NetDevice>, Failure> {
    let Some(devices) = linux.net_devices().as_ref().filter(|devices| !devices.is_empty()) else {
        return Ok(Vec::new());
    };
    if !namespaces.has(namespace::NETWORK) {
        let text = "unable to move network devices without a private network namespace";
        return Err(config(OBJECT, text));
    }
    let device = |(host, device): (&String, &davit_types::oci::runtime::LinuxNetDevice)| {
        let name = device.name().clone().filter(|name| !name.is_empty());
        NetDevice { host: host.clone(), name: name.unwrap_or_else(|| host.clone()) }
    };
    let mut devices: Vec<NetDevice> = devices.iter().map(device).collect();
    devices.sort_by(|one, other| one.host.cmp(&other.host));
    let mut taken = BTreeSet::new();
    for device in &devices {
        if !is_name(&device.host) || device.host.contains('%') {
            return Err(invalid(&device.host));
        }
        if !is_name(&device.name) || !is_template(&device.name) {
            return Err(invalid(&device.name));
        }
        if !device.is_numbered() && !taken.insert(&device.name) {
            let text = format!("{OBJECT}: two network devices are called {:?}", device.name);
            return Err(config(OBJECT, text));
        }
    }
    Ok(devices)
}

fn invalid(name: &str) -> Failure {
    config(OBJECT, format!("{OBJECT}: invalid name of a network device: {name:?}"))
}

/// What the kernel takes for a name: it is shown in paths, and read by programs that split at colons
/// and white space.
fn is_name(name: &str) -> bool {
    const LONGEST: usize = 15;
    // The kernel's white space: that of Latin-1, byte by byte.
    let space = |byte: u8| matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0);
    let bad = |byte: u8| byte == 0 || byte == b'/' || byte == b':' || space(byte);
    !name.is_empty()
        && name.len() <= LONGEST
        && name != "."
        && name != ".."
        && !name.bytes().any(bad)
}

/// A per cent sign stands for a number, once.
fn is_template(name: &str) -> bool {
    match name.split_once('%') {
        None => true,
        Some((_, rest)) => rest.starts_with('d') && !rest.contains('%'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn devices(value: Value, network: bool) -> Result<Vec<NetDevice>, String> {
        let linux: Linux = serde_json::from_value(json!({"netDevices": value})).expect("linux");
        let new = if network { namespace::NETWORK } else { 0 };
        let namespaces = Namespaces { new, ..Namespaces::default() };
        plan(&linux, &namespaces).map_err(|failure| failure.message)
    }

    #[test]
    fn names_are_kept_or_given() {
        let planned =
            devices(json!({"eth1": {"name": "lan"}, "eth0": {}, "b": {"name": ""}}), true);
        let pairs: Vec<(String, String)> = planned
            .expect("planned")
            .into_iter()
            .map(|device| (device.host, device.name))
            .collect();
        let pair = |host: &str, name: &str| (host.to_owned(), name.to_owned());
        assert_eq!(pairs, [pair("b", "b"), pair("eth0", "eth0"), pair("eth1", "lan")]);
        let numbered = devices(json!({"a": {"name": "net%d"}, "b": {"name": "net%d"}}), true);
        assert!(numbered.expect("planned").iter().all(NetDevice::is_numbered));
        assert_eq!(devices(json!({}), false), Ok(Vec::new()));
    }

    #[test]
    fn names_that_the_kernel_refuses_are_refused() {
        let long = "x".repeat(16);
        for name in [".", "..", "a/b", "a:b", "a b", "a\n", "a\0", "a%s", "%d%d", "a%", &long] {
            let message = devices(json!({"eth0": {"name": name}}), true).expect_err(name);
            assert!(message.contains("invalid name of a network device"), "{message}");
        }
        for host in ["", "eth%d", "a/b", &long] {
            let message = devices(json!({host: {"name": "x"}}), true).expect_err(host);
            assert!(message.contains("invalid name of a network device"), "{message}");
        }
        assert!(devices(json!({"eth0": {"name": "x".repeat(15)}}), true).is_ok());
    }

    #[test]
    fn a_network_of_the_containers_own_is_needed_and_a_name_for_each() {
        let message = devices(json!({"eth0": {}}), false).expect_err("no namespace");
        assert!(message.contains("without a private network namespace"), "{message}");
        let message = devices(json!({"a": {"name": "x"}, "x": {}}), true).expect_err("twice");
        assert!(message.contains("two network devices are called \"x\""), "{message}");
    }
}
