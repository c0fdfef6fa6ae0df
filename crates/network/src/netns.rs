//! Pinned network namespaces.
//!
//! A namespace lives as long as something refers to it. A bind mount of its file keeps a
//! container's alive between its processes and across restarts of the daemon.
//!
//! Nothing here changes the namespace of a thread that goes on: work inside happens on a thread
//! that ends afterwards.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;

use davit_sys::namespace::{NETWORK, setns, unshare};
use davit_types::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";
const STACK: usize = 256 * 1024;

/// Makes a network namespace, pins it at `path` and runs `setup` inside.
///
/// # Errors
/// Whatever fails; `path` may be pinned then and is the caller's to remove.
pub(crate) fn create<T: Send>(
    path: &Path,
    setup: impl FnOnce(File) -> Result<T> + Send,
) -> Result<T> {
    let work = || {
        unshare(NETWORK).context(|| "unshare network namespace")?;
        pin(path).context(|| format!("pin network namespace at {}", path.display()))?;
        let file = File::open(path).context(|| format!("open {}", path.display()))?;
        setup(file)
    };
    on_a_thread(work)
}

/// Runs `work` inside the namespace pinned at `path`.
///
/// # Errors
/// It isn't there, or whatever fails inside.
pub(crate) fn enter<T: Send>(
    path: &Path,
    work: impl FnOnce(File) -> Result<T> + Send,
) -> Result<T> {
    let file = File::open(path).context(|| format!("open {}", path.display()))?;
    on_a_thread(|| {
        setns(file.as_fd(), NETWORK).context(|| format!("enter {}", path.display()))?;
        work(file)
    })
}

/// Work that changes the thread's namespace has a thread of its own.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("netns".to_owned()).stack_size(STACK);
        let handle = builder.spawn_scoped(scope, work).context(|| "start a thread")?;
        handle.join().map_err(|_| Error::internal("work in a network namespace: panic"))?
    })
}

/// Unpins a namespace; none there is no error.
pub(crate) fn unpin(path: &Path) -> Result<()> {
    match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // A file without a mount is the rest of an attempt that was cut short.
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error).context(|| format!("unmount {}", path.display())),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Everything that is pinned in `dir`.
pub(crate) fn pinned(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).context(|| format!("read {}", dir.display()))?;
    entries.map(|entry| Ok(entry.context(|| format!("read {}", dir.display()))?.path())).collect()
}

fn pin(path: &Path) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::RGRP | Mode::ROTH)?;
    Ok(mount_bind(OWN_NAMESPACE, path)?)
}
