//! Device nodes, the links of `/dev`, and the terminal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

use super::attach;
use super::tree::Tree;
use crate::Failure;
use crate::failure::{Step, text};
use crate::plan::{Device, DeviceNode};
use crate::procfs;

/// A pty of the container's devpts.
#[derive(Debug)]
pub(crate) struct Console {
    /// For whoever shows it.
    pub(crate) master: OwnedFd,
    /// For the process.
    pub(crate) slave: OwnedFd,
}

/// Makes the nodes. Where the kernel refuses (in a user namespace), the host's are bound instead.
pub(super) fn make_nodes(tree: &Tree, devices: &[Device]) -> Result<(), Failure> {
    // The nodes' modes are meant as they are written; this process is the container's own.
    let before = rustix::process::umask(Mode::empty());
    let made = devices.iter().try_for_each(|device| {
        make_node(tree, device).step("mknod", device.path.to_string_lossy())
    });
    rustix::process::umask(before);
    made
}

/// The links that programs expect.
pub(super) fn make_links(tree: &Tree) -> Result<(), Failure> {
    const LINKS: &[(&str, &str)] = &[
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ];
    for (target, path) in LINKS {
        tree.make_link(target, Path::new(path)).step("link", path)?;
    }
    if Path::new("/proc/kcore").exists() {
        tree.make_link("/proc/kcore", Path::new("/dev/core")).step("link", "/dev/core")?;
    }
    let ptmx = Path::new("/dev/ptmx");
    // An image may bring a node of the host's devpts.
    tree.remove_file(ptmx).step("remove", "/dev/ptmx")?;
    tree.make_link("pts/ptmx", ptmx).step("link", "/dev/ptmx")
}

/// Opens a new pty of the devpts at `/dev/pts`.
pub(crate) fn open_console(tree: &Tree, size: Option<(u16, u16)>) -> Result<Console, Failure> {
    const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
    const PTMX: &str = "/dev/pts/ptmx";
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = tree.at(Path::new(PTMX), flags).step("open", PTMX)?;
    let stat = rustix::fs::fstatfs(&master).step("stat", PTMX)?;
    if stat.f_type != DEVPTS_SUPER_MAGIC {
        return Err(text("console", PTMX, format!("{PTMX} is not a devpts file")));
    }
    rustix::pty::unlockpt(&master).step("unlock", PTMX)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).step("open terminal of", PTMX)?;
    if let Some((rows, columns)) = size {
        let size =
            rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).step("set size of", PTMX)?;
    }
    Ok(Console { master, slave })
}

/// Makes `/dev/console` the terminal. A link there, to cover something else with a file that the
/// container writes, is refused (CVE-2025-52565).
pub(super) fn mount_console(tree: &Tree, slave: BorrowedFd<'_>) -> Result<(), Failure> {
    const CONSOLE: &str = "/dev/console";
    let path = Path::new(CONSOLE);
    let target = match tree.at(path, OFlags::PATH | OFlags::NOFOLLOW) {
        Err(Errno::NOENT) => {
            tree.make_file(path, 0o666).step("create", CONSOLE)?;
            tree.at(path, OFlags::PATH | OFlags::NOFOLLOW)
        }
        other => other,
    };
    let target = target.step("open", CONSOLE)?;
    let mode = rustix::fs::fstat(&target).step("stat", CONSOLE)?.st_mode;
    let link_or_directory =
        matches!(FileType::from_raw_mode(mode), FileType::Symlink | FileType::Directory);
    if link_or_directory || procfs::is_inside(target.as_fd()) {
        let message = "/dev/console is a link or directory, where the terminal should be mounted";
        return Err(text("console", CONSOLE, message));
    }
    let copy = attach::copy_of(slave, false).step("bind", CONSOLE)?;
    attach::attach(copy.as_fd(), target.as_fd()).step("mount", CONSOLE)
}

fn make_node(tree: &Tree, device: &Device) -> std::io::Result<()> {
    let (directory, name) = tree.parent(&device.path)?;
    let kind = match device.kind {
        DeviceNode::Block => FileType::BlockDevice,
        DeviceNode::Char => FileType::CharacterDevice,
        DeviceNode::Fifo => FileType::Fifo,
    };
    let number = rustix::fs::makedev(device.major, device.minor);
    let mode = Mode::from_raw_mode(device.mode);
    match rustix::fs::mknodat(&directory, name, kind, mode, number) {
        Ok(()) => {}
        Err(Errno::PERM) => return bind_node(tree, device),
        Err(Errno::EXIST) => return check_node(tree.handle(&device.path)?.as_fd(), device),
        Err(error) => return Err(error.into()),
    }
    // The mask doesn't apply to a node of the configuration: it is 0 here.
    if (device.uid, device.gid) != (0, 0) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
        // Others may see this directory and have put something else there.
        check_node(node.as_fd(), device)?;
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(&node, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

/// Something is there already: fine when it is the same device.
fn check_node(node: BorrowedFd<'_>, device: &Device) -> std::io::Result<()> {
    let stat = rustix::fs::fstat(node)?;
    let same = stat.st_rdev == rustix::fs::makedev(device.major, device.minor)
        && matches!(
            (FileType::from_raw_mode(stat.st_mode), device.kind),
            (FileType::CharacterDevice, DeviceNode::Char)
                | (FileType::BlockDevice, DeviceNode::Block)
                | (FileType::Fifo, DeviceNode::Fifo)
        );
    if same {
        return Ok(());
    }
    Err(std::io::Error::other("the image has something else there, and not this device"))
}

fn bind_node(tree: &Tree, device: &Device) -> std::io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let host = rustix::fs::openat(CWD, &device.path, flags, Mode::empty())?;
    let target = tree.make_file(&device.path, 0o666)?;
    let copy = attach::copy_of(host.as_fd(), false)?;
    attach::attach(copy.as_fd(), target.as_fd())
}
