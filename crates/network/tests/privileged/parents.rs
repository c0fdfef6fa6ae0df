//! Networks on an interface of the host's: macvlan, and ipvlan where the kernel has it.

use std::net::Ipv4Addr;
use std::path::Path;

use davit_network::{NetworkRequest, Protocol, Sandbox, SubnetRequest};
use davit_types::Kind;

use crate::networks::named;
use crate::support::{
    address, ask_tcp, eventually, first, in_private_namespaces, inside, on, port, serve, shell, to,
    traces,
};

const OUTSIDE: &str = "192.0.2.2";

/// A network on `out0`, whose other end is outside.
fn on_parent(name: &str, driver: &str, range: &str, options: &[(&str, &str)]) -> NetworkRequest {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let parent = [("parent".to_owned(), "out0".to_owned())];
    NetworkRequest {
        driver: driver.to_owned(),
        options: options.chain(parent).collect(),
        subnets: vec![SubnetRequest {
            subnet: range.to_owned(),
            gateway: if range.starts_with("192.0.2.0/") {
                OUTSIDE.to_owned()
            } else {
                String::new()
            },
            ..SubnetRequest::default()
        }],
        ..named(name)
    }
}

fn answer(from: &Path, ip: &str) -> Option<String> {
    inside(from, || ask_tcp((ip, 80)).ok())
}

fn sees(from: &Sandbox, to: &Sandbox) -> bool {
    answer(&from.key, &address(to).to_string()).is_some()
}

#[test]
fn containers_of_macvlan_networks_are_on_their_parents_wire() {
    in_private_namespaces("containers_of_macvlan_networks_are_on_their_parents_wire", |host| {
        let outside = host.add_outside();
        serve(&outside, 80);
        let networks = host.open();
        let before = traces(host);
        let mac = on_parent("mac", "macvlan", "192.0.2.0/25", &[]);
        let mac = networks.create(&mac).expect("create");
        let published = vec![port(None, 8080, 80, Protocol::Tcp)];
        let web = networks.create_sandbox("web", &on("mac", published)).expect("web");
        let other = networks.create_sandbox("other", &on("mac", Vec::new())).expect("other");
        serve(&web.key, 80);
        assert!(web.ports.is_empty(), "nothing is published: {:?}", web.ports);
        assert_eq!(first(&web).gateway, Some(Ipv4Addr::new(192, 0, 2, 2)));
        assert_eq!(address(&web).to_string(), "192.0.2.1", "the first that is free in its subnet");
        assert!(sees(&other, &web), "siblings");
        let seen = answer(&other.key, OUTSIDE).expect("outside");
        assert_eq!(seen, address(&other).to_string(), "by its own address");
        assert!(inside(&web.key, || shell("ip route")).contains("default via 192.0.2.2"));
        let link = inside(&web.key, || shell("ip -d link show eth0"));
        assert!(link.contains("macvlan mode bridge") && link.contains(&first(&web).mac), "{link}");

        // Another daemon takes them over.
        drop(networks);
        let networks = host.open();
        let live = [("web", &web), ("other", &other)]
            .map(|(name, sandbox)| (name.to_owned(), name.to_owned(), sandbox.clone()));
        networks.recover(&live).expect("recover");
        let used = networks.remove("mac").expect_err("in use");
        assert_eq!(used.kind(), Kind::Forbidden);
        assert!(sees(&other, &web), "after a restart");

        // Live, beside a bridge.
        networks.create_sandbox("both", &on("bridge", Vec::new())).expect("both");
        let both = networks.connect("both", &to("mac"), &[]).expect("connect");
        assert!(sees(&both, &web), "connected");
        let both = networks.disconnect("both", &mac.id, &[]).expect("disconnect");
        assert!(!inside(&both.key, || shell("ip -o link")).contains("eth1"), "its interface goes");
        for name in ["web", "other", "both"] {
            networks.remove_sandbox(name).expect("remove");
        }
        networks.remove("mac").expect("remove");
        eventually("everything is back to where it was", || traces(host) == before);
    });
}

#[test]
fn modes_and_parents_of_macvlan_networks_are_checked() {
    in_private_namespaces("modes_and_parents_of_macvlan_networks_are_checked", |host| {
        host.add_outside();
        let networks = host.open();
        let private = on_parent("p", "macvlan", "192.0.2.0/26", &[("macvlan_mode", "private")]);
        networks.create(&private).expect("private");
        let one = networks.create_sandbox("one", &on("p", Vec::new())).expect("one");
        let two = networks.create_sandbox("two", &on("p", Vec::new())).expect("two");
        serve(&one.key, 80);
        assert!(!sees(&two, &one), "apart in mode private");
        let passthru = on_parent("q", "macvlan", "192.0.2.128/26", &[("macvlan_mode", "passthru")]);
        let refused = networks.create(&passthru).expect_err("the parent is shared");
        assert!(refused.message().starts_with("cannot use mode passthru, macvlan network "));
        for (parent, message) in [
            ("nosuch", "invalid subinterface vlan name nosuch, example formatting is eth0.10"),
            ("nosuch.10", "failed to find master interface nosuch on the Docker host"),
            ("lo", "loopback interface is not a valid macvlan parent link"),
        ] {
            let mut request = on_parent("r", "macvlan", "192.0.2.128/26", &[]);
            request.options.insert("parent".to_owned(), parent.to_owned());
            let refused = networks.create(&request).expect_err(parent);
            assert_eq!(refused.message(), message);
            assert!(networks.get("r").is_err(), "nothing is left of it");
        }
    });
}

#[test]
fn ipvlan_works_or_the_kernel_says_why_not() {
    in_private_namespaces("ipvlan_works_or_the_kernel_says_why_not", |host| {
        let outside = host.add_outside();
        serve(&outside, 80);
        let networks = host.open();
        networks.create(&on_parent("ip", "ipvlan", "192.0.2.0/25", &[])).expect("create");
        match networks.create_sandbox("web", &on("ip", Vec::new())) {
            Ok(web) => assert!(answer(&web.key, OUTSIDE).is_some(), "outside"),
            Err(error) => {
                let text = format!("{error:#}");
                assert!(text.contains("create ipvlan eth0 on out0: "), "{text}");
            }
        }
        networks.remove_sandbox("web").expect("remove");
        networks.remove("ip").expect("remove");
        assert!(shell("ip -o link").contains("out0"), "the parent is not ours");
    });
}
