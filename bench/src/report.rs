//! The Markdown table.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use davit_testkit::paths;

use crate::engine::Kind;
use crate::measure::{Row, Unit};

/// The table, with the machine above and the failures below it.
pub(crate) fn markdown(rows: &[Row]) -> Result<String> {
    let mut others: BTreeSet<Kind> =
        rows.iter().flat_map(|row| row.results.keys().copied()).collect();
    others.remove(&Kind::Davit);
    let mut text = machine()?;
    let mut header = String::from("| what | Davit |");
    let mut rule = String::from("|---|---:|");
    for kind in &others {
        write!(header, " {} | ratio |", kind.name())?;
        rule.push_str("---:|---:|");
    }
    writeln!(text, "{header} budget |\n{rule}---|")?;
    for row in rows {
        write!(text, "| {} | {} |", row.what, cell(row, Kind::Davit))?;
        for kind in &others {
            write!(text, " {} | {} |", cell(row, *kind), ratio(row, *kind))?;
        }
        writeln!(text, " {} |", row.budget)?;
    }
    for row in rows {
        for (kind, result) in &row.results {
            if let Err(error) = result {
                writeln!(text, "\n{}: {}: {error}", kind.name(), row.what)?;
            }
        }
    }
    Ok(text)
}

/// Writes it to `bench/report.md` in the target directory.
pub(crate) fn save(report: &str) -> Result<()> {
    let dir = paths::target_dir().join("bench");
    fs::create_dir_all(&dir)?;
    let path = dir.join("report.md");
    fs::write(&path, report).with_context(|| format!("write {}", path.display()))
}

fn machine() -> Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = std::thread::available_parallelism()?;
    Ok(format!(
        "Medians, measured in turns on {processors} processors, Linux {}; ratio = ours / theirs.\n\n",
        kernel.trim()
    ))
}

fn cell(row: &Row, kind: Kind) -> String {
    match row.median(kind) {
        Some(value) => figure(value, row.unit),
        None if row.results.contains_key(&kind) => "failed".to_owned(),
        None => "".to_owned(),
    }
}

fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds => format!("{:.1} ms", value * 1000.0),
        Unit::Seconds => format!("{value:.2} s"),
        Unit::KiB if value >= 10_000.0 => format!("{:.1} MiB", value / 1024.0),
        Unit::KiB => format!("{value:.0} KiB"),
        Unit::RequestsPerSecond => format!("{value:.0}/s"),
        Unit::Ratio => format!("{value:.2}"),
    }
}

fn ratio(row: &Row, kind: Kind) -> String {
    match (row.median(Kind::Davit), row.median(kind)) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.3}", ours / theirs),
        _ => String::new(),
    }
}
