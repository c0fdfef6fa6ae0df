//! Networks, addresses, names, DNS and published ports.

use std::collections::BTreeMap;

use clap::Args;
use davit_api::container::{
    Config, EndpointIpamConfig, EndpointSettings, HostConfig, NetworkingConfig, PortMap,
};
use davit_api::lenient::Empty;

use super::ports;
use crate::failure::Failure;
use crate::flags::text::{comma_separated, key_value};
use crate::flags::values;

#[derive(Debug, Args)]
pub(super) struct NetworkFlags {
    /// Additional line of /etc/hosts, name:address
    #[arg(long, value_parser = values::extra_host)]
    add_host: Vec<String>,
    /// DNS server
    #[arg(long, value_parser = values::ip)]
    dns: Vec<String>,
    /// Option of the DNS resolver
    #[arg(long, alias = "dns-opt")]
    dns_option: Vec<String>,
    /// Domain to search names in
    #[arg(long, value_parser = values::dns_search)]
    dns_search: Vec<String>,
    /// Port or range that the container listens on
    #[arg(long)]
    expose: Vec<String>,
    /// IPv4 address in the network
    #[arg(long)]
    ip: Option<String>,
    /// IPv6 address in the network
    #[arg(long)]
    ip6: Option<String>,
    /// Link to another container, name[:alias]
    #[arg(long, value_parser = values::link)]
    link: Vec<String>,
    /// Link-local address in the network
    #[arg(long)]
    link_local_ip: Vec<String>,
    /// MAC address, such as 02:42:ac:11:00:02
    #[arg(long)]
    mac_address: Option<String>,
    /// Network to connect to, a name or name=...,alias=...,ip=...
    #[arg(long, alias = "net", value_name = "network", value_parser = attachment)]
    network: Vec<Attachment>,
    /// Additional name in the network
    #[arg(long, alias = "net-alias")]
    network_alias: Vec<String>,
    /// Publish a port or range, [[address:]host:]container[/protocol]
    #[arg(long, short)]
    publish: Vec<String>,
    /// Publish every exposed port on a free port of the host
    #[arg(long, short = 'P')]
    publish_all: bool,
}

/// One `--network`.
#[derive(Debug, Clone, Default, PartialEq)]
struct Attachment {
    name: String,
    endpoint: EndpointSettings,
}

impl NetworkFlags {
    /// Ports, into both halves of the configuration.
    pub(super) fn apply_ports(
        &self,
        config: &mut Config,
        host_config: &mut HostConfig,
    ) -> Result<(), Failure> {
        let mut bindings = PortMap::new();
        for text in &self.publish {
            for (port, binding) in ports::publish(text).map_err(Failure::new)? {
                config.exposed_ports.insert(port.clone(), Empty);
                ports::bind(&mut bindings, port, binding);
            }
        }
        for text in &self.expose {
            for port in ports::expose(text).map_err(Failure::new)? {
                config.exposed_ports.insert(port, Empty);
            }
        }
        host_config.port_bindings = Some(bindings);
        host_config.publish_all_ports = self.publish_all;
        Ok(())
    }

    /// Networks and names; returns the endpoints.
    pub(super) fn apply(&self, host_config: &mut HostConfig) -> Result<NetworkingConfig, Failure> {
        host_config.dns = Some(self.dns.clone());
        host_config.dns_options = Some(self.dns_option.clone());
        host_config.dns_search = Some(self.dns_search.clone());
        host_config.extra_hosts = (!self.add_host.is_empty()).then(|| self.add_host.clone());
        host_config.links = (!self.link.is_empty()).then(|| self.link.clone());
        if let Some(mac) = self.mac_address.as_deref().filter(|mac| !is_mac(mac)) {
            return Err(Failure::new(format!("{mac} is not a valid mac address")));
        }
        let mut attachments = match self.network.as_slice() {
            [] => vec![Attachment { name: "default".to_owned(), ..Attachment::default() }],
            given => given.to_vec(),
        };
        if attachments.iter().any(|attachment| attachment.name.is_empty()) {
            return Err(Failure::new("no name set for network"));
        }
        let has_other_kind =
            attachments.iter().any(|attachment| !is_user_defined(&attachment.name));
        if attachments.len() > 1 && has_other_kind {
            return Err(Failure::new(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ));
        }
        self.fill_first(&mut attachments[0])?;
        host_config.network_mode = attachments[0].name.clone();
        self.endpoints(attachments)
    }

