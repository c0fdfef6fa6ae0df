//! `davit system df`

use clap::Args;
use davit_api::container::Summary;
use davit_api::image::ImageSummary;
use davit_api::system::DiskUsage as Usage;
use davit_api::volume::Volume;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::Outcome;
use crate::output::format::Listing;
use crate::output::template::Row;
use crate::output::{self, units};
use crate::session::Session;

const LISTING: Listing = Listing {
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    default: "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
};

/// Flags of `davit system df`.
#[derive(Debug, Args)]
pub(crate) struct DiskUsage {
    /// Print with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// List every object
    #[arg(long, short)]
    verbose: bool,
    operands: Vec<String>,
}

impl Verb for DiskUsage {
    const ABOUT: &'static str = "Show what takes up space";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        let usage: Usage = session.client.get("/system/df", &Query::new()).await?;
        if self.verbose {
            return verbose(&usage);
        }
        let rows = vec![
            images(&usage),
            containers(&usage.containers),
            volumes(&usage.volumes),
            build_cache(),
        ];
        LISTING.print(rows, self.format.as_deref(), false)
    }
}

fn row(kind: &str, total: usize, active: usize, size: i64, reclaimable: i64) -> Row {
    let share = match size {
        1.. => format!(" ({}%)", reclaimable * 100 / size),
        _ => String::new(),
    };
    let bytes = |size: i64| units::decimal_size(size.max(0) as f64, 4);
    Row::new(vec![
        ("Type", kind.into()),
        ("TotalCount", total.to_string().into()),
        ("Active", active.to_string().into()),
        ("Size", bytes(size).into()),
        ("Reclaimable", (bytes(reclaimable) + &share).into()),
    ])
}

fn images(usage: &Usage) -> Row {
    let active: Vec<&ImageSummary> =
        usage.images.iter().filter(|image| image.containers > 0).collect();
    let used: i64 = active.iter().map(|image| image.size - image.shared_size.max(0)).sum();
    row(
        "Images",
        usage.images.len(),
        active.len(),
        usage.layers_size,
        (usage.layers_size - used).max(0),
    )
}

fn is_active(container: &Summary) -> bool {
    matches!(container.state.as_str(), "running" | "paused" | "restarting")
}

fn containers(all: &[Summary]) -> Row {
    let size = |container: &Summary| container.size_rw.unwrap_or(0);
    let active = all.iter().filter(|container| is_active(container)).count();
    let reclaimable = all.iter().filter(|container| !is_active(container)).map(size).sum();
    row("Containers", all.len(), active, all.iter().map(size).sum(), reclaimable)
}

fn volumes(all: &[Volume]) -> Row {
    let usage = |volume: &Volume| {
        volume.usage_data.as_ref().map_or((0, 0), |u| (u.ref_count, u.size.max(0)))
    };
    let active = all.iter().filter(|volume| usage(volume).0 > 0).count();
    let unused =
        all.iter().filter(|volume| usage(volume).0 <= 0).map(|volume| usage(volume).1).sum();
    row("Local Volumes", all.len(), active, all.iter().map(|volume| usage(volume).1).sum(), unused)
}

fn build_cache() -> Row {
    row("Build Cache", 0, 0, 0, 0)
}

/// Every object on its own, in four tables.
fn verbose(usage: &Usage) -> Outcome {
    print_table("Images space usage:", &image_table(&usage.images))?;
    print_table("Containers space usage:", &container_table(&usage.containers))?;
    print_table("Local Volumes space usage:", &volume_table(&usage.volumes))?;
    let cache = "CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED\n";
    output::text(&format!("Build cache usage: 0B\n\n{}", output::format::align(cache)?))
}

fn print_table(title: &str, table: &str) -> Outcome {
    output::text(&format!("{title}\n\n{}\n", output::format::align(table)?))
}

fn bytes(size: i64, digits: usize) -> String {
    units::decimal_size(size.max(0) as f64, digits)
}

fn image_table(images: &[ImageSummary]) -> String {
    let title = "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS\n";
    images.iter().fold(title.to_owned(), |text, image| {
        let name = image.repo_tags.first().and_then(|name| name.rsplit_once(':'));
        let (repository, tag) = name.unwrap_or(("<none>", "<none>"));
        let shared = image.shared_size.max(0);
        text + &format!(
            "{repository}\t{tag}\t{}\t{}\t{}\t{}\t{}\t{}\n",
            units::short_id(&image.id),
            units::ago(image.created),
            bytes(image.size, 3),
            bytes(shared, 4),
            bytes(image.size - shared, 4),
            image.containers.max(0)
        )
    })
}

fn container_table(containers: &[Summary]) -> String {
    let title = "CONTAINER ID\tIMAGE\tCOMMAND\tLOCAL VOLUMES\tSIZE\tCREATED\tSTATUS\tNAMES\n";
    containers.iter().fold(title.to_owned(), |text, container| {
        let name = container.names.first().map_or("", |name| name.trim_start_matches('/'));
        let volumes = container.mounts.iter().filter(|mount| mount.driver == "local").count();
        text + &format!(
            "{}\t{}\t{:?}\t{volumes}\t{}\t{}\t{}\t{name}\n",
            units::short_id(&container.id),
            container.image,
            units::ellipsis(&container.command, 20),
            bytes(container.size_rw.unwrap_or(0), 3),
            units::ago(container.created),
            container.status
        )
    })
}

fn volume_table(volumes: &[Volume]) -> String {
    volumes.iter().fold("VOLUME NAME\tLINKS\tSIZE\n".to_owned(), |text, volume| {
        let usage = volume.usage_data.as_ref();
        let (links, size) = usage.map_or((0, 0), |usage| (usage.ref_count, usage.size));
        text + &format!("{}\t{links}\t{}\n", volume.name, bytes(size, 4))
    })
}
