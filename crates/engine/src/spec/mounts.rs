//! Mounts: the default ones of every container, then volumes and binds.

use serde_json::{Value, json};

use super::process::INIT;
use super::{Mount, Namespace, SharedMemory, SpecInput};

/// `mounts` of the spec, in mount order.
pub(super) fn mounts(input: &SpecInput<'_>) -> Vec<Value> {
    let privileged = input.host_config.privileged;
    let tmpfs = input.host_config.tmpfs.iter().map(|(path, options)| tmpfs(path, options));
    let init = input.init.map(|program| Mount {
        source: program.to_owned(),
        ..own("bind", "", INIT, ["bind", "ro"].map(str::to_owned).to_vec())
    });
    let mut extra: Vec<Mount> = input.mounts.iter().cloned().chain(tmpfs).chain(init).collect();
    // What is mounted below another mount must come after it, whatever kind both are.
    extra.sort_by_key(|mount| mount.destination.components().count());
    let hidden =
        |destination: &str| extra.iter().any(|mount| mount.destination.as_os_str() == destination);

    let mut mounts: Vec<Mount> = defaults(input, privileged);
    mounts.retain(|mount| !mount.destination.to_str().is_some_and(hidden));
    mounts.extend(extra);
    mounts.iter().map(mount_value).collect()
}

fn defaults(input: &SpecInput<'_>, privileged: bool) -> Vec<Mount> {
    let read_only = |options: &[&str]| -> Vec<String> {
        let ro = (!privileged).then_some("ro");
        options.iter().copied().chain(ro).map(str::to_owned).collect()
    };
    let plain = |options: &[&str]| options.iter().map(|option| (*option).to_owned()).collect();
    let restricted = ["nosuid", "noexec", "nodev"];
    let mut list = vec![
        own("proc", "proc", "/proc", plain(&restricted)),
        own("tmpfs", "tmpfs", "/dev", plain(&["nosuid", "strictatime", "mode=755", "size=65536k"])),
        own(
            "devpts",
            "devpts",
            "/dev/pts",
            plain(&["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ),
        own("sysfs", "sysfs", "/sys", read_only(&restricted)),
        own("cgroup", "cgroup", "/sys/fs/cgroup", read_only(&restricted)),
    ];
    // mqueue belongs to the IPC namespace: in a shared one it shows the donor's queues.
    list.push(own("mqueue", "mqueue", "/dev/mqueue", plain(&restricted)));
    list.push(shared_memory(&input.shm));
    if input.network == Namespace::Host {
        // A sysfs can only be mounted by the owner of the network namespace it would show.
        list[3] = own("bind", "/sys", "/sys", read_only(&["nosuid", "noexec", "nodev", "rbind"]));
    }
    list
}

fn shared_memory(shm: &SharedMemory) -> Mount {
    let options = |last: &[String]| {
        let mut options: Vec<String> = ["nosuid", "noexec", "nodev"].map(str::to_owned).to_vec();
        options.extend_from_slice(last);
        options
    };
    match shm {
        SharedMemory::Private(size) => own(
            "tmpfs",
            "shm",
            "/dev/shm",
            options(&["mode=1777".to_owned(), format!("size={size}")]),
        ),
        SharedMemory::Bind(path) => Mount {
            kind: "bind".to_owned(),
            source: path.clone(),
            destination: "/dev/shm".into(),
            options: options(&["rbind".to_owned(), "rprivate".to_owned()]),
        },
    }
}

/// `--tmpfs path:options` over Docker's default options.
fn tmpfs(path: &str, options: &str) -> Mount {
    let mut all: Vec<String> =
        ["noexec", "nosuid", "nodev", "rprivate"].map(str::to_owned).to_vec();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        if let Some(default) = match option {
            "exec" => Some("noexec"),
            "suid" => Some("nosuid"),
            "dev" => Some("nodev"),
            _ => None,
        } {
            all.retain(|present| present != default);
        }
        if !all.iter().any(|present| present == option) {
            all.push(option.to_owned());
        }
    }
    own("tmpfs", "tmpfs", path, all)
}

fn own(kind: &str, source: &str, destination: &str, options: Vec<String>) -> Mount {
    Mount { kind: kind.to_owned(), source: source.into(), destination: destination.into(), options }
}

fn mount_value(mount: &Mount) -> Value {
    json!({
        "destination": mount.destination, "type": mount.kind, "source": mount.source,
        "options": mount.options,
    })
}

/// What the root's propagation has to be for the propagation that the mounts ask for.
pub(super) fn rootfs_propagation(mounts: &[Mount]) -> Option<&'static str> {
    let asks = |names: [&str; 2]| {
        mounts
            .iter()
            .any(|mount| mount.options.iter().any(|option| names.contains(&option.as_str())))
    };
    if asks(["shared", "rshared"]) {
        Some("shared")
    } else if asks(["slave", "rslave"]) {
        Some("slave")
    } else {
        None
    }
}
