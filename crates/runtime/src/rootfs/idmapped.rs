//! Bind mounts that show other owners than the file system has.
//!
//! Mapping a mount takes power over the file system, which a container's child in its own user namespace
//! doesn't have: the mounts are made before, outside, and handed to the child as descriptors.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use davit_sys::clone::clone3;
use davit_sys::mount::{MountAttr, mount_setattr};
use davit_sys::namespace;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pipe::PipeFlags;

use super::attach;
use crate::Failure;
use crate::failure::{Step, Wrap};
use crate::parent::kill_and_reap;
use crate::plan::{IdMapping, Mount, MountIds, MountKind, Plan};

/// For each mount of the plan: what its source has become, if its ids are mapped.
pub(crate) fn prepare(plan: &Plan) -> Result<Vec<Option<OwnedFd>>, Failure> {
    let one = |mount: &Mount| {
        let destination = mount.destination.to_string_lossy();
        map(mount).wrap(|| format!("error mapping ids of the mount at {destination:?}"))
    };
    plan.mounts.iter().map(one).collect()
}

fn map(mount: &Mount) -> Result<Option<OwnedFd>, Failure> {
    const IDMAP: u64 = libc::MOUNT_ATTR_IDMAP;
    let (Some(map), MountKind::Bind { source, recursive }) = (&mount.id_map, &mount.kind) else {
        return Ok(None);
    };
    let name = source.to_string_lossy();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, source, flags, Mode::empty()).step("open", &name)?;
    let copy = attach::copy_of(file.as_fd(), *recursive).step("bind", &name)?;
    let users = match &map.ids {
        MountIds::Namespace(path) => {
            File::open(path).step("open namespace", path.to_string_lossy())?.into()
        }
        MountIds::Tables(uids, gids) => {
            user_namespace(uids, gids).step("make", "user namespace of the mount")?
        }
    };
    let attr = MountAttr {
        set: IDMAP,
        userns_fd: u64::try_from(users.as_raw_fd()).unwrap_or(u64::MAX),
        ..MountAttr::default()
    };
    mount_setattr(copy.as_fd(), c"", map.recursive, &attr).step("map ids of", &name)?;
    Ok(Some(copy))
}

/// A user namespace that nobody is in.
fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<OwnedFd> {
    let (wait, hold) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let mut hold = Some(hold);
    let child = clone3(namespace::USER, None, || {
        hold = None;
        // Until the maker has what it wants, or is gone.
        let _ = rustix::io::read(&wait, &mut [0]);
        0
    })?;
    let made = write_tables(child.pid, uids, gids)
        .and_then(|()| File::open(format!("/proc/{}/ns/user", child.pid)));
    kill_and_reap(&child.pidfd);
    Ok(made?.into())
}

fn write_tables(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<()> {
    for (file, table) in [("uid_map", uids), ("gid_map", gids)] {
        fs::write(Path::new("/proc").join(pid.to_string()).join(file), IdMapping::table(table))?;
    }
    Ok(())
}
