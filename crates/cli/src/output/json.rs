//! JSON text made compact or indented without being taken apart, so that keys keep the daemon's order.

use serde_json::value::RawValue;

/// The document without white space between its parts.
pub(crate) fn compact(json: &[u8]) -> Result<String, String> {
    check(json).map(|text| reformat(text, None))
}

/// The document with four spaces per level, as `docker inspect` prints it.
pub(crate) fn indented(json: &[u8]) -> Result<String, String> {
    check(json).map(|text| reformat(text, Some("    ")))
}

fn check(json: &[u8]) -> Result<&str, String> {
    let raw: &RawValue = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    Ok(raw.get())
}

fn reformat(text: &str, indent: Option<&str>) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut just_opened = false;
    let newline = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    for c in text.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if matches!(c, '}' | ']') {
            depth -= 1;
            if !just_opened {
                newline(&mut out, depth);
            }
            just_opened = false;
            out.push(c);
            continue;
        }
        if just_opened {
            newline(&mut out, depth);
            just_opened = false;
        }
        out.push(c);
        match c {
            '"' => in_string = true,
            '{' | '[' => {
                depth += 1;
                just_opened = true;
            }
            ',' => newline(&mut out, depth),
            ':' if indent.is_some() => out.push(' '),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_order_and_their_strings() {
        let source = br#" {"z": [1, {"a b":"x, {\"y\": [1]}"}, [] ], "a":{}, "n" : null} "#;
        assert_eq!(
            compact(source).as_deref(),
            Ok(r#"{"z":[1,{"a b":"x, {\"y\": [1]}"},[]],"a":{},"n":null}"#)
        );
        let expected = "{\n    \"z\": [\n        1,\n        {\n            \"a b\": \"x, {\\\"y\\\": [1]}\"\n        },\n        []\n    ],\n    \"a\": {},\n    \"n\": null\n}";
        assert_eq!(indented(source).as_deref(), Ok(expected));
        assert!(compact(b"{").is_err());
    }
}
