//! Taking turns, medians.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::engine::Kind;

/// How a figure is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Measured in seconds, shown in milliseconds.
    Milliseconds,
    Seconds,
    KiB,
    RequestsPerSecond,
    Ratio,
}

/// One line of the report.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// Its unit.
    pub(crate) unit: Unit,
    /// The target for ours.
    pub(crate) budget: &'static str,
    /// Per engine: all figures, or what went wrong.
    pub(crate) results: BTreeMap<Kind, Result<Vec<f64>, String>>,
}

impl Row {
    /// An empty row.
    pub(crate) fn new(what: impl Into<String>, unit: Unit, budget: &'static str) -> Self {
        Self { what: what.into(), unit, budget, results: BTreeMap::new() }
    }

    /// Adds a figure; after the first failure an engine's later figures don't count.
    pub(crate) fn add(&mut self, kind: Kind, figure: Result<f64>) {
        let entry = self.results.entry(kind).or_insert_with(|| Ok(Vec::new()));
        match (entry, figure) {
            (Ok(figures), Ok(figure)) => figures.push(figure),
            (entry @ Ok(_), Err(error)) => *entry = Err(format!("{error:#}")),
            (Err(_), _) => {}
        }
    }

    /// The engine's median.
    pub(crate) fn median(&self, kind: Kind) -> Option<f64> {
        median(self.results.get(&kind)?.as_ref().ok()?)
    }
}

/// What takes turns.
pub(crate) trait Subject {
    /// The column of its figures.
    fn kind(&self) -> Kind;
}

/// Measures `runs` times, the subjects taking turns, each second round the other way round.
pub(crate) fn paired<T: Subject>(
    subjects: &[T],
    runs: usize,
    mut row: Row,
    mut figure: impl FnMut(&T) -> Result<f64>,
) -> Row {
    for round in 0..runs {
        let order: Vec<&T> = match round % 2 {
            0 => subjects.iter().collect(),
            _ => subjects.iter().rev().collect(),
        };
        for subject in order {
            if row.results.get(&subject.kind()).is_none_or(Result::is_ok) {
                let value = figure(subject);
                row.add(subject.kind(), value);
            }
        }
    }
    row
}

/// The middle figure.
pub(crate) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_between() {
        assert_eq!(median(&[3.0, 1.0]), Some(2.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }
}
