//! Rendering a parsed template.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::functions;
use super::parse::{Command, Node, Operand, Pipeline, Term};
use super::value::{Value, sent};

/// What went wrong, and at which operand.
#[derive(Debug)]
pub(crate) struct EvalError {
    /// Column in the template's text.
    pub(crate) column: usize,
    /// The operand as it stands there.
    pub(crate) operand: String,
    /// Go's words for it.
    pub(crate) reason: String,
}

/// Renders `nodes` with the dot at `data`.
pub(crate) fn render(nodes: &[Node], data: &Value) -> Result<String, EvalError> {
    let mut scope = Scope { root: data, variables: Vec::new(), out: String::new() };
    scope.nodes(nodes, data)?;
    Ok(scope.out)
}

struct Scope<'a> {
    root: &'a Value,
    variables: Vec<(String, Value)>,
    out: String,
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), EvalError> {
        let depth = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), EvalError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.out.push_str(&value.print());
            }
            Node::Assign { name, is_new, value } => {
                let value = self.pipeline(value, dot)?;
                let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                match known {
                    Some((_, slot)) if !is_new => *slot = value,
                    _ => self.variables.push((name.clone(), value)),
                }
            }
            Node::If { condition, then, otherwise } => {
                let holds = self.pipeline(condition, dot)?.is_true();
                self.nodes(if holds { then } else { otherwise }, dot)?;
            }
            Node::With { value, then, otherwise } => {
                let value = self.pipeline(value, dot)?;
                if value.is_true() {
                    self.nodes(then, &value)
                } else {
                    self.nodes(otherwise, dot)
                }?;
            }
            Node::Range { variables, value, body, otherwise } => {
                let value = self.pipeline(value, dot)?;
                self.range(&value, variables, body, otherwise, dot)?;
            }
        }
        Ok(())
    }

    fn range(
        &mut self,
        value: &Value,
        variables: &[String],
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), EvalError> {
        let pairs = elements(value);
        if pairs.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, element) in pairs {
            let depth = self.variables.len();
            match variables {
                [one] => self.variables.push((one.clone(), element.clone())),
                [index, item] => {
                    self.variables.push((index.clone(), key));
                    self.variables.push((item.clone(), element.clone()));
                }
                _ => {}
            }
            self.nodes(body, &element)?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, EvalError> {
        let mut piped = None;
        for command in pipeline {
            piped = Some(self.command(command, piped, dot)?);
        }
        Ok(piped.unwrap_or_default())
    }

    fn command(
        &self,
        command: &Command,
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, EvalError> {
        let Some((first, rest)) = command.split_first() else { return Ok(Value::Null) };
        if let Term::Function(name) = &first.term
            && matches!(name.as_str(), "and" | "or")
        {
            return self.short_circuit(name, rest, piped, dot);
        }
        let mut arguments = rest
            .iter()
            .map(|operand| self.operand(operand, dot).map(Cow::into_owned))
            .collect::<Result<Vec<_>, _>>()?;
        arguments.extend(piped);
        if let Term::Function(name) = &first.term {
            return functions::call(name, arguments).map_err(|reason| EvalError {
                column: first.column,
                operand: name.clone(),
                reason: format!("error calling {name}: {reason}"),
            });
        }
        let value = self.operand(first, dot)?;
        match (arguments.as_slice(), value.as_ref()) {
            ([], _) => Ok(value.into_owned()),
            ([Value::Str(key)], Value::Echo) => Ok(Value::Str(key.clone())),
            // A method with an argument: `.Label "x"`.
            ([Value::Str(key)], Value::Map(_)) => {
                Ok(value.field(key).cloned().unwrap_or_else(|| Value::Str(String::new())))
            }
            _ => Err(EvalError {
                column: first.column,
                operand: describe(first),
                reason: format!("can't give argument to non-function {}", describe(first)),
            }),
        }
    }

    fn short_circuit(
        &self,
        name: &str,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, EvalError> {
        let mut last = Value::Null;
        for operand in operands {
            last = self.operand(operand, dot)?.into_owned();
            if last.is_true() == (name == "or") {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn operand<'v>(
        &'v self,
        operand: &Operand,
        dot: &'v Value,
    ) -> Result<Cow<'v, Value>, EvalError> {
        let start = match &operand.term {
            Term::Dot => Cow::Borrowed(dot),
            Term::Variable(name) if name.is_empty() => Cow::Borrowed(self.root),
            Term::Variable(name) => {
                match self.variables.iter().rev().find(|(known, _)| known == name) {
                    Some((_, value)) => Cow::Borrowed(value),
                    None => return Err(error(operand, format!("undefined variable \"${name}\""))),
                }
            }
            Term::Str(text) => Cow::Owned(Value::Str(text.clone())),
            Term::Int(number) => Cow::Owned(Value::Int(*number)),
            Term::Float(number) => Cow::Owned(Value::Float(*number)),
            Term::Bool(value) => Cow::Owned(Value::Bool(*value)),
            Term::Nil => Cow::Owned(Value::Null),
            Term::Function(name) => Cow::Owned(
                functions::call(name, Vec::new()).map_err(|reason| error(operand, reason))?,
            ),
            Term::Group(pipeline) => Cow::Owned(self.pipeline(pipeline, dot)?),
        };
        if operand.fields.is_empty() {
            return Ok(start);
        }
        let found = operand.fields.iter().try_fold(start.as_ref(), |value, name| {
            value.field(name).ok_or_else(|| error(operand, missing(value, name)))
        });
        found.cloned().map(Cow::Owned)
    }
}

fn missing(value: &Value, name: &str) -> String {
    match value {
        Value::Map(_) => format!("map has no entry for key {name:?}"),
        Value::Null => format!("nil pointer evaluating interface {{}}.{name}"),
        _ => format!("can't evaluate field {name} in type interface {{}}"),
    }
}

fn error(operand: &Operand, reason: String) -> EvalError {
    EvalError { column: operand.column, operand: describe(operand), reason }
}

fn describe(operand: &Operand) -> String {
    let start = match &operand.term {
        Term::Dot if operand.fields.is_empty() => ".".to_owned(),
        Term::Variable(name) => format!("${name}"),
        Term::Str(text) => format!("{text:?}"),
        Term::Function(name) => name.clone(),
        _ => String::new(),
    };
    operand.fields.iter().fold(start, |text, field| text + "." + field)
}

/// What `range` goes over: keys and elements, a map's in the order of its keys.
fn elements(value: &Value) -> Vec<(Value, Value)> {
    match value {
        Value::List(items) => items
            .iter()
            .enumerate()
            .map(|(at, item)| (Value::Int(at as i128), item.clone()))
            .collect(),
        Value::Map(entries) => {
            let mut pairs: Vec<_> =
                sent(entries).map(|(key, item)| (Value::Str(key.clone()), item.clone())).collect();
            pairs.sort_by(
                |(a, _), (b, _)| {
                    if a.text() < b.text() { Ordering::Less } else { Ordering::Greater }
                },
            );
            pairs
        }
        Value::Int(count) => (0..*count).map(|at| (Value::Int(at), Value::Int(at))).collect(),
        _ => Vec::new(),
    }
}
