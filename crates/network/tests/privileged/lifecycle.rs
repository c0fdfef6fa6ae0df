//! Sandboxes come and go, and leave nothing behind.

use std::collections::HashSet;
use std::net::TcpListener;
use std::thread;

use davit_network::{EndpointSpec, Networks, PortRequest, Protocol, SandboxSpec};

use crate::support::{
    address, ask_tcp, ask_udp, bridge, eventually, first, in_private_namespaces, inside, port,
    serve, shell, to, traces,
};

#[test]
fn cycles_leave_nothing_behind() {
    in_private_namespaces("cycles_leave_nothing_behind", |host| {
        let networks = host.open();
        let before = traces(host);
        let range = PortRequest {
            host_ip: None,
            host_port: Some(8000..=8100),
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let ephemeral = PortRequest { host_port: None, ..range.clone() };
        let spec = bridge(vec![range, ephemeral, port(None, 53, 53, Protocol::Udp)]);
        for cycle in 0..200 {
            let name = format!("c{cycle}");
            networks.create_sandbox(&name, &spec).expect("create");
            networks.remove_sandbox(&name).expect("remove");
            networks.remove_sandbox(&name).expect("remove again");
        }
        eventually("everything is back to where it was", || traces(host) == before);
    });
}

#[test]
fn twenty_threads_create_and_remove_at_a_time() {
    in_private_namespaces("twenty_threads_create_and_remove_at_a_time", |host| {
        let networks = host.open();
        let before = traces(host);
        let cycle = |thread: usize| {
            for round in 0..10 {
                let name = format!("c{thread}-{round}");
                let request = PortRequest {
                    host_ip: None,
                    host_port: None,
                    container_port: 80,
                    protocol: Protocol::Tcp,
                };
                let made = networks.create_sandbox(&name, &bridge(vec![request])).expect("create");
                assert_eq!(made.ports.len(), 1);
                networks.remove_sandbox(&name).expect("remove");
            }
        };
        thread::scope(|scope| {
            for thread in 0..20 {
                scope.spawn(move || cycle(thread));
            }
        });
        eventually("everything is back to where it was", || traces(host) == before);
    });
}

#[test]
fn live_sandboxes_share_no_address_port_or_interface() {
    in_private_namespaces("live_sandboxes_share_no_address_port_or_interface", |host| {
        let networks = host.open();
        let spec = bridge(vec![PortRequest {
            host_ip: None,
            host_port: Some(7000..=7100),
            container_port: 80,
            protocol: Protocol::Tcp,
        }]);
        let made: Vec<_> = thread::scope(|scope| {
            let create = |n: usize| {
                let spec = SandboxSpec { name: format!("c{n}"), ..spec.clone() };
                networks.create_sandbox(&format!("c{n}"), &spec)
            };
            let threads: Vec<_> = (0..20).map(|n| scope.spawn(move || create(n))).collect();
            threads.into_iter().map(|t| t.join().expect("a thread").expect("create")).collect()
        });
        let endpoints = made.iter().map(first).cloned();
        let mut seen: Vec<String> = endpoints
            .flat_map(|endpoint| {
                [
                    endpoint.ipv4.expect("an address").to_string(),
                    endpoint.mac,
                    endpoint.host_interface,
                ]
            })
            .chain(made.iter().map(|sandbox| sandbox.ports[0].host_port.to_string()))
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 20 * 4);
        let bridge = networks.get("bridge").expect("the bridge");
        assert_eq!(bridge.usage[0].1, 20 + 3);
    });
}

#[test]
fn a_port_clash_is_an_error_that_leaves_nothing() {
    in_private_namespaces("a_port_clash_is_an_error_that_leaves_nothing", |host| {
        let networks = host.open();
        let wanted = bridge(vec![port(None, 8099, 80, Protocol::Tcp)]);
        let first = networks.create_sandbox("first", &wanted).expect("first");
        serve(&first.key, 80);
        let before = traces(host);

        let second = SandboxSpec { name: "p2".to_owned(), ..wanted.clone() };
        let error = networks.create_sandbox("second", &second).expect_err("taken");
        let text = format!("{error:#}");
        let start = "driver failed programming external connectivity on endpoint p2 (";
        let end = "): Bind for 0.0.0.0:8099 failed: port is already allocated";
        assert!(text.starts_with(start) && text.ends_with(end), "{text}");
        assert_eq!(text.len(), start.len() + 64 + end.len());

        let _program = TcpListener::bind("127.0.0.1:8070").expect("another program");
        let foreign = bridge(vec![port(None, 8070, 80, Protocol::Tcp)]);
        let error = networks.create_sandbox("third", &foreign).expect_err("in use");
        let text = "failed to bind host port 0.0.0.0:8070/tcp: address already in use";
        assert!(format!("{error:#}").ends_with(text), "{error:#}");
        drop(_program);

        eventually("nothing is left of the failures", || traces(host) == before);
        ask_tcp(("127.0.0.1", 8099)).expect("the first one is served still");
        let stolen = TcpListener::bind("0.0.0.0:8099").expect_err("reserved");
        assert_eq!(stolen.kind(), std::io::ErrorKind::AddrInUse);
        networks.remove_sandbox("first").expect("remove");
        let again = networks.create_sandbox("second", &second).expect("free again");
        serve(&again.key, 80);
        ask_tcp(("127.0.0.1", 8099)).expect("served by the second");
    });
}

