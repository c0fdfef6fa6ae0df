//! Published ports: a thousand of them, and the speed through one.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};

use super::start::remove_all;
use crate::engine::{Engine, Kind};
use crate::measure::{Row, Unit};

const RANGE: &str = "20000-20999:20000-20999";

/// What a thousand published ports cost over none: to start, in memory, to remove.
pub(crate) fn thousand(engines: &[Engine], runs: usize) -> Vec<Row> {
    let mut rows = [
        Row::new("publish 1,000 ports: start, over none", Unit::Milliseconds, "50 ms"),
        Row::new("publish 1,000 ports: PSS", Unit::KiB, "4 MiB"),
        Row::new("publish 1,000 ports: remove, over none", Unit::Milliseconds, "50 ms"),
    ];
    for _ in 0..runs {
        for engine in engines {
            match thousand_of(engine) {
                Ok(figures) => {
                    for (row, figure) in rows.iter_mut().zip(figures) {
                        row.add(engine.kind, Ok(figure));
                    }
                }
                Err(error) => rows[0].add(engine.kind, Err(error)),
            }
            // A failure has been reported.
            drop(remove_all(engine));
        }
    }
    rows.into()
}

fn thousand_of(engine: &Engine) -> Result<[f64; 3]> {
    let (start, _) = engine.run(&["run", "-d", "busybox", "sleep", "1000"])?;
    let before = engine.pss()?;
    let remove = remove_all(engine)?;
    let (with_ports, _) = engine.run(&["run", "-d", "-p", RANGE, "busybox", "sleep", "1000"])?;
    let after = engine.pss()?;
    let remove_ports = remove_all(engine)?;
    Ok([with_ports - start, after - before, remove_ports - remove])
}

/// Requests per second through a published port on the loopback, and straight to the container.
pub(crate) fn http(engines: &[Engine], runs: usize) -> Vec<Row> {
    let mut rows = [
        Row::new("HTTP through a published port", Unit::RequestsPerSecond, ""),
        Row::new("HTTP straight to the container", Unit::RequestsPerSecond, ""),
        Row::new("published / straight", Unit::Ratio, "0.95"),
    ];
    let mut targets = Vec::new();
    for engine in engines {
        match serve(engine) {
            Ok(address) => targets.push((engine, address)),
            Err(error) => rows[0].add(engine.kind, Err(error)),
        }
    }
    for _ in 0..runs {
        for (engine, address) in &targets {
            let straight = engine.agent().load(SocketAddr::from((*address, 80)));
            let published = engine.agent().load(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
            if let (Ok(published), Ok(straight)) = (&published, &straight) {
                rows[2].add(engine.kind, Ok(published / straight));
            }
            rows[0].add(engine.kind, published);
            rows[1].add(engine.kind, straight);
        }
    }
    for engine in engines {
        // A failure has been reported.
        drop(remove_all(engine));
    }
    rows.into()
}

fn serve(engine: &Engine) -> Result<Ipv4Addr> {
    engine.run(&["run", "-d", "--name", "web", "-p", "8080:80", "nginx"])?;
    let network = match engine.kind {
        Kind::Podman => "podman",
        _ => "bridge",
    };
    let (_, text) = engine.run(&["inspect", "web"])?;
    let inspected: serde_json::Value = serde_json::from_str(&text)?;
    let address = &inspected[0]["NetworkSettings"]["Networks"][network]["IPAddress"];
    let address = address.as_str().context("no address")?.parse().context("address")?;
    let up = || Ok((engine.sandbox().curl("http://127.0.0.1:8080/")?.0 == 200).then_some(()));
    davit_testkit::until(std::time::Duration::from_secs(10), "nginx", up)?;
    Ok(address)
}
