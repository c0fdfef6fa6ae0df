//! User-defined networks: made, joined, left and removed; apart from each other.

use std::collections::BTreeMap;
use std::path::Path;

use davit_network::{EndpointSpec, NetworkRequest, Protocol, SandboxSpec, SubnetRequest};
use davit_types::Kind;

use crate::support::{
    address, ask_tcp, bridge, eventually, first, in_private_namespaces, inside, on, port, serve,
    shell, to, traces,
};

/// A network without further wishes.
pub(crate) fn named(name: &str) -> NetworkRequest {
    NetworkRequest {
        name: name.to_owned(),
        driver: "bridge".to_owned(),
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        ipam_options: None,
        subnets: Vec::new(),
        config_only: false,
        config_from: String::new(),
    }
}

fn with_options(name: &str, options: &[(&str, &str)]) -> NetworkRequest {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    NetworkRequest { options: options.collect(), ..named(name) }
}

fn asks(from: &Path, address: &str) -> bool {
    inside(from, || ask_tcp((address, 80)).is_ok())
}

#[test]
fn networks_come_and_go_and_leave_nothing() {
    in_private_namespaces("networks_come_and_go_and_leave_nothing", |host| {
        let networks = host.open();
        let before = traces(host);
        let n1 = networks.create(&named("n1")).expect("create");
        assert_eq!(n1.definition.subnets[0].subnet.to_string(), "172.18.0.0/16");
        let taken = networks.create(&named("n1")).expect_err("the name is taken");
        assert_eq!(taken.message(), "network with name n1 already exists");
        assert_eq!(networks.create(&named("bridge")).expect_err("one").kind(), Kind::Forbidden);
        let driver = NetworkRequest { driver: "nosuch".to_owned(), ..named("n2") };
        let error = networks.create(&driver).expect_err("no such driver");
        assert_eq!(error.message(), "plugin \"nosuch\" not found");
        assert!(shell("ip -o addr").contains(&format!("br-{}", &n1.id[..12])));

        let web = networks.create_sandbox("web", &on("n1", Vec::new())).expect("web");
        assert_eq!(address(&web).to_string(), "172.18.0.2");
        let error = networks.remove("n1").expect_err("in use");
        assert_eq!(error.kind(), Kind::Forbidden);
        assert!(error.message().contains("network n1 has active endpoints (name:\"web"));
        networks.remove_sandbox("web").expect("remove");
        networks.remove("n1").expect("remove");
        assert_eq!(networks.get("n1").expect_err("gone").message(), "network n1 not found");
        eventually("everything is back to where it was", || traces(host) == before);
    });
}

#[test]
fn networks_are_apart_and_siblings_are_not() {
    in_private_namespaces("networks_are_apart_and_siblings_are_not", |host| {
        let networks = host.open();
        networks.create(&named("a")).expect("a");
        networks.create(&named("b")).expect("b");
        let internal = NetworkRequest { internal: true, ..named("inner") };
        networks.create(&internal).expect("inner");
        networks
            .create(&with_options("quiet", &[("com.docker.network.bridge.enable_icc", "false")]))
            .expect("quiet");
        let outside = host.add_outside();
        serve(&outside, 80);
        let published = vec![port(None, 8080, 80, Protocol::Tcp)];
        let web = networks.create_sandbox("web", &on("a", published)).expect("web");
        serve(&web.key, 80);
        let make = |name: &str, network: &str| {
            let made = networks.create_sandbox(name, &on(network, Vec::new())).expect("create");
            serve(&made.key, 80);
            made
        };
        let (sibling, other) = (make("sibling", "a"), make("other", "b"));
        let (default, inner) = (make("default", "bridge"), make("inner", "inner"));
        let (inner2, quiet) = (make("inner2", "inner"), make("quiet", "quiet"));
        let quiet2 = make("quiet2", "quiet");
        let web_ip = address(&web).to_string();

        assert!(asks(&sibling.key, &web_ip), "a sibling");
        for stranger in [&other, &default, &inner, &quiet] {
            assert!(!asks(&stranger.key, &web_ip), "{:?} reaches {web_ip}", first(stranger));
        }
        assert!(!asks(&outside, &web_ip), "by a route from outside");
        let host_ask = |from: &Path| inside(from, || ask_tcp(("192.0.2.1", 8080)).is_ok());
        assert!(host_ask(&outside) && host_ask(&other.key) && host_ask(&web.key), "published");
        assert!(!host_ask(&inner.key), "an internal network has no way out");
        assert!(asks(&inner.key, &address(&inner2).to_string()), "siblings inside");
        assert!(!asks(&inner.key, "192.0.2.2") && asks(&other.key, "192.0.2.2"), "the world");
        assert!(!asks(&quiet.key, &address(&quiet2).to_string()), "icc off");
        assert_eq!(first(&inner).gateway, None);
        assert!(!inside(&inner.key, || shell("ip route")).contains("default"));
    });
}

