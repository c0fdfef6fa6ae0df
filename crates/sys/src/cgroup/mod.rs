//! Control groups of version 1, 2 and both beside each other.
//!
//! A [`Cgroup`] is one path in every hierarchy of the host. Moving a process by its pid
//! ([`Cgroup::add`]) waits for an RCU grace period, 5 to 25 ms; a process that moves itself through
//! `tasks` ([`Cgroup::join_files`]), or is born there (`CLONE_INTO_CGROUP`), doesn't.

mod device_program;
mod devices;
mod error;
mod layout;
mod limits;
mod oom;
mod processes;
mod scope;
mod stats;
mod stats_v1;
mod stats_v2;
mod writes;
mod writes_v1;
mod writes_v2;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use devices::{Access, DeviceKind, DeviceRule};
pub use error::FileError;
pub use layout::{Hierarchy, Layout};
pub use limits::{DeviceWeight, Hugepages, Limits, Rdma, Throttle};
pub use oom::OomWatch;
pub use scope::Scope;
pub use stats::{
    BlkioEntry, CpuStats, HugepageStats, MemoryAmount, MemoryStats, PidsStats, Pressure,
    PressureLine, RdmaStats, Stats,
};
pub use writes_v2::{cpu_weight, io_weight};

use error::{about, explained};

/// How long removal and freezing wait for the kernel.
const PATIENCE: Duration = Duration::from_secs(5);

/// One cgroup: the same path in every hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    v1: Vec<Hierarchy>,
    unified: Option<PathBuf>,
    unified_root: Option<PathBuf>,
    v2: bool,
}

impl Cgroup {
    /// Names the cgroup `path` (`/docker/<id>`); nothing is created.
    ///
    /// # Errors
    /// `InvalidInput` for the root itself and for a path with `..`.
    pub fn open(layout: &Layout, path: &str) -> io::Result<Self> {
        let relative = plain_path(path)?;
        let v1 = layout.v1().iter().map(|hierarchy| Hierarchy {
            controllers: hierarchy.controllers.clone(),
            mount: hierarchy.mount.join(&relative),
        });
        Ok(Self {
            v1: v1.collect(),
            unified: layout.unified().map(|root| root.join(&relative)),
            unified_root: layout.unified().map(Path::to_owned),
            v2: layout.is_v2(),
        })
    }

    /// The cgroup that process `pid` is in, hierarchy by hierarchy.
    ///
    /// # Errors
    /// `NotFound` when the process is gone.
    pub fn of_process(layout: &Layout, pid: i32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let path_of = |controllers: &str| {
            text.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (names, path) = rest.split_once(':')?;
                (names == controllers).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let v1 = layout.v1().iter().filter_map(|hierarchy| {
            let path = path_of(&hierarchy.controllers.join(","))?;
            Some(Hierarchy {
                controllers: hierarchy.controllers.clone(),
                mount: hierarchy.mount.join(path),
            })
        });
        let unified = layout.unified().and_then(|root| Some(root.join(path_of("")?)));
        Ok(Self {
            v1: v1.collect(),
            unified,
            unified_root: layout.unified().map(Path::to_owned),
            v2: layout.is_v2(),
        })
    }

    /// Names the cgroup `path` as runc takes a relative path: below the caller's own cgroup with
    /// version 1, beside it with version 2, where a cgroup with processes can't hand controllers down.
    ///
    /// # Errors
    /// `InvalidInput` for an empty path and one with `..`.
    pub fn below_own(layout: &Layout, path: &str) -> io::Result<Self> {
        let relative = plain_path(path)?;
        let own = Self::of_process(layout, rustix::process::getpid().as_raw_pid())?;
        let v1 = own.v1.into_iter().map(|Hierarchy { controllers, mount }| Hierarchy {
            controllers,
            mount: mount.join(&relative),
        });
        let v1 = v1.collect();
        let root = own.unified_root.as_deref();
        let unified = own.unified.map(|dir| {
            let above = if own.v2 && Some(dir.as_path()) != root { dir.parent() } else { None };
            above.unwrap_or(&dir).join(&relative)
        });
        Ok(Self { v1, unified, ..own })
    }

    /// The directories by which [`Cgroup::from_paths`] finds it again: hierarchy (its controllers, or
    /// nothing for the unified one) and path.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let v1 = self.v1.iter().map(|dir| (dir.controllers.join(","), dir.mount.clone()));
        v1.chain(self.unified.iter().map(|dir| (String::new(), dir.clone()))).collect()
    }

