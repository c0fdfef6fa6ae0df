//! `davit network connect` and `davit network disconnect`

use clap::Args;
use davit_api::container::{EndpointIpamConfig, EndpointSettings};
use http::Method;
use serde::Serialize;

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::{Query, Request, read_all};
use crate::failure::Outcome;
use crate::flags::text::key_value;
use crate::flags::values;
use crate::session::Session;

/// Flags of `davit network connect`.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Additional name of the container in the network
    #[arg(long)]
    alias: Vec<String>,
    /// Option of the network's driver, key=value
    #[arg(long)]
    driver_opt: Vec<String>,
    /// Which network is the default gateway: the highest priority
    #[arg(long, value_name = "int", value_parser = values::integer)]
    gw_priority: Option<i64>,
    /// IPv4 address
    #[arg(long)]
    ip: Option<String>,
    /// IPv6 address
    #[arg(long)]
    ip6: Option<String>,
    /// Link to another container, name[:alias]
    #[arg(long, value_parser = values::link)]
    link: Vec<String>,
    /// Link-local address
    #[arg(long)]
    link_local_ip: Vec<String>,
    operands: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConnectRequest<'a> {
    container: &'a str,
    endpoint_config: EndpointSettings,
}

impl Verb for Connect {
    const ABOUT: &'static str = "Connect a container to a network";
    const USAGE: &'static str = "[OPTIONS] NETWORK CONTAINER";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        let body =
            ConnectRequest { container: &self.operands[1], endpoint_config: self.endpoint() };
        send(session, &path(&self.operands[0], "/connect"), &body).await
    }
}

impl Connect {
    fn endpoint(&self) -> EndpointSettings {
        let options = self.driver_opt.iter().map(|text| key_value(text)).collect();
        EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: self.ip.clone().unwrap_or_default(),
                ipv6_address: self.ip6.clone().unwrap_or_default(),
                link_local_ips: self.link_local_ip.clone(),
            }),
            links: (!self.link.is_empty()).then(|| self.link.clone()),
            aliases: (!self.alias.is_empty()).then(|| self.alias.clone()),
            driver_opts: (!self.driver_opt.is_empty()).then_some(options),
            gw_priority: self.gw_priority.unwrap_or(0),
            ..EndpointSettings::default()
        }
    }
}

/// Flags of `davit network disconnect`.
#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// Disconnect whatever state the container is in
    #[arg(long, short)]
    force: bool,
    operands: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DisconnectRequest<'a> {
    container: &'a str,
    force: bool,
}

impl Verb for Disconnect {
    const ABOUT: &'static str = "Disconnect a container from a network";
    const USAGE: &'static str = "[OPTIONS] NETWORK CONTAINER";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        let body = DisconnectRequest { container: &self.operands[1], force: self.force };
        send(session, &path(&self.operands[0], "/disconnect"), &body).await
    }
}

async fn send(session: &Session, path: &str, body: &impl Serialize) -> Outcome {
    let request = Request::new(Method::POST, path, &Query::new()).json(body)?;
    read_all(session.client.send(request).await?).await?;
    Ok(0)
}