#[test]
fn a_running_sandbox_is_connected_and_disconnected() {
    in_private_namespaces("a_running_sandbox_is_connected_and_disconnected", |host| {
        let networks = host.open();
        networks.create(&named("a")).expect("a");
        networks.create(&named("b")).expect("b");
        let ports = vec![port(None, 8080, 80, Protocol::Tcp)];
        let web = networks.create_sandbox("web", &on("a", ports.clone())).expect("web");
        serve(&web.key, 80);
        let other = networks.create_sandbox("other", &on("b", Vec::new())).expect("other");
        assert!(!asks(&other.key, &address(&web).to_string()));
        let before = traces(host);

        let wish = EndpointSpec { priority: 5, ..to("b") };
        let both = networks.connect("web", &wish, &ports).expect("connect");
        assert_eq!(both.endpoints.len(), 2);
        let second = &both.endpoints[1];
        assert_eq!(second.interface, "eth1");
        let ip = second.ipv4.expect("an address").addr().to_string();
        assert!(asks(&other.key, &ip), "by the new address");
        let route = inside(&web.key, || shell("ip route show default"));
        assert!(route.contains("dev eth1") && route.lines().count() == 1, "{route}");
        ask_tcp(("127.0.0.1", 8080)).expect("the port goes on");
        let twice = networks.connect("web", &to("b"), &ports).expect_err("already");
        assert!(twice.message().contains("already exists in network b"), "{twice}");

        let id = second.network_id.clone();
        let one = networks.disconnect("web", &id, &ports).expect("disconnect");
        assert_eq!(one.endpoints, web.endpoints);
        networks.disconnect("web", &id, &ports).expect("again is no error");
        let route = inside(&web.key, || shell("ip route show default"));
        assert!(route.contains("dev eth0"), "{route}");
        ask_tcp(("127.0.0.1", 8080)).expect("the port goes on");
        eventually("nothing is left of the connection", || traces(host) == before);

        let none =
            networks.disconnect("web", &one.endpoints[0].network_id, &ports).expect("the last one");
        assert!(none.endpoints.is_empty() && none.ports.is_empty());
        ask_tcp(("127.0.0.1", 8080)).expect_err("no way in");
        networks.connect("web", &to("a"), &ports).expect("connect again");
        ask_tcp(("127.0.0.1", 8080)).expect("published again");
    });
}

#[test]
fn both_families_are_served() {
    in_private_namespaces("both_families_are_served", |host| {
        let networks = host.open();
        let subnet = |text: &str| SubnetRequest { subnet: text.to_owned(), ..Default::default() };
        let dual = NetworkRequest {
            ipv6: true,
            subnets: vec![subnet("10.80.0.0/24"), subnet("fd80::/64")],
            ..named("dual")
        };
        networks.create(&dual).expect("dual");
        let ports = vec![port(None, 8080, 80, Protocol::Tcp)];
        let web = networks.create_sandbox("web", &on("dual", ports)).expect("web");
        let endpoint = first(&web);
        assert_eq!(endpoint.ipv6.expect("an address").to_string(), "fd80::2/64");
        let shown: Vec<String> = web.ports.iter().map(|port| port.host_ip.to_string()).collect();
        assert_eq!(shown, ["0.0.0.0", "::"]);
        serve_v6(&web.key, 80);
        let wish = EndpointSpec { ipv6: Some("fd80::99".parse().expect("one")), ..to("dual") };
        let spec = SandboxSpec { endpoints: vec![wish], ..bridge(Vec::new()) };
        let sibling = networks.create_sandbox("sibling", &spec).expect("sibling");
        assert_eq!(first(&sibling).ipv6.expect("one").to_string(), "fd80::99/64");
        assert!(asks(&sibling.key, "fd80::2"), "siblings");
        let by_host = inside(&sibling.key, || ask_tcp(("fd80::1", 8080)));
        by_host.expect("by the host's address in the network");
        let route = inside(&web.key, || shell("ip -6 route show default"));
        assert!(route.contains("via fd80::1 dev eth0"), "{route}");

        let only = NetworkRequest { ipv4: false, ipv6: true, ..named("only") };
        networks.create(&only).expect("only");
        let six = networks.create_sandbox("six", &on("only", Vec::new())).expect("six");
        assert!(first(&six).ipv4.is_none() && first(&six).ipv6.is_some());
        assert!(!asks(&six.key, "fd80::2"), "networks are apart");
        let rules = shell("nft list table ip6 davit");
        assert!(rules.contains("tcp . 8080 : fd80::2 . 80"), "{rules}");
    });
}

