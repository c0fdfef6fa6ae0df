//! Why a program could not be executed, in words: the kernel has a dozen reasons and five numbers.
//!
//! Looked up after the failure, as the container's user and in its root. A hint is only ever added to
//! the error's text; what can't be found out is left out. Hints avoid the phrases that clients take for
//! an exit code (`permission denied`, `is a directory`, `not found`).

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, StatVfsMountFlags};

use crate::Failure;
use crate::failure::{self, errno_text};

mod elf;

use elf::Elf;

/// As many interpreters of interpreters as the kernel follows.
pub(super) const MAX_DEPTH: u32 = 5;
/// So much of a script's first line does the kernel read.
const HEAD: usize = 256;
/// `MAX_ARG_STRLEN`, the kernel's limit on a single string.
const MAX_STRING: usize = 128 * 1024;

/// The interpreter of the script `program`, if it is one that can be read.
pub(super) fn interpreter(program: &Path) -> Option<PathBuf> {
    Head::read(program)?.interpreter().map(|interpreter| interpreter.path)
}

/// The failure to execute `program`.
pub(super) fn failure(
    program: &CStr,
    args: &[CString],
    env: &[CString],
    error: &io::Error,
) -> Failure {
    let path = Path::new(OsStr::from_bytes(program.to_bytes()));
    let shown = program.to_string_lossy();
    Failure {
        message: format!("exec {shown}: {}", errno_text(error)),
        hint: error
            .raw_os_error()
            .and_then(|errno| explain(path, args, env, errno))
            .unwrap_or_default()
            .into(),
        ..failure::io("exec", &shown, error)
    }
}

/// Why executing `program` failed with `errno`.
fn explain(program: &Path, args: &[CString], env: &[CString], errno: i32) -> Option<String> {
    match errno {
        libc::ENOENT => missing(program, 0),
        libc::ENOEXEC => no_program(program, 0),
        libc::EACCES => forbidden(program),
        libc::E2BIG => Some(too_long(args, env)),
        libc::ETXTBSY => Some("something has the file open for writing".to_owned()),
        libc::ELIBBAD => Some("its ELF interpreter is itself no ELF file".to_owned()),
        libc::EINVAL => Some("its ELF header asks for something the kernel refuses".to_owned()),
        libc::ELOOP => Some("its interpreters are scripts in turn, too many of them".to_owned()),
        libc::EPERM => Some("the kernel or a security module forbids executing it".to_owned()),
        _ => None,
    }
}

/// Why `program` may not be executed.
pub(super) fn forbidden(program: &Path) -> Option<String> {
    let Ok(metadata) = fs::metadata(program) else {
        let user = rustix::process::geteuid().as_raw();
        return Some(format!("user {user} may not enter a directory on the way to it"));
    };
    if !metadata.is_file() {
        return Some("it is no regular file".to_owned());
    }
    let is_noexec = |path: &Path| {
        rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOEXEC))
    };
    if is_noexec(program) {
        return Some("it lies on a mount with the option noexec".to_owned());
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o111 == 0 {
        return Some(format!("its mode {mode:04o} has no x bit: chmod +x"));
    }
    if let Some(interpreter) = Head::read(program).and_then(|head| head.interpreter()) {
        let reason = fs::metadata(&interpreter.path).ok().and_then(|metadata| {
            let unusable = !metadata.is_file() || metadata.mode() & 0o111 == 0;
            (unusable || is_noexec(&interpreter.path)).then(|| forbidden(&interpreter.path))?
        });
        if let Some(reason) = reason {
            return Some(format!("its interpreter {}: {reason}", interpreter.path.display()));
        }
    }
    let user = rustix::process::geteuid().as_raw();
    let (uid, gid) = (metadata.uid(), metadata.gid());
    Some(format!("user {user} may not execute a file of {uid}:{gid} with mode {mode:04o}"))
}

