//! Who can reach whom: containers, the host, and what is outside.

use crate::support::{
    Host, address, ask_tcp, ask_udp, bridge, first, in_private_namespaces, inside, port, serve,
    shell, to,
};
use davit_network::{Config, EndpointSpec, Networks, Protocol, SandboxSpec};

const NO_BR_NETFILTER: &str = "f=/proc/sys/net/bridge/bridge-nf-call-iptables
     [ ! -e $f ] || echo 0 > $f";

#[test]
fn published_ports_are_served_from_everywhere() {
    in_private_namespaces("published_ports_are_served_from_everywhere", served_from_everywhere);
}

#[test]
fn published_ports_are_served_without_br_netfilter() {
    in_private_namespaces("published_ports_are_served_without_br_netfilter", |host| {
        shell(NO_BR_NETFILTER);
        served_from_everywhere(host);
    });
}

fn served_from_everywhere(host: &Host) {
    let outside = host.add_outside();
    let networks = host.open();
    let ports = vec![
        port(None, 8080, 80, Protocol::Tcp),
        port(None, 8080, 80, Protocol::Udp),
        port(None, 9000, 9000, Protocol::Tcp),
    ];
    let web = networks.create_sandbox("web", &bridge(ports)).expect("web");
    let sibling = networks.create_sandbox("sibling", &bridge(Vec::new())).expect("sibling");
    serve(&web.key, 80);
    serve(&web.key, 9000);

    let gateway = "172.17.0.1";
    for server in ["127.0.0.1", "127.0.0.5", "192.0.2.1", gateway] {
        for port in [8080, 9000] {
            let seen = ask_tcp((server, port));
            assert!(seen.is_ok(), "host to {server}:{port}: {seen:?}");
        }
        let seen = ask_udp((server, 8080));
        assert!(seen.is_ok(), "host to {server}:8080/udp: {seen:?}");
    }
    inside(&outside, || {
        assert_eq!(ask_tcp(("192.0.2.1", 8080)).expect("outside, tcp"), "192.0.2.2");
        assert_eq!(ask_tcp(("192.0.2.1", 9000)).expect("outside, same port"), "192.0.2.2");
        assert_eq!(ask_udp(("192.0.2.1", 8080)).expect("outside, udp"), "192.0.2.2");
    });
    for key in [&sibling.key, &web.key] {
        inside(key, || {
            for server in ["192.0.2.1", gateway] {
                assert_eq!(ask_tcp((server, 8080)).expect("by the host, tcp"), gateway);
                assert_eq!(ask_udp((server, 8080)).expect("by the host, udp"), gateway);
            }
        });
    }
}

#[test]
fn localhost_falls_back_from_ipv6_at_once() {
    in_private_namespaces("localhost_falls_back_from_ipv6_at_once", |host| {
        let networks = host.open();
        let spec = bridge(vec![port(None, 8080, 80, Protocol::Tcp)]);
        let web = networks.create_sandbox("web", &spec).expect("web");
        serve(&web.key, 80);
        let refused = ask_tcp(("::1", 8080)).expect_err("nothing is served on IPv6");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(web.ports.iter().all(|port| port.host_ip.is_ipv4()), "{:?}", web.ports);
    });
}

#[test]
fn a_published_host_address_is_the_only_one() {
    in_private_namespaces("a_published_host_address_is_the_only_one", |host| {
        let outside = host.add_outside();
        let networks = host.open();
        let ports = vec![
            port(Some("127.0.0.1"), 8080, 80, Protocol::Tcp),
            port(Some("192.0.2.1"), 8081, 80, Protocol::Tcp),
        ];
        let web = networks.create_sandbox("web", &bridge(ports)).expect("web");
        serve(&web.key, 80);
        ask_tcp(("127.0.0.1", 8080)).expect("loopback");
        ask_tcp(("192.0.2.1", 8081)).expect("the address named");
        ask_tcp(("192.0.2.1", 8080)).expect_err("published on loopback only");
        ask_tcp(("127.0.0.1", 8081)).expect_err("published on another address");
        inside(&outside, || {
            shell("ip route add 127.0.0.9/32 via 192.0.2.1 2>/dev/null || true");
            ask_tcp(("192.0.2.1", 8080)).expect_err("published on loopback only");
            ask_tcp(("192.0.2.1", 8081)).expect("the address named");
        });
    });
}

