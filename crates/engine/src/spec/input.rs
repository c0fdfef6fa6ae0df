//! Everything the OCI spec of one start is decided from, gathered beforehand.

use std::path::{Path, PathBuf};

use davit_api::container::{Config, HostConfig};
use davit_types::ContainerId;

use super::devices::HostDevice;

/// What [`super::oci_spec`] turns into a spec; gathering it is the caller's, deciding is not.
#[derive(Debug)]
pub struct SpecInput<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// Its configuration, the image's merged in.
    pub config: &'a Config,
    /// Its host configuration, defaults filled in.
    pub host_config: &'a HostConfig,
    /// Program and arguments (entrypoint and command joined).
    pub args: Vec<String>,
    /// The program on the host that becomes the first process and runs `args` (`--init`).
    pub init: Option<&'a Path>,
    /// The root file system as seen from the host (`merged`).
    pub root: &'a Path,
    /// Host name, also in the environment.
    pub hostname: &'a str,
    /// Variables about linked containers, which the configured ones replace.
    pub link_env: Vec<String>,
    /// Volumes, binds, tmpfs and the three files of `/etc`, in the order they are mounted.
    pub mounts: Vec<Mount>,
    /// Network namespace: the sandbox' pin, `/proc/<pid>/ns/net` of another container, or the host's.
    pub network: Namespace,
    /// PID namespace.
    pub pid: Namespace,
    /// IPC namespace.
    pub ipc: Namespace,
    /// UTS namespace.
    pub uts: Namespace,
    /// Path of the container's cgroup (`/docker/<id>`).
    pub cgroup_path: String,
    /// `/dev/shm`: own tmpfs, or a host directory to bind (shareable and `container:`).
    pub shm: SharedMemory,
    /// Devices asked for (`--device`), resolved on the host; all of the host's when privileged.
    pub devices: Vec<HostDevice>,
    /// The text of a custom seccomp profile (`--security-opt seccomp=`, JSON).
    pub seccomp_profile: Option<&'a str>,
    /// What the host can do.
    pub host: &'a HostFacts,
}

/// A namespace of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// A new one.
    Private,
    /// The host's.
    Host,
    /// The one at this path.
    Path(PathBuf),
}

/// `/dev/shm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedMemory {
    /// A tmpfs of so many bytes.
    Private(u64),
    /// Bind of a directory on the host.
    Bind(PathBuf),
}

/// A mount beyond the default ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `bind`, `tmpfs`, ...
    pub kind: String,
    /// Path on the host, or `tmpfs`.
    pub source: PathBuf,
    /// Path in the container.
    pub destination: PathBuf,
    /// Options of the runtime specification (`rbind`, `ro`, `rprivate`, `size=...`).
    pub options: Vec<String>,
}

/// What the host can do, probed once when the daemon starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The unified hierarchy is in use.
    pub cgroup_v2: bool,
    /// Time namespaces exist (5.6).
    pub time_namespaces: bool,
    /// Kernel version, major and minor.
    pub kernel: (u32, u32),
    /// Names of the capabilities the daemon can give (`CAP_CHOWN`), in the kernel's order.
    pub capabilities: Vec<String>,
}

impl HostFacts {
    /// Probes this host. Anything that can't be read counts as absent.
    pub fn probe(cgroup_v2: bool) -> Self {
        let uname = rustix::system::uname();
        let mut numbers = uname.release().to_str().unwrap_or_default().split(['.', '-']);
        let mut number = || numbers.next().and_then(|text| text.parse().ok()).unwrap_or(0);
        Self {
            cgroup_v2,
            time_namespaces: Path::new("/proc/self/ns/time").exists(),
            kernel: (number(), number()),
            capabilities: super::capabilities::bounding_set(),
        }
    }
}