#[test]
fn bad_requests_leave_nothing() {
    in_private_namespaces("bad_requests_leave_nothing", |host| {
        let networks = host.open();
        let before = traces(host);
        let plain = bridge(Vec::new());
        let bad = [
            SandboxSpec {
                endpoints: vec![EndpointSpec { mac: Some("nonsense".to_owned()), ..to("bridge") }],
                ..plain.clone()
            },
            SandboxSpec { ports: vec![port(Some("::1"), 80, 80, Protocol::Tcp)], ..plain.clone() },
            SandboxSpec {
                ports: vec![port(Some("203.0.113.9"), 80, 80, Protocol::Tcp)],
                ..plain.clone()
            },
            SandboxSpec { sysctls: vec![("kernel.x".to_owned(), "1".to_owned())], ..plain.clone() },
            SandboxSpec { sysctls: vec![("net.no.such".to_owned(), "1".to_owned())], ..plain },
        ];
        for spec in &bad {
            networks.create_sandbox("bad", spec).expect_err("refused");
        }
        eventually("nothing is left of them", || traces(host) == before);
    });
}

#[test]
fn the_address_of_a_dead_container_can_be_used_at_once() {
    in_private_namespaces("the_address_of_a_dead_container_can_be_used_at_once", |host| {
        let mut config = host.config();
        // Room for a sibling and one more: its address is given again at once.
        config.bridge_ip = Some("10.77.0.5/29".parse().expect("a subnet"));
        let networks = Networks::open(config).expect("networks");
        for n in 0..4 {
            networks.create_sandbox(&format!("sibling{n}"), &bridge(Vec::new())).expect("create");
        }
        let sibling = networks.create_sandbox("sibling0", &bridge(Vec::new())).expect("create");
        let mut addresses = HashSet::new();
        for round in 0..4 {
            let name = format!("c{round}");
            let made = networks.create_sandbox(&name, &bridge(Vec::new())).expect("create");
            let endpoint = first(&made).clone();
            let address = address(&made).to_string();
            addresses.insert(address.clone());
            // Nobody listens: that it is refused shows that the namespace got the packet.
            let asked = [inside(&sibling.key, || ask_tcp((&address, 80))), ask_tcp((&address, 80))];
            for answer in asked {
                let answer = answer.expect_err("nobody listens");
                assert_eq!(answer.kind(), std::io::ErrorKind::ConnectionRefused, "{answer}");
            }
            networks.remove_sandbox(&name).expect("remove");
            let interface = format!("ip link show {} 2>/dev/null || true", endpoint.host_interface);
            eventually("the namespace has ended", || shell(&interface).is_empty());
        }
        assert!(addresses.len() < 3, "addresses were used again: {addresses:?}");
    });
}

#[test]
fn running_udp_flows_notice_a_change_of_ports() {
    in_private_namespaces("running_udp_flows_notice_a_change_of_ports", |host| {
        let networks = host.open();
        let spec = bridge(vec![port(None, 5353, 53, Protocol::Udp)]);
        let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        client.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("set");
        // From before the port is published, to after it is another container's.
        client.send_to(b"?", "127.0.0.1:5353").expect("send");
        for name in ["first", "second"] {
            let made = networks.create_sandbox(name, &spec).expect("create");
            serve(&made.key, 53);
            // The janitor makes the kernel forget the old flow, in a moment.
            eventually(&format!("an answer of {name}"), || {
                client.send_to(b"?", "127.0.0.1:5353").expect("send");
                client.recv(&mut [0; 64]).is_ok()
            });
            networks.remove_sandbox(name).expect("remove");
        }
        assert!(ask_udp(("127.0.0.1", 5353)).is_err(), "unpublished");
    });
}

#[test]
fn a_publish_right_after_a_flush_finds_or_makes_the_rules() {
    in_private_namespaces("a_publish_right_after_a_flush_finds_or_makes_the_rules", |host| {
        let networks = host.open();
        let spec = bridge(vec![port(None, 8080, 80, Protocol::Tcp)]);
        let first = networks.create_sandbox("first", &spec).expect("first");
        serve(&first.key, 80);
        shell("nft flush ruleset");
        // Whether or not they have been restored by now.
        let other = bridge(vec![port(None, 8081, 80, Protocol::Tcp)]);
        let second = networks.create_sandbox("second", &other).expect("second");
        serve(&second.key, 80);
        ask_tcp(("127.0.0.1", 8080)).expect("the first one's rules are back");
        ask_tcp(("127.0.0.1", 8081)).expect("and the second's");
        let names = inside(&first.key, || shell("ip -br link"));
        assert!(names.contains("eth0"), "{names}");
    });
}
