//! `davit ps`

use clap::Args;
use davit_api::container::{Port, Summary};
use davit_api::image::Platform;

use crate::catalogue::{Arity, Verb};
use crate::client::Query;
use crate::failure::Outcome;
use crate::flags::{filter, values};
use crate::output::format::Listing;
use crate::output::template::{Row, Value};
use crate::output::{self, units};
use crate::session::Session;

const LISTING: Listing = Listing {
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Mounts", "MOUNTS"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
    ],
    default: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
};

const LISTING_WITH_SIZE: Listing = Listing {
    default: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    ..LISTING
};

/// Flags of `davit ps`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show stopped containers as well
    #[arg(long, short)]
    all: bool,
    /// Show only some, such as name=web or status=exited
    #[arg(long, short, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print with a Go template, 'table TEMPLATE' or 'json'
    #[arg(long)]
    format: Option<String>,
    /// Show this many of the last created ones
    #[arg(long, short = 'n', value_name = "int", value_parser = values::integer, default_value = "-1")]
    last: i64,
    /// Show the last created one
    #[arg(long, short)]
    latest: bool,
    /// Don't cut ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
    /// Show sizes
    #[arg(long, short)]
    size: bool,
    operands: Vec<String>,
}

impl Verb for List {
    const ABOUT: &'static str = "List containers";
    const USAGE: &'static str = "[OPTIONS]";
    const ARITY: Arity = Arity::None;

    async fn run(self, session: &Session) -> Outcome {
        let limit = if self.latest { 1 } else { self.last };
        let with_size = self.size
            || self
                .format
                .as_deref()
                .is_some_and(|text| text.contains(".Size") || text.contains("json ."));
        let query = Query::new()
            .with_flag("all", self.all)
            .with_some("limit", (limit > 0).then(|| limit.to_string()))
            .with_flag("size", with_size);
        let query = filter::add(query, &filter::collect(&self.filter));
        let containers: Vec<Summary> = session.client.get("/containers/json", &query).await?;
        let rows = containers.iter().map(|container| row(container, !self.no_trunc)).collect();
        let listing = if self.size { LISTING_WITH_SIZE } else { LISTING };
        let format = self.format.as_deref().filter(|text| !text.is_empty());
        if self.quiet && format.is_some() {
            output::complain(
                "WARNING: Ignoring custom format, because both --format and --quiet are set.",
            );
            return listing.print(rows, None, true);
        }
        listing.print(rows, format, self.quiet)
    }
}

fn row(container: &Summary, cut: bool) -> Row {
    let id = if cut { units::short_id(&container.id) } else { &container.id };
    let command =
        if cut { units::ellipsis(&container.command, 20) } else { container.command.clone() };
    let labels: Vec<String> =
        container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let networks: Vec<&str> =
        container.network_settings.networks.keys().map(String::as_str).collect();
    let local = container.mounts.iter().filter(|mount| mount.driver == "local").count();
    let platform =
        container.image_manifest_descriptor.as_ref().and_then(|found| found.platform.as_ref());
    Row::new(vec![
        ("ID", id.into()),
        ("Names", names(container, cut).into()),
        ("Image", image(container, cut).into()),
        ("Command", format!("{command:?}").into()),
        ("CreatedAt", units::moment(container.created).into()),
        ("RunningFor", units::ago(container.created).into()),
        ("Ports", ports(&container.ports).into()),
        ("State", container.state.as_str().into()),
        ("Status", container.status.as_str().into()),
        ("Size", size(container).into()),
        ("Labels", labels.join(",").into()),
        ("LocalVolumes", local.to_string().into()),
        ("Mounts", mounts(container, cut).into()),
        ("Networks", networks.join(",").into()),
        ("Platform", platform.map_or(Value::Null, platform_value)),
    ])
    .with_labels(container.labels.clone())
}

/// The platform as an object, which is how Docker's JSON shows it.
fn platform_value(platform: &Platform) -> Value {
    let field = |name: &str, value: &str| (name.to_owned(), Value::from(value));
    Value::Map(vec![field("architecture", &platform.architecture), field("os", &platform.os)])
}

