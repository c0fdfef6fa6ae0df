//! Where a created container waits when its creator ends before it is started.
//!
//! Two named pipes in the container's state directory. The child holds both, so that they live as
//! long as it waits, and needs nothing but `read` and `write` there: its system call filter may be in
//! force already. The pipe of release being there says that the container waits to be started.
//!
//! ```text
//! starter (another process)             child
//!   a byte into exec.fifo  ───────────▶     reads it
//!            ◀───────────────────────   outcome.fifo: end of file, the program runs; or the failure
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use davit_sys::startsync;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::Failure;
use crate::failure::Step;

const RELEASE: &str = "exec.fifo";
const OUTCOME: &str = "outcome.fifo";

/// The child's ends.
#[derive(Debug)]
pub(crate) struct Gate {
    release: OwnedFd,
    outcome: OwnedFd,
}

impl Gate {
    /// Makes the pipes and opens them; the child is born with the descriptors.
    pub(crate) fn make(directory: &Path) -> Result<Self, Failure> {
        Ok(Self { release: make(directory, RELEASE)?, outcome: make(directory, OUTCOME)? })
    }

    /// What the child has to keep open.
    pub(crate) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.release.as_fd(), self.outcome.as_fd()]
    }

    /// Child: waits for [`open`].
    pub(crate) fn wait(&self) -> Result<(), Failure> {
        let mut byte = [0];
        // It is open for writing in this very process, so there is no end of file.
        rustix::io::retry_on_intr(|| rustix::io::read(&self.release, &mut byte))
            .map(drop)
            .step("wait for", "the start")
    }

    /// Child: tells the starter that a step failed.
    pub(crate) fn tell(&self, failure: &Failure) {
        // A starter that is gone has nobody to tell.
        let _ = startsync::failed(self.outcome.as_fd(), failure);
    }
}

/// Whether the container of `directory` waits at its gate.
pub(crate) fn is_closed(directory: &Path) -> bool {
    directory.join(RELEASE).exists()
}

/// Lets the child execute its program and waits until it does.
pub(crate) fn open(directory: &Path) -> Result<(), Failure> {
    const OBJECT: &str = "container";
    let path = |name: &str| directory.join(name);
    let reader = open_pipe(&path(OUTCOME), OFlags::RDONLY).step("start", OBJECT)?;
    let writer = open_pipe(&path(RELEASE), OFlags::WRONLY).step("start", OBJECT)?;
    davit_sys::fdpass::set_nonblocking(&reader, false).step("start", OBJECT)?;
    File::from(writer).write_all(b"S").step("start", OBJECT)?;
    let outcome = startsync::outcome_of_pipe(reader.as_fd()).step("start", OBJECT)?;
    for name in [RELEASE, OUTCOME] {
        match fs::remove_file(path(name)) {
            // Deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.step("start", OBJECT)?,
        }
    }
    outcome.map_or(Ok(()), Err)
}

fn make(directory: &Path, name: &str) -> Result<OwnedFd, Failure> {
    let path = directory.join(name);
    let shown = path.to_string_lossy();
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0).step("make", &shown)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(&path, flags, Mode::empty()).step("open", &shown)
}

/// Never waits for the other end: a child that is gone has none.
fn open_pipe(path: &Path, access: OFlags) -> Result<OwnedFd, Errno> {
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty())
}
