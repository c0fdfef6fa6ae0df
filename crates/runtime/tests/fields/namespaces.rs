//! Namespaces, and the kernel settings and clocks that belong to them.

use std::fs;

use serde_json::json;

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
