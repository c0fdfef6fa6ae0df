//! A million lines.

use super::start::remove_all;
use crate::engine::Engine;
use crate::measure::{Row, Unit, paired};

const SCRIPT: &str = "yes a-line-of-some-forty-characters-with-text | head -n 1000000";

/// Lines to an attached client, and read back.
pub(crate) fn run(engines: &[Engine], runs: usize) -> Vec<Row> {
    let attached = Row::new("1,000,000 lines, attached", Unit::Seconds, "1 s");
    let attached = paired(engines, runs, attached, |engine| {
        Ok(engine.run(&["run", "--rm", "busybox", "sh", "-c", SCRIPT])?.0)
    });
    let mut read = Row::new("1,000,000 lines, `logs`", Unit::Seconds, "0.7 s");
    for engine in engines {
        let filled = engine
            .run(&["run", "-d", "--name", "lines", "busybox", "sh", "-c", SCRIPT])
            .and_then(|_| engine.run(&["wait", "lines"]));
        if let Err(error) = filled {
            read.add(engine.kind, Err(error));
        }
    }
    let read = paired(engines, runs, read, |engine| Ok(engine.run(&["logs", "lines"])?.0));
    for engine in engines {
        // A failure has been reported.
        drop(remove_all(engine));
    }
    vec![attached, read]
}
