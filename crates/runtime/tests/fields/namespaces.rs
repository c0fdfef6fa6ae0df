//! Namespaces, and the kernel settings and clocks that belong to them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};

use davit_runtime::Created;
use serde_json::{Value, json};

use crate::support::{Bundle, Streams, sandboxed, wait};

#[test]
fn clocks_are_moved_by_their_offsets() {
    sandboxed("namespaces::clocks_are_moved_by_their_offsets", || {
        let bundle = Bundle::new();
        let script = "cat /proc/uptime; cat /proc/self/timens_offsets; readlink /proc/self/ns/time";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        spec["linux"]["timeOffsets"] =
            json!({"boottime": {"secs": 864_000}, "monotonic": {"secs": 86400, "nanosecs": 5}});
        let uptime = fs::read_to_string("/proc/uptime").expect("our uptime");
        let seconds = |text: &str| -> f64 {
            text.split(' ').next().expect("a field").parse().expect("a number")
        };
        let output = bundle.run(spec).expect("it runs");
        assert!(seconds(&output.stdout) >= seconds(&uptime) + 864_000.0, "{output:?}");
        let words: Vec<&str> = output.stdout.split_whitespace().collect();
        assert_eq!(
            words[2..8],
            ["monotonic", "86400", "5", "boottime", "864000", "0"],
            "{output:?}"
        );
        let own = fs::read_link("/proc/self/ns/time").expect("ours");
        assert_ne!(words[8], own.to_string_lossy());
        bundle.assert_nothing_left();
    });
}

