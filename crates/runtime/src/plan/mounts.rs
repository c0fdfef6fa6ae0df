//! Mounts and their options.

use std::path::{Path, PathBuf};

use davit_sys::cgroup::{Cgroup, Hierarchy};
use davit_sys::mount::MountAttr;
use davit_types::oci::runtime::Mount as SpecMount;

use super::{CgroupPlan, Host, clean, config};
use crate::Failure;

const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
/// The field of the three access time modes, of which relatime is 0.
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// A mount to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, in the container; absolute and clean.
    pub destination: PathBuf,
    /// What.
    pub kind: MountKind,
    /// `MOUNT_ATTR_*` for this mount alone.
    pub attr: MountAttr,
    /// `MOUNT_ATTR_*` for everything below it, too.
    pub recursive_attr: MountAttr,
    /// How mounts go in and out.
    pub propagation: Vec<Propagation>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Which.
        source: PathBuf,
        /// With everything mounted below it.
        recursive: bool,
    },
    /// A new file system.
    Filesystem {
        /// Its type.
        name: String,
        /// What stands in the mount table as its source.
        source: String,
        /// Its parameters.
        parameters: Vec<(String, Option<String>)>,
    },
    /// The container's view of its cgroup.
    Cgroup(CgroupMount),
}

/// How the container's cgroup is shown to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupMount {
    /// A tmpfs with its directory of every version 1 hierarchy bound into it.
    BoundV1(Vec<Hierarchy>),
    /// A tmpfs with every version 1 hierarchy mounted in it, of which its cgroup namespace shows
    /// only its own part.
    MountedV1(Vec<Hierarchy>),
    /// Its directory of the unified hierarchy.
    BoundV2(PathBuf),
    /// The unified hierarchy, of which its cgroup namespace shows only its own part.
    MountedV2,
}

/// A propagation type, for one mount or everything below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub kind: u64,
    /// Everything below, too.
    pub recursive: bool,
}

impl Propagation {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, recursive) = match text.strip_prefix('r') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let kind = match name {
            "shared" => libc::MS_SHARED,
            "slave" => libc::MS_SLAVE,
            "private" => libc::MS_PRIVATE,
            "unbindable" => libc::MS_UNBINDABLE,
            _ => return None,
        };
        Some(Self { kind, recursive })
    }
}

impl CgroupMount {
    pub(super) fn new(
        host: &Host,
        plan: Option<&CgroupPlan>,
        namespace: bool,
    ) -> Result<Self, Failure> {
        let path = plan.map_or("/", |plan| plan.path.as_str());
        let bad = |error: std::io::Error| config("cgroupsPath", error.to_string());
        let cgroup = Cgroup::open(&host.cgroups, path).map_err(bad)?;
        Ok(match (cgroup.is_v2(), namespace) {
            (true, true) => Self::MountedV2,
            (true, false) => {
                Self::BoundV2(cgroup.unified_directory().unwrap_or(Path::new("/")).to_owned())
            }
            (false, true) => Self::MountedV1(cgroup.v1_directories().to_vec()),
            (false, false) => Self::BoundV1(cgroup.v1_directories().to_vec()),
        })
    }
}

impl Mount {
    pub(super) fn new(
        mount: &SpecMount,
        bundle: &Path,
        cgroup: &CgroupMount,
    ) -> Result<Self, Failure> {
        let destination = clean(mount.destination());
        let options = Options::parse(mount.options().as_deref().unwrap_or_default());
        let name = mount.typ().clone().unwrap_or_default();
        let bad = |what: &str| {
            let destination = destination.to_string_lossy();
            config(&destination, format!("mount {destination}: {what}"))
        };
        if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() || options.idmap {
            return Err(bad("id-mapped mounts are not supported by this runtime"));
        }
        if options.copy_up {
            return Err(bad("tmpcopyup is not supported by this runtime"));
        }
        check_inside_proc(&destination, if options.bind { "bind" } else { &name })?;
        let source = mount.source().clone().unwrap_or_default();
        let kind = if options.bind || name == "bind" {
            if source.as_os_str().is_empty() {
                return Err(bad("a bind mount needs a source"));
            }
            // A bind of a relative source starts at the bundle.
            MountKind::Bind { source: bundle.join(source), recursive: options.recursive_bind }
        } else if name == "cgroup" || name == "cgroup2" {
            MountKind::Cgroup(cgroup.clone())
        } else if name.is_empty() {
            return Err(bad("no type"));
        } else {
            let source = source.to_string_lossy().into_owned();
            MountKind::Filesystem { name, source, parameters: options.parameters }
        };
        Ok(Self {
            destination,
            kind,
            attr: options.attr,
            recursive_attr: options.recursive_attr,
            propagation: options.propagation,
        })
    }

    /// Whether `/dev` is a directory that has its nodes already.
    pub(super) fn replaces_dev(&self) -> bool {
        self.destination == Path::new("/dev") && matches!(self.kind, MountKind::Bind { .. })
    }

    /// Whether it is to be read-only.
    pub fn is_readonly(&self) -> bool {
        self.attr.set & RDONLY != 0
    }
}

