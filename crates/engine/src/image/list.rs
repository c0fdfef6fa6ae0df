//! `GET /images/json`.

use davit_api::Filters;
use davit_api::filters::IMAGES;
use davit_api::image::ImageSummary;
use davit_image::Image;
use davit_types::{Error, Reference, Result};
use regex_lite::Regex;

use crate::container::until;
use crate::engine::Inner;
use crate::{Engine, time};

impl Engine {
    /// The images that pass the filters, newest first.
    ///
    /// # Errors
    /// An unknown filter, or a value that makes no sense.
    pub async fn list_images(&self, _all: bool, filters: &Filters) -> Result<Vec<ImageSummary>> {
        filters.check(IMAGES)?;
        let dangling = filters.truth("dangling", false)?;
        let patterns: Vec<Regex> = filters.get("reference").map(glob).collect::<Result<_>>()?;
        let inner = self.inner();
        let created = |key: &str| -> Result<Option<i64>> {
            let Some(name) = filters.get(key).last() else { return Ok(None) };
            Ok(Some(created(&inner.images.resolve(name)?)))
        };
        let (before, since, until) = (created("before")?, created("since")?, until(filters)?);
        let mut images = inner.images.list()?;
        images.retain(|image| {
            let labels = image.config.config.labels.clone().unwrap_or_default();
            let made = self::created(image);
            (!filters.contains("dangling") || image.repo_tags.is_empty() == dangling)
                && filters.match_labels(&labels)
                && before.is_none_or(|before| made < before)
                && since.is_none_or(|since| made > since)
                && until.is_none_or(|until| made < until)
        });
        if !patterns.is_empty() {
            for image in &mut images {
                image.repo_tags.retain(|tag| matches_reference(&patterns, tag));
                // The docker CLI makes a line of its own of a repository with a digest but no tag.
                let kept: Vec<_> = image.repo_tags.iter().map(|tag| repository(tag)).collect();
                image.repo_digests.retain(|digest| kept.contains(&repository(digest)));
            }
            images.retain(|image| !image.repo_tags.is_empty());
        }
        Ok(summaries(inner, &images))
    }
}

/// Images as lines of a list.
pub(crate) fn summaries(inner: &Inner, images: &[Image]) -> Vec<ImageSummary> {
    let users = super::users(inner);
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let summary = |image: &Image| ImageSummary {
        containers: users
            .iter()
            .filter(|user| user.image_id == image.id.as_str())
            .count()
            .try_into()
            .unwrap_or(i64::MAX),
        created: created(image) / 1_000_000_000,
        id: image.id.to_string(),
        labels: Some(image.config.config.labels.clone().unwrap_or_default()),
        parent_id: String::new(),
        descriptor: Some(super::descriptor(&image.target)),
        manifests: None,
        repo_digests: image.repo_digests.clone(),
        repo_tags: image.repo_tags.clone(),
        shared_size: -1,
        size: signed(image.size),
    };
    images.iter().map(summary).collect()
}

/// When an image was made, in nanoseconds; 0 when it does not say.
fn created(image: &Image) -> i64 {
    image
        .created
        .parse::<jiff::Timestamp>()
        .ok()
        .and_then(|timestamp| time::from_api(timestamp.into()))
        .unwrap_or(0)
}

/// `*`, `?` and `[...]` as in file names: they don't match a slash.
fn glob(pattern: &str) -> Result<Regex> {
    let mut text = String::from("^");
    for character in pattern.chars() {
        match character {
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            '[' | ']' => text.push(character),
            other => text.push_str(&regex_lite::escape(&other.to_string())),
        }
    }
    text.push('$');
    Regex::new(&text).map_err(|_| Error::invalid(format!("invalid filter 'reference={pattern}'")))
}

/// What stands before the tag or digest of a familiar name.
fn repository(name: &str) -> String {
    Reference::parse_familiar(name).map_or_else(|_| name.to_owned(), |name| name.name())
}

/// A pattern is held against the familiar name with and without its tag, and the full name.
fn matches_reference(patterns: &[Regex], tag: &str) -> bool {
    let mut names = vec![tag.to_owned()];
    if let Ok(reference) = Reference::parse_familiar(tag) {
        names.push(reference.familiar_name());
        names.push(reference.name());
        names.push(reference.to_string());
    }
    patterns.iter().any(|pattern| names.iter().any(|name| pattern.is_match(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_match_as_globs() {
        for (pattern, tag, matches) in [
            ("busy*", "busybox:latest", true),
            ("busybox", "busybox:latest", true),
            ("*:latest", "busybox:latest", true),
            ("docker.io/library/busybox", "busybox:latest", true),
            ("busy", "busybox:latest", false),
            ("*", "a/b:1", false),
            ("a/*", "a/b:1", true),
        ] {
            let pattern = glob(pattern).expect("valid");
            assert_eq!(
                matches_reference(std::slice::from_ref(&pattern), tag),
                matches,
                "{pattern} {tag}"
            );
        }
    }
}
