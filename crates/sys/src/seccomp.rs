//! Installing a seccomp filter.

#![allow(unsafe_code, reason = "kernel calls; see the crate documentation")]

use std::io;

/// One classic BPF instruction, `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the condition holds.
    pub jt: u8,
    /// Instructions to skip when it doesn't.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Log every action but allow (`SECCOMP_FILTER_FLAG_LOG`).
pub const FLAG_LOG: u32 = 2;
/// Don't disable speculative store bypass (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`).
pub const FLAG_SPEC_ALLOW: u32 = 4;
/// Apply to all threads (`SECCOMP_FILTER_FLAG_TSYNC`).
pub const FLAG_TSYNC: u32 = 1;

/// Puts the calling process under `filter`, for good.
///
/// # Errors
/// `EACCES` without `CAP_SYS_ADMIN` and without `no_new_privs`; `EINVAL` for a bad program or flag.
pub fn install(filter: &[Instruction], flags: u32) -> io::Result<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_ptr().cast_mut().cast::<libc::sock_filter>(),
    };
    // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel copies the `length`
    // instructions and writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            libc::c_ulong::from(flags),
            &raw const program,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