/// A name that is no file anywhere in `$PATH`: what may have been meant.
pub(super) fn unknown_name(name: &str, path: Option<&[u8]>) -> Option<String> {
    if name.is_empty() {
        return Some("the program's name is empty".to_owned());
    }
    if name.contains(char::is_whitespace) {
        let hint = "the name contains a space: are program and arguments one string by mistake?";
        return Some(hint.to_owned());
    }
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Some("PATH is not set".to_owned());
    };
    let directories =
        path.split(|&byte| byte == b':').map(|part| Path::new(OsStr::from_bytes(part)));
    let absolute = directories.filter(|directory| directory.is_absolute());
    let found = absolute.map(|directory| directory.join(name)).find(|file| file.exists());
    found.map(|file| {
        let reason = forbidden(&file).unwrap_or_else(|| "it can't be executed".to_owned());
        format!("{} is there, but {reason}", file.display())
    })
}

/// The file is there, so something that it needs isn't.
fn missing(program: &Path, depth: u32) -> Option<String> {
    if depth > MAX_DEPTH {
        return None;
    }
    let head = Head::read(program)?;
    if let Some(interpreter) = head.interpreter() {
        let shown = interpreter.path.display();
        if interpreter.path.exists() {
            let deeper = missing(&interpreter.path, depth + 1)?;
            return Some(format!("its interpreter {shown}: {deeper}"));
        }
        if interpreter.ends_in_return {
            let without = shown.to_string();
            let without = without.trim_end_matches('\r');
            return Some(format!(
                "its first line ends in CR LF as on Windows, so that the kernel looks for an \
                 interpreter \"{without}\\r\": convert it, for example with dos2unix"
            ));
        }
        return Some(format!("its interpreter {shown} does not exist in the container"));
    }
    let loader = Elf::parse(&head.bytes)?.interpreter(&head.file)?;
    if loader.exists() {
        return None;
    }
    let library = if loader.to_string_lossy().contains("ld-musl") {
        "it was linked against musl, which this image lacks"
    } else {
        "it was linked against glibc, which this image lacks, or for another architecture"
    };
    Some(format!("its ELF interpreter {} does not exist: {library}", loader.display()))
}

/// The kernel doesn't know the format.
fn no_program(program: &Path, depth: u32) -> Option<String> {
    if depth > MAX_DEPTH {
        return None;
    }
    let head = Head::read(program)?;
    if let Some(interpreter) = head.interpreter() {
        let reason = no_program(&interpreter.path, depth + 1)?;
        return Some(format!("its interpreter {}: {reason}", interpreter.path.display()));
    }
    let bytes = head.bytes.as_slice();
    if let Some(elf) = Elf::parse(bytes) {
        let own = std::env::consts::ARCH;
        return Some(match elf.machine() {
            machine if machine == own => "the ELF file is damaged or cut off".to_owned(),
            machine => format!("it is a program for {machine}, and this machine is {own}"),
        });
    }
    let hint = match bytes {
        [] => "the file is empty",
        [b'#', b'!', ..] => "no interpreter follows its #!",
        [0xef, 0xbb, 0xbf, b'#', b'!', ..] => "a byte order mark stands before its #!",
        [0x7f, b'E', b'L', b'F', ..] => "the ELF file is damaged or cut off",
        [b'M', b'Z', ..] => "it is a program for Windows",
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => {
            "it is a program for macOS"
        }
        _ => "it is neither an ELF file nor a script that begins with #!",
    };
    Some(hint.to_owned())
}

fn too_long(args: &[CString], env: &[CString]) -> String {
    let sizes = || args.iter().chain(env).map(|text| text.as_bytes_with_nul().len());
    let (total, longest) = (sizes().sum::<usize>(), sizes().max().unwrap_or(0));
    if longest > MAX_STRING {
        return format!(
            "one argument or variable has {longest} bytes, and the kernel takes {MAX_STRING}"
        );
    }
    format!(
        "arguments and environment have {total} bytes, and the kernel takes a quarter of the stack \
         limit at most"
    )
}

/// The beginning of a file.
struct Head {
    file: File,
    bytes: Vec<u8>,
}

struct Interpreter {
    path: PathBuf,
    /// The line ends in CR LF, and the name is the last thing in it.
    ends_in_return: bool,
}

impl Head {
    fn read(path: &Path) -> Option<Self> {
        // Not of a pipe or device, whose opening may block or do something.
        let stat = rustix::fs::stat(path).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
        let mut bytes = Vec::new();
        (&file).take(HEAD as u64).read_to_end(&mut bytes).ok()?;
        Some(Self { file, bytes })
    }

