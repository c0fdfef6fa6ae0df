//! The functions that templates can call: Go's own and those Docker adds.

use std::cmp::Ordering;

use super::value::{Value, sent};

const NAMES: [&str; 24] = [
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper",
    "urlquery",
];

/// Whether there is a function of this name.
pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function; `and` and `or` are the evaluator's, since they don't evaluate everything.
pub(crate) fn call(name: &str, arguments: Vec<Value>) -> Result<Value, String> {
    let text = |at: usize| arguments.get(at).map(Value::print).unwrap_or_default();
    let count = |expected: usize| match arguments.len() {
        found if found == expected => Ok(()),
        found => Err(format!("wrong number of args: want {expected} got {found}")),
    };
    Ok(match name {
        "json" => {
            count(1)?;
            Value::Str(arguments[0].json())
        }
        "lower" => Value::Str(text(0).to_lowercase()),
        "upper" => Value::Str(text(0).to_uppercase()),
        "title" => Value::Str(title(&text(0))),
        "urlquery" => Value::Str(crate::client::escape(&text(0))),
        "join" => {
            count(2)?;
            let items: Vec<String> = arguments[0].items().iter().map(Value::print).collect();
            Value::Str(items.join(&text(1)))
        }
        "split" => {
            count(2)?;
            Value::List(text(0).split(&text(1)).map(Value::from).collect())
        }
        "pad" => {
            count(3)?;
            let width = |at: usize| usize::try_from(arguments[at].number()).unwrap_or(0);
            Value::Str(match text(0) {
                source if source.is_empty() => source,
                source => format!("{}{source}{}", " ".repeat(width(1)), " ".repeat(width(2))),
            })
        }
        "truncate" => {
            count(2)?;
            let limit = usize::try_from(arguments[1].number()).unwrap_or(0);
            Value::Str(text(0).chars().take(limit).collect())
        }
        "print" => Value::Str(print_all(&arguments)),
        "println" => {
            let words: Vec<String> = arguments.iter().map(Value::print).collect();
            Value::Str(words.join(" ") + "\n")
        }
        "printf" => Value::Str(printf(&text(0), arguments.get(1..).unwrap_or_default())),
        "len" => {
            count(1)?;
            Value::Int(length(&arguments[0])? as i128)
        }
        "index" => index(&arguments)?,
        "slice" => slice(&arguments)?,
        "not" => Value::Bool(!arguments.first().is_some_and(Value::is_true)),
        "eq" => Value::Bool(arguments.iter().skip(1).any(|other| equals(&arguments[0], other))),
        "ne" => {
            count(2)?;
            Value::Bool(!equals(&arguments[0], &arguments[1]))
        }
        "lt" | "le" | "gt" | "ge" => {
            count(2)?;
            Value::Bool(compare(name, &arguments[0], &arguments[1])?)
        }
        _ => return Err(format!("function {name:?} not defined")),
    })
}