#[test]
fn settings_are_written_in_the_container_and_nowhere_else() {
    sandboxed("namespaces::settings_are_written_in_the_container_and_nowhere_else", || {
        let bundle = Bundle::new();
        let files = [
            "net/ipv4/ip_default_ttl",
            "kernel/shm_rmid_forced",
            "fs/mqueue/msg_max",
            "kernel/domainname",
        ];
        let own =
            || files.map(|file| fs::read_to_string(format!("/proc/sys/{file}")).expect("ours"));
        let before = own();
        let mut spec =
            bundle.spec(&["sh", "-c", &format!("cd /proc/sys; cat {}", files.join(" "))]);
        spec["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "77", "kernel/shm_rmid_forced": "1",
            "fs.mqueue.msg_max": "9", "kernel.domainname": "example"});
        let output = bundle.run(spec).expect("it runs");
        assert_eq!(output.stdout, "77\n1\n9\nexample\n", "{output:?}");
        assert_eq!(own(), before);
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_joined_network_has_settings_unless_it_is_the_hosts() {
    sandboxed("namespaces::a_joined_network_has_settings_unless_it_is_the_hosts", || {
        let bundle = Bundle::new();
        let mut other = bundle.spec(&["sleep", "1000"]);
        other["linux"]["cgroupsPath"] = json!(format!("{}-other", bundle.cgroup));
        let holder = bundle.create(other, Streams::new().stdio).expect("created");
        fs::rename(bundle.root.join("c1"), bundle.root.join("other")).expect("another id");

        let mut spec = bundle.spec(&["cat", "/proc/sys/net/ipv4/ip_default_ttl"]);
        spec["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "78"});
        let network = format!("/proc/{}/ns/net", holder.pid);
        spec["linux"]["namespaces"][1] = json!({"type": "network", "path": network});
        let output = bundle.run(spec.clone()).expect("it runs");
        assert_eq!(output.stdout, "78\n", "{output:?}");

        spec["linux"]["namespaces"][1] = json!({"type": "network", "path": "/proc/self/ns/net"});
        let failure = bundle.run(spec).expect_err("the host's");
        let expected = "sysctl \"net.ipv4.ip_default_ttl\" not allowed in host network namespace";
        assert!(failure.message.ends_with(expected), "{failure}");
        rustix::process::pidfd_send_signal(&holder.pidfd, rustix::process::Signal::KILL)
            .expect("killed");
        wait(&holder);
    });
}

/// Makes the host's user 100000 root of a new user namespace of the container, and owner of its root.
fn with_users(bundle: &Bundle, spec: &mut Value) {
    spec["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "user"}));
    let table = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    spec["linux"]["uidMappings"] = table.clone();
    spec["linux"]["gidMappings"] = table;
    let rootfs = bundle.dir.join("rootfs");
    for name in ["", "tmp", "etc", "dev"] {
        chown(rootfs.join(name), Some(100_000), Some(100_000)).expect("owned");
    }
}

/// A container with users of its own that sleeps, under another id.
fn sleeper(bundle: &Bundle) -> Created {
    let mut spec = bundle.spec(&["sleep", "1000"]);
    with_users(bundle, &mut spec);
    spec["linux"]["cgroupsPath"] = json!(format!("{}-other", bundle.cgroup));
    let created = bundle.create(spec, Streams::new().stdio).expect("created");
    fs::rename(bundle.root.join("c1"), bundle.root.join("other")).expect("another id");
    created
}

fn end(created: &Created) {
    rustix::process::pidfd_send_signal(&created.pidfd, rustix::process::Signal::KILL)
        .expect("killed");
    wait(created);
}

#[test]
fn a_user_namespace_can_be_joined_with_what_belongs_to_it() {
    sandboxed("namespaces::a_user_namespace_can_be_joined_with_what_belongs_to_it", || {
        let bundle = Bundle::new();
        let other = sleeper(&bundle);
        let script = "id -u; cat /proc/self/uid_map; readlink /proc/self/ns/user; readlink /proc/self/ns/net; \
             cat /proc/sys/net/ipv4/ip_default_ttl; touch /tmp/x && stat -c %u /tmp/x";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        spec["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "79"});
        let path = |name: &str| format!("/proc/{}/ns/{name}", other.pid);
        let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces[1] = json!({"type": "network", "path": path("net")});
        namespaces.push(json!({"type": "user", "path": path("user")}));
        // As Kubernetes has it: the tables are those of the namespace.
        let table = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        spec["linux"]["uidMappings"] = table.clone();
        spec["linux"]["gidMappings"] = table;
        let output = bundle.run(spec.clone()).expect("it runs");
        let link = |name: &str| fs::read_link(path(name)).expect("a namespace");
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines[0], "0", "{output:?}");
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
        assert_eq!(lines[2], link("user").to_string_lossy());
        assert_eq!(lines[3], link("net").to_string_lossy());
        assert_eq!(lines[4..], ["79", "0"], "{output:?}");
        assert!(!bundle.root.join("c1").exists());

        spec["linux"]["uidMappings"][0]["size"] = json!(10);
        let failure = bundle.run(spec).expect_err("other tables");
        let expected = "the user namespace has other id mappings than the configuration";
        assert!(failure.message.ends_with(expected), "{failure}");
        assert!(!bundle.root.join("c1").exists());
        end(&other);
    });
}

#[test]
fn namespaces_of_another_container_can_be_joined() {
    sandboxed("namespaces::namespaces_of_another_container_can_be_joined", || {
        // The type in the configuration, and the name in `/proc/<pid>/ns`.
        const KINDS: &[(&str, &str)] = &[
            ("pid", "pid"),
            ("network", "net"),
            ("ipc", "ipc"),
            ("uts", "uts"),
            ("cgroup", "cgroup"),
            ("time", "time"),
        ];
        let bundle = Bundle::new();
        let mut other = bundle.spec(&["sleep", "1000"]);
        other["linux"]["cgroupsPath"] = json!(format!("{}-other", bundle.cgroup));
        other["linux"]["timeOffsets"] = json!({"boottime": {"secs": 864_000}});
        other["linux"]["namespaces"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"type": "cgroup"}));
        let holder = bundle.create(other, Streams::new().stdio).expect("created");
        fs::rename(bundle.root.join("c1"), bundle.root.join("other")).expect("another id");
        let path = |name: &str| format!("/proc/{}/ns/{name}", holder.pid);

        let names: Vec<&str> = KINDS.iter().map(|(_, name)| *name).collect();
        let script = format!(
            "for name in {}; do readlink /proc/self/ns/$name; done; \
             hostname; cat /proc/self/oom_score_adj; ls -d /proc/1",
            names.join(" ")
        );
        let mut spec = bundle.spec(&["sh", "-c", &script]);
        spec["hostname"] = json!("");
        spec["process"]["oomScoreAdj"] = json!(321);
        spec["linux"]["sysctl"] = json!({});
        let joined = KINDS.iter().map(|(kind, name)| json!({"type": kind, "path": path(name)}));
        spec["linux"]["namespaces"] = joined.chain([json!({"type": "mount"})]).collect();
        let output = bundle.run(spec).expect("it runs");
        let own = |name: &&str| fs::read_link(format!("/proc/self/ns/{name}")).expect("ours");
        let theirs = |name: &&str| fs::read_link(path(name)).expect("a namespace");
        assert!(names.iter().all(|name| own(name) != theirs(name)));
        let expected: Vec<_> =
            names.iter().map(|name| theirs(name).to_string_lossy().into_owned()).collect();
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines[..names.len()], expected, "{output:?}");
        assert_eq!(lines[names.len()..], ["box", "321", "/proc/1"], "{output:?}");
        end(&holder);
    });
}

/// A process in a mount namespace of its own.
struct MountHolder(Child);

impl MountHolder {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "shared", "sh", "-c", "echo; exec sleep 1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare");
        let mut line = [0];
        child.stdout.as_mut().expect("piped").read_exact(&mut line).expect("a line");
        Self(child)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/mnt", self.0.id())
    }

    fn mounts(&self) -> String {
        fs::read_to_string(format!("/proc/{}/mountinfo", self.0.id())).expect("its mounts")
    }
}