    /// The cgroup that [`Cgroup::paths`] described.
    pub fn from_paths(layout: &Layout, paths: &BTreeMap<String, PathBuf>) -> Self {
        let v1 = layout.v1().iter().filter_map(|hierarchy| {
            let controllers = hierarchy.controllers.clone();
            let mount = paths.get(&controllers.join(","))?.clone();
            Some(Hierarchy { controllers, mount })
        });
        Self {
            v1: v1.collect(),
            unified: paths.get("").cloned(),
            unified_root: layout.unified().map(Path::to_owned),
            v2: layout.is_v2(),
        }
    }

    /// The cgroup's directory that has `controller`, whichever version.
    pub fn directory(&self, controller: &str) -> Option<&Path> {
        if self.v2 {
            return self.unified.as_deref();
        }
        let has = |dir: &&Hierarchy| dir.controllers.iter().any(|name| name == controller);
        self.v1.iter().find(has).map(|dir| dir.mount.as_path())
    }

    /// Its directories in the version 1 hierarchies.
    pub fn v1_directories(&self) -> &[Hierarchy] {
        &self.v1
    }

    /// Its directory in the unified hierarchy, for `CLONE_INTO_CGROUP`.
    pub fn unified_directory(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// Whether it exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.directories().any(Path::exists)
    }

    /// Creates it everywhere. One that exists is fine.
    ///
    /// # Errors
    /// What `mkdir` says.
    pub fn create(&self) -> io::Result<()> {
        for dir in &self.v1 {
            let is_cpuset = dir.controllers.iter().any(|name| name == "cpuset");
            create_all(&dir.mount, &|made| if is_cpuset { inherit_cpuset(made) } else { Ok(()) })?;
        }
        if let (Some(dir), Some(root)) = (&self.unified, &self.unified_root) {
            create_all(dir, &|_| Ok(()))?;
            if self.v2 {
                delegate(root, dir)?;
            }
        }
        Ok(())
    }

