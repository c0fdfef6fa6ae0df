//! Who works on a container: its directory's `lock`, held from the claim of the id to the removal.
//!
//! The file goes with the directory, so holding it means nothing unless it is still the one that the
//! path names: whoever waited for it looks again. A creator makes it at once after the directory, and
//! a remover removes it last; a directory without it has nothing in it and may go at any moment.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::Failure;
use crate::failure::{self, Step, text};
use crate::state;

const FILE: &str = "lock";
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);

/// A verb at work on a container: others wait for its end, and the kernel ends it with the process.
///
/// A record lock, which a child is not born with: a container that waits must not keep it.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    directory: PathBuf,
}

impl Lock {
    /// Claims the id by making its directory.
    pub(crate) fn claim(root: &Path, id: &str) -> Result<Self, Failure> {
        let directory = state::directory(root, id)?;
        let shown = directory.to_string_lossy().into_owned();
        let exists = || Failure {
            errno: libc::EEXIST,
            ..text("state", id, "container with given ID already exists")
        };
        loop {
            match make_directory(root, &directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists()),
                other => other.step("create", &shown)?,
            }
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).mode(0o600);
            let file = match file.open(directory.join(FILE)) {
                // A remover took the directory for an abandoned one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // And another creator made it anew.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists()),
                other => other.step("create", format!("{shown}/{FILE}"))?,
            };
            let lock = Self { file, directory: directory.clone() };
            if lock.wait(id)? {
                return Ok(lock);
            }
        }
    }

    /// Takes that of container `id` when the other verb is done.
    pub(crate) fn take(root: &Path, id: &str) -> Result<Self, Failure> {
        let directory = state::directory(root, id)?;
        let path = directory.join(FILE);
        loop {
            let mut options = File::options();
            // There is none beside a record only if somebody removed it by hand.
            let file = options.read(true).write(true).create(state::is_recorded(&directory));
            let file = file.truncate(false).mode(0o600).open(&path);
            let file = file.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => state::missing(id),
                _ => failure::io("open", &path.to_string_lossy(), &error),
            })?;
            let lock = Self { file, directory: directory.clone() };
            if lock.wait(id)? {
                return Ok(lock);
            }
        }
    }

    /// The container's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Remembers beside the records that there are some, before anything else is made.
    pub(crate) fn mark_recorded(&mut self) -> Result<(), Failure> {
        self.file.write_all(b"recorded\n").step("write", FILE)
    }

    /// Whether the container was never recorded: its creator ended before it made anything.
    pub(crate) fn is_unrecorded(&self) -> bool {
        let unmarked = self.file.metadata().is_ok_and(|lock| lock.len() == 0);
        unmarked && !state::is_recorded(&self.directory)
    }

    /// Removes the directory, after everything that its records tell of. What is left of it when this
    /// is interrupted can be removed again.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        let shown = self.directory.to_string_lossy();
        let remove = || -> io::Result<()> {
            // Open, so that no other gets its number.
            let own = File::open(&self.directory)?;
            self.file.set_len(0)?;
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                if entry.file_name() != FILE {
                    remove_entry(&entry)?;
                }
            }
            fs::remove_file(self.directory.join(FILE))?;
            match fs::remove_dir(&self.directory) {
                // It was empty, so that others were free to remove it, and to make another.
                Err(_) if !is_at(&own.metadata()?, &self.directory)? => Ok(()),
                other => other,
            }
        };
        remove().step("remove", &shown)
    }

    /// Whether anybody else holds it.
    pub(crate) fn is_held(directory: &Path) -> bool {
        let file = File::options().read(true).write(true).open(directory.join(FILE));
        let Ok(file) = file else { return false };
        rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    }

    /// Waits until it is this process'; whether it still is the container's.
    fn wait(&self, id: &str) -> Result<bool, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match rustix::fs::fcntl_lock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return self.is_current().step("lock", id),
                Err(Errno::AGAIN | Errno::ACCESS) if Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                Err(Errno::AGAIN | Errno::ACCESS) => {
                    let message = format!("container {id} is busy with another command");
                    return Err(text("lock", id, message));
                }
                Err(error) => return Err(error).step("lock", id),
            }
        }
    }

    fn is_current(&self) -> io::Result<bool> {
        is_at(&self.file.metadata()?, &self.directory.join(FILE))
    }
}

/// Whether `path` names what `own` is of.
fn is_at(own: &fs::Metadata, path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What [`Lock::take`] finds, or that there is none because the container's creator ended before it
/// made it: then the directory is gone now.
pub(crate) fn take_or_abandon(root: &Path, id: &str) -> Result<Option<Lock>, Failure> {
    let directory = state::directory(root, id)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let missing = match Lock::take(root, id) {
            Err(failure) if failure.errno == libc::ENOENT => failure,
            other => return other.map(Some),
        };
        match fs::remove_dir(&directory) {
            Ok(()) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing),
            // Its creator has come to make it.
            Err(error) if is_filled(&error) && Instant::now() < deadline => thread::sleep(PAUSE),
            Err(error) => return Err(error).step("remove", directory.to_string_lossy()),
        }
    }
}

fn is_filled(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::DirectoryNotEmpty
}

fn make_directory(root: &Path, directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    match builder.create(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o711).create(root)?;
            builder.create(directory)
        }
        other => other,
    }
}

fn remove_entry(entry: &fs::DirEntry) -> io::Result<()> {
    let path = entry.path();
    let removed =
        if entry.file_type()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        // A starter removes the pipes it is done with.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    #[test]
    fn an_id_is_claimed_once() {
        let root = std::env::temp_dir().join(format!("davit-state-{}", std::process::id()));
        let lock = Lock::claim(&root, "c1").expect("free");
        let again = Lock::claim(&root, "c1").expect_err("taken");
        assert_eq!(again.message, "container with given ID already exists");
        let missing = State::load(&root, "c2").expect_err("unknown");
        assert_eq!(missing.message, "container does not exist");
        lock.remove().expect("removable");
        Lock::claim(&root, "c1").expect("free again");
        fs::remove_dir_all(&root).expect("removable");
    }

    #[test]
    fn a_lock_whose_file_is_another_by_now_is_taken_again() {
        let root = std::env::temp_dir().join(format!("davit-lock-{}", std::process::id()));
        let first = Lock::claim(&root, "c1").expect("free");
        assert!(first.is_current().expect("readable"));
        fs::remove_dir_all(root.join("c1")).expect("removable");
        assert!(!first.wait("c1").expect("it is held"), "the directory is gone");
        let second = Lock::claim(&root, "c1").expect("free again");
        assert!(!first.is_current().expect("readable") && second.is_current().expect("readable"));
        fs::remove_dir_all(&root).expect("removable");
    }

    #[test]
    fn a_directory_without_a_lock_is_an_abandoned_one() {
        let root = std::env::temp_dir().join(format!("davit-bare-{}", std::process::id()));
        take_or_abandon(&root, "c1").expect_err("there is none");
        fs::create_dir_all(root.join("c1")).expect("a directory");
        assert!(take_or_abandon(&root, "c1").expect("removable").is_none());
        let lock = Lock::claim(&root, "c1").expect("it is gone");
        drop(lock);
        assert!(take_or_abandon(&root, "c1").expect("free").is_some());
        fs::remove_dir_all(&root).expect("removable");
    }
}
