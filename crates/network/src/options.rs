//! What the options of a bridge network say. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use davit_types::{Error, Kind, Result};

/// How the outside and a network's containers see each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum GatewayMode {
    /// By the host's addresses.
    #[default]
    Nat,
    /// Likewise, but containers' addresses are open to whoever has a route.
    NatUnprotected,
    /// By the containers' addresses.
    Routed,
    /// The host has no address in it.
    Isolated,
}

/// The options of a bridge network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeOptions {
    /// Name of the host's interface; absent: from the network's id.
    pub(crate) interface: Option<String>,
    /// Containers may talk to each other.
    pub(crate) icc: bool,
    /// Leaving traffic gets an address of the host.
    pub(crate) masquerade: bool,
    /// Which address that is, by family; absent: the one of the interface it leaves by.
    pub(crate) source: [Option<IpAddr>; 2],
    /// Ports are published on, unless something else is asked for.
    pub(crate) host_binding: Option<Ipv4Addr>,
    pub(crate) mtu: Option<u16>,
    /// By family.
    pub(crate) modes: [GatewayMode; 2],
    /// Beginning of the names of the containers' interfaces.
    pub(crate) prefix: String,
    /// The host has no IPv4 address in it.
    pub(crate) inhibit_ipv4: bool,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self {
            interface: None,
            icc: true,
            masquerade: true,
            source: [None, None],
            host_binding: None,
            mtu: None,
            modes: [GatewayMode::Nat, GatewayMode::Nat],
            prefix: "eth".to_owned(),
            inhibit_ipv4: false,
        }
    }
}

const BRIDGE: &str = "com.docker.network.bridge.";

impl BridgeOptions {
    /// Reads the options. Those of others, and labels, are nobody's business here.
    ///
    /// # Errors
    /// A value makes no sense, or an option is Docker's and not done.
    pub(crate) fn read(options: &BTreeMap<String, String>, internal: bool) -> Result<Self> {
        let mut read = Self::default();
        for (key, value) in options {
            match key.as_str() {
                "com.docker.network.driver.mtu" => read.mtu = Some(parse(key, value)?),
                "com.docker.network.container_iface_prefix" => read.prefix.clone_from(value),
                "com.docker.network.host_ipv4" => read.source[0] = Some(family(key, value, 4)?),
                "com.docker.network.host_ipv6" => read.source[1] = Some(family(key, value, 6)?),
                key => {
                    if let Some(name) = key.strip_prefix(BRIDGE) {
                        read.read_one(key, name, value)?;
                    }
                }
            }
        }
        let isolated = read.modes.contains(&GatewayMode::Isolated);
        if isolated && !internal {
            return Err(Error::invalid(
                "gateway mode 'isolated' can only be used for an internal network",
            ));
        }
        if read.prefix.is_empty() || read.prefix.len() > 12 || !is_interface_name(&read.prefix) {
            return Err(Error::invalid(format!(
                "invalid prefix of interface names: {:?}",
                read.prefix
            )));
        }
        Ok(read)
    }

    fn read_one(&mut self, key: &str, name: &str, value: &str) -> Result<()> {
        match name {
            "name" if value.is_empty() => {}
            "name" if is_interface_name(value) => self.interface = Some(value.to_owned()),
            "name" => return Err(invalid(key, value)),
            "enable_icc" => self.icc = boolean(key, value)?,
            "enable_ip_masquerade" => self.masquerade = boolean(key, value)?,
            "host_binding_ipv4" => self.host_binding = Some(parse(key, value)?),
            "gateway_mode_ipv4" => self.modes[0] = mode(key, value)?,
            "gateway_mode_ipv6" => self.modes[1] = mode(key, value)?,
            "inhibit_ipv4" => self.inhibit_ipv4 = boolean(key, value)?,
            "default_bridge" if boolean(key, value)? => {
                return Err(Error::new(Kind::Forbidden, "default bridge network already exists"));
            }
            "trusted_host_interfaces" => {
                return Err(Error::new(
                    Kind::NotImplemented,
                    format!("option {key} is not supported"),
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the kernel takes as the name of an interface.
pub(crate) fn is_interface_name(name: &str) -> bool {
    (1..16).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.bytes().any(|byte| byte == b'/' || byte == b':' || byte.is_ascii_whitespace())
}

fn mode(key: &str, value: &str) -> Result<GatewayMode> {
    match value {
        "" | "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "routed" => Ok(GatewayMode::Routed),
        "isolated" => Ok(GatewayMode::Isolated),
        _ => Err(Error::invalid(format!("unknown gateway mode {value} ({key})"))),
    }
}

/// As Go reads truth values.
fn boolean(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(key, value)),
    }
}

fn parse<T: std::str::FromStr>(key: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| invalid(key, value))
}

fn family(key: &str, value: &str, version: u8) -> Result<IpAddr> {
    let address: IpAddr = parse(key, value)?;
    if address.is_ipv4() == (version == 4) { Ok(address) } else { Err(invalid(key, value)) }
}

fn invalid(key: &str, value: &str) -> Error {
    Error::invalid(format!("invalid value {value:?} of option {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)], internal: bool) -> Result<BridgeOptions> {
        let map = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        BridgeOptions::read(&map.collect(), internal)
    }

    #[test]
    fn options_are_read_and_those_of_others_left_alone() {
        let options = read(
            &[
                ("com.docker.network.bridge.name", "br9"),
                ("com.docker.network.bridge.enable_icc", "false"),
                ("com.docker.network.driver.mtu", "1400"),
                ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
                ("com.example.mine", "x"),
            ],
            false,
        )
        .expect("valid");
        assert_eq!(options.interface.as_deref(), Some("br9"));
        assert_eq!((options.icc, options.masquerade, options.mtu), (false, true, Some(1400)));
        assert_eq!(options.modes, [GatewayMode::Nat, GatewayMode::Routed]);
    }

    #[test]
    fn nonsense_is_refused() {
        for (key, value) in [
            ("com.docker.network.bridge.name", "a/b"),
            ("com.docker.network.bridge.name", "sixteencharacter"),
            ("com.docker.network.bridge.enable_icc", "perhaps"),
            ("com.docker.network.driver.mtu", "big"),
            ("com.docker.network.bridge.gateway_mode_ipv4", "nosuch"),
            ("com.docker.network.bridge.trusted_host_interfaces", "eth0"),
            ("com.docker.network.host_ipv4", "::1"),
        ] {
            read(&[(key, value)], false).expect_err(value);
        }
        let isolated = [("com.docker.network.bridge.gateway_mode_ipv4", "isolated")];
        read(&isolated, false).expect_err("only internal");
        read(&isolated, true).expect("internal");
    }
}
