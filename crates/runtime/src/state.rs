//! What is remembered of a container: `<root>/<id>/state.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use davit_sys::cgroup::{Cgroup, Layout};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::failure::{self, Step, text};
use crate::hooks::Hooks;
use crate::plan::{Domain, Unit};
use crate::{Failure, Rdt, gate};

const FILE: &str = "state.json";
/// The same again: what is to be removed is found when the first is damaged.
const COPY: &str = "state.json.copy";

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
        Self { unfinished: false, ..self }.save(directory)
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
        let layout = Layout::detect()?;
        if self.cgroup_paths.is_empty() {
            return Cgroup::open(&layout, path).map(Some);
        }
        Ok(Some(Cgroup::from_paths(&layout, &self.cgroup_paths)))
    }
}

/// A verb at work on a container: others wait for its end, and the kernel ends it with the process.
///
/// A record lock, which a child is not born with: a container that waits must not keep it.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    const FILE: &str = "lock";
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Takes it when the other verb is done.
    pub(crate) fn take(directory: &Path, id: &str) -> Result<Self, Failure> {
        let path = directory.join(Self::FILE);
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(id),
            _ => failure::io("open", &path.to_string_lossy(), &error),
        })?;
        let deadline = Instant::now() + Self::PATIENCE;
        loop {
            match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS)
                    if Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
                    let message = format!("container {id} is busy with another command");
                    return Err(text("lock", id, message));
                }
                Err(error) => return Err(error).step("lock", path.to_string_lossy()),
            }
        }
    }

    /// Remembers beside the records that there are some, before anything else is made.
    pub(crate) fn mark_recorded(&mut self) -> Result<(), Failure> {
        self.0.write_all(b"recorded\n").step("write", Self::FILE)
    }

    fn is_held(directory: &Path) -> bool {
        let file = fs::OpenOptions::new().read(true).write(true).open(directory.join(Self::FILE));
        let Ok(file) = file else { return false };
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    }
}

/// Whether container `id` was never recorded: its creator ended before it made anything.
pub(crate) fn is_unrecorded(directory: &Path) -> bool {
    let absent = |name: &str| fs::symlink_metadata(directory.join(name)).is_err();
    let unmarked = fs::metadata(directory.join(Lock::FILE)).is_ok_and(|lock| lock.len() == 0);
    absent(FILE) && absent(COPY) && unmarked
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

/// Claims the id by making its directory.
pub(crate) fn claim(root: &Path, id: &str) -> Result<PathBuf, Failure> {
    let path = directory(root, id)?;
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    let made = match builder.create(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parents = fs::DirBuilder::new().recursive(true).mode(0o711).create(root);
            parents.and_then(|()| builder.create(&path))
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
