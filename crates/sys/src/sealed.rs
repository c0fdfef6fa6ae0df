//! Running from a copy of one's own program that nobody can write.
//!
//! A process that enters a container carries its program along: `/proc/<pid>/exe` opens the very file
//! on the host, and a container's root may write it as soon as nobody executes it any more
//! (CVE-2019-5736). Executed through a read-only mount that is attached nowhere, the link leads to that
//! mount, which can't be remounted nor written through, and no byte is copied. Where the right to make
//! one is missing, a sealed memory file serves.

#![allow(unsafe_code, reason = "kernel calls; see the crate documentation")]

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::mount::{MOUNT_ATTR_RDONLY, MountAttr, mount_setattr};

const EXE: &str = "/proc/self/exe";

/// Whether this process' program can't be written by way of `/proc/<pid>/exe`.
///
/// # Errors
/// There is no `/proc`.
pub fn is_sealed() -> io::Result<bool> {
    let exe = open_exe(OFlags::PATH)?;
    if rustix::fs::fstatvfs(&exe)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    let wanted = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
    // Files that aren't memory files know no seals.
    Ok(rustix::fs::fcntl_get_seals(open_exe(OFlags::RDONLY)?)
        .is_ok_and(|seals| seals.contains(wanted)))
}

/// Executes this program again, with the same arguments and environment, from a copy that nobody can
/// write; does nothing when it runs from one. To be called before anything else is done.
///
/// # Errors
/// No such copy can be made or executed.
pub fn ensure() -> io::Result<()> {
    if is_sealed()? {
        return set_name();
    }
    let copy = match read_only_mount() {
        Ok(mount) => mount,
        // Not root, or a kernel before 5.12.
        Err(_) => memory_file()?,
    };
    Err(execute(copy.as_fd()))
}

/// A program that is executed by descriptor goes by that one's number in process lists.
fn set_name() -> io::Result<()> {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&program).file_name().unwrap_or_default();
    // The kernel cuts it to 15 bytes.
    Ok(rustix::thread::set_name(&CString::new(name.as_encoded_bytes())?)?)
}

fn open_exe(flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, EXE, flags | OFlags::CLOEXEC, Mode::empty())?)
}

fn read_only_mount() -> io::Result<OwnedFd> {
    let exe = open_exe(OFlags::PATH)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = rustix::mount::open_tree(&exe, c"", flags)?;
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(mount.as_fd(), c"", false, &attr)?;
    Ok(mount)
}

fn memory_file() -> io::Result<OwnedFd> {
    let mut program = File::from(open_exe(OFlags::RDONLY)?);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 don't know the flag, and need none.
    let file = rustix::fs::memfd_create(c"runtime", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create(c"runtime", flags))?;
    let mut file = File::from(file);
    io::copy(&mut program, &mut file)?;
    file.flush()?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o555))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// Only returns on failure, with why.
fn execute(program: BorrowedFd<'_>) -> io::Error {
    let owned = |texts: Vec<OsString>| {
        texts.into_iter().map(|text| CString::new(text.into_vec())).collect::<Result<Vec<_>, _>>()
    };
    let environment = std::env::vars_os()
        .map(|(name, value)| {
            let mut entry = name;
            entry.push("=");
            entry.push(value);
            entry
        })
        .collect();
    let (args, environment) = match (owned(std::env::args_os().collect()), owned(environment)) {
        (Ok(args), Ok(environment)) => (args, environment),
        (Err(error), _) | (_, Err(error)) => return error.into(),
    };
    let pointers = |list: &[CString]| {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv, envp) = (pointers(&args), pointers(&environment));
    // SAFETY: the empty path is a C string and both vectors are null-terminated arrays of C strings;
    // all outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}
