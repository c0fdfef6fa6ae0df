//! How long things take. Figures are printed; only what would be absurd fails.

use std::time::{Duration, Instant};

use davit_network::{PortRequest, Protocol};

use crate::support::{
    address, ask_tcp, bridge, eventually, in_private_namespaces, inside, port, serve, shell, traces,
};

#[test]
fn a_sandbox_is_made_and_removed_in_no_time() {
    in_private_namespaces("a_sandbox_is_made_and_removed_in_no_time", |host| {
        let networks = host.open();
        for (what, ports) in [
            ("without ports", Vec::new()),
            ("with a port", vec![port(None, 8080, 80, Protocol::Tcp)]),
        ] {
            let spec = bridge(ports);
            let (mut creates, mut removes) = (Vec::new(), Vec::new());
            for cycle in 0..40 {
                let name = format!("c{cycle}");
                let start = Instant::now();
                networks.create_sandbox(&name, &spec).expect("create");
                creates.push(start.elapsed());
                let start = Instant::now();
                networks.remove_sandbox(&name).expect("remove");
                removes.push(start.elapsed());
            }
            let (create, remove) = (median(creates), median(removes));
            println!("sandbox {what}: create {create:?}, remove {remove:?}");
            assert!(create < Duration::from_millis(200) && remove < Duration::from_millis(200));
        }
    });
}

#[test]
fn the_first_packet_of_a_container_gets_through_at_once() {
    in_private_namespaces("the_first_packet_of_a_container_gets_through_at_once", |host| {
        let networks = host.open();
        let server = networks.create_sandbox("server", &bridge(Vec::new())).expect("server");
        serve(&server.key, 80);
        let address = address(&server).to_string();
        let mut waits = Vec::new();
        for cycle in 0..10 {
            let name = format!("c{cycle}");
            let made = networks.create_sandbox(&name, &bridge(Vec::new())).expect("create");
            waits.push(inside(&made.key, || {
                let start = Instant::now();
                ask_tcp((&address, 80)).expect("the server");
                start.elapsed()
            }));
        }
        println!("first connection of a new container: {waits:?}");
        assert!(median(waits) < Duration::from_millis(900), "a lost SYN is repeated after 1 s");
    });
}

#[test]
fn a_thousand_ports_are_published_at_once() {
    in_private_namespaces("a_thousand_ports_are_published_at_once", |host| {
        let networks = host.open();
        let before = traces(host);
        for (what, offset) in [("same numbers", 0), ("other numbers", 10_000)] {
            let request = |n: u16| PortRequest {
                host_ip: None,
                host_port: Some(n..=n),
                container_port: n + offset,
                protocol: Protocol::Tcp,
            };
            let spec = bridge((20_000..21_000).map(request).collect());
            let start = Instant::now();
            let made = networks.create_sandbox("many", &spec).expect("create");
            let create = start.elapsed();
            serve(&made.key, 20_999 + offset);
            ask_tcp(("127.0.0.1", 20_999)).expect("the last one");
            let start = Instant::now();
            networks.remove_sandbox("many").expect("remove");
            println!("1,000 ports, {what}: create {create:?}, remove {:?}", start.elapsed());
        }
        eventually("nothing is left", || traces(host) == before);
        let rules = shell("nft list ruleset");
        assert!(!rules.contains("elements"), "{rules}");
    });
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
