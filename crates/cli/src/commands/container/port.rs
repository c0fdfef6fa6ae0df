//! `davit port`

use std::collections::BTreeMap;

use clap::Args;
use davit_api::container::{InspectResponse, PortBinding};

use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::{Failure, Outcome};
use crate::flags::values;
use crate::output;
use crate::session::Session;

/// Flags of `davit port`.
#[derive(Debug, Args)]
pub(crate) struct Port {
    operands: Vec<String>,
}

impl Verb for Port {
    const ABOUT: &'static str = "List a container's published ports, or where one of them goes";
    const USAGE: &'static str = "CONTAINER [PRIVATE_PORT[/PROTO]]";
    const ARITY: Arity = Arity::Between(1, 2);

    async fn run(self, session: &Session) -> Outcome {
        let name = &self.operands[0];
        let container: InspectResponse =
            session.client.get(&path(name, "/json"), &Query::new()).await?;
        let ports = container.network_settings.ports;
        let lines = match self.operands.get(1) {
            Some(wanted) => one(name, wanted, &ports)?,
            None => all(&ports),
        };
        output::text(&lines.into_iter().map(|line| line + "\n").collect::<String>())
    }
}

type Ports = BTreeMap<String, Option<Vec<PortBinding>>>;

fn one(name: &str, wanted: &str, ports: &Ports) -> Outcome<Vec<String>> {
    let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    if let Err(reason) = values::small_unsigned(port) {
        return Err(Failure::new(format!("invalid port ({port}): {reason}")));
    }
    match ports.get(&format!("{port}/{protocol}")).and_then(Option::as_ref) {
        Some(bindings) => Ok(bindings.iter().map(target).collect()),
        None => Err(Failure::new(format!("Error: No public port '{wanted}' published for {name}"))),
    }
}

fn all(ports: &Ports) -> Vec<String> {
    let mut pairs: Vec<(u16, String)> = Vec::new();
    for (port, bindings) in ports {
        for binding in bindings.iter().flatten() {
            let number = port.split('/').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            pairs.push((number, format!("{port} -> {}", target(binding))));
        }
    }
    pairs.sort();
    pairs.into_iter().map(|(_, line)| line).collect()
}

/// `address:port`, an IPv6 address in brackets.
fn target(binding: &PortBinding) -> String {
    match binding.host_ip.contains(':') {
        true => format!("[{}]:{}", binding.host_ip, binding.host_port),
        false => format!("{}:{}", binding.host_ip, binding.host_port),
    }
}