    /// What `#!` names.
    fn interpreter(&self) -> Option<Interpreter> {
        let line = self.bytes.strip_prefix(b"#!")?;
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let name = line.split(blank).find(|part| !part.is_empty())?;
        let name = name.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())?;
        Some(Interpreter {
            path: PathBuf::from(OsStr::from_bytes(name)),
            ends_in_return: name.ends_with(b"\r"),
        })
    }
}

/// Reads exactly, at a place.
fn read_at(file: &File, offset: u64, size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("davit-diagnose-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a scratch directory");
            Self(path)
        }

        fn file(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).expect("a file");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(&path, mode).expect("a mode");
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn hint(program: &Path, errno: i32) -> String {
        explain(program, &[], &[], errno).unwrap_or_default()
    }

    #[test]
    fn what_a_script_lacks_is_named() {
        let scratch = Scratch::new("script");
        let cases: &[(&[u8], &str)] = &[
            (b"#!/no/sh\n", "its interpreter /no/sh does not exist in the container"),
            (b"#! /no/sh -e\n", "its interpreter /no/sh does not exist in the container"),
            (b"#!/no/sh", "its interpreter /no/sh does not exist in the container"),
            (b"#!/bin/sh\r\n", "an interpreter \"/bin/sh\\r\""),
        ];
        for (content, expected) in cases {
            let path = scratch.file("script", content, 0o755);
            assert!(hint(&path, libc::ENOENT).contains(expected), "{}", hint(&path, libc::ENOENT));
        }
        let inner = scratch.file("inner", b"#!/no/sh\n", 0o755);
        let outer = scratch.file("outer", format!("#!{}\n", inner.display()).as_bytes(), 0o755);
        let expected = format!("its interpreter {}: its interpreter /no/sh", inner.display());
        assert!(hint(&outer, libc::ENOENT).starts_with(&expected));
        // Itself: an end must be found.
        let path = scratch.0.join("loop");
        scratch.file("loop", format!("#!{}\n", path.display()).as_bytes(), 0o755);
        assert_eq!(hint(&path, libc::ENOENT), "");
    }

    #[test]
    fn what_is_no_program_is_told_by_its_beginning() {
        let scratch = Scratch::new("format");
        let cases: &[(&[u8], &str)] = &[
            (b"", "the file is empty"),
            (b"echo hello\n", "it is neither an ELF file nor a script that begins with #!"),
            (b"#!\n", "no interpreter follows its #!"),
            (b"\xef\xbb\xbf#!/bin/sh\n", "a byte order mark stands before its #!"),
            (b"MZ\x90\x00", "it is a program for Windows"),
            (b"\xcf\xfa\xed\xfe\x07", "it is a program for macOS"),
            (b"\x7fELF\x02\x01", "the ELF file is damaged or cut off"),
        ];
        for (content, expected) in cases {
            let path = scratch.file("program", content, 0o755);
            assert_eq!(hint(&path, libc::ENOEXEC), *expected);
        }
        let path = scratch.file("secret", b"", 0o644);
        assert_eq!(hint(&path, libc::EACCES), "its mode 0644 has no x bit: chmod +x");
        assert_eq!(hint(&scratch.0, libc::EACCES), "it is no regular file");
    }

    #[test]
    fn a_name_that_is_nowhere_is_looked_at() {
        let scratch = Scratch::new("name");
        scratch.file("tool", b"", 0o600);
        let path = scratch.0.as_os_str().as_bytes();
        let name = |name: &str, path| unknown_name(name, path).unwrap_or_default();
        assert!(name("echo hello", Some(path)).contains("contains a space"));
        assert_eq!(name("tool", None), "PATH is not set");
        assert!(name("tool", Some(path)).ends_with("mode 0600 has no x bit: chmod +x"));
        assert_eq!(name("nosuch", Some(path)), "");
    }

    #[test]
    fn the_longest_string_is_blamed_for_what_is_too_long() {
        let long = CString::new(vec![b'x'; MAX_STRING]).expect("no zero byte");
        let hint = explain(Path::new("/x"), &[long], &[], libc::E2BIG).expect("a hint");
        assert_eq!(hint, "one argument or variable has 131073 bytes, and the kernel takes 131072");
    }
}
