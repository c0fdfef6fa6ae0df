//! `davit images`

use clap::Args;
use davit_api::image::ImageSummary;
use davit_types::reference::Reference;

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
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("VirtualSize", "SIZE"),
    ],
    default: "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
};

const LISTING_WITH_DIGESTS: Listing = Listing {
    default: "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    ..LISTING
};

const NONE: &str = "<none>";

/// Flags of `davit images`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show intermediate images as well
    #[arg(long, short)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only some, such as dangling=true or reference=nginx
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
    const ABOUT: &'static str = "List images";
    const USAGE: &'static str = "[OPTIONS] [REPOSITORY[:TAG]]";
    const ARITY: Arity = Arity::AtMost(1);

    async fn run(self, session: &Session) -> Outcome {
        let mut filters = filter::collect(&self.filter);
        if let Some(name) = self.operands.first() {
            filters.add("reference", name.clone());
        }
        let query = filter::add(Query::new().with_flag("all", self.all), &filters);
        let mut images: Vec<ImageSummary> = session.client.get("/images/json", &query).await?;
        images.sort_by_key(|image| std::cmp::Reverse(image.created));
        let with_digests =
            self.digests || self.format.as_deref().is_some_and(|text| text.contains(".Digest"));
        let rows =
            images.iter().flat_map(|image| rows(image, !self.no_trunc, with_digests)).collect();
        let listing = if self.digests { LISTING_WITH_DIGESTS } else { LISTING };
        listing.print(rows, self.format.as_deref(), self.quiet)
    }
}

/// One row per tag; with digests, also per repository that only has a digest.
fn rows(image: &ImageSummary, cut: bool, with_digests: bool) -> Vec<Row> {
    let digest_of = |repository: &str| {
        let found = image.repo_digests.iter().filter_map(|text| text.split_once('@'));
        let mut same = found.filter(|(name, _)| *name == repository);
        same.next().map_or_else(|| NONE.to_owned(), |(_, digest)| digest.to_owned())
    };
    let tags = image.repo_tags.iter().filter_map(|text| Reference::parse(text).ok());
    let mut rows: Vec<Row> = tags
        .map(|reference| {
            let repository = reference.familiar_name();
            let digest = if with_digests { digest_of(&repository) } else { NONE.to_owned() };
            row(image, cut, &repository, reference.tag().unwrap_or(NONE), &digest)
        })
        .collect();
    if rows.is_empty() {
        let digests = image.repo_digests.iter().filter_map(|text| text.split_once('@'));
        rows = digests
            .filter(|(repository, _)| *repository != NONE)
            .map(|(repository, digest)| {
                row(image, cut, repository, NONE, if with_digests { digest } else { NONE })
            })
            .collect();
    }
    if rows.is_empty() {
        rows.push(row(image, cut, NONE, NONE, NONE));
    }
    rows
}

fn row(image: &ImageSummary, cut: bool, repository: &str, tag: &str, digest: &str) -> Row {
    let id = if cut { units::short_id(&image.id) } else { &image.id };
    let size = |bytes: i64| {
        if bytes < 0 { "N/A".to_owned() } else { units::decimal_size(bytes as f64, 3) }
    };
    let unique = if image.shared_size < 0 { -1 } else { image.size - image.shared_size };
    let containers =
        if image.containers < 0 { "N/A".to_owned() } else { image.containers.to_string() };
    Row::new(vec![
        ("ID", id.into()),
        ("Repository", repository.into()),
        ("Tag", tag.into()),
        ("Digest", digest.into()),
        ("CreatedSince", units::ago(image.created).into()),
        ("CreatedAt", units::moment(image.created).into()),
        ("Size", size(image.size).into()),
        ("Containers", containers.into()),
        ("SharedSize", size(image.shared_size).into()),
        ("UniqueSize", size(unique).into()),
        ("VirtualSize", units::decimal_size(image.size.max(0) as f64, 4).into()),
    ])
}