impl Drop for MountHolder {
    fn drop(&mut self) {
        // Nothing else can be done about it.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn a_mount_namespace_that_is_joined_gets_the_containers_root() {
    sandboxed("namespaces::a_mount_namespace_that_is_joined_gets_the_containers_root", || {
        let bundle = Bundle::new();
        let holder = MountHolder::new();
        let (own, before) =
            (fs::read_to_string("/proc/self/mountinfo").expect("ours"), holder.mounts());
        let script = "readlink /proc/self/ns/mnt; pwd; grep -c . /proc/mounts; touch /tmp/x /sys/x; \
             cat /proc/keys; echo 1 > /proc/sys/kernel/hostname; ls /; exit 3";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        spec["linux"]["namespaces"][0] = json!({"type": "mount", "path": holder.path()});

        let mut broken = spec.clone();
        let mount = json!({"destination": "/tmp/late", "type": "nosuch", "source": "x"});
        broken["mounts"].as_array_mut().expect("a list").push(mount);
        bundle.create(broken, Streams::new().stdio).expect_err("no such file system");
        let mut hooked = spec.clone();
        hooked["hooks"] = json!({"createContainer": [{"path": "/bin/false"}]});
        bundle.create(hooked, Streams::new().stdio).expect_err("a hook that fails");
        let mut unbindable = spec.clone();
        unbindable["mounts"][6]["options"] = json!(["unbindable"]);
        let failure = bundle.create(unbindable, Streams::new().stdio).expect_err("refused");
        assert!(failure.message.contains("unbindable mount can't be"), "{failure}");
        assert_eq!(holder.mounts(), before);

        let output = bundle.run(spec).expect("it runs");
        let lines: Vec<&str> = output.stdout.lines().collect();
        let name = fs::read_link(holder.path()).expect("a namespace");
        assert_eq!(lines[..2], [&*name.to_string_lossy(), "/"], "{output:?}");
        assert_eq!(lines[3..], ["bin", "dev", "etc", "proc", "root", "sys", "tmp"], "{output:?}");
        assert_eq!(output.code, 3);
        assert_eq!(output.stderr.matches("ead-only file system").count(), 2, "{output:?}");
        // The host's mounts are gone from it, and ours are what they were.
        let after = holder.mounts();
        assert_eq!(after.lines().count().to_string(), lines[2], "{after}");
        assert!(before.lines().count() > 1, "{after}");
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").expect("ours"), own);
        assert!(bundle.dir.join("rootfs/tmp/x").exists());
        drop(holder);
        bundle.assert_nothing_left();
    });
}

#[test]
fn new_users_can_be_in_a_network_of_the_hosts() {
    sandboxed("namespaces::new_users_can_be_in_a_network_of_the_hosts", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&["sh", "-c", "id -u; readlink /proc/self/ns/net"]);
        with_users(&bundle, &mut spec);
        spec["linux"]["sysctl"] = json!({});
        spec["linux"]["namespaces"][1] = json!({"type": "network", "path": "/proc/self/ns/net"});
        // A sysfs takes power over the network that it shows.
        spec["mounts"].as_array_mut().expect("mounts").drain(3..5);
        let output = bundle.run(spec.clone()).expect("it runs");
        let own = fs::read_link("/proc/self/ns/net").expect("ours");
        assert_eq!(output.stdout, format!("0\n{}\n", own.display()), "{output:?}");
        bundle.assert_nothing_left();

        spec["linux"]["namespaces"][1]["path"] = json!("/proc/self/ns/uts");
        let failure = bundle.run(spec).expect_err("no network namespace");
        assert!(failure.message.contains("join namespace /proc/self/ns/uts"), "{failure}");
        bundle.assert_nothing_left();
    });
}

#[test]
fn clocks_are_moved_for_new_users_too() {
    sandboxed("namespaces::clocks_are_moved_for_new_users_too", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&["cat", "/proc/self/timens_offsets"]);
        with_users(&bundle, &mut spec);
        spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 864_000}});
        let output = bundle.run(spec).expect("it runs");
        let words: Vec<&str> = output.stdout.split_whitespace().collect();
        assert_eq!(words, ["monotonic", "0", "0", "boottime", "864000", "0"], "{output:?}");
        bundle.assert_nothing_left();
    });
}
