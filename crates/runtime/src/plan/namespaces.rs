//! Which namespaces are made and which are entered.

use std::path::{Path, PathBuf};

use davit_sys::namespace;
use davit_types::oci::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::{Host, config};
use crate::Failure;

/// The namespaces of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Kinds made with the process (`CLONE_NEW*`), without the cgroup namespace.
    pub new: u64,
    /// A cgroup namespace is made once the process is in its cgroup, which becomes its root.
    pub new_cgroup: bool,
    /// A time namespace is made.
    pub new_time: bool,
    /// Namespaces to enter. In place of a mount namespace one is made as well, to build the root in.
    pub join: Vec<Join>,
    /// User ids of a new user namespace.
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of a new user namespace.
    pub gid_mappings: Vec<IdMapping>,
}

/// A namespace to enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Its kind, a `CLONE_NEW*` flag.
    pub kind: u64,
    /// A file that stands for it.
    pub path: PathBuf,
}

/// A range of ids in a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMapping {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

impl IdMapping {
    /// The lines that the kernel reads.
    pub(crate) fn table(mappings: &[Self]) -> String {
        let line = |m: &Self| format!("{} {} {}\n", m.container, m.host, m.size);
        mappings.iter().map(line).collect()
    }
}

impl Namespaces {
    pub(super) fn new(linux: &Linux, host: &Host) -> Result<Self, Failure> {
        let mut namespaces = Self::default();
        let mut seen = 0;
        for entry in linux.namespaces().iter().flatten() {
            let (kind, name) = kind(entry.typ());
            if seen & kind != 0 {
                return Err(config(name, format!("malformed spec file: duplicated ns {name:?}")));
            }
            seen |= kind;
            match entry.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
                Some(path) => namespaces.join.push(Join { kind, path: path.clone() }),
                None if kind == namespace::CGROUP => namespaces.new_cgroup = true,
                None if kind == namespace::TIME => namespaces.new_time = host.time_namespaces,
                None => namespaces.new |= kind,
            }
        }
        // With offsets it is made by the child, which sets them before it enters.
        let offsets = linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty());
        if namespaces.new_time && !offsets {
            namespaces.new |= namespace::TIME;
        }
        if !namespaces.has(namespace::MOUNT) {
            return Err(config("mount", "a container needs a mount namespace"));
        }
        namespaces.new |= namespace::MOUNT;
        namespaces.uid_mappings = mappings(linux.uid_mappings().as_deref());
        namespaces.gid_mappings = mappings(linux.gid_mappings().as_deref());
        let user = namespaces.new & namespace::USER != 0;
        let unmapped = namespaces.uid_mappings.is_empty() || namespaces.gid_mappings.is_empty();
        if user && unmapped {
            return Err(config("user", "a new user namespace needs uidMappings and gidMappings"));
        }
        if user && !namespaces.maps_root() {
            return Err(config("user", "the container's root (id 0) is not mapped"));
        }
        let tables = !namespaces.uid_mappings.is_empty() || !namespaces.gid_mappings.is_empty();
        if tables && !namespaces.has(namespace::USER) {
            let text = "user namespace mappings specified, but user namespace isn't enabled";
            return Err(config("user", text));
        }
        Ok(namespaces)
    }

    fn maps_root(&self) -> bool {
        let root = |table: &[IdMapping]| table.iter().any(|map| map.container == 0 && map.size > 0);
        root(&self.uid_mappings) && root(&self.gid_mappings)
    }

    /// The user namespace that is entered.
    pub(crate) fn joined_user(&self) -> Option<&Path> {
        self.join.iter().find(|join| join.kind == namespace::USER).map(|join| join.path.as_path())
    }

    /// The mount namespace that is entered.
    pub(crate) fn joins_mounts(&self) -> bool {
        self.join.iter().any(|join| join.kind == namespace::MOUNT)
    }

    /// Whether the container has a namespace of this kind apart from the caller's.
    pub fn has(&self, kind: u64) -> bool {
        self.new & kind != 0 || self.join.iter().any(|join| join.kind == kind)
    }
}

fn kind(kind: LinuxNamespaceType) -> (u64, &'static str) {
    match kind {
        LinuxNamespaceType::Mount => (namespace::MOUNT, "mount"),
        LinuxNamespaceType::Cgroup => (namespace::CGROUP, "cgroup"),
        LinuxNamespaceType::Uts => (namespace::UTS, "uts"),
        LinuxNamespaceType::Ipc => (namespace::IPC, "ipc"),
        LinuxNamespaceType::User => (namespace::USER, "user"),
        LinuxNamespaceType::Pid => (namespace::PID, "pid"),
        LinuxNamespaceType::Network => (namespace::NETWORK, "network"),
        LinuxNamespaceType::Time => (namespace::TIME, "time"),
    }
}

pub(super) fn mappings(list: Option<&[LinuxIdMapping]>) -> Vec<IdMapping> {
    let mapping = |mapping: &LinuxIdMapping| IdMapping {
        container: mapping.container_id(),
        host: mapping.host_id(),
        size: mapping.size(),
    };
    list.unwrap_or_default().iter().map(mapping).collect()
}
