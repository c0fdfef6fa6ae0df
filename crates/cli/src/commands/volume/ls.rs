//! `davit volume ls`

use clap::Args;
use davit_api::volume::{Volume, VolumesListResponse};

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
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Availability", "AVAILABILITY"),
        ("Group", "GROUP"),
        ("Status", "STATUS"),
    ],
    default: "table {{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
};

/// Flags of `davit volume ls`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show only some, such as dangling=true
    #[arg(long, short, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
    operands: Vec<String>,
}

impl Verb for List {
    const ABOUT: &'static str = "List volumes";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        let query = filter::add(Query::new(), &filter::collect(&self.filter));
        let mut response: VolumesListResponse = session.client.get("/volumes", &query).await?;
        response.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        let rows = response.volumes.iter().map(row).collect();
        LISTING.print(rows, self.format.as_deref(), self.quiet)
    }
}

fn row(volume: &Volume) -> Row {
    let labels = volume.labels.clone().unwrap_or_default();
    let text: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let links = volume
        .usage_data
        .as_ref()
        .map_or_else(|| "N/A".to_owned(), |usage| usage.ref_count.to_string());
    let size = volume.usage_data.as_ref().filter(|usage| usage.size >= 0);
    let size =
        size.map_or_else(|| "N/A".to_owned(), |usage| units::decimal_size(usage.size as f64, 4));
    Row::new(vec![
        ("Name", volume.name.as_str().into()),
        ("Driver", volume.driver.as_str().into()),
        ("Scope", volume.scope.as_str().into()),
        ("Mountpoint", volume.mountpoint.as_str().into()),
        ("Labels", text.join(",").into()),
        ("Links", links.into()),
        ("Size", size.into()),
        ("Availability", "N/A".into()),
        ("Group", "N/A".into()),
        ("Status", "N/A".into()),
    ])
    .with_labels(labels)
}
