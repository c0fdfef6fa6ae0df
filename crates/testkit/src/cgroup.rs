//! The cgroup directories of a sandbox, on every hierarchy: v1, hybrid and v2.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait;

/// Mount points of all cgroup hierarchies.
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (point, kind) = (fields.next()?, fields.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(point))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// All directories below `parent` (such as `/davit-test-x`), relative to their hierarchy and named
/// with it: `memory:/davit-test-x/<id>`.
pub fn directories(parent: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for hierarchy in hierarchies() {
        let name = hierarchy.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let top = hierarchy.join(parent.trim_start_matches('/'));
        collect(&top, &mut |dir| {
            let path = dir.strip_prefix(&hierarchy).unwrap_or(dir);
            found.insert(format!("{name}:/{}", path.display()));
        });
    }
    found
}

/// The file `file` of the cgroup `path` on the hierarchy that has it: the v1 hierarchy of
/// `controller`, else the unified one.
pub fn read(controller: &str, path: &str, file: &str) -> Result<String> {
    let relative = path.trim_start_matches('/');
    let on_v1 = hierarchies().into_iter().filter(|dir| {
        dir.file_name()
            .is_some_and(|name| name.to_string_lossy().split(',').any(|part| part == controller))
    });
    let unified = hierarchies().into_iter();
    let candidates = on_v1.chain(unified).map(|dir| dir.join(relative).join(file));
    let found = candidates.into_iter().find(|path| path.is_file());
    let found = found.with_context(|| format!("no {file} in cgroup {path} of {controller}"))?;
    Ok(fs::read_to_string(&found)?.trim().to_owned())
}

/// Whether `controller` has a v1 hierarchy of its own here.
pub fn is_v1(controller: &str) -> bool {
    hierarchies().iter().any(|dir| {
        dir.file_name().is_some_and(|n| n.to_string_lossy().split(',').any(|c| c == controller))
    })
}

/// Removes `parent` and all below it from every hierarchy; the processes must be gone or going.
pub fn remove(parent: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let top = hierarchy.join(parent.trim_start_matches('/'));
        let mut dirs = Vec::new();
        collect(&top, &mut |dir| dirs.push(dir.to_path_buf()));
        // Children come after their parents.
        for dir in dirs.iter().rev() {
            let what = format!("cgroup {} to be empty", dir.display());
            wait::until_true(Duration::from_secs(5), &what, || match fs::remove_dir(dir) {
                Ok(()) => Ok(true),
                Err(error) => Ok(error.kind() == std::io::ErrorKind::NotFound),
            })?;
        }
    }
    Ok(())
}

fn collect(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    visit(dir);
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), visit);
        }
    }
}
