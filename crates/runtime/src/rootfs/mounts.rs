//! The mounts of the configuration.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use davit_sys::cgroup::Hierarchy;
use davit_sys::mount::MountAttr;
use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::tree::Tree;
use super::{attach, copy_up, target};
use crate::Failure;
use crate::failure::{Step, Wrap, errno_text};
use crate::plan::{CgroupMount, Mount, MountKind};

const RDONLY: u64 = 1;
const NOSUID_NODEV_NOEXEC: u64 = 0xe;

/// runc's advice, which users search for.
const MISMATCH: &str = "Are you trying to mount a directory onto a file (or vice-versa)? Check if the \
                        specified host path exists and is the expected type";

/// Makes one mount; of a bind, `prepared` is what its source has become. Returned is a mount that is to
/// be made read-only when everything else is done, since more has to be put into it before.
pub(super) fn mount(
    tree: &Tree,
    mount: &Mount,
    prepared: Option<&OwnedFd>,
) -> Result<Option<OwnedFd>, Failure> {
    let destination = mount.destination.to_string_lossy();
    let result = match (&mount.kind, prepared) {
        (MountKind::Bind { .. }, Some(prepared)) => {
            hang_bind(tree, mount, prepared.as_fd()).map(|()| None)
        }
        (MountKind::Bind { source, recursive }, None) => {
            bind(tree, mount, source, *recursive).map(|()| None)
        }
        (MountKind::Filesystem { name, source, parameters }, _) => {
            filesystem(tree, mount, name, source, parameters)
        }
        (MountKind::Cgroup(kind), _) => cgroup(tree, mount, kind),
    };
    let source = match &mount.kind {
        MountKind::Bind { source, .. } => source.to_string_lossy().into_owned(),
        MountKind::Filesystem { source, .. } => source.clone(),
        MountKind::Cgroup(_) => "cgroup".to_owned(),
    };
    result
        .wrap(|| format!("error mounting {source:?} to rootfs at {destination:?}"))
        .hint(&[libc::ENOTDIR], || MISMATCH.to_owned())
}

fn bind(tree: &Tree, mount: &Mount, source: &Path, recursive: bool) -> Result<(), Failure> {
    let name = source.to_string_lossy();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, source, flags, Mode::empty()).step("open", &name)?;
    let copy = attach::copy_of(file.as_fd(), recursive).step("bind", &name)?;
    hang_bind(tree, mount, copy.as_fd())
}

fn hang_bind(tree: &Tree, mount: &Mount, copy: BorrowedFd<'_>) -> Result<(), Failure> {
    let name = mount.destination.to_string_lossy();
    let kind = rustix::fs::fstat(copy).step("stat", &name)?.st_mode;
    target::check_source(copy, &mount.destination)?;
    let target = if FileType::from_raw_mode(kind) == FileType::Directory {
        target::directory(tree, &mount.destination)?
    } else {
        target::file(tree, &mount.destination)?
    };
    hang(tree, mount, copy, target.as_fd())?;
    attach::set_attr(copy, &mount.attr, false).step("remount", &name)?;
    finish(mount, copy)
}

fn filesystem(
    tree: &Tree,
    mount: &Mount,
    name: &str,
    source: &str,
    parameters: &[(String, Option<String>)],
) -> Result<Option<OwnedFd>, Failure> {
    let was_there = tree.handle(&mount.destination).is_ok();
    let target = target::directory(tree, &mount.destination)?;
    let mut given: Vec<(&str, Option<&str>)> = parameters
        .iter()
        // Every instance has been new since Linux 4.7.
        .filter(|(key, _)| !(name == "devpts" && key == "newinstance"))
        .map(|(key, value)| (key.as_str(), value.as_deref()))
        .collect();
    let is_late =
        mount.is_readonly() && (name == "tmpfs" || mount.destination == Path::new("/dev"));
    let attr = if is_late { mount.attr.set & !RDONLY } else { mount.attr.set };
    if mount.is_readonly() && !is_late {
        given.push(("ro", None));
    }
    // A tmpfs takes the permissions of the directory it covers; one that is made for it says nothing.
    let mode = (name == "tmpfs" && was_there && !given.iter().any(|(key, _)| *key == "mode"))
        .then(|| rustix::fs::fstat(&target).map(|stat| format!("{:o}", stat.st_mode & 0o7777)));
    if let Some(Ok(mode)) = &mode {
        given.push(("mode", Some(mode)));
    }
    let new = attach::new_filesystem(name, source, &given, attr).step("mount", name)?;
    if mount.copy_up {
        copy_up::copy(target.as_fd(), new.as_fd())
            .step("tmpcopyup", mount.destination.to_string_lossy())?;
    }
    hang(tree, mount, new.as_fd(), target.as_fd())?;
    finish(mount, new.as_fd())?;
    Ok(is_late.then_some(new))
}

