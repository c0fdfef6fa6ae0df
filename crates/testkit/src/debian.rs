//! Debian's (or Ubuntu's) package archive, as this machine uses it, and root filesystems from it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A package archive for one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Base address.
    pub uri: String,
    /// Release, such as `bookworm`.
    pub suite: String,
    /// `main`, and `universe` where that exists.
    pub components: String,
}

impl Archive {
    /// The first archive in apt's configuration that carries this machine's own release.
    pub fn of_this_machine() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
        let suite = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .map_or("bookworm", |name| name.trim_matches('"'));
        let mut sources = String::new();
        let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
        let mut paths: Vec<_> = parts.map(|entry| entry.path()).collect();
        paths.push("/etc/apt/sources.list".into());
        for path in paths {
            // A list that can't be read is one archive less to choose from.
            sources.push_str(&fs::read_to_string(path).unwrap_or_default());
            sources.push_str("\n\n");
        }
        Ok(find(&sources, suite).unwrap_or_else(|| Self {
            uri: "http://deb.debian.org/debian".to_owned(),
            suite: suite.to_owned(),
            components: "main".to_owned(),
        }))
    }

    /// Makes a minimal system with `packages` in `target` (which must not exist).
    pub fn debootstrap(&self, packages: &[&str], target: &Path) -> Result<()> {
        let output = Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={}", packages.join(","))])
            .arg(format!("--components={}", self.components))
            .arg(&self.suite)
            .arg(target)
            .arg(&self.uri)
            .output()
            .context("run debootstrap")?;
        let log = String::from_utf8_lossy(&output.stdout);
        let tail: Vec<&str> = log.lines().rev().take(10).collect();
        ensure!(output.status.success(), "debootstrap failed, last lines first: {tail:#?}");
        Ok(())
    }
}

/// Finds an archive with `main` of `suite` in one-line or deb822 sources.
fn find(sources: &str, suite: &str) -> Option<Archive> {
    sources.split("\n\n").find_map(|stanza| {
        from_deb822(stanza, suite).or_else(|| stanza.lines().find_map(|l| from_line(l, suite)))
    })
}

fn from_deb822(stanza: &str, suite: &str) -> Option<Archive> {
    let field = |name: &str| {
        stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let binary = field("Types")?.split_whitespace().any(|kind| kind == "deb");
    let here = field("Suites")?.split_whitespace().any(|name| name == suite);
    let uri = field("URIs")?.split_whitespace().next()?;
    archive(binary && here, uri, suite, field("Components")?)
}

fn from_line(line: &str, suite: &str) -> Option<Archive> {
    let rest = line.strip_prefix("deb ")?.trim_start();
    // Options stand in brackets.
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace();
    let (uri, found) = (words.next()?, words.next()?);
    archive(found == suite, uri, suite, &words.collect::<Vec<_>>().join(" "))
}

fn archive(fits: bool, uri: &str, suite: &str, components: &str) -> Option<Archive> {
    let has = |wanted: &str| components.split_whitespace().any(|name| name == wanted);
    let wanted: Vec<&str> = ["main", "universe"].into_iter().filter(|name| has(name)).collect();
    (fits && has("main") && uri.starts_with("http")).then(|| Archive {
        uri: uri.to_owned(),
        suite: suite.to_owned(),
        components: wanted.join(","),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_sources_are_read() {
        let deb822 = "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\nComponents: main contrib\n";
        let line = "deb [arch=amd64] http://mirror/debian bookworm main\n";
        for sources in [deb822, line] {
            let found = find(sources, "bookworm").unwrap();
            assert_eq!(
                (found.uri.as_str(), found.components.as_str()),
                ("http://mirror/debian", "main")
            );
        }
        assert_eq!(find("deb https://other.example/apt tools main\n", "bookworm"), None);
    }
}
