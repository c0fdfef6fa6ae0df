//! Values of properties in annotations, written as GVariant texts: `true`, `-1`, `uint64 5`, `'text'`,
//! `['a', 'b']`.

use super::Value;

/// Reads a value; `None`: it is none of the kinds that scopes' properties have.
pub(super) fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some((kind, number)) = text.split_once(' ') {
        let number = number.trim();
        match kind {
            "int32" => return number.parse().ok().map(Value::Int32),
            "uint32" => return number.parse().ok().map(Value::Uint32),
            "int64" => return number.parse().ok().map(Value::Int64),
            "uint64" => return number.parse().ok().map(Value::Uint64),
            "double" => return number.parse().ok().map(Value::Double),
            "string" => return quoted(number).map(Value::Text),
            "boolean" => return number.parse().ok().map(Value::Bool),
            _ => {}
        }
    }
    if let Some(list) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return texts(list).map(Value::Texts);
    }
    if let Some(text) = quoted(text) {
        return Some(Value::Text(text));
    }
    let number = || text.parse().ok().map(Value::Int32);
    text.parse().ok().map(Value::Bool).or_else(number).or_else(|| {
        let number = text.contains('.').then(|| text.parse().ok()).flatten();
        number.map(Value::Double)
    })
}

fn quoted(text: &str) -> Option<String> {
    let (text, rest) = first_quoted(text)?;
    rest.is_empty().then_some(text)
}

/// The text in quotes at the beginning, and what follows it.
fn first_quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next()?.1 {
                'n' => content.push('\n'),
                't' => content.push('\t'),
                other => content.push(other),
            },
            c if c == quote => return Some((content, &text[at + 1..])),
            c => content.push(c),
        }
    }
    None
}

fn texts(list: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = list.trim();
    while !rest.is_empty() {
        let (text, after) = first_quoted(rest)?;
        found.push(text);
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_values_are_told_apart() {
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        assert_eq!(parse("true"), Some(Value::Bool(true)));
        assert_eq!(parse("-7"), Some(Value::Int32(-7)));
        assert_eq!(parse("uint64 18446744073709551615"), Some(Value::Uint64(u64::MAX)));
        assert_eq!(parse("1.5"), Some(Value::Double(1.5)));
        assert_eq!(parse("'infinity'"), text("infinity"));
        assert_eq!(parse(r#""it's \"x\"""#), text("it's \"x\""));
        let list = vec!["a, b".to_owned(), "c".to_owned()];
        assert_eq!(parse("['a, b', 'c']"), Some(Value::Texts(list)));
        for wrong in ["", "word", "uint32 -1", "'open", "['a' 'b']", "{'a': 1}", "9999999999"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
