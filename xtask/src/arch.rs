//! Checks that the crates are what ARCHITECTURE.md says: who may use whom, where `unsafe` stands,
//! what never links tokio.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use davit_testkit::paths;
use serde_json::Value;

use crate::run::{cargo, output, say};

/// Header of the table in ARCHITECTURE.md.
const HEADER: &str = "| crate | may use |";
/// Small single-threaded programs that stay beside every container.
const WITHOUT_TOKIO: [&str; 3] = ["davit-runtime", "davit-monitor", "davit-shim"];

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Runs all checks and reports every violation.
pub(crate) fn check() -> Result<()> {
    let document = fs::read_to_string(paths::workspace().join("ARCHITECTURE.md"))
        .context("read ARCHITECTURE.md")?;
    let metadata = output(cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let allowed = table(&document)?;
    let mut violations = compare(&allowed, &edges(&metadata)?);
    violations.extend(unsafe_outside_sys(&metadata)?);
    violations.extend(tokio_in_small_programs()?);
    if !violations.is_empty() {
        bail!("the architecture is violated:\n{}", violations.join("\n"));
    }
    say(&format!("{} crates keep to ARCHITECTURE.md", allowed.len()));
    Ok(())
}

/// The rows under [`HEADER`].
fn table(document: &str) -> Result<Edges> {
    let mut lines = document.lines().skip_while(|line| *line != HEADER);
    lines.next().with_context(|| format!("ARCHITECTURE.md has no table `{HEADER}`"))?;
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let rows: Result<Edges> = rows.map(row).collect();
    let rows = rows?;
    ensure!(!rows.is_empty(), "the table in ARCHITECTURE.md is empty");
    Ok(rows)
}

fn row(line: &str) -> Result<(String, BTreeSet<String>)> {
    let mut cells = line.trim_matches('|').split('|').map(str::trim);
    let name = cells.next().filter(|name| !name.is_empty());
    let name = name.with_context(|| format!("a row without a crate: {line}"))?;
    let uses = cells.next().unwrap_or_default();
    let uses = uses.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned);
    Ok((name.to_owned(), uses.collect()))
}

/// The workspace's own dependencies by short names. Any crate's tests may use the testkit.
fn edges(metadata: &Value) -> Result<Edges> {
    let packages = metadata["packages"].as_array().context("metadata without packages")?;
    let names: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut found = Edges::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        let dependencies = package["dependencies"].as_array().context("no dependencies")?;
        let for_tests = |dependency: &&Value| {
            dependency["kind"] == "dev" && dependency["name"] == "davit-testkit"
        };
        let product = dependencies.iter().filter(|dependency| !for_tests(dependency));
        let used = product.filter_map(|dependency| dependency["name"].as_str());
        let used = used.filter(|used| names.contains(used)).map(short);
        found.entry(short(name)).or_default().extend(used);
    }
    Ok(found)
}

fn short(package: &str) -> String {
    package.strip_prefix("davit-").unwrap_or(package).to_owned()
}

fn compare(allowed: &Edges, found: &Edges) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, uses) in found {
        match allowed.get(name) {
            None => violations.push(format!("{name} is not in the table")),
            Some(may) => {
                let bad = uses.difference(may);
                violations.extend(bad.map(|used| format!("{name} may not use {used}")));
            }
        }
    }
    let gone = allowed.keys().filter(|name| !found.contains_key(*name));
    violations.extend(gone.map(|name| format!("{name} is in the table but does not exist")));
    violations
}

/// The lint `unsafe_code = "deny"` does the work: nobody but sys may switch it off or go without.
fn unsafe_outside_sys(metadata: &Value) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for package in metadata["packages"].as_array().context("metadata without packages")? {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = package["manifest_path"].as_str().context("no manifest path")?;
        let text = fs::read_to_string(manifest)?;
        if !text.contains("[lints]\nworkspace = true") {
            violations.push(format!("{name} does not take the workspace's lints"));
        }
        if name == "davit-sys" {
            continue;
        }
        let dir = Path::new(manifest).parent().context("the manifest has a directory")?;
        for file in sources(dir)? {
            let text = fs::read_to_string(&file)?;
            if text.lines().any(allows_unsafe) {
                violations.push(format!("{} lets unsafe code in", file.display()));
            }
        }
    }
    Ok(violations)
}

fn allows_unsafe(line: &str) -> bool {
    let line = line.trim_start();
    let attribute = line.starts_with("#[") || line.starts_with("#![");
    attribute && line.contains("unsafe_code") && (line.contains("allow") || line.contains("expect"))
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

fn tokio_in_small_programs() -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for package in WITHOUT_TOKIO {
        let tree = ["tree", "--package", package, "--edges", "normal", "--prefix", "none"];
        let tree = output(cargo(&tree))?;
        if tree.lines().any(|line| line.starts_with("tokio ")) {
            violations.push(format!("{package} links tokio"));
        }
    }
    Ok(violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "text\n| crate | may use |\n|---|---|\n| a | |\n| b | a |\n\nmore\n";

    #[test]
    fn the_table_is_read_to_its_end() {
        let rows = table(DOCUMENT).unwrap();
        assert_eq!(rows.len(), 2);
        assert!(rows["a"].is_empty() && rows["b"].contains("a"));
    }

    #[test]
    fn unknown_edges_and_crates_are_violations() {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let found = Edges::from([("a".into(), set(&["b"])), ("c".into(), set(&[]))]);
        let violations = compare(&table(DOCUMENT).unwrap(), &found);
        let wanted =
            ["a may not use b", "c is not in the table", "b is in the table but does not exist"];
        assert_eq!(violations, wanted);
    }
}
