//! Network devices that move into the container. Those of the tests are veth pairs of the sandbox.

use std::process::Command;

use davit_runtime::Failure;
use serde_json::{Value, json};

use crate::support::{Bundle, Output, sandboxed};

fn ip(args: &[&str]) -> String {
    let output = Command::new("ip").args(args).output().expect("ip");
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A device with addresses, up, and one without, down.
fn devices() {
    ip(&["link", "add", "first", "type", "veth", "peer", "name", "second"]);
    ip(&["addr", "add", "192.0.2.1/24", "dev", "first"]);
    ip(&["addr", "add", "2001:db8::1/64", "dev", "first", "nodad"]);
    ip(&["link", "set", "first", "up"]);
}

fn run(bundle: &Bundle, script: &str, devices: Value) -> Result<Output, Failure> {
    let mut spec = bundle.spec(&["sh", "-c", script]);
    spec["linux"]["netDevices"] = devices;
    bundle.run(spec)
}

/// `first` is on the host as [`devices`] made it.
fn assert_back() {
    let shown = ip(&["addr", "show", "dev", "first"]);
    for part in [",UP", "inet 192.0.2.1/24 ", "inet6 2001:db8::1/64 "] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_device_moves_with_its_addresses_under_another_name() {
    sandboxed("net_devices::a_device_moves_with_its_addresses_under_another_name", || {
        let bundle = Bundle::new();
        devices();
        let script = "ip addr show dev lan; cat /proc/sys/net/ipv4/conf/lan/forwarding; ip link";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        spec["linux"]["netDevices"] = json!({"first": {"name": "lan"}});
        spec["linux"]["sysctl"] = json!({"net.ipv4.conf.lan.forwarding": "1"});
        let output = bundle.run(spec).expect("it runs");
        assert_eq!(output.code, 0, "{output:?}");
        for part in [",UP", "inet 192.0.2.1/24 ", "inet6 2001:db8::1/64 ", "\n1\n"] {
            assert!(output.stdout.contains(part), "{part}: {output:?}");
        }
        assert!(!output.stdout.contains("first"), "{output:?}");
        assert!(!ip(&["-o", "link"]).contains("first@"));
        bundle.assert_nothing_left();
    });
}

#[test]
fn devices_keep_their_names_or_get_numbers() {
    sandboxed("net_devices::devices_keep_their_names_or_get_numbers", || {
        let bundle = Bundle::new();
        devices();
        ip(&["link", "add", "third", "type", "veth", "peer", "name", "fourth"]);
        let moved = json!({"first": {"name": "n%d"}, "third": {"name": "n%d"}, "second": {}});
        let output = run(&bundle, "ls /sys/class/net", moved).expect("it runs");
        assert_eq!(output.stdout, "lo\nn0\nn1\nsecond\n", "{output:?}");
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_creation_that_fails_later_gives_the_devices_back() {
    sandboxed("net_devices::a_creation_that_fails_later_gives_the_devices_back", || {
        let bundle = Bundle::new();
        devices();
        let mut spec = bundle.spec(&["true"]);
        spec["linux"]["netDevices"] = json!({"first": {"name": "lan"}, "second": {}});
        spec["hooks"] = json!({"createRuntime": [
            {"path": "/bin/busybox", "args": ["busybox", "false"]},
        ]});
        let failure = bundle.run(spec).expect_err("a failing hook");
        assert!(failure.message.contains("hook"), "{failure}");
        assert_back();
        assert!(!ip(&["link", "show", "dev", "second"]).contains(",UP"));
        bundle.assert_nothing_left();

        let failure = run(&bundle, "true", json!({"first": {}, "nosuch": {}})).expect_err("none");
        let expected = "move network device nosuch: no such device";
        assert!(failure.message.ends_with(expected), "{failure}");
        assert_back();
        bundle.assert_nothing_left();
    });
}

#[test]
fn what_can_not_move_is_named() {
    sandboxed("net_devices::what_can_not_move_is_named", || {
        let bundle = Bundle::new();
        devices();
        let failure = run(&bundle, "true", json!({"first": {"name": "lo"}})).expect_err("taken");
        let expected = "move network device first: the container has a device \"lo\" already";
        assert!(failure.message.ends_with(expected), "{failure}");
        assert_back();
        let failure = run(&bundle, "true", json!({"lo": {"name": "x"}})).expect_err("stays");
        assert!(failure.message.contains("move network device lo: "), "{failure}");

        let mut spec = bundle.spec(&["true"]);
        spec["linux"]["sysctl"] = json!({});
        spec["linux"]["netDevices"] = json!({"first": {}});
        spec["linux"]["namespaces"][1] = json!({"type": "network", "path": "/proc/self/ns/net"});
        let failure = bundle.run(spec).expect_err("the host's");
        let expected = "the container's network namespace is the host's";
        assert!(failure.message.ends_with(expected), "{failure}");
        assert_back();
        bundle.assert_nothing_left();
    });
}
