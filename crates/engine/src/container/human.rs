//! Texts for people, in the words Docker uses: durations and the `Status` column of `ps`.

/// `seconds` the way `ps` writes them: `Less than a second`, `About a minute`, `3 weeks`.
pub(crate) fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match seconds {
        ..1 => return "Less than a second".to_owned(),
        1 => return "1 second".to_owned(),
        2..60 => return format!("{seconds} seconds"),
        _ => {}
    }
    match (minutes, hours) {
        (1, _) => "About a minute".to_owned(),
        (2..60, _) => format!("{minutes} minutes"),
        (_, ..=1) => "About an hour".to_owned(),
        (_, 2..48) => format!("{hours} hours"),
        (_, 48..336) => format!("{} days", hours / 24),
        (_, 336..1440) => format!("{} weeks", hours / 24 / 7),
        (_, 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// A command line as `ps` shows it: arguments with spaces in single quotes.
pub(crate) fn command_line(path: &str, args: &[String]) -> String {
    if args.is_empty() {
        return path.to_owned();
    }
    let quoted = args.iter().map(|argument| {
        if argument.contains(' ') { format!("'{argument}'") } else { argument.clone() }
    });
    format!("{path} {}", quoted.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_worded_as_docker_does() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3_599, "59 minutes"),
            (3_600, "About an hour"),
            (5_400, "2 hours"),
            (47 * 3_600, "47 hours"),
            (48 * 3_600, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (730 * 86_400, "2 years"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn arguments_with_spaces_are_quoted() {
        let args = ["-c".to_owned(), "echo \"x y\"".to_owned()];
        assert_eq!(command_line("sh", &args), "sh -c 'echo \"x y\"'");
        assert_eq!(command_line("true", &[]), "true");
    }
}
