//! `system check`: beside the image store's own, what the data root and the run directory hold that
//! no record of a container or volume owns.
//!
//! An object that is just being made has its name reserved, or its maker holds the lock that asking
//! for it takes; so each directory is read first, its owners are asked for afterwards, and what has
//! gone meanwhile is nobody's problem.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_image::Finding;
use davit_types::{ContainerId, Context, Result};

use crate::Engine;
use crate::container::blocking;
use crate::engine::Inner;

impl Engine {
    /// Reads all that is stored and says what is wrong; with `repair`, puts right what can be.
    ///
    /// # Errors
    /// Directories that can't be read.
    pub async fn check(&self, repair: bool) -> Result<Vec<Finding>> {
        let inner = Arc::clone(self.inner());
        blocking(move || {
            let mut findings = inner.images.check(repair)?;
            findings.extend(records(&inner, repair)?);
            Ok(findings)
        })
        .await
    }
}

/// What is wrong outside the image store.
fn records(inner: &Inner, repair: bool) -> Result<Vec<Finding>> {
    let mut suspects = containers(inner)?;
    suspects.extend(volumes(inner)?);
    suspects.extend(networks(inner)?);
    suspects.extend(bundles(inner)?);
    let mut findings = Vec::new();
    for Suspect { path, problem, remedy } in suspects {
        if !path.exists() {
            continue;
        }
        let repaired = repair && put_right(inner, &path, remedy)?;
        findings.push(Finding { object: path.display().to_string(), problem, repaired });
    }
    findings.extend(mounts(inner, repair)?);
    findings.extend(cgroups(inner, repair)?);
    Ok(findings)
}

/// Deletes what killed creations and removals have left. To be called before there are new ones.
pub(crate) fn sweep(inner: &Inner) -> Result<()> {
    for Suspect { path, problem, remedy } in volumes(inner)? {
        if remedy == Remedy::Discard {
            tracing::info!(path = %path.display(), "{problem}: deleted");
            put_right(inner, &path, remedy)?;
        }
    }
    Ok(())
}

/// Something that no record owns.
struct Suspect {
    path: PathBuf,
    problem: String,
    remedy: Remedy,
}

/// What repairing does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Delete it.
    Discard,
    /// It may hold what somebody needs: a person has to decide.
    Keep,
}

fn suspect(path: PathBuf, problem: &str, remedy: Remedy) -> Suspect {
    Suspect { path, problem: problem.to_owned(), remedy }
}

const UNOWNED: &str = "nothing owns it";
const BAD_RECORD: &str = "a record that could not be read";

fn containers(inner: &Inner) -> Result<Vec<Suspect>> {
    let entries = entries(&inner.config.data_root.join("containers"))?;
    let suspects = entries.into_iter().filter_map(|path| {
        let name = name_of(&path);
        let Ok(id) = ContainerId::parse(&name) else {
            let is_aside = name.split_once(".bad-").is_some();
            return is_aside.then(|| suspect(path, BAD_RECORD, Remedy::Discard));
        };
        (!inner.containers.knows(&id)).then(|| suspect(path, UNOWNED, Remedy::Discard))
    });
    Ok(suspects.collect())
}

/// A volume without a record was not finished when it has no content; else its content may be dear.
fn volumes(inner: &Inner) -> Result<Vec<Suspect>> {
    let directories = entries(&inner.config.data_root.join("volumes"))?;
    let unknown = directories.into_iter().filter(|path| path.is_dir());
    let unknown = unknown.filter(|path| inner.volumes.get(&name_of(path)).is_err());
    let judged = unknown.map(|path| match (path.join("volume.json").exists(), is_empty(&path)) {
        (true, _) => suspect(path, BAD_RECORD, Remedy::Keep),
        (false, true) => suspect(path, UNOWNED, Remedy::Discard),
        (false, false) => suspect(path, "a volume without a record", Remedy::Keep),
    });
    Ok(judged.collect())
}

fn is_empty(volume: &Path) -> bool {
    let others = entries(volume).unwrap_or_default();
    let mut others = others.into_iter().filter(|path| !name_of(path).starts_with(".tmp-"));
    others.all(|path| {
        path.file_name().is_some_and(|name| name == "_data")
            && std::fs::read_dir(&path).is_ok_and(|mut content| content.next().is_none())
    })
}

