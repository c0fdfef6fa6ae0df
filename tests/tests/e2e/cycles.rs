//! Many short lives: everything is back where it was afterwards.

use std::time::Duration;

use anyhow::{Result, ensure};
use davit_testkit::Snapshot;
use davit_testkit::images::BUSYBOX;

use crate::setup::{Setup, plan};

const AT_ONCE: usize = 20;
const CYCLES: usize = 200;

#[test]
fn two_hundred_runs_leave_nothing() -> Result<()> {
    plan("two_hundred_runs_leave_nothing", &[BUSYBOX]).run(|setup| {
        // The first ones make what stays: sockets, pools, threads.
        run_many(setup, AT_ONCE)?;
        let before = Snapshot::of(&setup.daemon)?;
        run_many(setup, CYCLES)?;
        ensure!(setup.ok("ps -aq")?.is_empty());
        before.expect_again(&setup.daemon, Duration::from_secs(20))
    })
}

/// `count` runs by [`AT_ONCE`] threads.
fn run_many(setup: &Setup, count: usize) -> Result<()> {
    let daemon = &setup.daemon;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| {
                scope.spawn(move || -> Result<()> {
                    for number in (worker..count).step_by(AT_ONCE) {
                        let script = format!("echo {number}; exit {}", number % 3);
                        let words = ["run", "--rm", "-v", "/data", "busybox", "sh", "-c", &script];
                        let finished = daemon.davit(&words)?;
                        let wanted = i32::try_from(number % 3)?;
                        let finished = finished.code(wanted)?;
                        ensure!(finished.stdout == format!("{number}\n"), "{finished:?}");
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|w| w.join().expect("the worker does not panic"))
    })
}
