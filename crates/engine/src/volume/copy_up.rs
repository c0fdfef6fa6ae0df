//! A fresh volume gets what the image has at its place, owners and attributes included.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use davit_image::archive::{self, UnpackOptions};
use davit_types::{Context, Error, Result};

use crate::container::MountRecord;

/// Go's bit for a directory.
const DIRECTORY: u32 = 1 << 31;

/// Copies the directory at the mount's destination inside `root` into its volume. Nothing there, or
/// something else than a directory, is nothing to copy.
pub(crate) fn fill(root: BorrowedFd<'_>, mount: &MountRecord) -> Result<()> {
    let path = Path::new(&mount.destination);
    if !archive::stat(root, path).is_ok_and(|stat| stat.mode & DIRECTORY != 0) {
        return Ok(());
    }
    let failed = || format!("copy {} into volume {}", mount.destination, mount.name);
    let volume = std::fs::File::open(&mount.source).context(failed)?;
    let (reader, writer) = std::io::pipe().context(failed)?;
    // One thread packs into the pipe while this one unpacks: ownership, links and attributes are
    // handled by what handles them for layers.
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || archive::pack(root, path, ".", writer));
        let options = UnpackOptions { root_attributes: true, ..UnpackOptions::default() };
        let unpacked = archive::unpack(reader, volume.as_fd(), Path::new("/"), options);
        let packed =
            packing.join().unwrap_or_else(|_| Err(Error::internal("a worker thread has died")));
        // The packing side's failure explains the other one's, not the other way round.
        packed.and(unpacked.map(|_| ())).context(failed)
    })
}
