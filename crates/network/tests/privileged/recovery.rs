//! The daemon dies and comes back: what lives stays, what doesn't goes.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use davit_network::{Config, Networks, Protocol};

use crate::support::{
    address, ask_tcp, bridge, eventually, first, in_private_namespaces, port, serve, shell, traces,
};

#[test]
fn live_sandboxes_are_adopted_and_the_rest_is_deleted() {
    in_private_namespaces("live_sandboxes_are_adopted_and_the_rest_is_deleted", |host| {
        let networks = host.open();
        let ids: Vec<String> = networks.list().into_iter().map(|network| network.id).collect();
        let spec = bridge(vec![port(None, 8080, 80, Protocol::Tcp)]);
        let live = networks.create_sandbox("live", &spec).expect("live");
        serve(&live.key, 80);
        let rules = shell("nft list ruleset");
        let with_one = traces(host);
        let stray = bridge(vec![port(None, 8081, 80, Protocol::Tcp)]);
        networks.create_sandbox("stray", &stray).expect("stray");
        drop(networks);

        ask_tcp(("127.0.0.1", 8080)).expect("served without a daemon");
        let networks = host.open();
        ask_tcp(("127.0.0.1", 8080)).expect("served before recovery");
        networks.recover(&[("live".to_owned(), "live".to_owned(), live.clone())]).expect("recover");
        ask_tcp(("127.0.0.1", 8080)).expect("served after recovery");

        let again: Vec<String> = networks.list().into_iter().map(|network| network.id).collect();
        assert_eq!(again, ids, "network ids are stable");
        assert_eq!(shell("nft list ruleset"), rules);
        eventually("the stray one is gone", || traces(host) == with_one);
        let taken = TcpListener::bind("0.0.0.0:8080").expect_err("reserved again");
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        let new = networks.create_sandbox("new", &stray).expect("its port is free");
        assert_ne!(address(&new), address(&live));
        networks.remove_sandbox("live").expect("remove what was adopted");
        ask_tcp(("127.0.0.1", 8080)).expect_err("gone");
    });
}

#[test]
fn a_port_that_was_taken_meanwhile_is_served_still() {
    in_private_namespaces("a_port_that_was_taken_meanwhile_is_served_still", |host| {
        let networks = host.open();
        let spec = bridge(vec![port(None, 8080, 80, Protocol::Tcp)]);
        let live = networks.create_sandbox("live", &spec).expect("live");
        serve(&live.key, 80);
        drop(networks);
        let _thief = TcpListener::bind("0.0.0.0:8080").expect("nobody holds it");
        let networks = host.open();
        networks
            .recover(&[("live".to_owned(), "live".to_owned(), live)])
            .expect("a warning, no error");
        assert_eq!(ask_tcp(("127.0.0.1", 8080)).expect("served"), "172.17.0.1");
    });
}

#[test]
fn no_connection_fails_while_the_daemon_restarts() {
    in_private_namespaces("no_connection_fails_while_the_daemon_restarts", |host| {
        let networks = host.open();
        let spec = bridge(vec![port(None, 8080, 80, Protocol::Tcp)]);
        let live = networks.create_sandbox("live", &spec).expect("live");
        serve(&live.key, 80);
        drop(networks);
        let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    ask_tcp(("127.0.0.1", 8080)).expect("served at every moment");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
            for _ in 0..50 {
                let networks = host.open();
                networks
                    .recover(&[("live".to_owned(), "live".to_owned(), live.clone())])
                    .expect("recover");
            }
            done.store(true, Ordering::Relaxed);
            client.join().expect("no failure");
        });
        assert!(asked.into_inner() > 50);
    });
}

#[test]
fn the_chosen_subnet_is_remembered_and_routed_ones_are_avoided() {
    in_private_namespaces("the_chosen_subnet_is_remembered_and_routed_ones_are_avoided", |host| {
        shell("ip link add d0 type bridge; ip addr add 172.17.9.9/24 dev d0; ip link set d0 up");
        let subnet = |networks: &Networks| {
            networks.get("bridge").expect("the bridge").definition.subnets[0].subnet.to_string()
        };
        let networks = host.open();
        assert_eq!(subnet(&networks), "172.18.0.0/16");
        drop(networks);
        shell("ip link del d0; ip link del davit0; nft delete table ip davit");
        assert_eq!(subnet(&host.open()), "172.18.0.0/16");

        let bip = Some("10.5.0.9/24".parse().expect("a subnet"));
        let networks = Networks::open(Config { bridge_ip: bip, mtu: Some(1400), ..host.config() });
        let networks = networks.expect("networks");
        assert_eq!(subnet(&networks), "10.5.0.0/24");
        let made = networks.create_sandbox("c", &bridge(Vec::new())).expect("create");
        assert_eq!(first(&made).gateway, Some("10.5.0.9".parse().expect("an address")));
        assert_eq!(address(&made).to_string(), "10.5.0.1");
        let addresses = shell("ip -o -4 addr show davit0; ip -o link show davit0");
        assert!(addresses.contains("10.5.0.9/24 brd 10.5.0.255"), "{addresses}");
        assert!(!addresses.contains("172.18") && addresses.contains("mtu 1400"), "{addresses}");
    });
}

#[test]
fn without_a_bridge_nothing_is_made() {
    in_private_namespaces("without_a_bridge_nothing_is_made", |host| {
        let networks =
            Networks::open(Config { enabled: false, ..host.config() }).expect("networks");
        let names: Vec<String> = networks.list().into_iter().map(|network| network.name).collect();
        assert_eq!(names, ["host", "none"]);
        networks.create_sandbox("c", &bridge(Vec::new())).expect_err("no bridge");
        networks.recover(&[]).expect("nothing to do");
        assert_eq!(shell("nft list ruleset"), "");
    });
}
