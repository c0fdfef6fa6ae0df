//! Starting, executing, removing, asking.

use anyhow::Result;

use crate::engine::{Engine, Kind};
use crate::measure::{Row, Unit, paired};

const MANY: usize = 50;

/// `run --rm busybox true`.
pub(crate) fn run(engines: &[Engine], runs: usize) -> Vec<Row> {
    let bridge = Row::new("`run --rm busybox true`, bridge", Unit::Milliseconds, "15 ms");
    let none = Row::new("`run --rm busybox true`, no network", Unit::Milliseconds, "10 ms");
    vec![
        paired(engines, runs, bridge, |engine| {
            Ok(engine.run(&["run", "--rm", "busybox", "true"])?.0)
        }),
        paired(engines, runs, none, |engine| {
            Ok(engine.run(&["run", "--rm", "--network", "none", "busybox", "true"])?.0)
        }),
    ]
}

/// `exec C true`.
pub(crate) fn exec(engines: &[Engine], runs: usize) -> Vec<Row> {
    let row = Row::new("`exec C true`", Unit::Milliseconds, "8 ms");
    vec![with_container(engines, runs, row, &["exec", "box", "true"])]
}

/// `ps` and `inspect` as commands.
pub(crate) fn commands(engines: &[Engine], runs: usize) -> Vec<Row> {
    let ps = Row::new("`ps`", Unit::Milliseconds, "4 ms");
    let inspect = Row::new("`inspect C`", Unit::Milliseconds, "4 ms");
    vec![
        with_container(engines, runs, ps, &["ps"]),
        with_container(engines, runs, inspect, &["inspect", "box"]),
    ]
}

fn with_container(engines: &[Engine], runs: usize, mut row: Row, words: &[&str]) -> Row {
    for engine in engines {
        if let Err(error) = engine.run(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])
        {
            row.add(engine.kind, Err(error));
        }
    }
    let row = paired(engines, runs, row, |engine| Ok(engine.run(words)?.0));
    for engine in engines {
        // Already reported if it was never there.
        drop(remove_all(engine));
    }
    row
}

/// Fifty starts, one by one and ten at a time, and their removal.
pub(crate) fn fifty(engines: &[Engine], runs: usize) -> Vec<Row> {
    let mut rows = [
        Row::new("50 `run -d`, one by one", Unit::Seconds, "1 s"),
        Row::new("`rm -f` of 50", Unit::Seconds, "0.5 s"),
        Row::new("50 `run -d`, ten at a time", Unit::Seconds, "0.5 s"),
    ];
    for _ in 0..runs {
        for engine in engines {
            rows[0].add(engine.kind, start_many(engine, 1));
            rows[1].add(engine.kind, remove_all(engine));
            rows[2].add(engine.kind, start_many(engine, 10));
            // Measured above.
            drop(remove_all(engine));
        }
    }
    rows.into()
}

fn start_many(engine: &Engine, at_once: usize) -> Result<f64> {
    let command = engine.command(&["run", "-d", "busybox", "sleep", "1000"]);
    engine.agent().run_all(vec![command; MANY], at_once)
}

/// Removes all containers with one command; seconds.
pub(crate) fn remove_all(engine: &Engine) -> Result<f64> {
    let (_, listed) = engine.run(&["ps", "-aq"])?;
    // Podman waits ten seconds unless told not to; Docker kills at once and knows no `-t`.
    let mut words = match engine.kind {
        Kind::Podman => vec!["rm", "-f", "-t", "0"],
        _ => vec!["rm", "-f"],
    };
    words.extend(listed.split_whitespace());
    Ok(engine.run(&words)?.0)
}
