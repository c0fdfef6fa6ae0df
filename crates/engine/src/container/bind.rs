//! The `-v` grammar, `[source:]target[:options]`, into its parts. Pure.

use davit_types::{Error, Result};

/// One `-v`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bind {
    /// Absolute host path, name of a volume, or empty for an anonymous volume.
    pub(crate) source: String,
    /// Absolute, clean path in the container.
    pub(crate) target: String,
    /// The options as written.
    pub(crate) mode: String,
    /// Mounted read-only.
    pub(crate) read_only: bool,
    /// The volume is not filled from the image.
    pub(crate) no_copy: bool,
    /// Propagation option, empty for the default.
    pub(crate) propagation: String,
}

impl Bind {
    /// The source is a directory or file of the host.
    pub(crate) fn is_host_path(&self) -> bool {
        self.source.starts_with('/')
    }
}

/// Parses one element of `HostConfig.Binds`.
///
/// # Errors
/// In Docker's words, and as Docker without a kind of its own (500).
pub(crate) fn parse(spec: &str) -> Result<Bind> {
    let invalid = || Error::internal(format!("invalid volume specification: '{spec}'"));
    let parts: Vec<&str> = spec.splitn(3, ':').collect();
    if parts[0].is_empty() || spec.matches(':').count() > 2 {
        return Err(invalid());
    }
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        [target, mode] if parse_mode(mode).is_some() => ("", target, mode),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(invalid()),
    };
    let options =
        parse_mode(mode).ok_or_else(|| Error::internal(format!("invalid mode: {mode}")))?;
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    let target = check_target(target).map_err(|reason| {
        Error::internal(format!(
            "invalid volume specification: '{spec}': \
             invalid mount config for type \"{kind}\": {reason}"
        ))
    })?;
    let source = if kind == "bind" { clean(source) } else { source.to_owned() };
    Ok(Bind { source, target, mode: mode.to_owned(), ..options })
}

/// A target as it is stored: absolute, clean, not the root.
pub(crate) fn check_target(target: &str) -> Result<String, String> {
    if !target.starts_with('/') {
        return Err(format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    let target = clean(target);
    if target == "/" {
        return Err("invalid specification: destination can't be '/'".to_owned());
    }
    Ok(target)
}

/// An absolute path without `.`, `..`, double and trailing slashes.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Every option at most once, of each class at most one.
fn parse_mode(mode: &str) -> Option<Bind> {
    let mut bind = Bind::default();
    let mut seen = [false; 5];
    for option in mode.split(',').filter(|_| !mode.is_empty()) {
        let class = match option {
            "rw" | "ro" => 0,
            "z" | "Z" => 1,
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => 2,
            "copy" | "nocopy" => 3,
            "consistent" | "cached" | "delegated" | "default" => 4,
            _ => return None,
        };
        if std::mem::replace(&mut seen[class], true) {
            return None;
        }
        bind.read_only |= option == "ro";
        bind.no_copy |= option == "nocopy";
        if class == 2 {
            option.clone_into(&mut bind.propagation);
        }
    }
    Some(bind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms() {
        let parsed = |spec: &str| {
            let bind = parse(spec).expect(spec);
            (bind.source, bind.target, bind.read_only)
        };
        assert_eq!(parsed("/data"), (String::new(), "/data".into(), false));
        assert_eq!(parsed("/data:ro"), (String::new(), "/data".into(), true));
        assert_eq!(parsed("vol1:/data"), ("vol1".into(), "/data".into(), false));
        assert_eq!(parsed("/a/../b/:/data/:ro"), ("/b".into(), "/data".into(), true));
        let bind = parse("vol:/d:ro,nocopy,z,rslave").expect("all classes");
        assert!(bind.no_copy && bind.read_only);
        assert_eq!(bind.propagation, "rslave");
        assert_eq!(bind.mode, "ro,nocopy,z,rslave");
    }

    #[test]
    fn errors_are_dockers() {
        for (spec, message) in [
            ("/a:/b:zz", "invalid mode: zz"),
            ("/a:/b:ro,rw", "invalid mode: ro,rw"),
            ("", "invalid volume specification: ''"),
            (":/b", "invalid volume specification: ':/b'"),
            ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
            (
                "vol:b",
                "invalid volume specification: 'vol:b': invalid mount config for type \"volume\": \
                 invalid mount path: 'b' mount path must be absolute",
            ),
            (
                "/a:/",
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": \
                 invalid specification: destination can't be '/'",
            ),
        ] {
            assert_eq!(parse(spec).expect_err(spec).to_string(), message);
        }
    }
}
