//! Waiting for something to become true, with a limit and a name in the error.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// No wait ends earlier: a busy machine is slow, and that is no failure. A test that asserts that
/// something is quick measures it.
pub(crate) const LEAST: Duration = Duration::from_secs(60);

/// Calls `check` until it returns a value, at most for `limit` or a minute, whichever is longer.
/// `what` completes the sentence "waited 60 s for ...".
pub fn until<T>(
    limit: Duration,
    what: &str,
    mut check: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let limit = limit.max(LEAST);
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = check()? {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            bail!("waited {} s for {what}", limit.as_secs_f32());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// [`until`] for a condition without a value.
pub fn until_true(
    limit: Duration,
    what: &str,
    mut check: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(limit, what, || Ok(check()?.then_some(())))
}