#[test]
fn containers_reach_out_but_are_not_reached_directly() {
    in_private_namespaces("containers_reach_out_but_are_not_reached_directly", |host| {
        let outside = host.add_outside();
        let networks = host.open();
        let web = networks.create_sandbox("web", &bridge(Vec::new())).expect("web");
        let sibling = networks.create_sandbox("sibling", &bridge(Vec::new())).expect("sibling");
        serve(&outside, 7000);
        serve(&web.key, 80);
        let address = address(&web).to_string();

        inside(&web.key, || {
            let seen = ask_tcp(("192.0.2.2", 7000)).expect("to the outside");
            assert_eq!(seen, "192.0.2.1", "masqueraded");
            ask_udp(("192.0.2.2", 7000)).expect("to the outside by UDP");
        });
        inside(&sibling.key, || ask_tcp((&address, 80)).map(drop)).expect("a sibling");
        ask_tcp((&address, 80)).expect("the host");
        inside(&outside, || {
            shell("ip route add 172.17.0.0/16 via 192.0.2.1");
            ask_tcp((&address, 80)).expect_err("the outside");
        });
    });
}

#[test]
fn without_icc_siblings_meet_only_at_published_ports() {
    in_private_namespaces(
        "without_icc_siblings_meet_only_at_published_ports",
        siblings_without_icc,
    );
}

#[test]
fn without_icc_and_br_netfilter_siblings_meet_only_at_published_ports() {
    let test = "without_icc_and_br_netfilter_siblings_meet_only_at_published_ports";
    in_private_namespaces(test, |host| {
        shell(NO_BR_NETFILTER);
        siblings_without_icc(host);
    });
}

fn siblings_without_icc(host: &Host) {
    let networks = Networks::open(Config { icc: false, ..host.config() }).expect("networks");
    let spec = bridge(vec![port(None, 8080, 80, Protocol::Tcp)]);
    let web = networks.create_sandbox("web", &spec).expect("web");
    let sibling = networks.create_sandbox("sibling", &bridge(Vec::new())).expect("sibling");
    serve(&web.key, 80);
    let address = address(&web).to_string();
    inside(&sibling.key, || {
        ask_tcp((&address, 80)).expect_err("directly");
        ask_tcp(("172.17.0.1", 8080)).expect("by the host");
    });
    ask_tcp((&address, 80)).expect("from the host");
}

#[test]
fn loopback_services_of_the_host_stay_private() {
    in_private_namespaces("loopback_services_of_the_host_stay_private", |host| {
        let networks = host.open();
        let web = networks.create_sandbox("web", &bridge(Vec::new())).expect("web");
        let secret = std::net::TcpListener::bind("127.0.0.1:6000").expect("listen");
        inside(&web.key, || {
            // A container with NET_ADMIN can route loopback addresses to the host.
            shell(
                "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet
                 ip addr del 127.0.0.1/8 dev lo
                 ip route del table local 127.0.0.0/8 2>/dev/null || true
                 ip route add 127.0.0.1/32 via 172.17.0.1",
            );
            ask_tcp(("127.0.0.1", 6000)).expect_err("the host's loopback");
        });
        drop(secret);
    });
}

