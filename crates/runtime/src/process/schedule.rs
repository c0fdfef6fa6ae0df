//! Scheduler, priorities, processors, execution domain and memory policy of this process.

use std::io;

use davit_sys::{process as sys_process, schedule};
use rustix::thread::CpuSet;

use crate::Failure;
use crate::failure::Step;
use crate::plan::{Domain, Schedule};

/// What keeps its force through the change of user and the program.
pub(super) fn apply(wanted: &Schedule, domain: &Domain) -> Result<(), Failure> {
    if let Some(scheduler) = &wanted.scheduler {
        schedule::set_scheduler(scheduler).step("set", "scheduler")?;
    }
    if let Some((class, level)) = wanted.io_priority {
        schedule::set_io_priority(class, level).step("set", "ioPriority")?;
    }
    if let Some(policy) = &domain.memory_policy {
        let set = schedule::set_memory_policy(policy.mode, &policy.mask());
        set.step("set", "memoryPolicy")?;
    }
    if let Some(personality) = domain.personality {
        sys_process::set_personality(personality).step("set", "personality")?;
    }
    Ok(())
}

/// Moves this process to `processors`; none: leaves it where it is.
pub(crate) fn set_processors(processors: &[usize]) -> Result<(), Failure> {
    if processors.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &number in processors {
        if number >= CpuSet::MAX_CPU {
            return Err(io::Error::from_raw_os_error(libc::EINVAL))
                .step("set", format!("processor {number}"));
        }
        set.set(number);
    }
    rustix::thread::sched_setaffinity(None, &set).step("set", "execCPUAffinity")
}

/// While it lives, this process and its new children run on other processors.
pub(crate) struct Elsewhere {
    before: CpuSet,
}

impl Elsewhere {
    /// Nothing when no processors are asked for.
    pub(crate) fn on(processors: &[usize]) -> Result<Option<Self>, Failure> {
        if processors.is_empty() {
            return Ok(None);
        }
        let before = rustix::thread::sched_getaffinity(None).step("read", "own processors")?;
        set_processors(processors)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Where we were before: it can't be refused.
        let _ = rustix::thread::sched_setaffinity(None, &self.before);
    }
}
