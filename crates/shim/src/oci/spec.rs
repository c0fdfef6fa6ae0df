//! `spec`

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use davit_types::{Context, Error, Result};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};

/// Flags of `spec`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory to write it to
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) bundle: PathBuf,
    /// For an ordinary user
    #[arg(long)]
    pub(crate) rootless: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let path = args.bundle.join("config.json");
    let mut spec = example();
    if args.rootless {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        make_rootless(&mut spec, uid.as_raw(), gid.as_raw());
    }
    let mut text = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"\t");
    spec.serialize(&mut Serializer::with_formatter(&mut text, formatter))
        .context(|| "encode config.json")?;
    text.push(b'\n');
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::conflict(format!("File {} exists. Remove it first", path.display())))
        }
        opened => opened
            .and_then(|mut file| file.write_all(&text))
            .context(|| format!("write {}", path.display())),
    }
}

/// A shell in a container with namespaces of its own.
fn example() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| {
        let mut mount = json!({"destination": destination, "type": kind, "source": source});
        if !options.is_empty() {
            mount["options"] = json!(options);
        }
        mount
    };
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&safe[..], more].concat();
    json!({
        "ociVersion": super::SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "davit",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts",
                  &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &with(&["mode=1777", "size=65536k"])),
            mount("/dev/mqueue", "mqueue", "mqueue", &safe),
            mount("/sys", "sysfs", "sysfs", &with(&["ro"])),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &with(&["relatime", "ro"])),
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "mount"}, {"type": "cgroup"},
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    })
}

/// A user namespace with the caller as its root, and nothing that needs more: no network of its own,
/// the host's sysfs, no limits, no group that isn't mapped.
fn make_rootless(spec: &mut Value, uid: u32, gid: u32) {
    let linux = &mut spec["linux"];
    linux["namespaces"] = json!([
        {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"},
        {"type": "user"},
    ]);
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    linux.as_object_mut().expect("made as an object").remove("resources");
    let mounts = spec["mounts"].as_array_mut().expect("made as a list");
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    for mount in mounts {
        if mount["destination"] == "/sys" {
            *mount = json!({
                "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
            });
        }
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| !option.as_str().is_some_and(|text| text.starts_with("gid=")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_types::oci::runtime::Spec;

    #[test]
    fn the_examples_are_configurations() {
        let mut spec = example();
        serde_json::from_value::<Spec>(spec.clone()).expect("for root");
        make_rootless(&mut spec, 1000, 1001);
        assert!(!spec.to_string().contains("gid=5"));
        let spec: Spec = serde_json::from_value(spec).expect("rootless");
        let linux = spec.linux().as_ref().expect("it is there");
        assert_eq!(linux.uid_mappings().as_ref().expect("mapped")[0].host_id(), 1000);
    }
}
