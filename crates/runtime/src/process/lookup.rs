//! Finding the program: Go's `exec.LookPath`, whose error texts Docker's clients match on.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::diagnose;
use crate::Failure;
use crate::failure::{Step, errno_text, text};

/// The path to execute for `name`, as the present user may, with `path` as `$PATH`.
pub(super) fn find(name: &CStr, path: Option<&[u8]>) -> Result<CString, Failure> {
    let shown = name.to_string_lossy();
    let failed = |errno: i32, why: &str| Failure {
        errno,
        ..text("exec", &shown, format!("exec: {shown:?}: {why}"))
    };
    if name.to_bytes().contains(&b'/') {
        return match check(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(Errno::ISDIR) => Err(failed(libc::EISDIR, "is a directory: permission denied")),
            Err(Errno::ACCESS) => {
                let hint = diagnose::forbidden(Path::new(OsStr::from_bytes(name.to_bytes())));
                let hint = hint.unwrap_or_default();
                Err(Failure { hint: hint.into(), ..failed(libc::EACCES, "permission denied") })
            }
            Err(error) => {
                let reason = errno_text(&io::Error::from(error));
                Err(failed(error.raw_os_error(), &format!("stat {shown}: {reason}")))
            }
        };
    }
    if !name.is_empty() {
        for directory in path.unwrap_or_default().split(|&byte| byte == b':') {
            let directory = Path::new(OsStr::from_bytes(directory));
            // A relative part of $PATH is never searched.
            if !directory.is_absolute() {
                continue;
            }
            let candidate = directory.join(OsStr::from_bytes(name.to_bytes()));
            let candidate = CString::new(candidate.into_os_string().into_encoded_bytes());
            let candidate = candidate.expect("made of two strings without a zero byte");
            if check(&candidate).is_ok() {
                return Ok(candidate);
            }
        }
    }
    let hint = diagnose::unknown_name(&shown, path).unwrap_or_default();
    Err(Failure { hint: hint.into(), ..failed(libc::ENOENT, "executable file not found in $PATH") })
}

/// Device and inode of the program that the runtime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RuntimeFile {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl RuntimeFile {
    /// That of this process, to be called on the host.
    pub(crate) fn own() -> Result<Self, Failure> {
        const EXE: &str = "/proc/self/exe";
        let stat = rustix::fs::stat(EXE).step("stat", EXE)?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// `/proc/self/exe` is the runtime as long as nothing else was executed. It is not the container's,
/// and a process that runs it there would hand out the file for writing (CVE-2019-5736). By an
/// ordinary path, as `docker-init`, it may be executed.
pub(super) fn refuse_runtime(program: &CStr, runtime: RuntimeFile) -> Result<(), Failure> {
    let refuse = |what: &str| {
        let shown = program.to_string_lossy();
        let message = format!(
            "exec: {shown:?}: permission denied ({what} the container runtime's own program)"
        );
        Err(Failure { errno: libc::EACCES, ..text("exec", &shown, message) })
    };
    if is_runtime(Path::new(OsStr::from_bytes(program.to_bytes())), runtime) {
        return refuse("it is");
    }
    let mut file = PathBuf::from(OsStr::from_bytes(program.to_bytes()));
    for _ in 0..diagnose::MAX_DEPTH {
        let Some(interpreter) = diagnose::interpreter(&file) else { break };
        if is_runtime(&interpreter, runtime) {
            return refuse(&format!("its interpreter {} is", interpreter.display()));
        }
        file = interpreter;
    }
    Ok(())
}

/// Whether `path` leads to the runtime through a link of procfs.
fn is_runtime(path: &Path, runtime: RuntimeFile) -> bool {
    let is_same = rustix::fs::stat(path)
        .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (runtime.device, runtime.inode));
    if !is_same {
        return false;
    }
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve);
    // Anything else is for the kernel to say.
    opened.is_err_and(|error| error == Errno::LOOP)
}

fn check(path: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // No faccessat2 (before Linux 5.8), or a filter that doesn't know it.
        Err(Errno::NOSYS | Errno::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(Errno::ACCESS),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &CStr, path: &str) -> String {
        match find(name, Some(path.as_bytes())) {
            Ok(found) => found.to_string_lossy().into_owned(),
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn the_texts_are_dockers() {
        let cases = [
            (c"sh", "/nowhere:/bin", "/bin/sh"),
            (c"nosuch", "/bin", "exec: \"nosuch\": executable file not found in $PATH"),
            (c"", "/bin", "exec: \"\": executable file not found in $PATH"),
            (c"sh", "bin:.:", "exec: \"sh\": executable file not found in $PATH"),
            (c"/etc", "/bin", "exec: \"/etc\": is a directory: permission denied"),
            (c"/etc/passwd", "/bin", "exec: \"/etc/passwd\": permission denied"),
            (c"/no/x", "/bin", "exec: \"/no/x\": stat /no/x: no such file or directory"),
        ];
        for (name, path, expected) in cases {
            assert_eq!(message(name, path), expected);
        }
    }
}
