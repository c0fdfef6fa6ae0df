//! From the configuration to what will be done: pure, and complete before any process exists.
//!
//! Whatever can be wrong with a configuration is found here, as a [`Failure`] of the stage `config`.
//! A part of the specification that the runtime doesn't do is refused and never ignored.

mod mounts;
mod namespaces;
mod process;
mod resources;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use davit_sys::cgroup::Layout;
use davit_types::oci::runtime::{Linux, LinuxDevice, LinuxDeviceType, LinuxSeccomp, Spec};

use crate::Failure;
use crate::failure;
use crate::hooks::{Hooks, Subject};

pub use mounts::{CgroupMount, Mount, MountKind, Propagation};
pub use namespaces::{IdMapping, Join, Namespaces};
pub use process::{Capabilities, ProcessPlan, Rlimit};
pub use resources::{CgroupPlan, limits};

/// What the host offers, as far as decisions depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its cgroup hierarchies.
    pub cgroups: Layout,
    /// It has time namespaces.
    pub time_namespaces: bool,
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
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Device nodes; absent when `/dev` is the host's or another directory that is bound.
    pub devices: Option<Vec<Device>>,
    /// Paths hidden from the container.
    pub masked: Vec<PathBuf>,
    /// Paths made read-only.
    pub readonly: Vec<PathBuf>,
    /// Files below `/proc/sys` and their content.
    pub sysctls: Vec<(String, String)>,
    /// Host name.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// The cgroup; absent: that of the caller.
    pub cgroup: Option<CgroupPlan>,
    /// The process.
    pub process: ProcessPlan,
    /// System call filter.
    pub seccomp: Option<LinuxSeccomp>,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where, in the container.
    pub path: PathBuf,
    /// What.
    pub kind: DeviceNode,
    /// Device number, major part.
    pub major: u32,
    /// Device number, minor part.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceNode {
    /// Block device.
    Block,
    /// Character device.
    Char,
    /// Named pipe.
    Fifo,
}

impl Plan {
    /// Decides what `spec` means on `host`.
    ///
    /// # Errors
    /// The first thing in the configuration that is wrong or not supported.
    pub fn new(id: &str, bundle: &Path, spec: &Spec, host: &Host) -> Result<Self, Failure> {
        check_id(id)?;
        let linux = spec.linux().clone().unwrap_or_default();
        refuse_unsupported(&linux)?;
        let root =
            spec.root().as_ref().ok_or_else(|| config("root", "no root in the configuration"))?;
        let process = spec.process().as_ref();
        let process =
            process.ok_or_else(|| config("process", "no process in the configuration"))?;
        let namespaces = Namespaces::new(&linux, host)?;
        let cgroup = resources::plan(id, &linux)?;
        let cgroup_mount = CgroupMount::new(host, cgroup.as_ref(), namespaces.new_cgroup)?;
        let mounts = spec.mounts().iter().flatten();
        let mounts: Vec<Mount> = mounts
            .map(|mount| Mount::new(mount, bundle, &cgroup_mount))
            .collect::<Result<_, _>>()?;
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
                .then(|| devices(&linux))
                .transpose()?,
            mounts,
            masked: paths(linux.masked_paths().as_deref())?,
            readonly: paths(linux.readonly_paths().as_deref())?,
            sysctls: sysctls(&linux, &namespaces)?,
            hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
            domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
            cgroup,
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

fn refuse_unsupported(linux: &Linux) -> Result<(), Failure> {
    let refuse = |name: &str| Err(config(name, format!("{name} is not supported by this runtime")));
    if linux.intel_rdt().is_some() {
        return refuse("linux.intelRdt");
    }
    if linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        return refuse("linux.netDevices");
    }
    if linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()) {
        return refuse("linux.timeOffsets");
    }
    if linux.mount_label().as_ref().is_some_and(|label| !label.is_empty()) {
        return refuse("linux.mountLabel");
    }
    Ok(())
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

/// The nodes every container has, then those of the configuration, which may replace them.
fn devices(linux: &Linux) -> Result<Vec<Device>, Failure> {
    const DEFAULT: &[(&str, u32, u32)] = &[
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    let mut devices: Vec<Device> = DEFAULT
        .iter()
        .map(|&(name, major, minor)| Device {
            path: Path::new("/dev").join(name),
            kind: DeviceNode::Char,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    for device in linux.devices().iter().flatten() {
        let device = planned_device(device)?;
        // Made by hand in every container, each in its own way.
        if ["/dev/ptmx", "/dev/console"].iter().any(|own| device.path == Path::new(own)) {
            continue;
        }
        match devices.iter_mut().find(|known| known.path == device.path) {
            Some(known) => *known = device,
            None => devices.push(device),
        }
    }
    Ok(devices)
}

fn planned_device(device: &LinuxDevice) -> Result<Device, Failure> {
    let path = device.path();
    let bad =
        |what: &str| config(&path.to_string_lossy(), format!("device {}: {what}", path.display()));
    let kind = match device.typ() {
        LinuxDeviceType::B => DeviceNode::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceNode::Char,
        LinuxDeviceType::P => DeviceNode::Fifo,
        LinuxDeviceType::A => return Err(bad("a node can't be of type a")),
    };
    if !path.is_absolute() {
        return Err(bad("the path is not absolute"));
    }
    let number = |number: i64| u32::try_from(number).map_err(|_| bad("invalid device number"));
    let fifo = kind == DeviceNode::Fifo;
    Ok(Device {
        path: clean(path),
        kind,
        major: if fifo { 0 } else { number(device.major())? },
        minor: if fifo { 0 } else { number(device.minor())? },
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

/// Only settings that a namespace of the container's own keeps from the host.
fn sysctls(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>, Failure> {
    use davit_sys::namespace::{IPC, NETWORK, UTS};
    const IPC_KEYS: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let mut sysctls = Vec::new();
    for (key, value) in linux.sysctl().iter().flatten() {
        // Both separators are in use; a dot inside a name (an interface's) comes as the other.
        let slashes =
            key.find('/').is_some_and(|slash| key.find('.').is_none_or(|dot| slash < dot));
        let dotted = if slashes { swap_separators(key) } else { key.clone() };
        let separate = if dotted.starts_with("net.") {
            namespaces.has(NETWORK)
        } else if IPC_KEYS.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            namespaces.has(IPC)
        } else {
            dotted == "kernel.domainname" && namespaces.has(UTS)
        };
        if !separate {
            let text = format!("sysctl {key:?} is not in a separate kernel namespace");
            return Err(config(key, text));
        }
        if dotted.contains("..") {
            return Err(config(key, format!("invalid sysctl {key:?}")));
        }
        sysctls.push((swap_separators(&dotted), value.clone()));
    }
    sysctls.sort();
    Ok(sysctls)
}

fn swap_separators(key: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    key.chars().map(swap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn host() -> Host {
        Host { cgroups: Layout::V2("/sys/fs/cgroup".into()), time_namespaces: true }
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
        assert_eq!(plan.sysctls, [("net/ipv4/ip_forward".to_owned(), "1".to_owned())]);
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
        ];
        for (pointer, value, expected) in cases {
            let mut spec = minimal();
            *spec.pointer_mut(pointer).expect("in the minimal configuration") = value.clone();
            let failure = plan(spec).expect_err(expected);
            assert!(failure.message.contains(expected), "{failure}");
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
