//! Memory: the engine at rest, and what each container adds to it.

use std::time::Duration;

use anyhow::Result;

use super::start::remove_all;
use crate::engine::Engine;
use crate::measure::{Row, Unit};

const CONTAINERS: u32 = 20;

/// Proportional set sizes.
pub(crate) fn run(engines: &[Engine], runs: usize) -> Vec<Row> {
    let mut idle = Row::new("engine at rest, PSS", Unit::KiB, "15 MiB");
    let mut each = Row::new("per idle container, PSS", Unit::KiB, "256 KiB");
    for _ in 0..runs {
        for engine in engines {
            idle.add(engine.kind, settled(engine));
            each.add(engine.kind, per_container(engine));
            // Reported by the row that needed it.
            drop(remove_all(engine));
        }
    }
    vec![idle, each]
}

fn per_container(engine: &Engine) -> Result<f64> {
    // What stays after the first container is the engine's, not the container's.
    engine.run(&["run", "--rm", "busybox", "true"])?;
    let before = settled(engine)?;
    for _ in 0..CONTAINERS {
        engine.run(&["run", "-d", "busybox", "sleep", "1000"])?;
    }
    Ok((settled(engine)? - before) / f64::from(CONTAINERS))
}

fn settled(engine: &Engine) -> Result<f64> {
    std::thread::sleep(Duration::from_secs(2));
    engine.pss()
}
