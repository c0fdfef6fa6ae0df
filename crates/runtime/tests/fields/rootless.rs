//! Containers of an ordinary user.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use davit_runtime::state::{State, Status};
use davit_runtime::{Failure, Launch};
use davit_sys::cgroup::{Cgroup, Layout};
use serde_json::{Value, json};

use crate::support::{Bundle, Output, Streams, collect, process, sandboxed, wait};

/// `nobody`, who has an entry in every `/etc/passwd`.
const USER: u32 = 65534;
const AS_USER: &str = "DAVIT_TEST_ROOTLESS";

/// Runs `body` again as an ordinary user, with a bundle that belongs to him.
fn as_user(name: &str, body: impl FnOnce(&Bundle)) {
    as_user_in(name, |_| Vec::new(), body);
}

/// The same in the cgroups that root has prepared.
fn as_user_in(
    name: &str,
    prepare: impl FnOnce(&Bundle) -> Vec<PathBuf>,
    body: impl FnOnce(&Bundle),
) {
    if let Some(dir) = std::env::var_os(AS_USER) {
        // The directory is root's to remove.
        let bundle = std::mem::ManuallyDrop::new(Bundle::at(PathBuf::from(dir)));
        return body(&bundle);
    }
    sandboxed(name, || {
        let bundle = Bundle::new();
        fs::create_dir_all(&bundle.root).expect("a directory");
        for path in ["", "state", "rootfs", "rootfs/tmp", "rootfs/etc", "rootfs/dev"] {
            chown(bundle.dir.join(path), Some(USER), Some(USER)).expect("owned");
        }
        // The build's directory may be root's alone.
        let program = bundle.dir.join("test");
        fs::copy(std::env::current_exe().expect("our own path"), &program).expect("copied");
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("a mode");
        let path = std::env::var("PATH").expect("a path");
        let path = format!("{}:{path}", fake_programs(&bundle).display());
        let user = USER.to_string();
        let join = "for dir in $CGROUPS; do echo 0 > $dir/cgroup.procs; done; exec \"$@\"";
        let cgroups: Vec<_> = prepare(&bundle).into_iter().map(PathBuf::into_os_string).collect();
        let output = Command::new("sh")
            .args([
                "-c",
                join,
                "sh",
                "setpriv",
                "--reuid",
                &user,
                "--regid",
                &user,
                "--clear-groups",
            ])
            .arg(&program)
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(AS_USER, &bundle.dir)
            .env("CGROUPS", cgroups.join(OsStr::new(" ")))
            .env("PATH", path)
            .current_dir(&bundle.dir)
            .output()
            .expect("setpriv");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "{stdout}{}", text(&output.stderr));
        assert!(stdout.contains("1 passed"), "{stdout}");
    });
}

/// Stand for newuidmap and newgidmap, which only their set-user-id bit lets write: they tell what they
/// were asked.
fn fake_programs(bundle: &Bundle) -> PathBuf {
    let bin = bundle.dir.join("bin");
    fs::create_dir(&bin).expect("a directory");
    for name in ["newuidmap", "newgidmap"] {
        let script = "#!/bin/sh\nshift\necho \"${0##*/} $*\" >&2\nexit 3\n";
        fs::write(bin.join(name), script).expect("a program");
        fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755)).expect("a mode");
    }
    bin
}