/// The first letter of every word in upper case.
fn title(text: &str) -> String {
    let mut at_start = true;
    text.chars().fold(String::new(), |mut out, c| {
        if at_start {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        at_start = !c.is_alphanumeric() && c != '_' && c != '\'';
        out
    })
}

/// Go's Print: a space between two operands when neither is a string.
fn print_all(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in arguments.iter().enumerate() {
        let previous = at.checked_sub(1).map(|at| &arguments[at]);
        if previous.is_some_and(|p| !matches!(p, Value::Str(_)) && !matches!(value, Value::Str(_)))
        {
            out.push(' ');
        }
        out += &value.print();
    }
    out
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Str(text) => Ok(text.len()),
        Value::List(items) => Ok(items.len()),
        Value::Map(entries) => Ok(sent(entries).count()),
        Value::Unset { prints: "[]" | "map[]", .. } => Ok(0),
        Value::Null | Value::Unset { .. } => Err("len of nil pointer".to_owned()),
        _ => Err("len of type that has no length".to_owned()),
    }
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let Some((first, keys)) = arguments.split_first() else {
        return Err("wrong number of args for index: want at least 1 got 0".to_owned());
    };
    keys.iter().try_fold(first.clone(), |value, key| match (&value, key) {
        (Value::Map(_) | Value::Row(_), Value::Str(name)) => {
            Ok(value.field(name).cloned().unwrap_or_else(|| Value::Str(String::new())))
        }
        (Value::Unset { prints: "map[]", .. }, Value::Str(_)) => Ok(Value::Str(String::new())),
        (Value::Unset { prints: "[]", .. }, Value::Int(at)) => {
            Err(format!("index out of range: {at}"))
        }
        (Value::List(items), Value::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| items.get(at).cloned())
            .ok_or_else(|| format!("index out of range: {at}")),
        (Value::Str(text), Value::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| text.as_bytes().get(at))
            .map(|byte| Value::Int((*byte).into()))
            .ok_or_else(|| format!("index out of range: {at}")),
        (Value::Null, _) => Err("index of nil pointer".to_owned()),
        _ => Err(format!("can't index item with {}", key.print())),
    })
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let Some(value) = arguments.first() else { return Err("slice of untyped nil".to_owned()) };
    let bound = |at: usize, default: usize| match arguments.get(at) {
        Some(Value::Int(number)) => {
            usize::try_from(*number).map_err(|_| format!("index out of range: {number}"))
        }
        Some(other) => Err(format!("cannot index slice/array with {}", other.print())),
        None => Ok(default),
    };
    let size = length(value)?;
    let (start, end) = (bound(1, 0)?, bound(2, size)?);
    if start > end || end > size {
        return Err(format!("index out of range: {end}"));
    }
    match value {
        Value::Str(text) => match text.get(start..end) {
            Some(part) => Ok(Value::from(part)),
            None => {
                Ok(Value::Str(String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned()))
            }
        },
        Value::List(items) => Ok(Value::List(items[start..end].to_vec())),
        _ => Err("can't slice item".to_owned()),
    }
}

fn equals(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Float(b)) | (Value::Float(b), Value::Int(a)) => *a as f64 == *b,
        _ => a == b,
    }
}

fn compare(name: &str, a: &Value, b: &Value) -> Result<bool, String> {
    let order = match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Str(a), Value::Str(b)) => a.cmp(b),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            float(a).partial_cmp(&float(b)).unwrap_or(Ordering::Equal)
        }
        _ => return Err("incompatible types for comparison".to_owned()),
    };
    Ok(match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        _ => 0.0,
    }
}

/// `%s %v %d %q %t %f %x %%` with width, `-`, `0` and precision.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = String::new();
        while let Some(next) =
            chars.next_if(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | '#' | ' '))
        {
            spec.push(next);
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some(verb) => match arguments.next() {
                Some(value) => out += &padded(&formatted(verb, value, &spec), &spec),
                None => out += &format!("%!{verb}(MISSING)"),
            },
            None => out += "%!(NOVERB)",
        }
    }
    out
}

fn formatted(verb: char, value: &Value, spec: &str) -> String {
    let precision = spec.split_once('.').and_then(|(_, digits)| digits.parse::<usize>().ok());
    match (verb, value) {
        ('q', value) => format!("{:?}", value.print()),
        ('x', Value::Int(number)) => format!("{number:x}"),
        ('f', number @ (Value::Int(_) | Value::Float(_))) => {
            format!("{:.*}", precision.unwrap_or(6), float(number))
        }
        ('s', value) => {
            let text = value.print();
            precision.map_or(text.clone(), |limit| text.chars().take(limit).collect())
        }
        ('v' | 'd' | 't', value) => value.print(),
        (verb, value) => format!("%!{verb}({})", value.print()),
    }
}

fn padded(text: &str, spec: &str) -> String {
    let flags = spec.split('.').next().unwrap_or_default();
    let width: usize = flags.trim_start_matches(['-', '+', '#', ' ']).parse().unwrap_or(0);
    if flags.contains('-') {
        format!("{text:<width$}")
    } else if flags.starts_with('0') {
        format!("{text:0>width$}")
    } else {
        format!("{text:>width$}")
    }
}
