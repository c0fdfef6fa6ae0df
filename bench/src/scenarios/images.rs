//! Pulling.

use davit_testkit::images::NGINX;

use crate::engine::Engine;
use crate::measure::{Row, Unit, paired};

/// A pull from the loopback registry, everything to be fetched.
pub(crate) fn pull(engines: &[Engine], runs: usize) -> Vec<Row> {
    let row = Row::new("pull nginx (71 MB gzip), loopback registry", Unit::Seconds, "0.5 × Docker");
    let row = paired(engines, runs, row, |engine| {
        engine.remove_image(NGINX)?;
        let seconds = engine.pull(NGINX)?;
        let reference = "127.0.0.1:5000/nginx:latest";
        engine.run(&["tag", reference, NGINX])?;
        Ok(seconds)
    });
    vec![row]
}
