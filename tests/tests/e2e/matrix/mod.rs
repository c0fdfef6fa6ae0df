//! Who reaches whose ports, from where, by which address, and whom the server sees: every cell.
//!
//! The table is [`table`]'s, the hosts and containers that it speaks of are [`scene`]'s.

mod scene;
mod table;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use davit_testkit::images::BUSYBOX;
use davit_testkit::probe::{self, Outcome, Transport};

use crate::setup::plan;
use scene::Scene;
use table::{Cell, Verdict};

/// For an answer that is expected: a busy machine is slow, and that is no failure.
const ANSWER: Duration = Duration::from_secs(60);
/// For silence that is expected; a reachable server answers within a few milliseconds.
const SILENCE: Duration = Duration::from_secs(1);
/// Probes at a time.
const AT_ONCE: usize = 128;

#[test]
fn every_cell_of_the_matrix_is_as_the_table_says() -> Result<()> {
    let test = "every_cell_of_the_matrix_is_as_the_table_says";
    plan(test, &[BUSYBOX]).options(scene::daemon()).run(|setup| {
        let cells = table::cells(setup.daemon.engine(), &Transport::available());
        let scene = Scene::set(setup, &Transport::available())?;
        let wrong = probe_all(&scene, &cells)?;
        ensure!(
            wrong.is_empty(),
            "{} of {} cells:\n{}",
            wrong.len(),
            cells.len(),
            wrong.join("\n")
        );
        Ok(())
    })
}

/// What is wrong, one line for each cell.
fn probe_all(scene: &Scene, cells: &[Cell]) -> Result<Vec<String>> {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = probe_one(scene, cell).with_context(|| cell.to_string())?;
            wrong.lock().expect("no holder panics").extend(found);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })?;
    let mut wrong = wrong.into_inner().expect("no holder panics");
    wrong.sort();
    Ok(wrong)
}

fn probe_one(scene: &Scene, cell: &Cell) -> Result<Option<String>> {
    let (from, address) = (scene.origin(cell), scene.address(cell));
    let patience = if cell.verdict.is_silent() { SILENCE } else { ANSWER };
    let found = probe::reach(from, cell.transport, address, patience)?;
    let right = match (cell.verdict, found) {
        (Verdict::Refused, Outcome::Refused) | (Verdict::NoRoute, Outcome::NoRoute) => true,
        (Verdict::Dropped, Outcome::Silence) => true,
        (Verdict::Shut, outcome) => !matches!(outcome, Outcome::Reached(_)),
        (_, Outcome::Reached(source)) => scene.source(cell) == Some(source),
        _ => false,
    };
    Ok((!right).then(|| describe(cell, address, found)))
}

fn describe(cell: &Cell, address: SocketAddr, found: Outcome) -> String {
    format!("{cell} ({address}): {found:?} instead of {:?}", cell.verdict)
}
