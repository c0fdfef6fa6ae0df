//! Mounts and their options.

use std::path::{Path, PathBuf};

use davit_sys::cgroup::{Cgroup, Hierarchy};
use davit_sys::mount::MountAttr;
use davit_types::oci::runtime::Mount as SpecMount;

use super::mount_options::{Options, RDONLY};
use super::{CgroupPlan, Host, IdMapping, Namespaces, clean, config, mappings};
use crate::Failure;

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
    /// Whose ids its files show.
    pub id_map: Option<MountIdMap>,
    /// What is there goes into the new file system first.
    pub copy_up: bool,
}

/// Other owners than those in the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountIdMap {
    /// Which.
    pub ids: MountIds,
    /// In everything mounted below, too.
    pub recursive: bool,
}

/// Where a mount's ids come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountIds {
    /// From these tables of user and group ids.
    Tables(Vec<IdMapping>, Vec<IdMapping>),
    /// From a user namespace that exists.
    Namespace(PathBuf),
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
        let bad = |error: std::io::Error| config("cgroupsPath", error.to_string());
        let cgroup = match plan {
            Some(plan) => plan.cgroup.clone(),
            None => Cgroup::open(&host.cgroups, "/").map_err(bad)?,
        };
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
    pub(super) fn new(mount: &SpecMount, around: &MountContext<'_>) -> Result<Self, Failure> {
        let destination = clean(mount.destination());
        let mut options = Options::parse(mount.options().as_deref().unwrap_or_default());
        let name = mount.typ().clone().unwrap_or_default();
        let bad = |what: &str| {
            let destination = destination.to_string_lossy();
            config(&destination, format!("mount {destination}: {what}"))
        };
        if mount.destination().as_os_str().is_empty() {
            return Err(bad("no destination"));
        }
        let is_bind = options.bind || name == "bind";
        check_inside_proc(&destination, if is_bind { "bind" } else { &name })?;
        if options.remount && !is_bind {
            return Err(bad("remount is only supported for bind mounts"));
        }
        let unbindable = |propagation: &Propagation| propagation.kind == libc::MS_UNBINDABLE;
        if around.namespaces.joins_mounts() && options.propagation.iter().any(unbindable) {
            return Err(bad("an unbindable mount can't be in a mount namespace that is joined"));
        }
        if options.copy_up && (is_bind || name != "tmpfs") {
            return Err(bad("tmpcopyup is only supported on tmpfs mounts"));
        }
        let id_map = id_map(mount, &options, around.namespaces).map_err(|what| bad(&what))?;
        if id_map.is_some() && !is_bind {
            return Err(bad("id-mapped mounts are only supported for bind mounts"));
        }
        let source = mount.source().clone().unwrap_or_default();
        let kind = if is_bind {
            if source.as_os_str().is_empty() {
                return Err(bad("a bind mount needs a source"));
            }
            if let Some((option, _)) = options.parameters.first() {
                return Err(bad(&format!("a bind mount has no option {option:?}")));
            }
            // A bind of a relative source starts at the bundle.
            let source = around.bundle.join(source);
            MountKind::Bind { source, recursive: options.recursive_bind }
        } else if name == "cgroup" || name == "cgroup2" {
            MountKind::Cgroup(around.cgroup.clone())
        } else if name.is_empty() {
            return Err(bad("no type"));
        } else {
            const UNLABELLED: &[&str] = &["proc", "sysfs", "mqueue"];
            if let Some(label) = around.label.filter(|_| !UNLABELLED.contains(&name.as_str())) {
                options.parameters.push(("context".to_owned(), Some(label.to_owned())));
            }
            let source = source.to_string_lossy().into_owned();
            MountKind::Filesystem { name, source, parameters: options.parameters }
        };
        Ok(Self {
            destination,
            kind,
            attr: options.attr,
            recursive_attr: options.recursive_attr,
            propagation: options.propagation,
            id_map,
            copy_up: options.copy_up,
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

/// What a mount's meaning depends on.
#[derive(Debug)]
pub(super) struct MountContext<'a> {
    pub(super) bundle: &'a Path,
    pub(super) cgroup: &'a CgroupMount,
    pub(super) namespaces: &'a Namespaces,
    pub(super) label: Option<&'a str>,
}

/// Tables of its own, or else those of the container's user namespace.
fn id_map(
    mount: &SpecMount,
    options: &Options,
    namespaces: &Namespaces,
) -> Result<Option<MountIdMap>, String> {
    let uids = mappings(mount.uid_mappings().as_deref());
    let gids = mappings(mount.gid_mappings().as_deref());
    let recursive = options.idmap.unwrap_or(false);
    let ids = match (uids.is_empty(), gids.is_empty()) {
        (true, true) if options.idmap.is_none() => return Ok(None),
        (true, true) => match namespaces.joined_user() {
            Some(path) => MountIds::Namespace(path.to_owned()),
            None if namespaces.uid_mappings.is_empty() => {
                let text = "idmap needs uidMappings and gidMappings, or a user namespace";
                return Err(text.to_owned());
            }
            None => {
                MountIds::Tables(namespaces.uid_mappings.clone(), namespaces.gid_mappings.clone())
            }
        },
        (false, false) => MountIds::Tables(uids, gids),
        _ => return Err("uidMappings and gidMappings belong together".to_owned()),
    };
    Ok(Some(MountIdMap { ids, recursive }))
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

#[cfg(test)]
mod tests {
    use super::super::mount_options::*;
    use super::*;
    use serde_json::{Value, json};

    fn mount(value: Value) -> Result<Mount, Failure> {
        let mount: SpecMount = serde_json::from_value(value).expect("a mount");
        let around = MountContext {
            bundle: Path::new("/bundle"),
            cgroup: &CgroupMount::MountedV2,
            namespaces: &Namespaces::default(),
            label: None,
        };
        Mount::new(&mount, &around)
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

    #[test]
    fn ids_of_a_mount_come_from_its_tables_or_the_user_namespace() {
        let table = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        let bind = json!({"destination": "/d", "source": "/s", "options": ["rbind", "ridmap"],
            "uidMappings": table, "gidMappings": table});
        let ids = vec![IdMapping { container: 0, host: 1000, size: 1 }];
        let expected = MountIdMap { ids: MountIds::Tables(ids.clone(), ids), recursive: true };
        assert_eq!(mount(bind).expect("a mount").id_map, Some(expected));

        let cases = [
            (
                json!({"destination": "/d", "source": "/s", "options": ["bind", "idmap"]}),
                "needs uidMappings",
            ),
            (
                json!({"destination": "/d", "source": "/s", "options": ["bind"], "uidMappings": table}),
                "belong together",
            ),
            (
                json!({"destination": "/d", "type": "tmpfs", "uidMappings": table, "gidMappings": table}),
                "only supported for bind",
            ),
        ];
        for (value, expected) in cases {
            let failure = mount(value).expect_err(expected);
            assert!(failure.message.contains(expected), "{failure}");
        }
    }

    #[test]
    fn options_that_would_do_nothing_are_refused() {
        let cases = [
            (
                json!({"destination": "/d", "source": "/s", "options": ["bind", "size=1"]}),
                "no option \"size\"",
            ),
            (
                json!({"destination": "/d", "type": "tmpfs", "options": ["remount"]}),
                "remount is only",
            ),
            (
                json!({"destination": "/d", "type": "proc", "options": ["tmpcopyup"]}),
                "tmpcopyup is only",
            ),
            (
                json!({"destination": "/d", "source": "/s", "options": ["bind", "tmpcopyup"]}),
                "tmpcopyup is only",
            ),
            (json!({"destination": "", "type": "tmpfs"}), "no destination"),
        ];
        for (value, expected) in cases {
            let failure = mount(value).expect_err(expected);
            assert!(failure.message.contains(expected), "{failure}");
        }
        let tmpfs = mount(
            json!({"destination": "/d", "type": "tmpfs", "options": ["tmpcopyup", "nosymfollow", "huge=always"]}),
        );
        let tmpfs = tmpfs.expect("a mount");
        assert!(tmpfs.copy_up);
        assert_eq!(tmpfs.attr.set, NOSYMFOLLOW);
        assert!(
            matches!(tmpfs.kind, MountKind::Filesystem { parameters, .. } if parameters.len() == 1)
        );
    }
}
