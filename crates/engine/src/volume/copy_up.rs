//! A fresh volume gets what the image has at its place, owners and attributes included.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use davit_image::archive::{self, UnpackOptions};
use davit_types::{Context, Error, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::container::MountRecord;

/// Copies the directory at the mount's destination inside `root` into its volume. Links on the way
/// there, the last name included, lead to where they do inside the container. Nothing there, or
/// something else than a directory, is nothing to copy; a volume that has something keeps it.
/// `mount_volume` is called before the volume is looked at.
pub(crate) fn fill(
    root: BorrowedFd<'_>,
    mount: &MountRecord,
    mount_volume: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let failed = || format!("copy {} into volume {}", mount.destination, mount.name);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let source = match rustix::fs::openat2(root, &mount.destination, flags, Mode::empty(), inside) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(errno) => return Err(errno).context(failed),
    };
    mount_volume()?;
    if !is_empty(Path::new(&mount.source)) {
        return Ok(());
    }
    let volume = std::fs::File::open(&mount.source).context(failed)?;
    let (reader, writer) = std::io::pipe().context(failed)?;
    // One thread packs into the pipe while this one unpacks: ownership, links and attributes are
    // handled by what handles them for layers.
    std::thread::scope(|scope| {
        let packing =
            scope.spawn(move || archive::pack(source.as_fd(), Path::new("/"), ".", writer));
        let options = UnpackOptions { root_attributes: true, ..UnpackOptions::default() };
        let unpacked = archive::unpack(reader, volume.as_fd(), Path::new("/"), options);
        let packed =
            packing.join().unwrap_or_else(|_| Err(Error::internal("a worker thread has died")));
        // The packing side's failure explains the other one's, not the other way round.
        packed.and(unpacked.map(|_| ())).context(failed)
    })
}

/// Whether there is nothing in a directory; no directory isn't empty.
pub(crate) fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_source_is_where_links_lead_inside_the_root() {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("srv/d/sub")).expect("source");
        fs::write(root.join("srv/d/sub/file"), "content").expect("file");
        symlink("sub/file", root.join("srv/d/link")).expect("link in the source");
        fs::set_permissions(root.join("srv/d"), PermissionsExt::from_mode(0o711)).expect("mode");
        symlink("/srv/d", root.join("data")).expect("absolute link");
        symlink("../../../srv", root.join("up")).expect("link out of the root");
        symlink("/nosuch", root.join("dangling")).expect("dangling link");
        symlink("/srv/d/sub/file", root.join("to-file")).expect("link to a file");
        let opened = fs::File::open(&root).expect("root");
        for (at, (destination, filled)) in
            [("/srv/d", true), ("/data", true), ("/up/d", true), ("/dangling", false)]
                .into_iter()
                .chain([("/to-file", false), ("/nosuch", false)])
                .enumerate()
        {
            let volume = directory.path().join(at.to_string());
            fs::create_dir(&volume).expect("volume");
            let mount = MountRecord {
                destination: destination.to_owned(),
                source: volume.display().to_string(),
                ..MountRecord::default()
            };
            fill(opened.as_fd(), &mount, || Ok(())).expect(destination);
            let content = fs::read_to_string(volume.join("link")).ok();
            assert_eq!(content.as_deref(), filled.then_some("content"), "{destination}");
            let mode = fs::metadata(&volume).expect("volume").permissions().mode() & 0o777;
            assert_eq!(mode == 0o711, filled, "{destination}");
        }
    }
}