/// Nothing may cover what the runtime or the kernel relies on below `/proc`; a few files that are
/// commonly replaced may be.
fn check_inside_proc(destination: &Path, kind: &str) -> Result<(), Failure> {
    const ALLOWED: &[&str] = &[
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/slabinfo",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    ];
    let proc = Path::new("/proc");
    if !destination.starts_with(proc) || ALLOWED.iter().any(|path| destination == Path::new(path)) {
        return Ok(());
    }
    if destination == proc && (kind == "proc" || kind == "bind") {
        return Ok(());
    }
    let destination = destination.to_string_lossy();
    Err(config(
        &destination,
        format!("{destination:?} cannot be mounted because it is inside /proc"),
    ))
}

#[derive(Debug, Default)]
struct Options {
    attr: MountAttr,
    recursive_attr: MountAttr,
    propagation: Vec<Propagation>,
    bind: bool,
    recursive_bind: bool,
    idmap: bool,
    copy_up: bool,
    parameters: Vec<(String, Option<String>)>,
}

impl Options {
    fn parse(list: &[String]) -> Self {
        let mut options = Self::default();
        for option in list {
            options.add(option);
        }
        options
    }

    fn add(&mut self, option: &str) {
        if let Some((set, bits)) = attribute(option) {
            return change(&mut self.attr, set, bits);
        }
        let recursive = option.strip_prefix('r').and_then(attribute);
        if let Some((set, bits)) = recursive {
            return change(&mut self.recursive_attr, set, bits);
        }
        if let Some(propagation) = Propagation::parse(option) {
            return self.propagation.push(propagation);
        }
        match option {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive_bind) = (true, true),
            "idmap" | "ridmap" => self.idmap = true,
            "tmpcopyup" => self.copy_up = true,
            // Nothing to do: what is so anyway, or was only ever for mount(8).
            "defaults" | "remount" | "silent" | "loud" | "async" | "nomand" | "noiversion"
            | "norelatime" | "nostrictatime" | "nofail" | "_netdev" | "auto" | "noauto" => {}
            _ => match option.split_once('=') {
                Some((key, value)) => {
                    self.parameters.push((key.to_owned(), Some(value.to_owned())))
                }
                None => self.parameters.push((option.to_owned(), None)),
            },
        }
    }
}

/// Whether an option sets or clears which attributes.
fn attribute(option: &str) -> Option<(bool, u64)> {
    Some(match option {
        "ro" => (true, RDONLY),
        "rw" => (false, RDONLY),
        "nosuid" => (true, NOSUID),
        "suid" => (false, NOSUID),
        "nodev" => (true, NODEV),
        "dev" => (false, NODEV),
        "noexec" => (true, NOEXEC),
        "exec" => (false, NOEXEC),
        "noatime" => (true, NOATIME),
        "strictatime" => (true, STRICTATIME),
        "relatime" | "atime" => (true, 0),
        "nodiratime" => (true, NODIRATIME),
        "diratime" => (false, NODIRATIME),
        "nosymfollow" => (true, NOSYMFOLLOW),
        "symfollow" => (false, NOSYMFOLLOW),
        _ => return None,
    })
}

fn change(attr: &mut MountAttr, set: bool, bits: u64) {
    // The access time modes exclude each other, and setting one means naming the whole field.
    let is_atime = set && (bits == 0 || bits & ATIME != 0);
    if is_atime {
        attr.set &= !ATIME;
        attr.clear |= ATIME;
    }
    if set {
        attr.set |= bits;
        attr.clear &= if is_atime { !0 } else { !bits };
    } else {
        attr.clear |= bits;
        attr.set &= !bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn mount(value: Value) -> Result<Mount, Failure> {
        let mount: SpecMount = serde_json::from_value(value).expect("a mount");
        Mount::new(&mount, Path::new("/bundle"), &CgroupMount::MountedV2)
    }

    #[test]
    fn dockers_default_mounts_are_understood() {
        let dev = mount(json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}))
        .expect("a mount");
        assert_eq!((dev.attr.set, dev.attr.clear), (NOSUID | STRICTATIME, ATIME));
        let parameters = vec![
            ("mode".to_owned(), Some("755".to_owned())),
            ("size".to_owned(), Some("65536k".to_owned())),
        ];
        let expected =
            MountKind::Filesystem { name: "tmpfs".into(), source: "tmpfs".into(), parameters };
        assert_eq!(dev.kind, expected);

        let hosts =
            mount(json!({"destination": "/etc/hosts", "type": "bind", "source": "/c/hosts",
            "options": ["rbind", "rprivate", "ro"]}))
            .expect("a mount");
        assert!(hosts.is_readonly());
        assert_eq!(hosts.propagation, [Propagation { kind: libc::MS_PRIVATE, recursive: true }]);
        assert!(matches!(hosts.kind, MountKind::Bind { recursive: true, .. }));
    }

    #[test]
    fn later_options_win_and_recursive_ones_are_kept_apart() {
        let options = ["ro", "rw", "noexec", "rro", "rnosuid"].map(str::to_owned);
        let options = Options::parse(&options);
        assert_eq!((options.attr.set, options.attr.clear), (NOEXEC, RDONLY));
        assert_eq!(options.recursive_attr.set, RDONLY | NOSUID);
        assert!(options.parameters.is_empty());
    }

    #[test]
    fn a_relative_source_is_the_bundles() {
        let mount = mount(json!({"destination": "x", "source": "data", "options": ["bind"]}));
        let mount = mount.expect("a mount");
        assert_eq!(mount.destination, Path::new("/x"));
        let expected = MountKind::Bind { source: "/bundle/data".into(), recursive: false };
        assert_eq!(mount.kind, expected);
    }

    #[test]
    fn proc_is_not_covered() {
        for destination in ["/proc/self/attr", "/proc/../proc/sys", "/proc"] {
            let value = json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
            let failure = mount(value).expect_err(destination);
            assert!(failure.message.contains("inside /proc"), "{failure}");
        }
        assert!(
            mount(json!({"destination": "/proc/meminfo", "type": "bind", "source": "/m"})).is_ok()
        );
    }
}
