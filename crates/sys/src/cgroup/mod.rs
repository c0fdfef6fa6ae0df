//! Control groups of version 1, 2 and both beside each other.
//!
//! A [`Cgroup`] is one path in every hierarchy of the host. Moving a process by its pid
//! ([`Cgroup::add`]) waits for an RCU grace period, 5 to 25 ms; a process that moves itself through
//! `tasks` ([`Cgroup::join_files`]), or is born there (`CLONE_INTO_CGROUP`), doesn't.

mod device_program;
mod devices;
mod layout;
mod limits;
mod stats;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use devices::{Access, DeviceKind, DeviceRule};
pub use layout::{Hierarchy, Layout};
pub use limits::{Hugepages, Limits, Throttle};
pub use stats::{BlkioEntry, CpuStats, MemoryStats, PidsStats, Stats};

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
        let relative: PathBuf = Path::new(path)
            .components()
            .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
            .collect();
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if relative.as_os_str().is_empty() || !plain {
            let text = format!("invalid cgroup path {path:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
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

    /// Moves process `pid` into it, with all its threads.
    ///
    /// # Errors
    /// `ESRCH` when the process is gone.
    pub fn add(&self, pid: i32) -> io::Result<()> {
        self.directories().try_for_each(|dir| write(&dir.join("cgroup.procs"), &pid.to_string()))
    }

    /// The version 1 files through which a single-threaded process joins by writing `0`.
    ///
    /// # Errors
    /// `NotFound` when the cgroup doesn't exist.
    pub fn join_files(&self) -> io::Result<Vec<File>> {
        let open = |dir: &Hierarchy| {
            let path = dir.mount.join("tasks");
            OpenOptions::new().write(true).open(&path).map_err(|e| about(e, "open", &path))
        };
        self.v1.iter().map(open).collect()
    }

    /// Stops all its processes and waits until they are.
    ///
    /// # Errors
    /// `TimedOut` when they don't stop in 5 s; they run on then.
    pub fn freeze(&self) -> io::Result<()> {
        let (file, value) = self.freezer("FROZEN", "1")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            write(&file, value)?;
            if self.is_frozen()? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.thaw()?;
                return Err(about(io::ErrorKind::TimedOut.into(), "freeze", &file));
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Lets its processes run again.
    ///
    /// # Errors
    /// `NotFound` when the cgroup doesn't exist.
    pub fn thaw(&self) -> io::Result<()> {
        let (file, value) = self.freezer("THAWED", "0")?;
        write(&file, value)
    }

    /// Whether all its processes are stopped.
    ///
    /// # Errors
    /// `NotFound` when the cgroup doesn't exist.
    pub fn is_frozen(&self) -> io::Result<bool> {
        let (file, _) = self.freezer("", "")?;
        if self.v2 {
            let events = read(&file.with_file_name("cgroup.events"))?;
            return Ok(events.lines().any(|line| line == "frozen 1"));
        }
        Ok(read(&file)?.trim() == "FROZEN")
    }

    /// Pids of its processes, those of cgroups below included.
    ///
    /// # Errors
    /// What reading says; a cgroup that doesn't exist has none.
    pub fn procs(&self) -> io::Result<Vec<i32>> {
        let dir = self.directory("pids").or_else(|| self.directories().next());
        let mut pids = Vec::new();
        if let Some(dir) = dir {
            collect_procs(dir, &mut pids)?;
        }
        Ok(pids)
    }

    /// Sends SIGKILL to all its processes, those that are being forked meanwhile included.
    ///
    /// # Errors
    /// What reading says.
    pub fn kill_all(&self) -> io::Result<()> {
        if let (true, Some(dir)) = (self.v2, &self.unified) {
            // Linux 5.14; older kernels get the loop.
            if write(&dir.join("cgroup.kill"), "1").is_ok() {
                return Ok(());
            }
        }
        const ROUNDS: u32 = 16;
        for _ in 0..ROUNDS {
            let pids = self.procs()?;
            if pids.is_empty() {
                break;
            }
            for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
                // Gone already is what was wanted.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        // A frozen version 1 process only dies when it is thawed.
        if self.v2 || self.directory("freezer").is_none_or(|dir| !dir.exists()) {
            return Ok(());
        }
        self.thaw()
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
        if self.v2 { limits::apply_v2(self, limits) } else { limits::apply_v1(self, limits) }
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

    fn freezer<'v>(&self, v1: &'v str, v2: &'v str) -> io::Result<(PathBuf, &'v str)> {
        let dir = self.directory("freezer").ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "no freezer cgroup controller")
        })?;
        Ok(if self.v2 { (dir.join("cgroup.freeze"), v2) } else { (dir.join("freezer.state"), v1) })
    }
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
            write(&dir.join(file), read(&parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

/// Turns all controllers on in every ancestor of `dir`. One that can't be (a realtime process with
/// `cpu`) is missed where its limit is set.
fn delegate(root: &Path, dir: &Path) -> io::Result<()> {
    let relative = dir.strip_prefix(root).map_err(|_| io::ErrorKind::InvalidInput)?;
    let available = read(&root.join("cgroup.controllers"))?;
    let wanted: Vec<String> = available.split_whitespace().map(|name| format!("+{name}")).collect();
    let mut ancestor = root.to_owned();
    for part in relative.components() {
        let control = ancestor.join("cgroup.subtree_control");
        if write(&control, &wanted.join(" ")).is_err() {
            for controller in &wanted {
                let _ = write(&control, controller);
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

fn collect_procs(dir: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let text = match fs::read_to_string(dir.join("cgroup.procs")) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
            return Ok(());
        }
        other => other?,
    };
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    subdirectories(dir)?.iter().try_for_each(|child| collect_procs(child, pids))
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

fn write(path: &Path, value: &str) -> io::Result<()> {
    // No O_CREAT, which cgroup file systems refuse with a misleading EACCES.
    let result = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
    result.map_err(|error| about(error, &format!("write {value:?} to"), path))
}

/// Names the operation and the file, keeping the kind.
fn about(error: io::Error, operation: &str, path: &Path) -> io::Error {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    io::Error::new(error.kind(), format!("{operation} {}: {text}", path.display()))
}