fn serve_v6(namespace: &Path, port: u16) {
    inside(namespace, move || {
        let listener = std::net::TcpListener::bind(("::", port)).expect("listen");
        std::thread::spawn(move || listener.incoming().for_each(drop));
    });
}

#[test]
fn everything_is_there_after_a_restart() {
    in_private_namespaces("everything_is_there_after_a_restart", |host| {
        let networks = host.open();
        let n1 = networks.create(&named("n1")).expect("n1");
        let routed = with_options(
            "routed",
            &[
                ("com.docker.network.bridge.gateway_mode_ipv4", "routed"),
                ("com.docker.network.bridge.name", "br-routed"),
            ],
        );
        networks.create(&routed).expect("routed");
        let outside = host.add_outside();
        let ports = vec![port(None, 8080, 80, Protocol::Tcp)];
        let web = networks.create_sandbox("web", &on("routed", ports.clone())).expect("web");
        serve(&web.key, 80);
        serve(&web.key, 81);
        let web_ip = address(&web).to_string();
        assert!(asks(&outside, &web_ip), "published: open at its own address");
        let closed = inside(&outside, || ask_tcp((web_ip.as_str(), 81)).is_err());
        assert!(closed, "not published");
        let rules = shell("nft list ruleset");
        drop(networks);

        shell(&format!("ip link del br-{}", &n1.id[..12]));
        let networks = host.open();
        let live = [("web".to_owned(), "web".to_owned(), web.clone())];
        networks.recover(&live).expect("recover");
        assert_eq!(networks.get("n1").expect("n1").definition, n1.definition);
        assert_eq!(shell("nft list ruleset"), rules);
        assert!(asks(&outside, &web_ip), "served still");
        networks.connect("web", &to("n1"), &ports).expect("its bridge is there again");
        assert_eq!(networks.remove("routed").expect_err("in use").kind(), Kind::Forbidden);
    });
}

#[test]
fn what_somebody_flushes_is_restored_and_connections_go_on() {
    in_private_namespaces("what_somebody_flushes_is_restored_and_connections_go_on", |host| {
        let networks = host.open();
        networks.recover(&[]).expect("nothing to take over");
        networks.create(&named("n1")).expect("n1");
        let ports = vec![port(None, 8080, 80, Protocol::Tcp), port(None, 53, 53, Protocol::Udp)];
        let web = networks.create_sandbox("web", &on("n1", ports)).expect("web");
        let (accepted, connections) = std::sync::mpsc::channel();
        let (ready, listening) = std::sync::mpsc::channel();
        inside(&web.key, || {
            let listener = std::net::TcpListener::bind(("0.0.0.0", 80)).expect("listen");
            std::thread::spawn(move || {
                ready.send(()).expect("the test waits");
                listener.incoming().flatten().for_each(|stream| drop(accepted.send(stream)));
            });
        });
        listening.recv().expect("listening");
        let outside = host.add_outside();
        let connect = || inside(&outside, || std::net::TcpStream::connect(("192.0.2.1", 8080)));
        let client = connect().expect("published");
        let server = connections.recv().expect("connected");
        // Elements of a hash are listed in any order.
        let sorted = |command: &str| {
            let mut words: Vec<String> =
                shell(command).split([' ', ',', '\n']).map(|word| word.trim().to_owned()).collect();
            words.retain(|word| !word.is_empty());
            words.sort();
            words
        };
        let rules = sorted("nft list table ip davit");

        let damages = [
            "nft flush ruleset",
            "nft delete table ip davit",
            "nft flush chain ip davit forward",
            "nft delete element ip davit published { tcp . 8080 }",
            "nft flush map ip davit published",
        ];
        for damage in damages {
            shell(damage);
            eventually("the table is as it was", || {
                sorted("nft list table ip davit 2>/dev/null || true") == rules
            });
            std::io::Write::write_all(&mut &server, b"x").expect("the connection goes on");
            let mut byte = [0];
            std::io::Read::read_exact(&mut &client, &mut byte).expect("the connection goes on");
            connect().expect("published still");
            connections.recv().expect("connected");
        }
        // Its own changes are no damage.
        networks.remove_sandbox("web").expect("remove");
        networks.remove("n1").expect("remove");
        let listed = shell("nft list table ip davit");
        assert!(!listed.contains("8080") && !listed.contains("br-"), "{listed}");
    });
}
