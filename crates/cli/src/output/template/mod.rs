//! Go templates for `--format`: parsed once, rendered per object.
//!
//! Written by hand because no library has method calls (`{{.Label "x"}}`) or Docker's functions and texts.

mod eval;
mod functions;
mod lex;
mod parse;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use value::{Row, Value};

use crate::failure::Failure;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    source: String,
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Parses Go template syntax.
    pub(crate) fn parse(source: &str) -> Result<Self, Failure> {
        let nodes = parse::parse(source).map_err(|reason| {
            Failure::new(format!("template parsing error: template: :1: {reason}"))
        })?;
        Ok(Self { source: source.to_owned(), nodes })
    }

    /// Renders the template over `data`.
    pub(crate) fn render(&self, data: &Value) -> Result<String, Failure> {
        let source = &self.source;
        eval::render(&self.nodes, data).map_err(|error| {
            let eval::EvalError { column, operand, reason } = error;
            let line = source[..column.min(source.len())].matches('\n').count() + 1;
            Failure::new(format!(
                "template parsing error: template: :{line}:{column}: executing \"\" at <{operand}>: {reason}"
            ))
        })
    }
}
