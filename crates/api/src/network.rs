//! Networks: the list and inspect.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::container::EndpointSettings;
use crate::lenient::null_as_default as null;
use crate::time::Time;

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// Its id.
    #[serde(deserialize_with = "null")]
    pub id: String,
    /// When it was made.
    #[serde(deserialize_with = "null")]
    pub created: Time,
    /// `local`.
    #[serde(deserialize_with = "null")]
    pub scope: String,
    /// `bridge`, `host` or `null`.
    #[serde(deserialize_with = "null")]
    pub driver: String,
    /// Whether it has IPv4.
    #[serde(rename = "EnableIPv4", deserialize_with = "null")]
    pub enable_ipv4: bool,
    /// Whether it has IPv6.
    #[serde(rename = "EnableIPv6", deserialize_with = "null")]
    pub enable_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM", deserialize_with = "null")]
    pub ipam: Ipam,
    /// No way out.
    #[serde(deserialize_with = "null")]
    pub internal: bool,
    /// Swarm only.
    #[serde(deserialize_with = "null")]
    pub attachable: bool,
    /// Swarm only.
    #[serde(deserialize_with = "null")]
    pub ingress: bool,
    /// Where its configuration comes from.
    #[serde(deserialize_with = "null")]
    pub config_from: ConfigReference,
    /// Only a configuration for others.
    #[serde(deserialize_with = "null")]
    pub config_only: bool,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Endpoints by container id; only in inspect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<BTreeMap<String, EndpointResource>>,
    /// Use of its addresses; only in inspect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<NetworkStatus>,
}

/// The addresses of a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ipam {
    /// `default`.
    #[serde(deserialize_with = "null")]
    pub driver: String,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
    /// The subnets.
    pub config: Option<Vec<IpamConfig>>,
}

/// A subnet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamConfig {
    /// CIDR.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// Where addresses are given from.
    #[serde(
        rename = "IPRange",
        deserialize_with = "null",
        skip_serializing_if = "String::is_empty"
    )]
    pub ip_range: String,
    /// Address of the gateway.
    #[serde(deserialize_with = "null", skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Addresses not to give.
    #[serde(deserialize_with = "null", skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// A network whose configuration is used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigReference {
    /// Its name.
    #[serde(deserialize_with = "null")]
    pub network: String,
}

/// A container in a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointResource {
    /// Its name.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// Id of the endpoint.
    #[serde(rename = "EndpointID", deserialize_with = "null")]
    pub endpoint_id: String,
    /// MAC address.
    #[serde(deserialize_with = "null")]
    pub mac_address: String,
    /// IPv4 address and prefix.
    #[serde(rename = "IPv4Address", deserialize_with = "null")]
    pub ipv4_address: String,
    /// IPv6 address and prefix.
    #[serde(rename = "IPv6Address", deserialize_with = "null")]
    pub ipv6_address: String,
}

/// Use of a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkStatus {
    /// Use of its addresses.
    #[serde(rename = "IPAM", deserialize_with = "null")]
    pub ipam: IpamStatus,
}

/// Use of a network's addresses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamStatus {
    /// By subnet.
    #[serde(deserialize_with = "null")]
    pub subnets: BTreeMap<String, SubnetStatus>,
}

/// Use of a subnet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct SubnetStatus {
    /// Addresses in use or reserved.
    #[serde(rename = "IPsInUse", deserialize_with = "null")]
    pub ips_in_use: u64,
    /// Addresses left to give.
    #[serde(rename = "DynamicIPsAvailable", deserialize_with = "null")]
    pub dynamic_ips_available: u64,
}

/// Body of `POST /networks/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkCreateRequest {
    /// Its name.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// Its driver; empty for `bridge`.
    #[serde(deserialize_with = "null")]
    pub driver: String,
    /// `local`, or `swarm`.
    #[serde(deserialize_with = "null")]
    pub scope: String,
    /// Containers get IPv4 addresses, unless this says no.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: Option<bool>,
    /// Containers get IPv6 addresses, if this says so.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: Option<bool>,
    /// Its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Option<Ipam>,
    /// No way out.
    #[serde(deserialize_with = "null")]
    pub internal: bool,
    /// Swarm only.
    #[serde(deserialize_with = "null")]
    pub attachable: bool,
    /// Swarm only.
    #[serde(deserialize_with = "null")]
    pub ingress: bool,
    /// Only a configuration for others.
    #[serde(deserialize_with = "null")]
    pub config_only: bool,
    /// Where its configuration comes from.
    pub config_from: Option<ConfigReference>,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
}

/// Body of `POST /networks/{id}/connect`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkConnectRequest {
    /// Name or id of the container.
    #[serde(deserialize_with = "null")]
    pub container: String,
    /// What is wanted of the endpoint.
    pub endpoint_config: Option<EndpointSettings>,
}

/// Body of `POST /networks/{id}/disconnect`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkDisconnectRequest {
    /// Name or id of the container.
    #[serde(deserialize_with = "null")]
    pub container: String,
    /// Whatever state it is in.
    #[serde(deserialize_with = "null")]
    pub force: bool,
}

/// The network made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkCreateResponse {
    /// Its id.
    #[serde(deserialize_with = "null")]
    pub id: String,
    /// What could not be done as asked.
    #[serde(deserialize_with = "null")]
    pub warning: String,
}

/// Answer to `POST /networks/prune`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Eq)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworksPruneResponse {
    /// Names of the removed.
    pub networks_deleted: Option<Vec<String>>,
}
