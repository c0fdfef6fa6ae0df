//! `inotify`: learning that a file or a directory changed without looking again and again.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify;

/// A non-blocking inotify instance; readable when something has changed.
#[derive(Debug)]
pub struct Inotify(OwnedFd);

impl Inotify {
    /// A new instance without watches.
    ///
    /// # Errors
    /// The user's limit of instances is reached.
    pub fn new() -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Ok(Self(inotify::init(flags)?))
    }

    /// Watches `path` for being written, moved or deleted. Returns the watch's number.
    ///
    /// # Errors
    /// `path` does not exist or the user's limit of watches is reached.
    pub fn watch(&self, path: &Path) -> io::Result<i32> {
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVE
            | inotify::WatchFlags::MOVE_SELF
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF;
        Ok(inotify::add_watch(&self.0, path, flags)?)
    }

    /// Forgets everything reported so far; whether there was anything.
    ///
    /// # Errors
    /// The kernel refused the read.
    pub fn drain(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
        let mut any = false;
        loop {
            match rustix::io::read(&self.0, &mut buffer) {
                Ok(([], _)) | Err(rustix::io::Errno::AGAIN) => return Ok(any),
                Ok(_) => any = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_into_a_watched_file_is_reported_once() {
        let directory = std::env::temp_dir().join(format!("davit-inotify-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("directory");
        let file = directory.join("file");
        std::fs::write(&file, "a").expect("write");
        let inotify = Inotify::new().expect("inotify");
        inotify.watch(&file).expect("watch");
        assert!(!inotify.drain().expect("drain"));

        std::fs::write(&file, "b").expect("write");
        assert!(inotify.drain().expect("drain"));
        assert!(!inotify.drain().expect("drain"));
        std::fs::remove_dir_all(&directory).expect("remove");
    }
}
