//! `--change`: Dockerfile instructions applied to a configuration.

use std::collections::BTreeMap;

use davit_types::{Error, Result};
use serde_json::json;

use crate::config::RunConfig;

/// Applies one instruction.
pub(super) fn apply(config: &mut RunConfig, line: &str) -> Result<()> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let word = word.to_ascii_uppercase();
    if rest.is_empty() && word != "CMD" && word != "ENTRYPOINT" {
        return Err(Error::invalid(format!("{word} requires at least one argument")));
    }
    match word.as_str() {
        "CMD" => config.cmd = command(config, rest),
        "ENTRYPOINT" => config.entrypoint = command(config, rest),
        "ENV" => {
            for (key, value) in pairs("ENV", rest)? {
                let env = config.env.get_or_insert_default();
                let prefix = format!("{key}=");
                let entry = format!("{prefix}{value}");
                match env.iter_mut().find(|old| old.starts_with(&prefix)) {
                    Some(old) => *old = entry,
                    None => env.push(entry),
                }
            }
        }
        "LABEL" => {
            let labels = config.labels.get_or_insert_with(BTreeMap::new);
            labels.extend(pairs("LABEL", rest)?);
        }
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                if number.parse::<u16>().is_err() {
                    return Err(Error::invalid(format!("invalid containerPort: {port}")));
                }
                let ports = config.exposed_ports.get_or_insert_with(BTreeMap::new);
                ports.insert(format!("{number}/{}", protocol.to_ascii_lowercase()), json!({}));
            }
        }
        "VOLUME" => {
            let paths = match exec_form(rest) {
                Some(paths) => paths,
                None => rest.split_whitespace().map(str::to_owned).collect(),
            };
            let volumes = config.volumes.get_or_insert_with(BTreeMap::new);
            volumes.extend(paths.into_iter().map(|path| (path, json!({}))));
        }
        "USER" => rest.clone_into(&mut config.user),
        "WORKDIR" => {
            config.working_dir = match rest.starts_with('/') {
                true => rest.to_owned(),
                false => format!("{}/{rest}", config.working_dir.trim_end_matches('/')),
            };
        }
        "STOPSIGNAL" => rest.clone_into(&mut config.stop_signal),
        "ONBUILD" => config.on_build.get_or_insert_default().push(rest.to_owned()),
        "SHELL" => {
            let shell = exec_form(rest);
            config.shell = Some(shell.ok_or_else(|| {
                Error::invalid("SHELL requires the arguments to be in JSON form")
            })?);
        }
        _ => return Err(Error::invalid(format!("{word} is not a valid change command"))),
    }
    Ok(())
}

/// The exec form as it is, the shell form behind the shell.
fn command(config: &RunConfig, text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return None;
    }
    exec_form(text).or_else(|| {
        let shell = config.shell.clone();
        let mut words = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
        words.push(text.to_owned());
        Some(words)
    })
}

fn exec_form(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `a=b "c d"=e`, or `a the rest`.
fn pairs(instruction: &str, text: &str) -> Result<Vec<(String, String)>> {
    let words = words(text);
    let first = words.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        let (key, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::invalid(format!("{instruction} must have two arguments")))?;
        return Ok(vec![(key.to_owned(), unquoted(value.trim()))]);
    }
    words
        .iter()
        .map(|word| {
            let pair = word.split_once('=').filter(|(key, _)| !key.is_empty());
            let pair = pair.map(|(key, value)| (key.to_owned(), value.to_owned()));
            pair.ok_or_else(|| {
                Error::invalid(format!(
                    "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
                ))
            })
        })
        .collect()
}

fn unquoted(text: &str) -> String {
    words(text).join(" ")
}

/// Splits at spaces that are neither quoted nor escaped, and removes the quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                word.get_or_insert_default().extend(characters.next());
            }
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, Some(open)) if character == open => quote = None,
            (_, None) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_configuration() {
        let mut config = RunConfig { env: Some(vec!["A=1".to_owned()]), ..RunConfig::default() };
        for line in [
            r#"CMD ["sh", "-c", "x y"]"#,
            "entrypoint /bin/app --flag",
            r#"ENV A=2 B="two words""#,
            "ENV C the rest",
            "EXPOSE 80 53/UDP",
            "LABEL k='v w'",
            "VOLUME /a /b",
            "USER 1:2",
            "WORKDIR /w",
            "WORKDIR sub",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
        ] {
            apply(&mut config, line).expect(line);
        }
        let texts = |list: &Option<Vec<String>>| list.clone().unwrap_or_default().join("|");
        assert_eq!(texts(&config.cmd), "sh|-c|x y");
        assert_eq!(texts(&config.entrypoint), "/bin/sh|-c|/bin/app --flag");
        assert_eq!(texts(&config.env), "A=2|B=two words|C=the rest");
        let ports: Vec<_> = config.exposed_ports.expect("ports").into_keys().collect();
        assert_eq!(ports, ["53/udp", "80/tcp"]);
        assert_eq!(config.labels.expect("labels")["k"], "v w");
        assert_eq!(config.volumes.expect("volumes").len(), 2);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1:2", "/w/sub"));
        let mut config = RunConfig::default();
        for line in ["RUN x", "ENV", "ENV a", "EXPOSE x", "SHELL sh"] {
            apply(&mut config, line).expect_err(line);
        }
    }
}
