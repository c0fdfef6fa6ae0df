//! What a process does to itself just before it becomes another program.

#![allow(unsafe_code, reason = "kernel calls; see the crate documentation")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets every signal's disposition to the default and unblocks all of them.
///
/// # Errors
/// None are known.
pub fn reset_signals() -> io::Result<()> {
    const SIGNALS: i32 = 64;
    // SAFETY: an all-zero `sigaction` is SIG_DFL without flags; both calls only read their argument.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=SIGNALS {
            // Refused for KILL, STOP and those the C library keeps for itself, which it doesn't set.
            libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Closes every descriptor from `first` on, except those of `keep`, which become close-on-exec.
///
/// For the child of a clone on its way to another program: whatever in the copied memory owned one of
/// them must never use it again.
///
/// # Errors
/// None are known.
pub fn close_from(first: u32, keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok())
        .filter(|&number| number >= first)
        .collect();
    kept.sort_unstable();
    kept.dedup();
    let mut next = first;
    for &number in &kept {
        if next < number {
            close_range(next, number - 1)?;
        }
        let number = number.cast_signed();
        // SAFETY: only changes a descriptor flag.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        next = number.cast_unsigned() + 1;
    }
    close_range(next, libc::c_uint::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the caller's contract is that nothing uses these descriptors any more; their owners
    // stand in frames of the child that only ever end with the process.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::ENOSYS) {
        return Err(error);
    }
    // Before Linux 5.9. The list in /proc may be the container's by now: count instead.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(1 << 20);
    for number in first..=last.min(limit) {
        // SAFETY: as above.
        unsafe { libc::close(number.cast_signed()) };
    }
    Ok(())
}

/// Makes `fd` the descriptor `number` (0, 1 or 2), kept across exec.
///
/// # Errors
/// What `dup2` says.
pub fn dup_to(fd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: replaces a standard stream on purpose; Rust's standard streams borrow them by number.
    let result = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if fd.as_raw_fd() == number {
        // dup2 of itself leaves the close-on-exec flag.
        // SAFETY: only changes a descriptor flag.
        unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
    }
    Ok(())
}

/// Replaces the program. Only returns on failure, with why.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: both vectors are null-terminated arrays of C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Writes `title` over this process' command line, as `/proc/<pid>/cmdline` shows it.
///
/// # Errors
/// What reading `/proc/self/stat` says.
pub fn set_command_line(title: &str) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The program's name may hold spaces and parentheses; behind it, the 46th field is `arg_start`.
    let mut fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let mut address = |n: usize| fields.nth(n).and_then(|field| field.parse::<usize>().ok());
    let (Some(start), Some(end)) = (address(45), address(0)) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    if start == 0 || end <= start {
        return Ok(());
    }
    // SAFETY: the kernel laid the arguments' bytes out in this range of writable stack memory at exec
    // and nothing else lives there. Whoever reads them later (`std::env::args`) gets other text, still
    // ending in zero bytes: the last byte is one, and none is written beyond the text.
    unsafe {
        let room = std::slice::from_raw_parts_mut(
            std::ptr::with_exposed_provenance_mut::<u8>(start),
            end - start,
        );
        room.fill(0);
        let length = title.len().min(room.len() - 1);
        room[..length].copy_from_slice(&title.as_bytes()[..length]);
    }
    Ok(())
}

/// Ends the process at once: no destructors, no exit handlers. For the child of a clone.
///
/// A system call filter may refuse even that, and the C library would ask for ever: the process is
/// ended by a fault of its own then.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: ends the process, or does nothing when a filter refuses it.
    unsafe {
        libc::syscall(libc::SYS_exit_group, status);
        libc::syscall(libc::SYS_exit, status);
        libc::abort()
    }
}

/// Sets the execution domain (`personality(2)`).
///
/// # Errors
/// `EINVAL` for an unknown one.
pub fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: only changes a flag word of this process.
    let result = unsafe { libc::personality(persona as libc::c_ulong) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives the process a session keyring of its own named `name`, so that it doesn't see its
/// starter's keys.
///
/// # Errors
/// `ENOSYS` without keyrings in the kernel; `EDQUOT` over the user's quota.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the kernel copies the C string.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Brings the loopback interface of the current network namespace up.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over the namespace.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero `ifreq` is valid, and its flags member is what SIOCSIFFLAGS reads.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
