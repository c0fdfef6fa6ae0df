//! What is remembered of a container: `<root>/<id>/state.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use davit_sys::cgroup::{Cgroup, Layout};
use serde::{Deserialize, Serialize};

use crate::failure::{self, Step, text};
use crate::hooks::Hooks;
use crate::lock::Lock;
use crate::plan::{Domain, Unit};
use crate::{Failure, Rdt, gate};

const FILE: &str = "state.json";
/// The same again: what is to be removed is found when the first is damaged.
const COPY: &str = "state.json.copy";

/// Whether there is a record of the container of `directory`, in whatever condition.
pub(crate) fn is_recorded(directory: &Path) -> bool {
    [FILE, COPY].iter().any(|name| fs::symlink_metadata(directory.join(name)).is_ok())
}

/// A container as its creator left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification its configuration had.
    pub oci_version: String,
    /// Its id.
    pub id: String,
    /// Its first process in the pid namespace of the creator; 0: there is none yet.
    pub pid: i32,
    /// That process' start time in clock ticks since boot, which tells it from a later one.
    pub start_time: u64,
    /// Device and inode of the creator's program, which the process still is before it is released.
    pub creator: (u64, u64),
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its root.
    pub rootfs: PathBuf,
    /// Its cgroup's path; absent: none of its own.
    pub cgroup: Option<String>,
    /// Where that is, hierarchy by hierarchy.
    #[serde(default)]
    pub cgroup_paths: BTreeMap<String, PathBuf>,
    /// The scope that systemd made for it.
    #[serde(default)]
    pub unit: Option<Unit>,
    /// Whether it waits for another process than its creator to start it.
    #[serde(default)]
    pub gated: bool,
    /// Whether its creator has yet to say that it waits to be started.
    #[serde(default)]
    pub unfinished: bool,
    /// Nanoseconds since the epoch.
    pub created: i64,
    /// Annotations of its configuration.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Hooks that run after its start and after its end.
    #[serde(default)]
    pub hooks: Hooks,
    /// What holds for its later processes, too.
    #[serde(default)]
    pub domain: Domain,
    /// Its share of the processor's caches and memory bandwidth.
    #[serde(default)]
    pub rdt: Option<Rdt>,
    /// Where this was read from.
    #[serde(skip)]
    pub(crate) directory: PathBuf,
}

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its creator is at work.
    Creating,
    /// Its process waits to be released.
    Created,
    /// Its process runs.
    Running,
    /// Its process runs but is frozen.
    Paused,
    /// Its process is gone.
    Stopped,
}

impl Status {
    /// The specification's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl State {
    /// Reads the state of container `id`.
    ///
    /// # Errors
    /// `container does not exist`, or what reading says.
    pub fn load(root: &Path, id: &str) -> Result<Self, Failure> {
        Self::load_file(root, id, FILE)
    }

    /// Reads the second record, for when the first is damaged.
    ///
    /// # Errors
    /// As [`State::load`].
    pub fn load_copy(root: &Path, id: &str) -> Result<Self, Failure> {
        Self::load_file(root, id, COPY)
    }

