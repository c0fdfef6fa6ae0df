//! Scheduling, input/output priority and memory policy of the calling process.

#![allow(unsafe_code, reason = "kernel calls; see the crate documentation")]

use std::io;

/// `struct sched_attr` of `sched_setattr(2)`, first version.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// Set by [`set_scheduler`].
    size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value of the ordinary policies.
    pub nice: i32,
    /// Priority of the real-time policies.
    pub priority: u32,
    /// Nanoseconds of run time in each period, of the deadline policy.
    pub runtime: u64,
    /// Nanoseconds until the deadline.
    pub deadline: u64,
    /// Nanoseconds of a period.
    pub period: u64,
}

/// Sets policy and parameters of the scheduler.
///
/// # Errors
/// `EPERM` for what needs `CAP_SYS_NICE`; `EINVAL` for values that don't go together.
pub fn set_scheduler(scheduler: &Scheduler) -> io::Result<()> {
    let size = u32::try_from(size_of::<Scheduler>()).expect("a small struct");
    let attr = Scheduler { size, ..*scheduler };
    // SAFETY: `attr` is a `sched_attr` of the size it names and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets class and level of input and output, as `ioprio_set(2)` packs them.
///
/// # Errors
/// `EPERM` for the real-time class without `CAP_SYS_NICE` or `CAP_SYS_ADMIN`.
pub fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: u32 = 13;
    let priority = (class << CLASS_SHIFT) | level;
    // SAFETY: only changes a number kept for this process.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, priority) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets on which memory nodes the process and its children get their memory: a mode (`MPOL_*`) with
/// its flags, and the nodes as a bit mask.
///
/// # Errors
/// `EINVAL` for a mode the kernel doesn't know or nodes that aren't there; `ENOSYS` without NUMA.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> io::Result<()> {
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // One more than there are, as the kernel counts.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    // SAFETY: the kernel reads `bits - 1` bits of the mask, which are there.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
