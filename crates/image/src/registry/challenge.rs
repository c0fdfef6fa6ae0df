//! The `WWW-Authenticate` header of a registry's 401.

use std::collections::HashMap;

/// One way of signing in that the registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Lower case: `bearer`, `basic`.
    pub(super) scheme: String,
    /// Names in lower case.
    pub(super) parameters: HashMap<String, String>,
}

/// Reads one header value, which may hold several challenges (RFC 9110, 11.6.1).
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let word = word.to_ascii_lowercase();
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let (value, after) = take_value(value.trim_start());
            if let Some(challenge) = challenges.last_mut() {
                challenge.parameters.insert(word, value);
            }
            rest = after;
        } else {
            if !word.is_empty() {
                challenges.push(Challenge { scheme: word, parameters: HashMap::new() });
            }
            rest = after;
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    challenges
}

/// A token or a quoted string, and what follows it.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_taken_apart() {
        let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push", Basic realm=x"#;
        let challenges = parse(header);
        assert_eq!(challenges.len(), 2);
        let bearer = &challenges[0];
        assert_eq!(bearer.scheme, "bearer");
        assert_eq!(bearer.parameters["realm"], "https://auth.docker.io/token");
        assert_eq!(bearer.parameters["scope"], "repository:a/b:pull,push");
        assert_eq!(challenges[1].scheme, "basic");
        assert_eq!(challenges[1].parameters["realm"], "x");
    }

    #[test]
    fn odd_headers_do_no_harm() {
        assert!(parse("").is_empty() && parse(" , ,").is_empty());
        assert_eq!(parse("Negotiate")[0].scheme, "negotiate");
        assert_eq!(parse(r#"Basic realm="a \"b\"""#)[0].parameters["realm"], "a \"b\"");
        assert_eq!(parse(r#"Bearer realm="open"#)[0].parameters["realm"], "open");
        assert_eq!(parse("=x Basic")[0].scheme, "basic");
    }
}
