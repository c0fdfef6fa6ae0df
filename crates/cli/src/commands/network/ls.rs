//! `davit network ls`

use clap::Args;
use davit_api::network::Network;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::Outcome;
use crate::flags::filter;
use crate::output::format::Listing;
use crate::output::template::Row;
use crate::output::units;
use crate::session::Session;

const LISTING: Listing = Listing {
    titles: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    default: "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
};

/// Flags of `davit network ls`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show only some, such as driver=bridge
    #[arg(long, short, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Don't cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
    operands: Vec<String>,
}

impl Verb for List {
    const ABOUT: &'static str = "List networks";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        let query = filter::add(Query::new(), &filter::collect(&self.filter));
        let mut networks: Vec<Network> = session.client.get("/networks", &query).await?;
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        let rows = networks.iter().map(|network| row(network, !self.no_trunc)).collect();
        LISTING.print(rows, self.format.as_deref(), self.quiet)
    }
}

fn row(network: &Network, cut: bool) -> Row {
    let id = if cut { units::short_id(&network.id) } else { &network.id };
    let labels = network.labels.clone().unwrap_or_default();
    let text: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Row::new(vec![
        ("ID", id.into()),
        ("Name", network.name.as_str().into()),
        ("Driver", network.driver.as_str().into()),
        ("Scope", network.scope.as_str().into()),
        ("IPv4", network.enable_ipv4.to_string().into()),
        ("IPv6", network.enable_ipv6.to_string().into()),
        ("Internal", network.internal.to_string().into()),
        ("Labels", text.join(",").into()),
        ("CreatedAt", created_at(&network.created).into()),
    ])
    .with_labels(labels)
}

/// The time as Go prints it.
fn created_at(time: &davit_api::Time) -> String {
    time.to_string().replace('T', " ").replace('Z', " +0000 UTC")
}
