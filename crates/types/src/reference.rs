//! Image references: `[registry/]repository[:tag][@digest]`, with Docker's normalisation.
//!
//! `nginx` means `docker.io/library/nginx:latest`. The first component is a registry only if it
//! holds a dot or a colon, is `localhost`, or has upper-case letters, so `foo/bar` is on Docker Hub.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The registry meant when none is named.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag meant when neither tag nor digest is given.
pub const DEFAULT_TAG: &str = "latest";

const LEGACY_DEFAULT_REGISTRY: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const MAXIMUM_NAME: usize = 255;
const MAXIMUM_TAG: usize = 128;

/// A normalised image reference.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses what a user types and adds the default tag when there is neither tag nor digest.
    ///
    /// # Errors
    /// Text that is no reference, with Docker's wording.
    pub fn parse_familiar(text: &str) -> Result<Self> {
        let mut reference = Self::parse(text)?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(DEFAULT_TAG.to_owned());
        }
        Ok(reference)
    }

    /// Parses what a user types; no tag stays no tag.
    ///
    /// # Errors
    /// Text that is no reference, with Docker's wording.
    pub fn parse(text: &str) -> Result<Self> {
        if is_image_id(text) {
            let message = format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            );
            return Err(Error::invalid(message));
        }
        let (registry, rest) = split_registry(text);
        let name = rest.split_once(':').map_or(rest.as_str(), |(name, _)| name);
        if name.chars().any(char::is_uppercase) {
            let message =
                format!("invalid reference format: repository name ({name}) must be lowercase");
            return Err(Error::invalid(message));
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest.as_str(), None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let fits = is_registry(&registry) && is_repository(repository) && tag.is_none_or(is_tag);
        if !fits || digest.is_some_and(|digest| !looks_like_digest(digest)) {
            return Err(Error::invalid("invalid reference format"));
        }
        if repository.len() > MAXIMUM_NAME {
            return Err(Error::invalid("repository name must not be more than 255 characters"));
        }
        Ok(Self {
            registry,
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(Digest::parse).transpose()?,
        })
    }

    /// The registry's host, perhaps with a port: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path inside the registry: `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The shortest text that means the same: `nginx:latest`.
    pub fn familiar(&self) -> String {
        self.with_suffixes(self.familiar_name())
    }

    /// The shortest text for registry and repository: `nginx`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        let short = self.repository.strip_prefix(OFFICIAL_PREFIX);
        // `library/a/b` on Docker Hub can't be shortened: `a/b` is another repository.
        short.filter(|short| !short.contains('/')).unwrap_or(&self.repository).to_owned()
    }

    /// The same repository under `tag`, without a digest.
    ///
    /// # Errors
    /// A tag outside the grammar.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        if !is_tag(tag) {
            return Err(Error::invalid("invalid tag format"));
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository at `digest`, without a tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    fn with_suffixes(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest.as_str());
        }
        name
    }
}

/// The full text: `docker.io/library/nginx:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffixes(self.name()))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse_familiar(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

fn is_image_id(text: &str) -> bool {
    text.len() == 64
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn split_registry(text: &str) -> (String, String) {
    let names_registry = |first: &str| {
        first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase)
    };
    let (registry, rest) = match text.split_once('/') {
        Some((LEGACY_DEFAULT_REGISTRY, rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest)) if names_registry(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, text),
    };
    if registry == DEFAULT_REGISTRY && !rest.contains('/') && !rest.is_empty() {
        return (registry.to_owned(), format!("{OFFICIAL_PREFIX}{rest}"));
    }
    (registry.to_owned(), rest.to_owned())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let is_address = address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
            if address.is_empty() || !is_address || (!rest.is_empty() && !rest.starts_with(':')) {
                return false;
            }
            return rest.is_empty() || is_port(&rest[1..]);
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    host.split('.').all(is_domain_component) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_domain_component(text: &str) -> bool {
    let inside = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    inside && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-')
}

fn is_repository(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// Runs of lower-case letters and digits, parted by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let starts_and_ends_plain =
        bytes.first().copied().is_some_and(is_plain) && bytes.last().copied().is_some_and(is_plain);
    starts_and_ends_plain
        && text
            .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
            .all(|separator| {
                matches!(separator, "" | "." | "_" | "__")
                    || separator.bytes().all(|byte| byte == b'-')
            })
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAXIMUM_TAG
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

fn looks_like_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let is_algorithm = !algorithm.is_empty()
        && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte))
        && algorithm.as_bytes()[0].is_ascii_alphabetic();
    is_algorithm && digits.len() >= 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "5989e1f640969e1a455ba329b46011fb45f870da76f8ef1153167f0bbf5fd457";

    #[test]
    fn familiar_names_are_normalised() {
        for (text, full, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("foo/bar", "docker.io/foo/bar:latest", "foo/bar:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x:t", "localhost:5000/x:t", "localhost:5000/x:t"),
            ("127.0.0.1:5055/bb", "127.0.0.1:5055/bb:latest", "127.0.0.1:5055/bb:latest"),
            ("[::1]:5000/a/b:T", "[::1]:5000/a/b:T", "[::1]:5000/a/b:T"),
            ("gcr.io/a__b/c--d.e:_t", "gcr.io/a__b/c--d.e:_t", "gcr.io/a__b/c--d.e:_t"),
            ("UPPER/case:x", "UPPER/case:x", "UPPER/case:x"),
            ("nginx:5000", "docker.io/library/nginx:5000", "nginx:5000"),
        ] {
            let reference = Reference::parse_familiar(text).expect(text);
            assert_eq!(
                (reference.to_string().as_str(), reference.familiar().as_str()),
                (full, familiar)
            );
            assert_eq!(
                Reference::parse_familiar(&reference.familiar()).expect("familiar form"),
                reference
            );
        }
    }

    #[test]
    fn a_digest_takes_the_place_of_the_default_tag() {
        let reference =
            Reference::parse_familiar(&format!("nginx@sha256:{HEX}")).expect("digest form");
        assert_eq!((reference.tag(), reference.digest().map(Digest::hex)), (None, Some(HEX)));
        let both =
            Reference::parse_familiar(&format!("a.b/c:t@sha256:{HEX}")).expect("tag and digest");
        assert_eq!((both.tag(), both.digest().is_some()), (Some("t"), true));
        assert_eq!(both.with_tag("u").expect("a tag").familiar(), "a.b/c:u");
        assert_eq!(both.with_digest(Digest::from_sha256([0; 32])).tag(), None);
    }

    #[test]
    fn bad_references_say_what_docker_says() {
        let upper = "invalid reference format: repository name (library/Foo) must be lowercase";
        let long_tag = format!("a:{}", "t".repeat(129));
        let id =
            format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings");
        for (text, message) in [
            ("Foo", upper),
            ("", "invalid reference format"),
            ("nginx:", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("a..b/c", "invalid reference format"),
            ("nginx:-t", "invalid reference format"),
            (&long_tag, "invalid reference format"),
            ("nginx@sha256:abc", "invalid reference format"),
            ("nginx @x", "invalid reference format"),
            ("host:port/x", "invalid reference format"),
            (HEX, &id),
        ] {
            assert_eq!(
                Reference::parse_familiar(text).expect_err(text).message(),
                message,
                "{text:?}"
            );
        }
        let short = format!("nginx@sha256:{}", &HEX[..40]);
        assert_eq!(
            Reference::parse(&short).expect_err("short").message(),
            "invalid checksum digest length"
        );
    }
}
