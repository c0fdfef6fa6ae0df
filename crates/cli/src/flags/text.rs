//! Small grammars inside flag values: comma lists with quotes, `key=value` files.

use crate::failure::{Failure, go_io_error};

/// Splits a line of comma-separated values; a field in double quotes may hold commas.
pub(crate) fn comma_separated(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted
                .find('"')
                .ok_or("parse error on line 1: extraneous or missing \" in quoted-field")?;
            fields.push(quoted[..end].to_owned());
            rest = &quoted[end + 1..];
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            fields.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(fields),
            None => {
                return Err(
                    "parse error on line 1: extraneous or missing \" in quoted-field".to_owned()
                );
            }
        }
    }
}

/// Reads a file of `NAME=value` lines as `--env-file` takes it. A line with a name alone takes the value from
/// `lookup`, and is left out without one.
pub(crate) fn key_value_file(
    path: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::new(format!("open {path}: {}", go_io_error(&error))))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(format!("env file {path} contains invalid utf8 bytes")))?;
    let mut pairs = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.is_empty() {
            return Err(Failure::new(format!("no variable name on line '{line}'")));
        }
        if name.contains(char::is_whitespace) {
            return Err(Failure::new(format!("variable '{name}' contains whitespaces")));
        }
        match value {
            Some(value) => pairs.push(format!("{name}={value}")),
            None => pairs.extend(lookup(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(pairs)
}

/// `key=value` or a bare key with an empty value.
pub(crate) fn key_value(text: &str) -> (String, String) {
    match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text.to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas_together() {
        let split = |line: &str| comma_separated(line);
        assert_eq!(split("a=1,b").as_deref(), Ok(&["a=1".to_owned(), "b".to_owned()][..]));
        assert_eq!(
            split("\"device=0,1\",x").as_deref(),
            Ok(&["device=0,1".to_owned(), "x".to_owned()][..])
        );
        assert!(split("\"open").is_err());
    }

    #[test]
    fn env_files_skip_comments_and_look_up_bare_names() {
        let folder = std::env::temp_dir().join(format!("davit-cli-env-{}", std::process::id()));
        std::fs::write(&folder, "A=1\n# c\n\nB=x y\nKNOWN\n  C=lead\nUNKNOWN\n").expect("writable");
        let path = folder.to_string_lossy().into_owned();
        let lookup = |name: &str| (name == "KNOWN").then(|| "k".to_owned());
        let pairs = key_value_file(&path, lookup).expect("good file");
        assert_eq!(pairs, ["A=1", "B=x y", "KNOWN=k", "C=lead"]);
        std::fs::remove_file(&folder).expect("was there");
        let missing = key_value_file(&path, lookup).expect_err("is gone");
        assert_eq!(missing.text, format!("open {path}: no such file or directory"));
    }
}
