//! Loading an eBPF program for a cgroup and attaching it.

#![allow(unsafe_code, reason = "kernel calls; see the crate documentation")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One eBPF instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low half, source in the high one.
    pub registers: u8,
    /// Offset of a jump or of a memory access.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` needs.
#[repr(C, align(8))]
#[derive(Default)]
struct LoadAttr {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The part of `union bpf_attr` that `BPF_PROG_ATTACH` needs. Here as below no byte is padding, whose
/// content the kernel would take for an argument.
#[repr(C, align(8))]
#[derive(Default)]
struct AttachAttr {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
    unused: u32,
}

/// The part of `union bpf_attr` that `BPF_PROG_QUERY` needs.
#[repr(C, align(8))]
#[derive(Default)]
struct QueryAttr {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    unused: u32,
}

/// The part of `union bpf_attr` that `BPF_PROG_GET_FD_BY_ID` needs.
#[repr(C, align(8))]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next: u32,
    flags: u32,
    unused: u32,
}

/// The part of `union bpf_attr` that `BPF_OBJ_GET_INFO_BY_FD` needs.
#[repr(C, align(8))]
#[derive(Default)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

const CGROUP_DEVICE_HOOK: u32 = 6;

/// Tells our programs from those of others, such as systemd.
const NAME: [u8; 16] = *b"davit_devices\0\0\0";

/// Loads a program that decides on the use of devices (`BPF_PROG_TYPE_CGROUP_DEVICE`).
///
/// # Errors
/// `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`, `EINVAL` or `EACCES` from the verifier.
pub fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    const LOAD: libc::c_int = 5;
    const CGROUP_DEVICE: u32 = 15;
    let count = u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let attr = LoadAttr {
        program_type: CGROUP_DEVICE,
        instruction_count: count,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        name: NAME,
        ..LoadAttr::default()
    };
    // SAFETY: `attr` points to `count` instructions and a C string, all of which outlive the call;
    // the kernel only reads them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const attr, size_of::<LoadAttr>()) };
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device program to a cgroup of the unified hierarchy, beside those of its ancestors and of
/// others; it stays for as long as the cgroup does. One of ours that is there already is replaced, so
/// that there is no moment without rules.
///
/// # Errors
/// `EPERM` when an ancestor's program allows no others.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const ATTACH: libc::c_int = 8;
    const ALLOW_MULTI: u32 = 2;
    const REPLACE: u32 = 4;
    let before = attached(cgroup)?.into_iter().find_map(|id| ours(id).transpose()).transpose()?;
    let attr = AttachAttr {
        target: number(cgroup),
        program: number(program),
        attach_type: CGROUP_DEVICE_HOOK,
        flags: if before.is_some() { ALLOW_MULTI | REPLACE } else { ALLOW_MULTI },
        replaced: before.as_ref().map_or(0, |fd| number(fd.as_fd())),
        unused: 0,
    };
    // SAFETY: the kernel only reads `attr`, whose size is given.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, ATTACH, &raw const attr, size_of::<AttachAttr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("an open descriptor")
}

/// Ids of the device programs that are attached to the cgroup itself.
fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    const QUERY: libc::c_int = 16;
    // The kernel allows 64 to a cgroup.
    let mut ids = [0_u32; 64];
    let mut attr = QueryAttr {
        target: number(cgroup),
        attach_type: CGROUP_DEVICE_HOOK,
        ids: ids.as_mut_ptr() as u64,
        count: 64,
        ..QueryAttr::default()
    };
    // SAFETY: the kernel writes into `attr`, whose size is given, and at most `count` numbers to
    // `ids`, which has so many and outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, QUERY, &raw mut attr, size_of::<QueryAttr>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ids.into_iter().take(attr.count as usize).collect())
}

/// The program `id`, if it has our name.
fn ours(id: u32) -> io::Result<Option<OwnedFd>> {
    const GET_FD_BY_ID: libc::c_int = 13;
    const GET_INFO: libc::c_int = 15;
    /// Where `struct bpf_prog_info` has the name.
    const NAME_AT: usize = 64;
    let attr = IdAttr { id, ..IdAttr::default() };
    // SAFETY: the kernel only reads `attr`, whose size is given.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, GET_FD_BY_ID, &raw const attr, size_of::<IdAttr>()) };
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    if fd < 0 {
        let error = io::Error::last_os_error();
        // Detached meanwhile.
        return if error.raw_os_error() == Some(libc::ENOENT) { Ok(None) } else { Err(error) };
    }
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = [0_u64; 10];
    let attr = InfoAttr { fd: number(fd.as_fd()), length: 80, info: info.as_mut_ptr() as u64 };
    // SAFETY: the kernel writes at most `length` bytes to `info`, which has so many, and reads and
    // writes `attr`, whose size is given; both outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, GET_INFO, &raw const attr, size_of::<InfoAttr>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes: Vec<u8> = info.iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok((bytes[NAME_AT..] == NAME).then_some(fd))
}
