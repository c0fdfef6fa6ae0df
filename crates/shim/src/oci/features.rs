//! `features`

use davit_types::Result;
use davit_types::oci::runtime::Capability;
use serde_json::{Value, json};

use super::{SPEC_VERSION, print};

/// Flags of `features`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// What stands for itself in a mount's options; anything else is for the file system.
const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "auto",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "idmap",
    "loud",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "noiversion",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "tmpcopyup",
    "unbindable",
];

const SECCOMP_FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

const CAPABILITIES: &[Capability] = &[
    Capability::AuditControl,
    Capability::AuditRead,
    Capability::AuditWrite,
    Capability::BlockSuspend,
    Capability::Bpf,
    Capability::CheckpointRestore,
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::Kill,
    Capability::Lease,
    Capability::LinuxImmutable,
    Capability::MacAdmin,
    Capability::MacOverride,
    Capability::Mknod,
    Capability::NetAdmin,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetRaw,
    Capability::Perfmon,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysChroot,
    Capability::SysModule,
    Capability::SysNice,
    Capability::SysPacct,
    Capability::SysPtrace,
    Capability::SysRawio,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Syslog,
    Capability::WakeAlarm,
];

pub(crate) fn run(Args {}: &Args) -> Result<()> {
    print(&(serde_json::to_string_pretty(&features()).expect("lists of strings") + "\n"))
}

fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": CAPABILITIES,
            "cgroup": {
                "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true,
            },
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE",
                    "SCMP_ACT_TRAP",
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
                ],
                "knownFlags": SECCOMP_FLAGS,
                "supportedFlags": SECCOMP_FLAGS,
                "archs": ["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true},
            "memoryPolicy": {
                "modes": [
                    "MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED",
                    "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE",
                ],
                "flags": [
                    "MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES",
                ],
            },
        },
        "annotations": {
            "org.davit.version": env!("CARGO_PKG_VERSION"),
        },
        // They become properties of the container's scope.
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use davit_runtime::plan::{Host, MountKind, Plan};
    use davit_sys::cgroup::Layout;
    use davit_types::oci::runtime::{Features, Spec};

    fn plan(change: impl FnOnce(&mut Value)) -> std::result::Result<Plan, String> {
        let mut spec = json!({
            "ociVersion": SPEC_VERSION, "root": {"path": "r"},
            "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"]},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "network"}]},
        });
        change(&mut spec);
        let spec: Spec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
        let host = Host {
            cgroups: Layout::V2("/sys/fs/cgroup".into()),
            time_namespaces: true,
            systemd: None,
        };
        Plan::new("c", Path::new("/b"), &spec, &host).map_err(|failure| failure.message)
    }

    #[test]
    fn the_document_is_the_specifications() {
        let features: Features = serde_json::from_value(features()).expect("as specified");
        assert_eq!(features.oci_version_max(), SPEC_VERSION);
    }

    /// An option that the runtime doesn't know goes to the file system.
    #[test]
    fn mount_options_are_those_of_the_plan() {
        const OTHERS: &[&str] = &[
            "acl",
            "dirsync",
            "iversion",
            "lazytime",
            "mand",
            "noacl",
            "nolazytime",
            "sync",
            "size=1",
            "rlazytime",
            "copyup",
            "nosuch",
        ];
        for option in MOUNT_OPTIONS.iter().chain(OTHERS) {
            let plan = plan(|spec| {
                spec["mounts"] = json!([{
                    "destination": "/m", "type": "tmpfs", "source": "/s", "options": [option],
                }]);
            });
            let known = match &plan {
                Ok(plan) => match &plan.mounts[0].kind {
                    MountKind::Filesystem { parameters, .. } => parameters.is_empty(),
                    _ => true,
                },
                // Known, and not to be had for this mount.
                Err(message) => !message.contains("not supported"),
            };
            assert_eq!(known, MOUNT_OPTIONS.contains(option), "{option}: {plan:?}");
        }
    }

    #[test]
    fn what_is_not_claimed_is_refused() {
        let claims = features();
        let cases = [
            ("/linux/intelRdt/enabled", "intelRdt", json!({"closID": "c"})),
            ("/linux/netDevices/enabled", "netDevices", json!({"eth0": {"name": "x"}})),
        ];
        for (claim, field, value) in cases {
            let planned = plan(|spec| spec["linux"][field] = value);
            let refused = planned.is_err_and(|message| message.contains("not supported"));
            assert_eq!(claims.pointer(claim), Some(&json!(!refused)), "{field}");
        }
    }

    #[test]
    fn every_namespace_and_memory_policy_that_is_claimed_can_be_planned() {
        let claims = features();
        let list = |pointer: &str| claims.pointer(pointer).and_then(Value::as_array).cloned();
        for kind in list("/linux/namespaces").expect("a list") {
            let made = plan(|spec| {
                let linux = &mut spec["linux"];
                linux["namespaces"] = json!([{"type": "mount"}]);
                if kind != "mount" {
                    linux["namespaces"].as_array_mut().expect("a list").push(json!({"type": kind}));
                }
                if kind == "user" {
                    let ids = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
                    linux["uidMappings"] = ids.clone();
                    linux["gidMappings"] = ids;
                }
            });
            made.unwrap_or_else(|message| panic!("{kind}: {message}"));
        }
        for mode in list("/linux/memoryPolicy/modes").expect("a list") {
            let with = |nodes: Option<&str>| {
                plan(|spec| {
                    spec["linux"]["memoryPolicy"] = json!({"mode": mode});
                    if let Some(nodes) = nodes {
                        spec["linux"]["memoryPolicy"]["nodes"] = json!(nodes);
                    }
                })
            };
            assert!(with(None).is_ok() || with(Some("0")).is_ok(), "{mode}");
        }
    }

    /// Every word of the specification, whether it is claimed, and what becomes of it.
    #[test]
    fn seccomp_profiles_are_taken_as_claimed() {
        let claims = features();
        let check = |list: &str, word: &str, change: &dyn Fn(&mut Value)| {
            let mut profile = json!({
                "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent.sock",
                "syscalls": [
                    {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
                    {"names": ["uname"], "action": "SCMP_ACT_NOTIFY"},
                ],
            });
            change(&mut profile);
            let profile = serde_json::from_value(profile).map_err(|error| error.to_string());
            let taken = profile.is_ok_and(|profile| davit_runtime::check_seccomp(&profile).is_ok());
            let claimed = claims["linux"]["seccomp"][list].as_array().expect("a list");
            assert_eq!(claimed.contains(&json!(word)), taken, "{list}: {word}");
        };
        for action in [
            "ALLOW",
            "ERRNO",
            "KILL",
            "KILL_PROCESS",
            "KILL_THREAD",
            "LOG",
            "NOTIFY",
            "TRACE",
            "TRAP",
            "NOSUCH",
        ] {
            let word = format!("SCMP_ACT_{action}");
            check("actions", &word, &|profile| profile["syscalls"][0]["action"] = json!(word));
        }
        for operator in ["EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE", "NOSUCH"] {
            let word = format!("SCMP_CMP_{operator}");
            check("operators", &word, &|profile| {
                profile["syscalls"][0]["args"][0]["op"] = json!(word);
            });
        }
        for flag in
            ["LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV", "NEW_LISTENER", "TSYNC_ESRCH"]
        {
            let word = format!("SECCOMP_FILTER_FLAG_{flag}");
            for list in ["knownFlags", "supportedFlags"] {
                check(list, &word, &|profile| profile["flags"] = json!([word]));
            }
        }
    }

    #[test]
    fn hooks_of_every_kind_that_is_claimed_are_planned() {
        for kind in features()["hooks"].as_array().expect("a list") {
            let kind = kind.as_str().expect("a word");
            let with = |path: &str| plan(|spec| spec["hooks"] = json!({kind: [{"path": path}]}));
            assert!(with("/bin/true").is_ok(), "{kind}");
            // A kind that is not read would not be looked at.
            assert!(with("true").is_err_and(|message| message.contains(kind)), "{kind}");
        }
    }

    #[test]
    fn capabilities_are_the_kernels() {
        let mut names: Vec<String> = CAPABILITIES.iter().map(ToString::to_string).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 41);
    }
}
