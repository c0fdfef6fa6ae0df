//! The container's root: its mounts, devices and terminal, and entering it.
//!
//! Runs in the new mount namespace. Everything is placed by descriptor below one [`Tree`], before the
//! old root goes away.

mod attach;
mod copy_up;
mod devices;
mod hide;
mod idmapped;
mod joined;
mod mounts;
mod target;
mod tree;

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use davit_sys::mount::MountAttr;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use crate::Failure;
use crate::failure::{Step, Wrap};
use crate::plan::{Plan, Propagation};

pub(crate) use devices::{Console, open_console};
pub(crate) use idmapped::prepare;
pub(crate) use joined::{give_up, take_over};
pub(crate) use tree::{Tree, open_in};

/// Builds the root of `plan` and returns it with the terminal, if one is asked for. `prepared` are the
/// sources of mounts that could only be made before.
pub(crate) fn build(
    plan: &Plan,
    prepared: &[Option<OwnedFd>],
    terminal: bool,
) -> Result<(Tree, Option<Console>), Failure> {
    let rootfs = plan.rootfs.to_string_lossy();
    let tree = isolate(plan).wrap(|| format!("error preparing rootfs {rootfs:?}"))?;
    let prepared = prepared.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    let mut late = Vec::new();
    for (mount, prepared) in plan.mounts.iter().zip(prepared) {
        late.extend(mounts::mount(&tree, mount, prepared)?);
    }
    if let Some(nodes) = &plan.devices {
        devices::make_nodes(&tree, nodes).wrap(|| "error creating device nodes".to_owned())?;
        devices::make_links(&tree).wrap(|| "error setting up /dev".to_owned())?;
    }
    let size = plan.process.console_size;
    let console = terminal.then(|| open_console(&tree, size)).transpose()?;
    if let Some(console) = &console {
        devices::mount_console(&tree, console.slave.as_fd())?;
    }
    hide::make_readonly(&tree, &plan.readonly)?;
    hide::mask(&tree, &plan.masked)?;
    late.iter().try_for_each(|mount| mounts::make_readonly(mount.as_fd()))?;
    Ok((tree, console))
}

/// Makes the tree the root of this mount namespace and lets go of the old one.
/// Where that can't be done (the old one is the initial ramdisk), it is moved on top instead.
pub(crate) fn enter(plan: &Plan, tree: &Tree, no_pivot: bool) -> Result<(), Failure> {
    let rootfs = plan.rootfs.to_string_lossy();
    if no_pivot {
        move_root(tree, &rootfs)?;
    } else {
        pivot_root(tree, &rootfs)?;
    }
    rustix::process::chdir(c"/").step("chdir to", "/")?;
    let root = rustix::fs::openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let root = root.step("open", "/")?;
    if let Some(propagation) = plan.root_propagation {
        attach::set_propagation(root.as_fd(), propagation).step("set propagation", "/")?;
    }
    if plan.root_readonly {
        let attr = MountAttr { set: 1, ..MountAttr::default() };
        attach::set_attr(root.as_fd(), &attr, false).step("make read-only", "/")?;
    }
    Ok(())
}

/// Nothing of the old root may be left to go back to by unmounting what is on top of it.
fn move_root(tree: &Tree, rootfs: &str) -> Result<(), Failure> {
    const TABLE: &str = "/proc/self/mountinfo";
    let table = fs::read_to_string(TABLE).step("read", TABLE)?;
    rustix::process::fchdir(tree).step("chdir to", rootfs)?;
    let own = rustix::process::getcwd(Vec::new()).step("getcwd", rootfs)?;
    let own = Path::new(OsStr::from_bytes(own.as_bytes())).to_owned();
    let mounts = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    for mount in mounts.filter(|mount| !own.starts_with(mount) && !mount.starts_with(&own)) {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        // One that is gone with another, or that holds what can't go, is covered in the end.
        let _ = rustix::mount::mount_change(mount, private);
        let _ = rustix::mount::unmount(mount, UnmountFlags::DETACH);
    }
    rustix::mount::mount_move(c".", c"/").step("move to /", rootfs)?;
    rustix::process::chroot(c".").step("chroot to", rootfs)
}

fn pivot_root(tree: &Tree, rootfs: &str) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::openat(CWD, c"/", flags, Mode::empty()).step("open", "the old root")?;
    rustix::process::fchdir(tree).step("chdir to", rootfs)?;
    rustix::process::pivot_root(c".", c".").step("pivot_root to", rootfs)?;
    // The old root is now on top of the new one, where "." would still mean what is below. It must not
    // take its peers on the host with it when it goes, and the volumes must stay what they are.
    rustix::process::fchdir(&old).step("chdir to", "the old root")?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(c".", slave).step("detach from", "the old root")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).step("unmount", "the old root")
}

/// Cuts this mount namespace off from the host's and hangs the root up as a mount of its own.
fn isolate(plan: &Plan) -> Result<Tree, Failure> {
    let rootfs = plan.rootfs.to_string_lossy();
    let kind = plan.root_propagation.map_or(libc::MS_SLAVE, |root| root.kind);
    // The sources of shared volumes have to stay peers of the host's mounts. In every other case all
    // mounts are cut off, not only the one at "/": the container's root lies in any of them.
    if kind == libc::MS_SHARED {
        make_parent_private(&plan.rootfs)?;
    } else {
        let kind = if kind == libc::MS_PRIVATE {
            MountPropagationFlags::PRIVATE
        } else {
            MountPropagationFlags::DOWNSTREAM
        };
        rustix::mount::mount_change(c"/", kind | MountPropagationFlags::REC)
            .step("set propagation", "/")?;
    }
    let host = Tree::open(&plan.rootfs).step("open", &rootfs)?;
    let copy = attach::copy_of(host.as_fd(), true).step("bind", &rootfs)?;
    attach::attach(copy.as_fd(), host.as_fd()).step("mount", &rootfs)?;
    let slave = Propagation { kind: libc::MS_SLAVE, recursive: true };
    let private = Propagation { kind: libc::MS_PRIVATE, recursive: false };
    for propagation in [slave, private] {
        attach::set_propagation(copy.as_fd(), propagation).step("set propagation", &rootfs)?;
    }
    // Not looked up again: the descriptor of the copy is that of the mount now.
    Ok(Tree::of_mount(copy))
}

/// While the mount that the container's root lies in is shared, the new mount would appear on the
/// host; and the kernel refuses to pivot out of one that is.
fn make_parent_private(rootfs: &Path) -> Result<(), Failure> {
    const TABLE: &str = "/proc/self/mountinfo";
    let name = rootfs.to_string_lossy();
    let rootfs = fs::canonicalize(rootfs).step("open", &name)?;
    let table = fs::read_to_string(TABLE).step("read", TABLE)?;
    let mounts = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let parent =
        mounts.filter(|mount| rootfs.starts_with(mount)).max_by_key(|m| m.as_os_str().len());
    let parent = parent.unwrap_or(Path::new("/"));
    rustix::mount::mount_change(parent, MountPropagationFlags::PRIVATE)
        .step("set propagation", parent.to_string_lossy())
}
