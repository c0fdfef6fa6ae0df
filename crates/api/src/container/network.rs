//! A container's networks: the endpoints asked for at create, and what came of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::host_config::PortMap;
use crate::lenient::null_as_default as null;

/// The endpoints a container is created with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkingConfig {
    /// Settings by network name.
    #[serde(deserialize_with = "null")]
    pub endpoints_config: BTreeMap<String, EndpointSettings>,
}

/// One endpoint: the wish (first five) and the result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointSettings {
    /// Addresses asked for.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<EndpointIpamConfig>,
    /// Links inside this network.
    pub links: Option<Vec<String>>,
    /// Further DNS names asked for.
    pub aliases: Option<Vec<String>>,
    /// Options of the network driver.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// The highest gives the default gateway.
    #[serde(deserialize_with = "null")]
    pub gw_priority: i64,
    /// Id of the network.
    #[serde(rename = "NetworkID", deserialize_with = "null")]
    pub network_id: String,
    /// Id of the endpoint.
    #[serde(rename = "EndpointID", deserialize_with = "null")]
    pub endpoint_id: String,
    /// IPv4 gateway.
    #[serde(deserialize_with = "null")]
    pub gateway: String,
    /// IPv4 address.
    #[serde(rename = "IPAddress", deserialize_with = "null")]
    pub ip_address: String,
    /// MAC address, asked for or given.
    #[serde(deserialize_with = "null")]
    pub mac_address: String,
    /// Length of the IPv4 prefix.
    #[serde(rename = "IPPrefixLen", deserialize_with = "null")]
    pub ip_prefix_len: u8,
    /// IPv6 gateway.
    #[serde(rename = "IPv6Gateway", deserialize_with = "null")]
    pub ipv6_gateway: String,
    /// IPv6 address.
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "null")]
    pub global_ipv6_address: String,
    /// Length of the IPv6 prefix.
    #[serde(rename = "GlobalIPv6PrefixLen", deserialize_with = "null")]
    pub global_ipv6_prefix_len: u8,
    /// Names the container answers to.
    #[serde(rename = "DNSNames")]
    pub dns_names: Option<Vec<String>>,
}

/// Addresses asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointIpamConfig {
    /// IPv4 address.
    #[serde(
        rename = "IPv4Address",
        deserialize_with = "null",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv4_address: String,
    /// IPv6 address.
    #[serde(
        rename = "IPv6Address",
        deserialize_with = "null",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv6_address: String,
    /// Link-local addresses.
    #[serde(
        rename = "LinkLocalIPs",
        deserialize_with = "null",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub link_local_ips: Vec<String>,
}

/// The networks of a container, as inspect shows them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Id of the network sandbox, empty when stopped.
    #[serde(rename = "SandboxID", deserialize_with = "null")]
    pub sandbox_id: String,
    /// Path of the network namespace, empty when stopped.
    #[serde(deserialize_with = "null")]
    pub sandbox_key: String,
    /// Ports as they are published now.
    #[serde(deserialize_with = "null")]
    pub ports: PortMap,
    /// Endpoints by network name.
    #[serde(deserialize_with = "null")]
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// The networks of a container, as the list shows them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkSettingsSummary {
    /// Endpoints by network name.
    #[serde(deserialize_with = "null")]
    pub networks: BTreeMap<String, EndpointSettings>,
}