    /// The flags that stand outside of `--network` belong to the first one.
    fn fill_first(&self, first: &mut Attachment) -> Result<(), Failure> {
        let is_user_defined = is_user_defined(&first.name);
        if !self.network_alias.is_empty() {
            if !is_user_defined {
                return Err(Failure::new(
                    "network-scoped aliases are only supported for user-defined networks",
                ));
            }
            first
                .endpoint
                .aliases
                .get_or_insert_with(Vec::new)
                .extend(self.network_alias.iter().cloned());
        }
        if !self.link.is_empty() && is_user_defined {
            first.endpoint.links.get_or_insert_with(Vec::new).extend(self.link.iter().cloned());
        }
        if self.ip.is_some() || self.ip6.is_some() || !self.link_local_ip.is_empty() {
            let ipam = first.endpoint.ipam_config.get_or_insert_with(EndpointIpamConfig::default);
            if let Some(ip) = &self.ip {
                ipam.ipv4_address.clone_from(ip);
            }
            if let Some(ip) = &self.ip6 {
                ipam.ipv6_address.clone_from(ip);
            }
            ipam.link_local_ips.extend(self.link_local_ip.iter().cloned());
        }
        if let Some(mac) = &self.mac_address {
            first.endpoint.mac_address.clone_from(mac);
        }
        Ok(())
    }

    fn endpoints(&self, attachments: Vec<Attachment>) -> Result<NetworkingConfig, Failure> {
        let mut endpoints_config = BTreeMap::new();
        for Attachment { name, endpoint } in attachments {
            if endpoints_config.contains_key(&name) {
                return Err(Failure::new(format!("network {name:?} is specified multiple times")));
            }
            // A mode such as `host` has no endpoint unless something is said about it.
            let is_mode = !self.network.is_empty() && !is_user_defined(&name);
            if !is_mode || endpoint != EndpointSettings::default() {
                endpoints_config.insert(name, endpoint);
            }
        }
        Ok(NetworkingConfig { endpoints_config })
    }
}

fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none") && !name.starts_with("container:")
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    matches!(parts.len(), 6 | 8 | 20)
        && parts
            .iter()
            .all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A name, or `name=...` with more about the endpoint.
fn attachment(text: &str) -> Result<Attachment, String> {
    let mut attachment = Attachment::default();
    if !text.contains('=') {
        text.clone_into(&mut attachment.name);
        return Ok(attachment);
    }
    let endpoint = &mut attachment.endpoint;
    for field in comma_separated(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim().to_lowercase(), value.trim().to_owned()),
            None => return Err(format!("invalid field {field}")),
        };
        match key.as_str() {
            "name" => attachment.name = value,
            "alias" => endpoint.aliases.get_or_insert_with(Vec::new).push(value),
            "ip" => endpoint.ipam_config.get_or_insert_with(Default::default).ipv4_address = value,
            "ip6" => endpoint.ipam_config.get_or_insert_with(Default::default).ipv6_address = value,
            "link-local-ip" => {
                endpoint
                    .ipam_config
                    .get_or_insert_with(Default::default)
                    .link_local_ips
                    .push(value);
            }
            "mac-address" if is_mac(&value) => endpoint.mac_address = value,
            "mac-address" => return Err(format!("{value} is not a valid mac address")),
            "driver-opt" => {
                let (key, value) = key_value(&value);
                endpoint.driver_opts.get_or_insert_with(BTreeMap::new).insert(key, value);
            }
            "gw-priority" => {
                endpoint.gw_priority =
                    value.parse().map_err(|_| format!("invalid gw-priority: {value}"))?;
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if attachment.name.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(attachment)
}
