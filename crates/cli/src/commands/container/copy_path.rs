//! Which name a copied file or directory gets where: the rules of `cp`, as Docker's CLI has them.

use std::path::{Component, Path};

use crate::failure::{Failure, Outcome};

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Side {
    /// A path in a container.
    Container(String, String),
    /// A path here, or `-`.
    Local(String),
}

impl Side {
    /// Reads `container:path` or a local path; an absolute or dotted one is local even with a colon.
    pub(super) fn parse(text: &str) -> Self {
        if !text.starts_with(['/', '.'])
            && let Some((container, path)) = text.split_once(':')
        {
            return Self::Container(container.to_owned(), path.to_owned());
        }
        Self::Local(text.to_owned())
    }
}

/// What is known of the target of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Nothing is there.
    Missing,
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// Where an archive is unpacked, and what its top entry is called there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// The directory to unpack in.
    pub(super) directory: String,
    /// The new name of the top entry; `None` leaves the contents of a directory without it.
    pub(super) name: Option<String>,
}

/// Decides where `source` goes.
pub(super) fn place(
    source: &str,
    source_is_directory: bool,
    target_path: &str,
    target: Target,
) -> Outcome<Placement> {
    let contents_only = source_is_directory && ends_with_dot(source);
    let base = base_name(source);
    match target {
        Target::Directory => Ok(Placement {
            directory: target_path.to_owned(),
            name: (!contents_only).then_some(base),
        }),
        Target::File if source_is_directory => Err(Failure::new("cannot copy directory")),
        Target::File if claims_directory(target_path) => Err(Failure::new("not a directory")),
        Target::Missing if !source_is_directory && claims_directory(target_path) => {
            Err(Failure::new("no such directory"))
        }
        Target::File | Target::Missing => {
            Ok(Placement { directory: parent(target_path), name: Some(base_name(target_path)) })
        }
    }
}

/// Whether the text means a directory: it ends with a slash or a dot.
pub(super) fn claims_directory(path: &str) -> bool {
    path.ends_with('/') || ends_with_dot(path)
}

fn ends_with_dot(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// The last part of a path, `/` for the root.
pub(super) fn base_name(path: &str) -> String {
    let last = Path::new(path).components().next_back();
    match last {
        Some(Component::Normal(name)) => name.to_string_lossy().into_owned(),
        Some(Component::RootDir) => "/".to_owned(),
        _ => ".".to_owned(),
    }
}

fn parent(path: &str) -> String {
    let clean = path.trim_end_matches('/');
    match clean.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
        None => ".".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_names_a_container_unless_the_path_is_plainly_local() {
        assert_eq!(Side::parse("web:/etc"), Side::Container("web".to_owned(), "/etc".to_owned()));
        assert_eq!(Side::parse("./a:b"), Side::Local("./a:b".to_owned()));
        assert_eq!(Side::parse("/a:b"), Side::Local("/a:b".to_owned()));
        assert_eq!(Side::parse("-"), Side::Local("-".to_owned()));
    }

    #[test]
    fn copies_are_placed_as_cp_does() {
        let table = [
            ("/src/f", false, "/dst", Target::Directory, Some(("/dst", Some("f")))),
            ("/src/f", false, "/dst", Target::Missing, Some(("/", Some("dst")))),
            ("/src/f", false, "/d/dst", Target::File, Some(("/d", Some("dst")))),
            ("/src/f", false, "/dst/", Target::Missing, None),
            ("/src/d", true, "/dst", Target::Directory, Some(("/dst", Some("d")))),
            ("/src/d/.", true, "/dst", Target::Directory, Some(("/dst", None))),
            ("/src/d", true, "/x/dst", Target::Missing, Some(("/x", Some("dst")))),
            ("/src/d", true, "/x/dst", Target::File, None),
            ("f", false, "new", Target::Missing, Some((".", Some("new")))),
        ];
        for (source, is_directory, target_path, target, expected) in table {
            let expected = expected.map(|(directory, name): (&str, Option<&str>)| Placement {
                directory: directory.to_owned(),
                name: name.map(str::to_owned),
            });
            assert_eq!(
                place(source, is_directory, target_path, target).ok(),
                expected,
                "{source} {target_path}"
            );
        }
    }
}
