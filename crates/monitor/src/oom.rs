//! How often the kernel's OOM killer hit a cgroup, and being told when it does.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use davit_sys::epoll::Interest;
use rustix::event::{EventfdFlags, eventfd};

/// The counter of the first of `cgroups` that exists; 0 when there is none.
pub fn kills(cgroups: &[PathBuf]) -> u64 {
    let Some(cgroup) = cgroups.iter().find(|path| path.is_dir()) else { return 0 };
    // `memory.events` on v2, `memory.oom_control` (since 4.13) on v1: lines of name and number.
    let text = fs::read_to_string(cgroup.join("memory.events"))
        .or_else(|_| fs::read_to_string(cgroup.join("memory.oom_control")))
        .unwrap_or_default();
    let counter = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    text.lines().find_map(counter).unwrap_or(0)
}

/// A descriptor that becomes ready when the OOM killer may have hit one of a container's cgroups.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) fd: OwnedFd,
    pub(crate) interest: Interest,
    is_counter: bool,
}

impl Watch {
    /// Watches the first of `cgroups` that exists. `None`: none does, or the kernel can't.
    pub(crate) fn new(cgroups: &[PathBuf]) -> Option<Self> {
        let cgroup = cgroups.iter().find(|path| path.is_dir())?;
        if let Ok(events) = File::open(cgroup.join("memory.events")) {
            let interest = Interest { priority: true, ..Interest::NONE };
            return Some(Self { fd: events.into(), interest, is_counter: false });
        }
        let fd = counter(cgroup).ok()?;
        Some(Self { fd, interest: Interest::READ, is_counter: true })
    }

    /// Makes it ready again only for the next event.
    pub(crate) fn acknowledge(&self) {
        let mut text = [0; 256];
        if self.is_counter {
            // Nothing to read is fine: somebody was faster.
            let _ = rustix::io::read(&self.fd, &mut text[..8]);
        } else {
            // kernfs reports a change until the file is read again from its start.
            let _ = rustix::io::pread(&self.fd, &mut text, 0);
        }
    }
}

/// v1: an eventfd registered with the cgroup.
fn counter(cgroup: &Path) -> io::Result<OwnedFd> {
    let control = File::open(cgroup.join("memory.oom_control"))?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    let mut register = File::options().write(true).open(cgroup.join("cgroup.event_control"))?;
    register.write_all(line.as_bytes())?;
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_read_from_the_first_directory_there_is() {
        let top = std::env::temp_dir().join(format!("davit-oom-{}", std::process::id()));
        let (v1, v2) = (top.join("v1"), top.join("v2"));
        fs::create_dir_all(&v1).expect("directory");
        fs::create_dir_all(&v2).expect("directory");
        let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        fs::write(v1.join("memory.oom_control"), control).expect("write");
        let events = "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n";
        fs::write(v2.join("memory.events"), events).expect("write");

        let missing = top.join("missing");
        assert_eq!(kills(&[missing.clone(), v1.clone()]), 3);
        assert_eq!(kills(&[v2, v1]), 1);
        assert_eq!(kills(&[missing]), 0);
        fs::remove_dir_all(&top).expect("remove");
    }
}
