use std::path::Path;

use davit_api::container::{Config, DeviceMapping, HostConfig, Resources, Ulimit};
use davit_types::{ContainerId, oci};
use serde_json::{Value, json};

use super::*;

fn facts() -> HostFacts {
    HostFacts {
        cgroup_v2: false,
        time_namespaces: true,
        kernel: (6, 1),
        capabilities: ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"].map(str::to_owned).to_vec(),
    }
}

/// The spec of a container with these configurations.
fn spec_of(config: &Config, host_config: &HostConfig) -> Result<Value> {
    let id = ContainerId::from_bytes([1; 32]);
    oci_spec(&SpecInput {
        id: &id,
        config,
        host_config,
        args: vec!["sh".to_owned()],
        init: host_config.init.and_then(|init| init.then_some(Path::new("/host/init"))),
        root: Path::new("/merged"),
        hostname: "010101010101",
        link_env: Vec::new(),
        mounts: Vec::new(),
        network: Namespace::Path("/run/netns/x".into()),
        pid: Namespace::Private,
        ipc: Namespace::Private,
        uts: Namespace::Private,
        cgroup_path: format!("/docker/{id}"),
        shm: SharedMemory::Private(64 << 20),
        devices: Vec::new(),
        seccomp_profile: None,
        host: &facts(),
    })
}

fn capabilities_of(add: &[&str], drop: &[&str]) -> Result<Vec<String>> {
    let names = |list: &[&str]| Some(list.iter().map(|name| (*name).to_owned()).collect());
    let host_config =
        HostConfig { cap_add: names(add), cap_drop: names(drop), ..HostConfig::default() };
    capabilities::effective(&host_config, &facts().capabilities)
}

#[test]
fn a_default_container_has_dockers_defaults() {
    let spec = spec_of(&Config::default(), &HostConfig::default()).unwrap();
    assert_eq!(spec["process"]["cwd"], "/");
    assert_eq!(spec["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
    assert!(spec["process"]["capabilities"].get("ambient").is_none());
    let kinds: Vec<_> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|n| &n["type"]).collect();
    assert_eq!(kinds, ["mount", "network", "time", "uts", "pid", "ipc"]);
    assert_eq!(spec["linux"]["namespaces"][1]["path"], "/run/netns/x");
    assert_eq!(spec["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"], "0");
    assert_eq!(
        spec["linux"]["resources"]["devices"][0],
        json!({ "allow": false, "access": "rwm" })
    );
    let sys =
        spec["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/sys").unwrap();
    assert_eq!(sys["options"], json!(["nosuid", "noexec", "nodev", "ro"]));
}

#[test]
fn the_document_is_one_of_the_runtime_specification() {
    let host_config = HostConfig {
        tmpfs: [("/t".to_owned(), "exec,size=1m".to_owned())].into(),
        resources: Resources {
            memory: 64 << 20,
            memory_swap: 128 << 20,
            nano_cpus: 1_500_000_000,
            pids_limit: Some(10),
            ulimits: Some(vec![Ulimit { name: "nofile".to_owned(), soft: 1024, hard: -1 }]),
            ..Resources::default()
        },
        ..HostConfig::default()
    };
    let spec = spec_of(&Config { tty: true, ..Config::default() }, &host_config).unwrap();
    let parsed: oci::runtime::Spec = serde_json::from_value(spec).unwrap();
    let resources = parsed.linux().as_ref().unwrap().resources().as_ref().unwrap();
    assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(150_000));
    assert_eq!(resources.memory().unwrap().swap(), Some(128 << 20));
    let process = parsed.process().as_ref().unwrap();
    assert_eq!(process.rlimits().as_ref().unwrap()[0].hard(), u64::MAX);
    let tmpfs =
        parsed.mounts().as_ref().unwrap().iter().find(|m| m.destination() == Path::new("/t"));
    let options = tmpfs.unwrap().options().as_ref().unwrap();
    assert!(options.contains(&"exec".to_owned()) && !options.contains(&"noexec".to_owned()));
}

#[test]
fn deeper_mounts_come_later_whatever_their_kind() {
    let host_config = HostConfig {
        tmpfs: [("/etc".to_owned(), String::new())].into(),
        init: Some(true),
        ..HostConfig::default()
    };
    let spec = spec_of(&Config::default(), &host_config).unwrap();
    let mounts = spec["mounts"].as_array().unwrap();
    let place = |path: &str| mounts.iter().position(|mount| mount["destination"] == path).unwrap();
    assert!(place("/etc") < place("/sbin/docker-init"));
}

