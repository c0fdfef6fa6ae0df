//! From the configuration to what will be done: pure, and complete before any process exists.
//!
//! Whatever can be wrong with a configuration is found here, as a [`Failure`] of the stage `config`.
//! A part of the specification that the runtime doesn't do is refused and never ignored.

mod devices;
mod domain;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod process;
mod rdt;
mod resources;
mod schedule;
mod sysctl;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use davit_sys::cgroup::Layout;
use davit_types::oci::runtime::{Linux, LinuxSeccomp, LinuxTimeOffset, Spec};

use crate::Failure;
use crate::failure;
use crate::hooks::{Hooks, Subject};

pub use devices::{Device, DeviceNode};
pub use domain::{Domain, MemoryPolicy};
use mounts::MountContext;
pub use mounts::{CgroupMount, Mount, MountIdMap, MountIds, MountKind, Propagation};
use namespaces::mappings;
pub use namespaces::{IdMapping, Join, Namespaces};
pub use net_devices::NetDevice;
pub use process::{Capabilities, ProcessPlan, Rlimit};
pub use rdt::RdtPlan;
pub use resources::{CgroupPlan, Unit, limits};
pub use schedule::Schedule;
pub use sysctl::Sysctl;

/// What the host offers, as far as decisions depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its cgroup hierarchies.
    pub cgroups: Layout,
    /// It has time namespaces.
    pub time_namespaces: bool,
    /// The systemd that makes cgroups; absent: they are made by hand.
    pub systemd: Option<Systemd>,
}

/// A systemd that makes cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Systemd {
    /// It is the user's, not the system's.
    pub user: bool,
    /// Its own cgroup, below which its slices are.
    pub cgroup: String,
}

impl Systemd {
    /// Where containers go that name no slice.
    pub fn default_slice(&self) -> &'static str {
        if self.user { "user.slice" } else { "system.slice" }
    }
}

/// Everything that is going to be done for a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Version of the specification that the configuration is written for.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// What is noted of it.
    pub annotations: BTreeMap<String, String>,
    /// Programs to run at points of its life.
    pub hooks: Hooks,
    /// Its root directory on the host.
    pub rootfs: PathBuf,
    /// Its root is mounted read-only in the end.
    pub root_readonly: bool,
    /// `rootfsPropagation`; absent: what happens on the host is seen, nothing goes back.
    pub root_propagation: Option<Propagation>,
    /// New and joined namespaces.
    pub namespaces: Namespaces,
    /// Network devices of the host that move into the container.
    pub net_devices: Vec<NetDevice>,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Device nodes; absent when `/dev` is the host's or another directory that is bound.
    pub devices: Option<Vec<Device>>,
    /// Paths hidden from the container.
    pub masked: Vec<PathBuf>,
    /// Paths made read-only.
    pub readonly: Vec<PathBuf>,
    /// Kernel settings.
    pub sysctls: Vec<Sysctl>,
    /// What is written to `timens_offsets` of a new time namespace.
    pub time_offsets: Option<String>,
    /// SELinux label of the container's file systems.
    pub mount_label: Option<String>,
    /// What holds for every process of the container.
    pub domain: Domain,
    /// Host name.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// The cgroup; absent: that of the caller.
    pub cgroup: Option<CgroupPlan>,
    /// Shares of the processor's caches and memory bandwidth.
    pub rdt: Option<RdtPlan>,
    /// The process.
    pub process: ProcessPlan,
    /// System call filter.
    pub seccomp: Option<LinuxSeccomp>,
}

impl Plan {
    /// Decides what `spec` means on `host`.
    ///
    /// # Errors
    /// The first thing in the configuration that is wrong or not supported.
    pub fn new(id: &str, bundle: &Path, spec: &Spec, host: &Host) -> Result<Self, Failure> {
        check_id(id)?;
        check_version(spec.version())?;
        let linux = spec.linux().clone().unwrap_or_default();
        refuse_unsupported(spec)?;
        let root =
            spec.root().as_ref().ok_or_else(|| config("root", "no root in the configuration"))?;
        let process = spec.process().as_ref();
        let process =
            process.ok_or_else(|| config("process", "no process in the configuration"))?;
        let namespaces = Namespaces::new(&linux, host)?;
        let cgroup = resources::plan(id, &linux, host)?;
        let cgroup_mount = CgroupMount::new(host, cgroup.as_ref(), namespaces.new_cgroup)?;
        let mounts = spec.mounts().iter().flatten();
        let label = linux.mount_label().as_deref().filter(|label| !label.is_empty());
        let context =
            MountContext { bundle, cgroup: &cgroup_mount, namespaces: &namespaces, label };
        let mounts: Vec<Mount> =
            mounts.map(|mount| Mount::new(mount, &context)).collect::<Result<_, _>>()?;
        check_names(spec, &namespaces)?;
        Ok(Self {
            oci_version: spec.version().clone(),
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            annotations: spec.annotations().clone().unwrap_or_default().into_iter().collect(),
            hooks: Hooks::new(spec)?,
            rootfs: bundle.join(root.path()),
            root_readonly: root.readonly().unwrap_or(false),
            root_propagation: linux
                .rootfs_propagation()
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(root_propagation)
                .transpose()?,
            devices: (!mounts.iter().any(Mount::replaces_dev))
                .then(|| devices::plan(&linux))
                .transpose()?,
            mounts,
            masked: paths(linux.masked_paths().as_deref())?,
            readonly: paths(linux.readonly_paths().as_deref())?,
            net_devices: net_devices::plan(&linux, &namespaces)?,
            sysctls: sysctl::plan(&linux, &namespaces)?,
            time_offsets: time_offsets(&linux, &namespaces)?,
            mount_label: linux.mount_label().clone().filter(|label| !label.is_empty()),
            domain: Domain::new(&linux)?,
            hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
            domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
            cgroup,
            rdt: rdt::plan(id, &linux)?,
            process: ProcessPlan::new(process)?,
            seccomp: linux.seccomp().clone(),
            namespaces,
        })
    }