    /// Removes it with everything below, waiting a little for processes that are still dying.
    ///
    /// # Errors
    /// `EBUSY` while processes live in it.
    pub fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut first_error = None;
        for dir in self.directories() {
            if let Err(error) = remove_all(dir, deadline) {
                first_error.get_or_insert(about(error, "remove cgroup", dir));
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// How many of its processes the OOM killer has killed.
    ///
    /// # Errors
    /// `NotFound` when the cgroup doesn't exist.
    pub fn oom_kills(&self) -> io::Result<u64> {
        let Some(dir) = self.directory("memory") else { return Ok(0) };
        let file = if self.v2 { "memory.events" } else { "memory.oom_control" };
        Ok(stats::number_after(&read(&dir.join(file))?, "oom_kill").unwrap_or(0))
    }

    /// Sets the limits that are given.
    ///
    /// # Errors
    /// What the kernel says to a value, with the file's name.
    pub fn apply(&self, limits: &Limits) -> io::Result<()> {
        let present = |controller: &'static str, file: &str| {
            fs::read_to_string(self.directory(controller)?.join(file)).ok()
        };
        let list = writes::plan(limits, self.v2, &present)?;
        list.iter().try_for_each(|write| self.set(write))
    }

    fn set(&self, writes::Write { controller, file, value }: &writes::Write) -> io::Result<()> {
        let Some(dir) = self.directory(controller) else {
            // Where nothing counts there is no limit to be lifted.
            if matches!(value.as_str(), "-1" | "max") {
                return Ok(());
            }
            let text = format!("set {file}: the kernel has no {controller} cgroup controller");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        };
        let path = dir.join(file);
        open_and_write(&path, value).map_err(|error| {
            let hint = self.hint(controller, dir, &error);
            explained(error, &format!("write {value:?} to"), &path, &hint)
        })
    }

    /// What the kernel's number alone doesn't tell.
    fn hint(&self, controller: &str, dir: &Path, error: &io::Error) -> String {
        let content = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
        match error.raw_os_error() {
            Some(libc::ENOENT) if self.v2 && controller != "unified" => {
                let enabled = content("cgroup.controllers");
                if enabled.split_whitespace().any(|name| name == controller) {
                    return "the kernel has no such limit".to_owned();
                }
                format!("the {controller} controller is not available to this cgroup")
            }
            Some(libc::ENOENT) => "the kernel has no such limit".to_owned(),
            Some(libc::EBUSY) if controller == "memory" => {
                let usage = content("memory.usage_in_bytes");
                format!("{} bytes are in use and can't be reclaimed", usage.trim())
            }
            _ => String::new(),
        }
    }

    /// Attaches `rules` to its directory of the unified hierarchy as a program, as version 2 does it.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory; what loading and attaching say.
    pub fn attach_device_program(&self, rules: &[DeviceRule]) -> io::Result<()> {
        let dir = self.unified.as_deref().ok_or(io::ErrorKind::NotFound)?;
        device_program::apply(dir, rules).map_err(|e| about(e, "attach device program to", dir))
    }

    /// Lets its processes use devices as `rules`, in their order, say. Once in a cgroup's life.
    ///
    /// # Errors
    /// What the kernel says to a rule.
    pub fn apply_devices(&self, rules: &[DeviceRule]) -> io::Result<()> {
        devices::apply(self, rules)
    }

    /// Its counters.
    ///
    /// # Errors
    /// `NotFound` when the cgroup doesn't exist.
    pub fn stats(&self) -> io::Result<Stats> {
        stats::read_stats(self)
    }

    /// Whether the unified hierarchy has the controllers.
    pub fn is_v2(&self) -> bool {
        self.v2
    }

    fn directories(&self) -> impl Iterator<Item = &Path> {
        self.v1.iter().map(|dir| dir.mount.as_path()).chain(self.unified.as_deref())
    }
}

/// `path` without its leading slash; nothing in it leads elsewhere.
fn plain_path(path: &str) -> io::Result<PathBuf> {
    let relative: PathBuf = Path::new(path)
        .components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .collect();
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if relative.as_os_str().is_empty() || !plain {
        let text = format!("invalid cgroup path {path:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(relative)
}

/// `mkdir -p`, calling `made` for every directory that was created, outermost first.
fn create_all(dir: &Path, made: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    match fs::create_dir(dir) {
        Ok(()) => made(dir),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = dir.parent().ok_or(io::ErrorKind::NotFound)?;
            create_all(parent, made)?;
            match fs::create_dir(dir) {
                Ok(()) => made(dir),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                Err(error) => Err(about(error, "create cgroup", dir)),
            }
        }
        Err(error) => Err(about(error, "create cgroup", dir)),
    }
}

/// A new cpuset of version 1 is empty and takes no process until it has processors and memory nodes.
fn inherit_cpuset(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().ok_or(io::ErrorKind::NotFound)?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let present = read(&dir.join(file))?;
        if present.trim().is_empty() {
            write_file(&dir.join(file), read(&parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

/// Turns all controllers on in every ancestor of `dir`. One that can't be (a realtime process with
/// `cpu`) is missed where its limit is set.
fn delegate(root: &Path, dir: &Path) -> io::Result<()> {
    let relative = dir.strip_prefix(root).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut ancestor = root.to_owned();
    for part in relative.components() {
        let control = ancestor.join("cgroup.subtree_control");
        let enabled = read(&control)?;
        let available = read(&ancestor.join("cgroup.controllers"))?;
        let missing: Vec<String> = available
            .split_whitespace()
            .filter(|name| !enabled.split_whitespace().any(|enabled| enabled == *name))
            .map(|name| format!("+{name}"))
            .collect();
        if !missing.is_empty() && write_file(&control, &missing.join(" ")).is_err() {
            for controller in &missing {
                let _ = write_file(&control, controller);
            }
        }
        ancestor.push(part);
    }
    Ok(())
}

fn remove_all(dir: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => {}
        }
        for child in subdirectories(dir)? {
            remove_all(&child, deadline)?;
        }
        if fs::remove_dir(dir).is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(1));
    }
}

fn subdirectories(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| about(error, "read", path))
}

fn write_file(path: &Path, value: &str) -> io::Result<()> {
    open_and_write(path, value).map_err(|error| about(error, &format!("write {value:?} to"), path))
}

fn open_and_write(path: &Path, value: &str) -> io::Result<()> {
    // No O_CREAT, which cgroup file systems refuse with a misleading EACCES.
    let mut file = OpenOptions::new().write(true).open(path)?;
    io::Write::write_all(&mut file, value.as_bytes())
}