/// What `runc spec --rootless` writes, nearly: no limits, and only what an ordinary user can mount.
fn spec(bundle: &Bundle, script: &str) -> Value {
    let mut spec = bundle.spec(&["sh", "-c", script]);
    let linux = spec["linux"].as_object_mut().expect("an object");
    linux.remove("resources");
    linux.remove("sysctl");
    linux.remove("cgroupsPath");
    linux["namespaces"].as_array_mut().expect("a list").push(json!({"type": "user"}));
    let own = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    linux.insert("uidMappings".to_owned(), own.clone());
    linux.insert("gidMappings".to_owned(), own);
    spec["process"]["user"] = json!({"uid": 0, "gid": 0});
    let mounts = spec["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| mount["type"] != "cgroup");
    for mount in mounts {
        let options = mount["options"].as_array_mut().expect("a list");
        options.retain(|option| option != "gid=5");
    }
    spec
}

fn run(bundle: &Bundle, spec: Value) -> Result<Output, Failure> {
    let streams = Streams::new();
    let launch = Launch { rootless: true, ..Launch::default() };
    let created = bundle.create_with(spec, streams.stdio, launch)?;
    created.start.start()?;
    let output = collect(created, streams.stdout, streams.stderr);
    davit_runtime::delete(&bundle.root, "c1").expect("deleted");
    Ok(output)
}

#[test]
fn an_ordinary_user_runs_a_bundle() {
    as_user("rootless::an_ordinary_user_runs_a_bundle", |bundle| {
        let script = "id -u; hostname; cat /proc/self/uid_map; echo x >/dev/null && echo null; touch /tmp/x; \
             ls /sys/class/net; cat /proc/self/setgroups; echo $$";
        let output = run(bundle, spec(bundle, script)).expect("it runs");
        let words: Vec<&str> = output.stdout.split_whitespace().collect();
        let user = USER.to_string();
        assert_eq!(words, ["0", "box", "0", &user, "1", "null", "lo", "deny", "1"], "{output:?}");
        assert!(bundle.dir.join("rootfs/tmp/x").exists());
        assert!(!bundle.root.join("c1").exists());
    });
}

#[test]
fn one_that_waits_to_be_started_is_known_as_such() {
    as_user("rootless::one_that_waits_to_be_started_is_known_as_such", |bundle| {
        let status = || State::load(&bundle.root, "c1").expect("a state").status();
        let launch = Launch { rootless: true, gated: true, ..Launch::default() };
        let spec = spec(bundle, "exec sleep 1000");
        let created = bundle.create_with(spec, Streams::new().stdio, launch).expect("created");
        assert_eq!(status(), Status::Created);
        assert_eq!(davit_runtime::start(&bundle.root, "c1").expect("started"), []);
        assert_eq!(status(), Status::Running);
        let output = bundle.run_exec(process(&["id", "-u"])).expect("an exec");
        assert_eq!(output.stdout, "0\n", "{output:?}");
        davit_runtime::kill(&bundle.root, "c1", 9).expect("killed");
        wait(&created);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
    });
}

#[test]
fn what_an_ordinary_user_can_not_have_is_refused() {
    as_user("rootless::what_an_ordinary_user_can_not_have_is_refused", |bundle| {
        let with = |pointer: &str, name: &str, value: Value| {
            let mut spec = spec(bundle, "true");
            spec.pointer_mut(pointer).expect("there")[name] = value;
            run(bundle, spec).expect_err(name).to_string()
        };
        let limited = with("/linux", "resources", json!({"memory": {"limit": 100_000_000}}));
        assert!(limited.contains("cgroup") && limited.contains("denied"), "{limited}");
        let asked = with("/linux", "cgroupsPath", json!(bundle.cgroup));
        assert!(asked.contains("denied (rootless needs no limits + no cgroupsPath"), "{asked}");
        let groups = with("/process/user", "additionalGids", json!([1]));
        assert!(groups.contains("can't have additionalGids"), "{groups}");
        let users =
            with("/linux", "uidMappings", json!([{"containerID": 0, "hostID": USER, "size": 2}]));
        assert!(users.contains("newuidmap"), "{users}");
        assert!(!bundle.root.join("c1").exists());
    });
}

/// Gives the user the cgroup above the container's, as a service manager does. Returned is one below
/// it for himself: an ordinary user moves processes only within what is his.
fn delegate(bundle: &Bundle) -> Vec<PathBuf> {
    let layout = Layout::detect().expect("cgroups");
    let (parent, _) = bundle.cgroup.rsplit_once('/').expect("a path");
    let own = Cgroup::open(&layout, &format!("{parent}/own")).expect("a path");
    own.create().expect("created");
    let v1 = own.v1_directories().iter().map(|v1| v1.mount.clone());
    let directories: Vec<PathBuf> = v1.chain(own.unified_directory().map(Path::to_owned)).collect();
    for directory in &directories {
        for directory in [directory, directory.parent().expect("the one above")] {
            chown(directory, Some(USER), Some(USER)).expect("owned");
            for file in ["cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"] {
                let file = directory.join(file);
                if file.exists() {
                    chown(file, Some(USER), Some(USER)).expect("owned");
                }
            }
        }
    }
    directories
}

#[test]
fn limits_hold_in_a_cgroup_that_is_delegated() {
    let name = "rootless::limits_hold_in_a_cgroup_that_is_delegated";
    as_user_in(name, delegate, |bundle| {
        let mut spec = spec(bundle, "exec sleep 1000");
        spec["linux"]["cgroupsPath"] = json!(bundle.cgroup);
        spec["linux"]["resources"] =
            json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 20}});
        let launch = Launch { rootless: true, ..Launch::default() };
        let created = bundle.create_with(spec, Streams::new().stdio, launch).expect("created");
        created.start.start().expect("started");
        let layout = Layout::detect().expect("cgroups");
        let cgroup = Cgroup::open(&layout, &bundle.cgroup).expect("a path");
        let stats = cgroup.stats().expect("counters");
        assert_eq!((stats.memory.limit, stats.pids.limit), (67_108_864, Some(20)));
        assert_eq!(cgroup.procs().expect("a list"), [created.pid]);
        davit_runtime::kill(&bundle.root, "c1", 9).expect("killed");
        wait(&created);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
        assert!(!cgroup.exists());
    });
}

#[test]
fn more_ids_are_mapped_by_the_programs_for_that() {
    as_user("rootless::more_ids_are_mapped_by_the_programs_for_that", |bundle| {
        let mut spec = spec(bundle, "true");
        spec["linux"]["uidMappings"] = json!([
            {"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 65536},
        ]);
        let failure = run(bundle, spec).expect_err("it says no").to_string();
        let expected = format!("newuidmap 0 {USER} 1 1 100000 65536");
        assert!(failure.contains("newuidmap failed: ") && failure.contains(&expected), "{failure}");
        assert!(!bundle.root.join("c1").exists());
    });
}
