//! What is remembered of a container: `<root>/<id>/state.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::failure::{self, Step, text};
use crate::hooks::Hooks;
use crate::plan::Domain;

/// A container as its creator left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification its configuration had.
    pub oci_version: String,
    /// Its id.
    pub id: String,
    /// Its first process in the pid namespace of the creator.
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
}

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
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
        let path = directory(root, id)?.join("state.json");
        let name = path.to_string_lossy();
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure { errno: libc::ENOENT, ..text("state", id, "container does not exist") }
            }
            _ => failure::io("read", &name, &error),
        })?;
        serde_json::from_slice(&bytes)
            .map_err(|error| text("state", id, format!("read {name}: {error}")))
    }

    pub(crate) fn save(&self, directory: &Path) -> Result<(), Failure> {
        let path = directory.join("state.json");
        let aside = directory.join("state.json.tmp");
        let json = serde_json::to_vec(self).map_err(io::Error::from);
        let json = json.step("write", path.to_string_lossy())?;
        fs::write(&aside, json)
            .and_then(|()| fs::rename(&aside, &path))
            .step("write", path.to_string_lossy())
    }

    /// Its status now.
    pub fn status(&self) -> Status {
        if !self.is_alive() {
            return Status::Stopped;
        }
        let program = fs::metadata(format!("/proc/{}/exe", self.pid));
        if program.is_ok_and(|program| (program.dev(), program.ino()) == self.creator) {
            return Status::Created;
        }
        match self.is_frozen() {
            Ok(true) => Status::Paused,
            _ => Status::Running,
        }
    }

    /// Whether its first process is still there, and not a zombie.
    pub fn is_alive(&self) -> bool {
        process_start(self.pid)
            .is_ok_and(|(state, start)| start == self.start_time && !matches!(state, 'Z' | 'X'))
    }

    fn is_frozen(&self) -> io::Result<bool> {
        let Some(path) = &self.cgroup else { return Ok(false) };
        let layout = davit_sys::cgroup::Layout::detect()?;
        davit_sys::cgroup::Cgroup::open(&layout, path)?.is_frozen()
    }
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

/// Claims the id by making its directory.
pub(crate) fn claim(root: &Path, id: &str) -> Result<PathBuf, Failure> {
    let path = directory(root, id)?;
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o711);
    let made = match builder.create(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(root).and_then(|()| builder.create(&path))
        }
        other => other,
    };
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure {
            errno: libc::EEXIST,
            ..text("state", id, "container with given ID already exists")
        },
        _ => failure::io("create", &path.to_string_lossy(), &error),
    })?;
    Ok(path)
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
            created: 0,
            annotations: BTreeMap::new(),
            hooks: Hooks::default(),
            domain: Domain::default(),
        };
        assert_eq!(container.status(), Status::Running);
        container.start_time += 1;
        assert_eq!(container.status(), Status::Stopped);
    }

    #[test]
    fn an_id_is_claimed_once() {
        let root = std::env::temp_dir().join(format!("davit-state-{}", std::process::id()));
        claim(&root, "c1").expect("free");
        let again = claim(&root, "c1").expect_err("taken");
        assert_eq!(again.message, "container with given ID already exists");
        let missing = State::load(&root, "c2").expect_err("unknown");
        assert_eq!(missing.message, "container does not exist");
        fs::remove_dir_all(&root).expect("removable");
    }
}