/// Makes read-only what had to be written to until now.
pub(super) fn make_readonly(mount: BorrowedFd<'_>) -> Result<(), Failure> {
    let attr = MountAttr { set: RDONLY, ..MountAttr::default() };
    attach::set_attr(mount, &attr, false).step("make read-only", "tmpfs")
}

fn hang(
    tree: &Tree,
    mount: &Mount,
    new: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let name = mount.destination.to_string_lossy();
    attach::attach(new, target).step("mount", &name)?;
    if ["/proc", "/sys"].iter().any(|own| mount.destination == Path::new(own)) {
        tree.remember(&mount.destination, new).step("remember", &name)?;
    }
    Ok(())
}

fn finish(mount: &Mount, new: BorrowedFd<'_>) -> Result<(), Failure> {
    let destination = mount.destination.to_string_lossy();
    for propagation in &mount.propagation {
        attach::set_propagation(new, *propagation).step("set propagation", &destination)?;
    }
    attach::set_attr(new, &mount.recursive_attr, true).step("remount", &destination)
}

fn cgroup(tree: &Tree, mount: &Mount, kind: &CgroupMount) -> Result<Option<OwnedFd>, Failure> {
    match kind {
        CgroupMount::BoundV2(source) => bind(tree, mount, source, true).map(|()| None),
        CgroupMount::MountedV2 => filesystem(tree, mount, "cgroup2", "cgroup", &[]),
        CgroupMount::BoundV1(list) => {
            cgroup_v1(tree, mount, list, |hierarchy| bound_hierarchy(hierarchy, &mount.attr))
        }
        CgroupMount::MountedV1(list) => {
            cgroup_v1(tree, mount, list, |hierarchy| new_hierarchy(hierarchy, mount))
        }
    }
}

/// A tmpfs with one directory for each hierarchy, and links for controllers that share one.
fn cgroup_v1(
    tree: &Tree,
    mount: &Mount,
    hierarchies: &[Hierarchy],
    make: impl Fn(&Hierarchy) -> std::io::Result<OwnedFd>,
) -> Result<Option<OwnedFd>, Failure> {
    let root = target::directory(tree, &mount.destination)?;
    let tmpfs = [("mode", Some("755"))];
    let tmpfs = attach::new_filesystem("tmpfs", "tmpfs", &tmpfs, NOSUID_NODEV_NOEXEC);
    let tmpfs = tmpfs.step("mount", "tmpfs")?;
    attach::attach(tmpfs.as_fd(), root.as_fd()).step("mount", "tmpfs")?;
    for hierarchy in hierarchies {
        let joined = hierarchy.controllers.join(",");
        let name = joined.strip_prefix("name=").unwrap_or(&joined);
        let path = mount.destination.join(name);
        let target = tree.make_directory(&path, 0o755).step("create mountpoint", name)?;
        let new = make(hierarchy).step("mount cgroup", name)?;
        attach::attach(new.as_fd(), target.as_fd()).step("mount cgroup", name)?;
        attach::set_attr(new.as_fd(), &mount.attr, false).step("remount", name)?;
        if hierarchy.controllers.len() > 1 {
            for controller in &hierarchy.controllers {
                let link = mount.destination.join(controller);
                tree.make_link(name, &link).step("link", controller)?;
            }
        }
    }
    Ok(mount.is_readonly().then_some(tmpfs))
}

fn bound_hierarchy(hierarchy: &Hierarchy, _attr: &MountAttr) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source =
        rustix::fs::openat(CWD, &hierarchy.mount, flags, Mode::empty()).map_err(|errno| {
            let error = std::io::Error::from(errno);
            let text = format!("open {}: {}", hierarchy.mount.display(), errno_text(&error));
            std::io::Error::new(error.kind(), text)
        })?;
    attach::copy_of(source.as_fd(), false)
}

fn new_hierarchy(hierarchy: &Hierarchy, mount: &Mount) -> std::io::Result<OwnedFd> {
    let parameters: Vec<(&str, Option<&str>)> = hierarchy
        .controllers
        .iter()
        .map(|controller| match controller.strip_prefix("name=") {
            Some(name) => ("name", Some(name)),
            None => (controller.as_str(), None),
        })
        .collect();
    attach::new_filesystem("cgroup", "cgroup", &parameters, mount.attr.set)
}