/// Names without their slash; when cut, without those that links gave.
fn names(container: &Summary, cut: bool) -> String {
    let bare = container.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    bare.filter(|name| !cut || !name.contains('/')).collect::<Vec<_>>().join(",")
}

fn image(container: &Summary, cut: bool) -> String {
    if container.image.is_empty() {
        return "<no image>".to_owned();
    }
    // The daemon names the image by its id when the name means something else by now.
    if cut && units::short_id(&container.image_id) == units::short_id(&container.image) {
        return units::short_id(&container.image_id).to_owned();
    }
    match davit_types::reference::Reference::parse(&container.image) {
        Ok(reference) if cut && reference.digest().is_some() && reference.tag().is_some() => {
            container.image.split('@').next().unwrap_or_default().to_owned()
        }
        _ => container.image.clone(),
    }
}

fn size(container: &Summary) -> String {
    let bytes = |size: Option<i64>| size.unwrap_or(0) as f64;
    let own = units::decimal_size(bytes(container.size_rw), 3);
    match container.size_root_fs {
        Some(whole) if whole > 0 => {
            format!("{own} (virtual {})", units::decimal_size(whole as f64, 3))
        }
        _ => own,
    }
}

fn mounts(container: &Summary, cut: bool) -> String {
    let names = container.mounts.iter().map(|mount| {
        let name = if mount.name.is_empty() { &mount.source } else { &mount.name };
        if cut { units::ellipsis(name, 15) } else { name.clone() }
    });
    names.collect::<Vec<_>>().join(",")
}

/// Ports in one text, neighbours with the same target joined to ranges; those that change their number come last.
fn ports(ports: &[Port]) -> String {
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by_key(|port| (port.private_port, &port.ip, port.public_port, &port.kind));
    let mut groups: Vec<Group> = Vec::new();
    let mut singles = Vec::new();
    for port in sorted {
        if !port.ip.is_empty() && port.public_port != port.private_port {
            singles.push(single(port));
            continue;
        }
        let number = port.private_port;
        let found = groups.iter_mut().find(|group| {
            group.ip == port.ip
                && group.kind == port.kind
                && u32::from(group.last) + 1 == u32::from(number)
        });
        match found {
            Some(group) => group.last = number,
            None => groups.push(Group {
                ip: port.ip.clone(),
                kind: port.kind.clone(),
                first: number,
                last: number,
            }),
        }
    }
    groups.sort_by(|a, b| (&a.ip, &a.kind, a.first).cmp(&(&b.ip, &b.kind, b.first)));
    groups.iter().map(Group::print).chain(singles).collect::<Vec<_>>().join(", ")
}

struct Group {
    ip: String,
    kind: String,
    first: u16,
    last: u16,
}

impl Group {
    fn print(&self) -> String {
        let range = if self.first == self.last {
            self.first.to_string()
        } else {
            format!("{}-{}", self.first, self.last)
        };
        match self.ip.as_str() {
            "" => format!("{range}/{}", self.kind),
            ip => format!("{}->{range}/{}", address(ip, &range), self.kind),
        }
    }
}

fn single(port: &Port) -> String {
    format!(
        "{}->{}/{}",
        address(&port.ip, &port.public_port.to_string()),
        port.private_port,
        port.kind
    )
}

fn address(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_joined_to_ranges() {
        let port = |ip: &str, private_port, public_port, kind: &str| Port {
            ip: ip.to_owned(),
            private_port,
            public_port,
            kind: kind.to_owned(),
        };
        let table = [
            (vec![port("", 80, 0, "tcp")], "80/tcp"),
            (
                vec![port("0.0.0.0", 80, 8080, "tcp"), port("::", 80, 8080, "tcp")],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (
                vec![port("0.0.0.0", 80, 80, "tcp"), port("0.0.0.0", 81, 81, "tcp")],
                "0.0.0.0:80-81->80-81/tcp",
            ),
            (
                vec![port("", 80, 0, "tcp"), port("", 81, 0, "tcp"), port("", 90, 0, "udp")],
                "80-81/tcp, 90/udp",
            ),
        ];
        for (given, expected) in table {
            assert_eq!(ports(&given), expected);
        }
    }
}
