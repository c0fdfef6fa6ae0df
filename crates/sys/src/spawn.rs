#![allow(unsafe_code)]
//! Starting a program with `posix_spawn`: no copy of the daemon's page tables, one descriptor passed
//! under a fixed number, everything else closed.
//!
//! `std::process::Command` can't put a descriptor at a chosen number without `pre_exec`, which makes
//! it fork. The child here is a session leader's candidate: its standard streams are `/dev/null`, its
//! signal mask is empty and `SIGPIPE` has its default action again.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// Starts `program` with `args` (without the program's name) and an empty environment; `fd` is its
/// descriptor number `target`.
///
/// # Errors
/// The error of `posix_spawn`, which includes that of the exec.
pub fn spawn(
    program: &Path,
    args: &[&str],
    fd: BorrowedFd<'_>,
    target: i32,
) -> io::Result<rustix::process::Pid> {
    let program = CString::new(program.as_os_str().as_bytes())?;
    let args = args.iter().map(|arg| CString::new(*arg)).collect::<Result<Vec<_>, _>>()?;
    let mut argv: Vec<*mut libc::c_char> = vec![program.as_ptr().cast_mut()];
    argv.extend(args.iter().map(|arg| arg.as_ptr().cast_mut()));
    argv.push(ptr::null_mut());
    let environment: [*mut libc::c_char; 1] = [ptr::null_mut()];
    let actions = FileActions::new(fd.as_raw_fd(), target)?;
    let attributes = Attributes::new()?;
    let mut pid: libc::pid_t = 0;
    // SAFETY: all pointers are to values that live until after the call; `argv` and `environment`
    // end with a null pointer; actions and attributes are initialised.
    let status = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            environment.as_ptr(),
        )
    };
    check(status)?;
    rustix::process::Pid::from_raw(pid).ok_or_else(|| io::Error::other("posix_spawn gave no pid"))
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new(fd: i32, target: i32) -> io::Result<Self> {
        // SAFETY: an all-zero value is what `init` is given to fill in.
        let mut actions = Self(unsafe { std::mem::zeroed() });
        // SAFETY: the value is ours and not yet initialised.
        check(unsafe { libc::posix_spawn_file_actions_init(&raw mut actions.0) })?;
        for stream in 0..3 {
            // SAFETY: initialised above; the path is a literal that is copied by the call.
            check(unsafe {
                libc::posix_spawn_file_actions_addopen(
                    &raw mut actions.0,
                    stream,
                    c"/dev/null".as_ptr(),
                    libc::O_RDWR,
                    0,
                )
            })?;
        }
        // glibc clears close-on-exec when both numbers are the same.
        // SAFETY: initialised above; only numbers are passed.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut actions.0, fd, target) })?;
        Ok(actions)
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        // SAFETY: an all-zero value is what `init` is given to fill in.
        let mut attributes = Self(unsafe { std::mem::zeroed() });
        // SAFETY: the value is ours and not yet initialised.
        check(unsafe { libc::posix_spawnattr_init(&raw mut attributes.0) })?;
        // SAFETY: `sigset_t` is plain data that the two calls below fill in.
        let (mut none, mut pipe): (libc::sigset_t, libc::sigset_t) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        // SAFETY: both sets and the attributes are ours and live; the flags are the documented ones.
        unsafe {
            libc::sigemptyset(&raw mut none);
            libc::sigemptyset(&raw mut pipe);
            libc::sigaddset(&raw mut pipe, libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigmask(&raw mut attributes.0, &raw const none))?;
            check(libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, &raw const pipe))?;
            let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
            #[allow(clippy::cast_possible_truncation)] // the flags are bits 2 and 3
            check(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags as libc::c_short))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

fn check(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_program_finds_the_descriptor_under_its_number() {
        let (mut ours, theirs) = UnixStream::pair().expect("socketpair");
        // What a careless runner leaves open over 3 is its own; only ours has to be there.
        let args = ["-c", "echo hi >&3; readlink /proc/$$/fd/0 /proc/$$/fd/2 >&3"];
        let pid = spawn(Path::new("/bin/sh"), &args, theirs.as_fd(), 3).expect("spawn");
        drop(theirs);
        let mut text = String::new();
        ours.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hi\n/dev/null\n/dev/null\n");
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).expect("wait");
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let (_ours, theirs) = UnixStream::pair().expect("socketpair");
        let error = spawn(Path::new("/nonexistent"), &[], theirs.as_fd(), 3).expect_err("missing");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