    fn load_file(root: &Path, id: &str, file: &str) -> Result<Self, Failure> {
        let directory = directory(root, id)?;
        let path = directory.join(file);
        let name = path.to_string_lossy();
        let bytes = read_regular(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(id),
            _ => failure::io("read", &name, &error),
        })?;
        let damaged = |why: String| text("state", id, format!("read {name}: {why}"));
        let state: Self =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if state.id != id {
            return Err(damaged(format!("it is of container {:?}", state.id)));
        }
        Ok(Self { directory, ..state })
    }

    pub(crate) fn save(&self, directory: &Path) -> Result<(), Failure> {
        self.save_file(directory, COPY)?;
        self.save_file(directory, FILE)
    }

    fn save_file(&self, directory: &Path, file: &str) -> Result<(), Failure> {
        let path = directory.join(file);
        let aside = directory.join("state.json.tmp");
        let json = serde_json::to_vec(self).map_err(io::Error::from);
        let json = json.step("write", path.to_string_lossy())?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(&aside)
            .and_then(|mut file| file.write_all(&json))
            .and_then(|()| fs::rename(&aside, &path))
            .step("write", path.to_string_lossy())
    }

    /// Its creator said all there is to say: that it waits to be started.
    pub(crate) fn finish(self, directory: &Path) -> Result<(), Failure> {
        // Of the copy only what there is to be removed is ever asked.
        Self { unfinished: false, ..self }.save_file(directory, FILE)
    }

    /// Its status now.
    pub fn status(&self) -> Status {
        if !self.unfinished {
            return self.status_locked();
        }
        if Lock::is_held(&self.directory) {
            return Status::Creating;
        }
        // The creator may have finished since this was read.
        let file = read_regular(&self.directory.join(FILE)).ok();
        let later = file.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        match later.filter(|later| !later.unfinished && later.id == self.id) {
            Some(later) => Self { directory: self.directory.clone(), ..later }.status_locked(),
            None => Status::Stopped,
        }
    }

    /// Its status for a verb that holds the lock: no creator is at work, and looking for one would
    /// lose the lock. What its creator didn't finish never starts.
    pub(crate) fn status_locked(&self) -> Status {
        if self.unfinished || !self.is_alive() {
            return Status::Stopped;
        }
        if self.is_frozen().unwrap_or(false) {
            return Status::Paused;
        }
        let program = fs::metadata(format!("/proc/{}/exe", self.pid));
        let creators = match program {
            Ok(program) => (program.dev(), program.ino()) == self.creator,
            // Hidden until it executes its program, to an ordinary user even if it is his.
            Err(error) => self.gated && error.kind() == io::ErrorKind::PermissionDenied,
        };
        if creators && (!self.gated || gate::is_closed(&self.directory)) {
            return Status::Created;
        }
        Status::Running
    }

    /// Who made it.
    ///
    /// # Errors
    /// It is gone.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(fs::metadata(&self.directory)?.uid())
    }

    /// Whether its first process is still there, and not a zombie.
    pub fn is_alive(&self) -> bool {
        process_start(self.pid)
            .is_ok_and(|(state, start)| start == self.start_time && !matches!(state, 'Z' | 'X'))
    }

    fn is_frozen(&self) -> io::Result<bool> {
        self.open_cgroup()?.map_or(Ok(false), |cgroup| cgroup.is_frozen())
    }

    /// Its cgroup; `None`: it has none of its own.
    ///
    /// # Errors
    /// There are no cgroups.
    pub fn open_cgroup(&self) -> io::Result<Option<Cgroup>> {
        let Some(path) = &self.cgroup else { return Ok(None) };
        let layout = Layout::known()?;
        if self.cgroup_paths.is_empty() {
            return Cgroup::open(layout, path).map(Some);
        }
        Ok(Some(Cgroup::from_paths(layout, &self.cgroup_paths)))
    }
}

/// What else stands at the path neither blocks nor is taken for a record.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn missing(id: &str) -> Failure {
    Failure { errno: libc::ENOENT, ..text("state", id, "container does not exist") }
}

/// State letter and start time of a process.
pub(crate) fn process_start(pid: i32) -> io::Result<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name may hold spaces and parentheses.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
    let mut fields = fields.ok_or(io::ErrorKind::InvalidData)?;
    let state = fields.next().and_then(|state| state.chars().next());
    let start = fields.nth(18).and_then(|start| start.parse().ok());
    state.zip(start).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The directory of container `id`.
pub(crate) fn directory(root: &Path, id: &str) -> Result<PathBuf, Failure> {
    crate::plan::check_id(id)?;
    Ok(root.join(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_pid() {
        let pid = i32::try_from(std::process::id()).expect("a pid fits");
        let (state, start_time) = process_start(pid).expect("ourselves");
        assert!(state.is_alphabetic());
        let mut container = State {
            oci_version: "1.2.0".to_owned(),
            id: "c".to_owned(),
            pid,
            start_time,
            creator: (0, 0),
            bundle: PathBuf::new(),
            rootfs: PathBuf::new(),
            cgroup: None,
            cgroup_paths: BTreeMap::new(),
            unit: None,
            gated: false,
            unfinished: false,
            created: 0,
            annotations: BTreeMap::new(),
            hooks: Hooks::default(),
            domain: Domain::default(),
            rdt: None,
            directory: PathBuf::new(),
        };
        assert_eq!(container.status(), Status::Running);
        container.start_time += 1;
        assert_eq!(container.status(), Status::Stopped);
    }
}
