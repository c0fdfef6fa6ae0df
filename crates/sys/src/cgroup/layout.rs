//! Which cgroup hierarchies this host has, and where.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers (`cpu`, `cpuacct`), or `name=systemd` for one without.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
}

/// The cgroup hierarchies of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Only version 1.
    V1(Vec<Hierarchy>),
    /// Version 1 with a unified hierarchy beside it that has no controllers.
    Hybrid {
        /// The hierarchies with controllers.
        v1: Vec<Hierarchy>,
        /// Where the unified one is mounted.
        unified: PathBuf,
    },
    /// Only version 2, mounted here.
    V2(PathBuf),
}

impl Layout {
    /// Reads it from `/proc/self/mountinfo`.
    ///
    /// # Errors
    /// `NotFound` when no cgroup file system is mounted.
    pub fn detect() -> io::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo")?).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted")
        })
    }

    /// As [`Layout::detect`], but read once in the life of the process: hosts don't change it, and the
    /// table of mounts may be long.
    ///
    /// # Errors
    /// As [`Layout::detect`].
    pub fn known() -> io::Result<&'static Self> {
        static KNOWN: OnceLock<Layout> = OnceLock::new();
        match KNOWN.get() {
            Some(layout) => Ok(layout),
            None => Self::detect().map(|layout| KNOWN.get_or_init(|| layout)),
        }
    }

    /// Whether the unified hierarchy has the controllers.
    pub fn is_v2(&self) -> bool {
        matches!(self, Self::V2(_))
    }

    /// The version 1 hierarchies.
    pub fn v1(&self) -> &[Hierarchy] {
        match self {
            Self::V1(v1) | Self::Hybrid { v1, .. } => v1,
            Self::V2(_) => &[],
        }
    }

    /// Mount point of the unified hierarchy.
    pub fn unified(&self) -> Option<&Path> {
        match self {
            Self::V1(_) => None,
            Self::Hybrid { unified, .. } => Some(unified),
            Self::V2(root) => Some(root),
        }
    }

    fn parse(mountinfo: &str) -> Option<Self> {
        let mut v1: Vec<Hierarchy> = Vec::new();
        let mut unified = None;
        for line in mountinfo.lines() {
            let (left, right) = line.split_once(" - ")?;
            let mount = PathBuf::from(left.split(' ').nth(4)?);
            let mut right = right.split(' ');
            let (kind, options) = (right.next()?, right.nth(1)?);
            match kind {
                "cgroup2" if unified.is_none() => unified = Some(mount),
                "cgroup" => {
                    let controllers = controllers(options);
                    // A hierarchy bound to a second place counts once.
                    if !v1.iter().any(|known| known.controllers == controllers) {
                        v1.push(Hierarchy { controllers, mount });
                    }
                }
                _ => {}
            }
        }
        match (v1.is_empty(), unified) {
            (true, unified) => unified.map(Self::V2),
            (false, None) => Some(Self::V1(v1)),
            (false, Some(unified)) => Some(Self::Hybrid { v1, unified }),
        }
    }
}

/// The controllers among the super block options.
fn controllers(options: &str) -> Vec<String> {
    const NO_CONTROLLER: &[&str] =
        &["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode", "favordynmods"];
    options
        .split(',')
        .filter(|option| !NO_CONTROLLER.contains(option) && !option.starts_with("release_agent="))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_layouts_are_told_apart() {
        let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                  33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let other = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n";

        let layout = Layout::parse(&format!("{other}{v1}")).expect("a layout");
        assert_eq!(layout.v1()[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(layout.v1()[1].controllers, ["name=systemd"]);
        assert!(matches!(layout, Layout::V1(_)));
        let layout = Layout::parse(&format!("{other}{v1}{v2}")).expect("a layout");
        assert_eq!(layout.unified(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert!(matches!(layout, Layout::Hybrid { .. }));
        assert!(Layout::parse(v2).expect("a layout").is_v2());
        assert_eq!(Layout::parse(other), None);
    }
}
