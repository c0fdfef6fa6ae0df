//! OCI runtimes alone: `run` of a bundle like those that Docker writes, ours beside runc and crun.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use davit_testkit::{Sandbox, paths};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::engine::{Engine, Kind};
use crate::measure::{Row, Subject, Unit, paired};

/// Docker's own, from which the capabilities of the bundle choose.
const PROFILE: &str = include_str!("../../../crates/engine/src/spec/seccomp-default.json");

const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A runtime's program.
struct Runtime {
    kind: Kind,
    program: PathBuf,
}

impl Subject for Runtime {
    fn kind(&self) -> Kind {
        self.kind
    }
}

/// `run` of busybox `true`, with all namespaces, seccomp and a cgroup. No engine is needed.
pub(crate) fn run(_: &[Engine], runs: usize) -> Vec<Row> {
    let row = || Row::new("runtime's `run` of `true`", Unit::Milliseconds, "8 ms");
    vec![measure(runs, row()).unwrap_or_else(|error| {
        let mut row = row();
        row.add(Kind::Davit, Err(error));
        row
    })]
}

fn measure(runs: usize, row: Row) -> Result<Row> {
    let sandbox = Sandbox::new()?;
    let bundle = make_bundle(&sandbox)?;
    let runtimes = runtimes(&sandbox)?;
    let agent = Agent::start(&sandbox, &[])?;
    let row = paired(&runtimes, runs, row, |Runtime { program, .. }| {
        // Each keeps its state where it does by itself, in memory: a disk would measure the disk.
        let words = [program, Path::new("run"), Path::new("--bundle"), &bundle, Path::new("box")];
        let words = words.into_iter();
        Ok(agent.run(words.map(|word| word.display().to_string()).collect())?.0)
    });
    Ok(row)
}

/// Ours, and those that are installed.
fn runtimes(sandbox: &Sandbox) -> Result<Vec<Runtime>> {
    let ours = sandbox.dir().join("davit-runc");
    symlink(paths::shim(), &ours).context("link davit-runc")?;
    let others = [(Kind::Runc, "runc"), (Kind::Crun, "crun")];
    let others = others.into_iter().filter_map(|(kind, name)| Some((kind, paths::program(name)?)));
    let all = [(Kind::Davit, ours)].into_iter().chain(others);
    Ok(all.map(|(kind, program)| Runtime { kind, program }).collect())
}

fn make_bundle(sandbox: &Sandbox) -> Result<PathBuf> {
    let bundle = sandbox.dir().join("bundle");
    let root = bundle.join("rootfs");
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(name))?;
    }
    let busybox = paths::program("busybox").context("busybox is missing")?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/true"))?;
    let config = configuration(&format!("{}/box", sandbox.cgroup_parent()))?;
    fs::write(bundle.join("config.json"), config.to_string())?;
    Ok(bundle)
}

fn configuration(cgroup: &str) -> Result<Value> {
    let namespaces = ["pid", "mount", "ipc", "uts", "network", "cgroup"];
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
            "args": ["true"], "env": ["PATH=/bin"], "cwd": "/", "noNewPrivileges": true,
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": namespaces.map(|kind| json!({"type": kind})),
            "resources": {
                "devices": devices(), "memory": {"limit": 64 << 20}, "cpu": {"shares": 512},
                "pids": {"limit": 100},
            },
            "seccomp": seccomp()?,
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
                "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                "/proc/sysrq-trigger"],
        },
    }))
}

fn mounts() -> Value {
    let mount = |target: &str, kind: &str, options: &str| json!({"destination": target, "type": kind, "source": kind, "options": options.split(',').collect::<Vec<_>>()});
    json!([
        mount("/proc", "proc", "nosuid,noexec,nodev"),
        mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
        mount("/sys/fs/cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
        mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=67108864"),
    ])
}

fn devices() -> Vec<Value> {
    let nodes = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];
    let allowed = nodes.map(|(major, minor)| json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}));
    [json!({"allow": false, "access": "rwm"})].into_iter().chain(allowed).collect()
}

/// What of the profile holds for this kernel, this architecture and the bundle's capabilities.
fn seccomp() -> Result<Value> {
    let profile: Value = serde_json::from_str(PROFILE)?;
    let rules = profile["syscalls"].as_array().context("a profile without system calls")?;
    let holds = |rule: &&Value| match &rule["includes"] {
        Value::Null => true,
        includes => {
            let architectures = includes["arches"].as_array();
            includes["caps"].is_null()
                && architectures.is_none_or(|names| names.contains(&json!("amd64")))
        }
    };
    let rules: Vec<Value> = rules.iter().filter(holds).map(without_conditions).collect();
    Ok(json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }))
}

fn without_conditions(rule: &Value) -> Value {
    let mut rule = rule.clone();
    if let Some(fields) = rule.as_object_mut() {
        fields.retain(|name, _| !["includes", "excludes"].contains(&name.as_str()));
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_dockers_for_an_ordinary_container() {
        let filter = seccomp().unwrap();
        let rules = filter["syscalls"].as_array().unwrap();
        let allows = |name: &str| {
            rules.iter().any(|rule| {
                let named = rule["names"].as_array().unwrap().contains(&json!(name));
                named && rule["action"] == "SCMP_ACT_ALLOW"
            })
        };
        assert!(allows("execve") && allows("arch_prctl") && !allows("bpf") && !allows("mount"));
        assert!(rules.iter().all(|rule| rule["includes"].is_null() && rule["excludes"].is_null()));
    }
}
