//! `davit network create`

use std::collections::BTreeMap;

use clap::Args;
use davit_api::network::{ConfigReference, Ipam, IpamConfig, NetworkCreateResponse};
use serde::Serialize;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::flags::text::key_value;
use crate::flags::values;
use crate::output;
use crate::session::Session;

/// Flags of `davit network create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Let containers be attached by hand
    #[arg(long)]
    attachable: bool,
    /// Address that containers don't get, name=address
    #[arg(long, value_name = "map")]
    aux_address: Vec<String>,
    /// Network to take the configuration from
    #[arg(long)]
    config_from: Option<String>,
    /// Make a configuration, not a network
    #[arg(long)]
    config_only: bool,
    /// Driver of the network
    #[arg(long, short, default_value = "bridge")]
    driver: String,
    /// Gateway of a subnet
    #[arg(long, value_delimiter = ',')]
    gateway: Vec<String>,
    /// Make the ingress network of a swarm
    #[arg(long)]
    ingress: bool,
    /// Keep the network away from the outside
    #[arg(long)]
    internal: bool,
    /// Part of a subnet that containers get addresses from
    #[arg(long, value_delimiter = ',')]
    ip_range: Vec<String>,
    /// Driver of the address management
    #[arg(long, default_value = "default")]
    ipam_driver: String,
    /// Option of the address management, key=value
    #[arg(long, value_name = "map")]
    ipam_opt: Vec<String>,
    /// Whether containers get IPv4 addresses
    #[arg(long, value_parser = values::boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Whether containers get IPv6 addresses
    #[arg(long, value_parser = values::boolean, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Label, key=value
    #[arg(long, value_parser = values::label)]
    label: Vec<String>,
    /// Option of the driver, key=value
    #[arg(long, short, value_name = "map")]
    opt: Vec<String>,
    /// Scope of the network
    #[arg(long)]
    scope: Option<String>,
    /// Subnet, such as 10.1.0.0/16
    #[arg(long, value_delimiter = ',')]
    subnet: Vec<String>,
    operands: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateRequest<'a> {
    name: &'a str,
    driver: &'a str,
    scope: &'a str,
    #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6", skip_serializing_if = "Option::is_none")]
    enable_ipv6: Option<bool>,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
    internal: bool,
    attachable: bool,
    ingress: bool,
    config_only: bool,
    config_from: Option<ConfigReference>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

impl Verb for Create {
    const ABOUT: &'static str = "Create a network";
    const USAGE: &'static str = "[OPTIONS] NETWORK";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, session: &Session) -> Outcome {
        let map =
            |texts: &[String]| texts.iter().map(|text| key_value(text)).collect::<BTreeMap<_, _>>();
        let request = CreateRequest {
            name: &self.operands[0],
            driver: &self.driver,
            scope: self.scope.as_deref().unwrap_or_default(),
            enable_ipv4: self.ipv4,
            enable_ipv6: self.ipv6,
            ipam: Ipam {
                driver: self.ipam_driver.clone(),
                options: Some(map(&self.ipam_opt)),
                config: Some(self.subnets()?),
            },
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            config_only: self.config_only,
            config_from: self.config_from.clone().map(|network| ConfigReference { network }),
            options: map(&self.opt),
            labels: map(&self.label),
        };
        let response: NetworkCreateResponse =
            session.client.post_json("/networks/create", &Query::new(), &request).await?;
        if !response.warning.is_empty() {
            output::complain(&format!("WARNING: {}", response.warning));
        }
        output::line(&response.id)
    }
}

impl Create {
    /// The n-th range and gateway belong to the n-th subnet, as long as there is one.
    fn subnets(&self) -> Outcome<Vec<IpamConfig>> {
        let most = self.ip_range.len().max(self.gateway.len());
        if most > self.subnet.len() {
            let flag = if self.gateway.len() > self.subnet.len() { "gateway" } else { "ip-range" };
            return Err(Failure::new(format!("every {flag} must have a corresponding subnet")));
        }
        let at = |list: &[String], index: usize| list.get(index).cloned().unwrap_or_default();
        let mut configs: Vec<IpamConfig> = (0..self.subnet.len())
            .map(|index| IpamConfig {
                subnet: at(&self.subnet, index),
                ip_range: at(&self.ip_range, index),
                gateway: at(&self.gateway, index),
                ..IpamConfig::default()
            })
            .collect();
        match configs.first_mut() {
            Some(first) => {
                first.auxiliary_addresses =
                    self.aux_address.iter().map(|text| key_value(text)).collect();
            }
            None if !self.aux_address.is_empty() => {
                return Err(Failure::new("no matching subnet for aux-address"));
            }
            None => {}
        }
        Ok(configs)
    }
}