#[test]
fn a_sandbox_without_network_has_only_loopback() {
    in_private_namespaces("a_sandbox_without_network_has_only_loopback", |host| {
        let networks = host.open();
        let spec = SandboxSpec {
            endpoints: Vec::new(),
            sysctls: vec![("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())],
            ..SandboxSpec::default()
        };
        let none = networks.create_sandbox("none", &spec).expect("none");
        assert!(none.endpoints.is_empty());
        let links = inside(&none.key, || shell("ip -br link; ip -br addr show dev lo"));
        assert!(!links.contains("eth0") && links.contains("127.0.0.1/8"), "{links}");
        let setting = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
        assert_eq!(inside(&none.key, || shell(setting)), "0\n");
    });
}

#[test]
fn an_endpoint_looks_like_dockers() {
    in_private_namespaces("an_endpoint_looks_like_dockers", |host| {
        let networks = host.open();
        let mac = Some("02:42:ac:11:00:07".to_owned());
        let endpoints = vec![EndpointSpec { mac, ..to("bridge") }];
        let spec = SandboxSpec { endpoints, ..bridge(Vec::new()) };
        let web = networks.create_sandbox("web", &spec).expect("web");
        let endpoint = first(&web).clone();
        assert_eq!(endpoint.mac, "02:42:ac:11:00:07");
        assert_eq!(endpoint.ipv4.expect("an address").to_string(), "172.17.0.2/16");
        assert!(web.key.ends_with(&web.id[..12]));
        let seen =
            inside(&web.key, || shell("ip -o link show eth0; ip -o addr show dev eth0; ip route"));
        for part in [
            "mtu 1500",
            "02:42:ac:11:00:07",
            "172.17.0.2/16 brd 172.17.255.255 scope global eth0",
            "default via 172.17.0.1 dev eth0",
        ] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
        assert!(!seen.contains("inet6"), "{seen}");
        let name = &endpoint.host_interface;
        let port = shell(&format!("ip -o link show {name}"));
        assert!(port.contains("master davit0"), "{port}");
    });
}

#[test]
fn nft_lists_the_table_as_it_was_meant() {
    in_private_namespaces("nft_lists_the_table_as_it_was_meant", |host| {
        let networks = host.open();
        let ports = vec![
            port(None, 8080, 80, Protocol::Tcp),
            port(Some("127.0.0.1"), 5353, 53, Protocol::Udp),
            port(None, 9000, 9000, Protocol::Tcp),
            port(None, 9001, 9001, Protocol::Tcp),
        ];
        networks.create_sandbox("web", &bridge(ports)).expect("web");
        let listed = shell("nft list table ip davit");
        for part in [
            "elements = { tcp . 8080 : 172.17.0.2 . 80 }",
            "elements = { 127.0.0.1 . udp . 5353 : 172.17.0.2 . 53 }",
            "elements = { 0.0.0.0/0 . tcp . 9000-9001 : 172.17.0.2 }",
            "dnat ip to ip daddr . meta l4proto . th dport map @published_at",
            "dnat ip to meta l4proto . th dport map @published",
            "dnat to ip daddr . meta l4proto . th dport map @published_ranges",
            "type filter hook prerouting priority raw; policy accept;",
            "iifname \"davit0\" ip daddr 127.0.0.0/8 drop",
            "type nat hook prerouting priority dstnat; policy accept;",
            "fib daddr type local jump publish",
            "type nat hook output priority -100; policy accept;",
            "type filter hook forward priority filter; policy accept;",
            "ct state established,related accept",
            "oifname \"davit0\" ct status dnat accept",
            "iifname \"davit0\" oifname \"davit0\" accept",
            "oifname \"davit0\" drop",
            "type nat hook postrouting priority srcnat; policy accept;",
            "ip saddr 127.0.0.0/8 oifname \"davit0\" masquerade",
            "ip saddr 172.17.0.0/16 oifname \"davit0\" ct status dnat masquerade",
            "ip saddr 172.17.0.0/16 oifname != \"davit0\" masquerade",
        ] {
            assert!(listed.contains(part), "{part} in {listed}");
        }
    });
}

#[test]
fn two_daemons_side_by_side_do_not_disturb_each_other() {
    in_private_namespaces("two_daemons_side_by_side_do_not_disturb_each_other", |host| {
        let one = host.open();
        let config = Config {
            state_dir: host.directory.join("other/state"),
            netns_dir: host.directory.join("other/netns"),
            bridge_name: "davit-demo0".to_owned(),
            table: "davit-demo".to_owned(),
            ..host.config()
        };
        let other = Networks::open(config).expect("networks");
        let subnets =
            [&one, &other].map(|it| it.get("bridge").expect("a bridge").definition.subnets);
        assert_ne!(subnets[0], subnets[1]);
        let spec = |host_port| bridge(vec![port(None, host_port, 80, Protocol::Tcp)]);
        let first = one.create_sandbox("a", &spec(8080)).expect("create");
        let second = other.create_sandbox("a", &spec(8081)).expect("create");
        other.create_sandbox("b", &spec(8080)).expect_err("the first one's port");
        serve(&first.key, 80);
        serve(&second.key, 80);
        other.recover(&[]).expect("nothing more is lost than its own");
        one.recover(&[]).expect("nor here");
        for port in [8080, 8081] {
            ask_tcp(("127.0.0.1", port)).expect("served");
        }
        let address = address(&second).to_string();
        inside(&first.key, || ask_tcp((&address, 80))).expect_err("another daemon's container");
        inside(&first.key, || ask_tcp(("172.17.0.1", 8081))).expect("its published port");
    });
}