fn networks(inner: &Inner) -> Result<Vec<Suspect>> {
    let records = entries(&inner.config.data_root.join("network/networks"))?.into_iter();
    let bad = records.filter(|path| path.extension().is_some_and(|extension| extension == "bad"));
    Ok(bad.map(|path| suspect(path, BAD_RECORD, Remedy::Discard)).collect())
}

/// The run directory: what is kept of containers that run.
fn bundles(inner: &Inner) -> Result<Vec<Suspect>> {
    let mut suspects = Vec::new();
    for directory in ["containers", "runtime"] {
        let paths = entries(&inner.config.exec_root.join(directory))?.into_iter();
        let unowned = paths.filter(|path| {
            ContainerId::parse(&name_of(path)).is_ok_and(|id| !inner.containers.knows(&id))
        });
        suspects.extend(unowned.map(|path| suspect(path, UNOWNED, Remedy::Discard)));
    }
    Ok(suspects)
}

/// How much of a stray's name it keeps in the trash.
const SHORT: usize = 64;

fn put_right(inner: &Inner, path: &Path, remedy: Remedy) -> Result<bool> {
    if remedy == Remedy::Keep {
        return Ok(false);
    }
    let failed = || format!("delete {}", path.display());
    if path.starts_with(&inner.config.exec_root) {
        std::fs::remove_dir_all(path).context(failed)?;
        return Ok(true);
    }
    // Renamed first: half of it would be something else at the next start.
    let name: String = name_of(path).chars().take(SHORT).collect();
    let away = inner.trash().join(format!("stray-{name}-{}", crate::time::now()));
    std::fs::rename(path, &away).context(failed)?;
    match away.is_dir() {
        true => davit_image::remove_tree(&away).context(failed)?,
        false => std::fs::remove_file(&away).context(failed)?,
    }
    Ok(true)
}

/// Roots of containers that are still mounted though nothing runs in them.
fn mounts(inner: &Inner, repair: bool) -> Result<Vec<Finding>> {
    let idle = mounted_roots(inner)?.into_iter();
    let idle = idle.filter(|path| is_idle(inner, &path.parent().map(name_of).unwrap_or_default()));
    let idle: Vec<PathBuf> = idle.collect();
    // Those that a container left while it was asked for are gone now.
    let still = mounted_roots(inner)?;
    let mut findings = Vec::new();
    for path in idle.into_iter().filter(|path| still.contains(path)) {
        if repair {
            rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH)
                .context(|| format!("unmount {}", path.display()))?;
        }
        let problem = "mounted for a container that does not run".to_owned();
        findings.push(Finding { object: path.display().to_string(), problem, repaired: repair });
    }
    Ok(findings)
}

fn mounted_roots(inner: &Inner) -> Result<HashSet<PathBuf>> {
    let table =
        std::fs::read_to_string("/proc/self/mountinfo").context(|| "read the table of mounts")?;
    let layers = inner.config.data_root.join("overlay2");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    Ok(points.filter(|path| path.starts_with(&layers) && path.ends_with("merged")).collect())
}

/// Cgroups of containers that don't run.
fn cgroups(inner: &Inner, repair: bool) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for container in inner.containers.all() {
        let cgroup = inner.cgroup(&container.snapshot())?;
        if !cgroup.exists() || !is_idle(inner, container.id.as_str()) || !cgroup.exists() {
            continue;
        }
        if repair {
            let removed = cgroup.kill_all().and_then(|()| cgroup.remove());
            removed.context(|| format!("remove the cgroup of {}", container.id))?;
        }
        let object = format!("cgroup of container {}", container.id);
        let problem = "it is there though the container does not run".to_owned();
        findings.push(Finding { object, problem, repaired: repair });
    }
    Ok(findings)
}

/// Whether the container of this id is neither running nor being started, stopped or removed.
fn is_idle(inner: &Inner, id: &str) -> bool {
    let Some(container) = inner.containers.by_id(id) else { return true };
    let Ok(_guard) = container.transition.try_lock() else { return false };
    !container.snapshot().record.state.has_process() && !container.bundle.exists()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => {
            let mut found = found.context(|| format!("read {}", directory.display()))?;
            found.sort();
            Ok(found)
        }
    }
}