#[test]
fn init_is_bound_in_and_runs_the_program() {
    let host_config = HostConfig { init: Some(true), ..HostConfig::default() };
    let spec = spec_of(&Config::default(), &host_config).unwrap();
    assert_eq!(spec["process"]["args"], json!(["/sbin/docker-init", "--", "sh"]));
    let bound = spec["mounts"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(bound["source"], "/host/init");
    assert_eq!(bound["destination"], "/sbin/docker-init");
    assert_eq!(bound["options"], json!(["bind", "ro"]));
}

#[test]
fn capabilities_are_added_dropped_and_checked() {
    let cases: [(&[&str], &[&str], usize); 5] = [
        (&[], &[], 14),
        (&["sys_admin"], &[], 15),
        (&[], &["CHOWN", "CAP_KILL"], 12),
        (&["ALL"], &["KILL"], 2),
        (&["NET_ADMIN"], &["all"], 1),
    ];
    for (add, drop, count) in cases {
        assert_eq!(capabilities_of(add, drop).unwrap().len(), count, "{add:?} {drop:?}");
    }
    let error = capabilities_of(&["NOSUCH"], &[]).unwrap_err();
    assert_eq!(error.to_string(), "invalid CapAdd: unknown capability: \"CAP_NOSUCH\"");
}

#[test]
fn privileged_lifts_the_restrictions() {
    let host_config = HostConfig {
        privileged: true,
        masked_paths: Some(vec!["/proc/kcore".to_owned()]),
        ..HostConfig::default()
    };
    let spec = spec_of(&Config::default(), &host_config).unwrap();
    assert_eq!(spec["process"]["capabilities"]["effective"].as_array().unwrap().len(), 3);
    assert_eq!(spec["linux"]["maskedPaths"], json!([]));
    assert!(spec["linux"].get("seccomp").is_none());
    assert_eq!(spec["linux"]["resources"]["devices"], json!([{ "allow": true, "access": "rwm" }]));
}

#[test]
fn the_environment_is_replaced_in_place() {
    let env = ["A=b", "PATH=/bin", "HOSTNAME"].map(str::to_owned).to_vec();
    let config = Config { env: Some(env), ..Config::default() };
    let spec = spec_of(&config, &HostConfig::default()).unwrap();
    assert_eq!(spec["process"]["env"], json!(["PATH=/bin", "A=b"]));
}

#[test]
fn the_default_seccomp_profile_depends_on_capabilities() {
    let names = |host_config: &HostConfig| -> Vec<String> {
        let spec = spec_of(&Config::default(), host_config).unwrap();
        let rules = spec["linux"]["seccomp"]["syscalls"].as_array().unwrap().clone();
        let allowed = rules
            .iter()
            .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule.get("args").is_none());
        allowed
            .flat_map(|rule| rule["names"].as_array().unwrap().clone())
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let default = names(&HostConfig::default());
    assert!(default.contains(&"openat".to_owned()) && default.contains(&"chroot".to_owned()));
    assert!(!default.contains(&"mount".to_owned()) && !default.contains(&"clone".to_owned()));
    let admin = HostConfig { cap_add: Some(vec!["SYS_ADMIN".to_owned()]), ..HostConfig::default() };
    assert!(
        names(&admin).contains(&"mount".to_owned()) && names(&admin).contains(&"clone".to_owned())
    );
    let unconfined = HostConfig {
        security_opt: Some(vec!["seccomp=unconfined".to_owned()]),
        ..HostConfig::default()
    };
    let spec = spec_of(&Config::default(), &unconfined).unwrap();
    assert!(spec["linux"].get("seccomp").is_none());
}

#[test]
fn bad_limits_rules_and_profiles_are_refused() {
    let rule = |text: &str| HostConfig {
        resources: Resources {
            device_cgroup_rules: Some(vec![text.to_owned()]),
            ..Resources::default()
        },
        ..HostConfig::default()
    };
    assert!(spec_of(&Config::default(), &rule("c 1:3 mr")).is_ok());
    for bad in ["c 1:3", "x 1:3 r", "c a:3 r", "c 1:3 rwmx"] {
        assert!(spec_of(&Config::default(), &rule(bad)).is_err(), "{bad}");
    }
    assert!(seccomp::validate("{\"defaultAction\":").is_err());
    assert!(seccomp::validate("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}").is_ok());
}

#[test]
fn a_device_is_looked_up_and_a_missing_one_is_named() {
    let mapping = |host: &str| HostConfig {
        resources: Resources {
            devices: Some(vec![DeviceMapping {
                path_on_host: host.to_owned(),
                path_in_container: "/dev/inside".to_owned(),
                cgroup_permissions: "r".to_owned(),
            }]),
            ..Resources::default()
        },
        ..HostConfig::default()
    };
    let found = devices::resolve(&mapping("/dev/null")).unwrap();
    assert_eq!((found[0].major, found[0].minor, found[0].access.as_str()), (1, 3, "r"));
    assert_eq!(found[0].path, Path::new("/dev/inside"));
    let error = devices::resolve(&mapping("/dev/nosuch")).unwrap_err();
    let text = "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory";
    assert_eq!(format!("{error:#}"), text);
}