    /// What hooks are told of the container.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            oci_version: &self.oci_version,
            id: &self.id,
            bundle: &self.bundle,
            annotations: &self.annotations,
        }
    }
}

/// A failure in the configuration.
pub(crate) fn config(object: &str, message: impl Into<String>) -> Failure {
    failure::text("config", object, message)
}

/// Resolves `.` and `..` in an absolute path by its text alone.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// The id names a directory: no path may come of it.
pub(crate) fn check_id(id: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.starts_with('.') || !id.chars().all(plain) {
        return Err(config("id", format!("invalid container ID format: {id:?}")));
    }
    Ok(())
}

/// Only the first major version is known; its later minor versions add what older readers may ignore.
fn check_version(version: &str) -> Result<(), Failure> {
    let number = version.split_once(['-', '+']).map_or(version, |(number, _)| number);
    let mut parts = number.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(1)), Some(Ok(_)), Some(Ok(_)), None) => Ok(()),
        _ if version.is_empty() => Err(config("ociVersion", "no ociVersion in the configuration")),
        _ => Err(config("ociVersion", format!("unsupported ociVersion {version:?}: want 1.x.y"))),
    }
}

fn refuse_unsupported(spec: &Spec) -> Result<(), Failure> {
    let refuse = |name: &str| Err(config(name, format!("{name} is not supported by this runtime")));
    if spec.solaris().is_some() {
        return refuse("solaris");
    }
    if spec.windows().is_some() {
        return refuse("windows");
    }
    if spec.vm().is_some() {
        return refuse("vm");
    }
    if spec.zos().is_some() {
        return refuse("zos");
    }
    Ok(())
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<Option<String>, Failure> {
    const OBJECT: &str = "linux.timeOffsets";
    const SECOND: u32 = 1_000_000_000;
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else {
        return Ok(None);
    };
    if !namespaces.new_time {
        let text = "time namespace offsets specified, but a new time namespace isn't";
        return Err(config(OBJECT, text));
    }
    let line = |(clock, offset): (&String, &LinuxTimeOffset)| {
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if !["monotonic", "boottime"].contains(&clock.as_str()) || nanoseconds >= SECOND {
            return Err(config(OBJECT, format!("{OBJECT}: invalid offset of clock {clock:?}")));
        }
        Ok(format!("{clock} {} {nanoseconds}\n", offset.secs().unwrap_or(0)))
    };
    let mut lines: Vec<String> = offsets.iter().map(line).collect::<Result<_, _>>()?;
    lines.sort();
    Ok(Some(lines.concat()))
}

fn check_names(spec: &Spec, namespaces: &Namespaces) -> Result<(), Failure> {
    let set = |name: &Option<String>| name.as_ref().is_some_and(|name| !name.is_empty());
    if !namespaces.has(davit_sys::namespace::UTS) {
        if set(spec.hostname()) {
            return Err(config(
                "hostname",
                "unable to set hostname without a private UTS namespace",
            ));
        }
        if set(spec.domainname()) {
            let text = "unable to set domainname without a private UTS namespace";
            return Err(config("domainname", text));
        }
    }
    Ok(())
}

fn root_propagation(text: &str) -> Result<Propagation, Failure> {
    Propagation::parse(text)
        .ok_or_else(|| config("rootfsPropagation", format!("invalid rootfsPropagation {text:?}")))
}

fn paths(list: Option<&[String]>) -> Result<Vec<PathBuf>, Failure> {
    let path = |text: &String| {
        if text.starts_with('/') {
            return Ok(clean(Path::new(text)));
        }
        Err(config(text, format!("masked or read-only path {text:?} is not absolute")))
    };
    list.unwrap_or_default().iter().map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn host() -> Host {
        Host { cgroups: Layout::V2("/sys/fs/cgroup".into()), time_namespaces: true, systemd: None }
    }

    fn minimal() -> Value {
        json!({
            "ociVersion": "1.2.0",
            "root": { "path": "rootfs", "readonly": true },
            "process": { "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"], "env": ["PATH=/bin"] },
            "hostname": "h",
            "linux": {
                "namespaces": [{"type": "uts"}, {"type": "mount"}, {"type": "network"}],
                "maskedPaths": ["/proc/kcore"],
                "sysctl": {"net.ipv4.ip_forward": "1"},
            },
        })
    }

    fn plan(spec: Value) -> Result<Plan, Failure> {
        let spec: Spec = serde_json::from_value(spec).expect("a configuration");
        Plan::new("c1", Path::new("/bundle"), &spec, &host())
    }

    #[test]
    fn a_minimal_configuration_makes_a_plan() {
        let plan = plan(minimal()).expect("a plan");
        assert_eq!(plan.rootfs, Path::new("/bundle/rootfs"));
        assert!(plan.root_readonly);
        assert_eq!(plan.sysctls[0].path, "net/ipv4/ip_forward");
        assert_eq!(plan.devices.expect("device nodes").len(), 6);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: &[(&str, Value, &str)] = &[
            (
                "/linux/sysctl",
                json!({"kernel.pid_max": "1"}),
                "is not in a separate kernel namespace",
            ),
            ("/linux/namespaces", json!([{"type": "mount"}]), "without a private UTS namespace"),
            ("/linux/namespaces", json!([{"type": "uts"}]), "mount namespace"),
            ("/linux/maskedPaths", json!(["proc"]), "is not absolute"),
            ("/process/args", json!([]), "args must not be empty"),
            ("/process/cwd", json!("tmp"), "absolute"),
            ("/process/user/uid", json!(u32::MAX), "range 0-2147483647"),
            ("/process/user/gid", json!(1u32 << 31), "range 0-2147483647"),
            (
                "/process/user",
                json!({"uid": 0, "gid": 0, "additionalGids": [1, u32::MAX]}),
                "range 0-2147483647",
            ),
            (
                "/linux",
                json!({"namespaces": [{"type": "uts"}, {"type": "mount"}], "devices": [
                    {"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": u32::MAX}]}),
                "range 0-2147483647",
            ),
        ];
        for (pointer, value, expected) in cases {
            let mut spec = minimal();
            *spec.pointer_mut(pointer).expect("in the minimal configuration") = value.clone();
            let failure = plan(spec).expect_err(expected);
            assert!(failure.message.contains(expected), "{failure}");
        }
    }

    #[test]
    fn only_versions_of_the_first_series_are_read() {
        for version in ["1.0.0", "1.0.2-dev", "1.3.0", "1.99.0+x"] {
            assert!(check_version(version).is_ok(), "{version}");
        }
        for version in ["", "0.5.0", "2.0.0", "1.0", "1.0.0.0", "1.a.0", "one"] {
            assert!(check_version(version).is_err(), "{version}");
        }
    }

    #[test]
    fn time_offsets_need_a_new_time_namespace() {
        let mut spec = minimal();
        spec["linux"]["timeOffsets"] =
            json!({"monotonic": {"secs": -5, "nanosecs": 7}, "boottime": {}});
        let failure = plan(spec.clone()).expect_err("no time namespace");
        assert!(failure.message.contains("a new time namespace isn't"), "{failure}");
        spec["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "time"}));
        let offsets = plan(spec.clone()).expect("a plan").time_offsets;
        assert_eq!(offsets.as_deref(), Some("boottime 0 0\nmonotonic -5 7\n"));
        for bad in
            [json!({"realtime": {"secs": 1}}), json!({"monotonic": {"nanosecs": 1_000_000_000}})]
        {
            spec["linux"]["timeOffsets"] = bad;
            assert!(plan(spec.clone()).expect_err("bad").message.contains("invalid offset"));
        }
    }

    #[test]
    fn ids_that_are_paths_are_refused() {
        for id in ["", ".", "..", "a/b", "../x", "a b"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        assert!(check_id("web-1_a.b+c").is_ok());
    }

    #[test]
    fn a_device_of_the_configuration_replaces_a_default_one() {
        let mut spec = minimal();
        spec["linux"]["devices"] = json!([
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 384},
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
            {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
        ]);
        let devices = plan(spec).expect("a plan").devices.expect("device nodes");
        assert_eq!(devices.len(), 7);
        assert_eq!(devices[0].mode, 0o600);
    }

    #[test]
    fn paths_are_cleaned_by_their_text() {
        assert_eq!(clean(Path::new("/a/../../b/./c")), Path::new("/b/c"));
        assert_eq!(clean(Path::new("a")), Path::new("/a"));
    }
}
