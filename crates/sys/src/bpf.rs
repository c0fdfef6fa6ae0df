//! Loading an eBPF program for a cgroup and attaching it.

#![allow(unsafe_code, reason = "kernel calls; see the crate documentation")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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
}

/// The part of `union bpf_attr` that `BPF_PROG_ATTACH` needs.
#[repr(C, align(8))]
#[derive(Default)]
struct AttachAttr {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

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

/// Attaches a device program to a cgroup of the unified hierarchy, beside those of its ancestors; it
/// stays for as long as the cgroup does.
///
/// # Errors
/// `EPERM` when an ancestor's program allows no others.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const ATTACH: libc::c_int = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let number = |fd: BorrowedFd<'_>| u32::try_from(fd.as_raw_fd()).expect("an open descriptor");
    let attr = AttachAttr {
        target: number(cgroup),
        program: number(program),
        attach_type: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the kernel only reads `attr`, whose size is given.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, ATTACH, &raw const attr, size_of::<AttachAttr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
