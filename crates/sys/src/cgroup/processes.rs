//! The processes of a cgroup: in, stopped, and gone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Cgroup, Hierarchy, PATIENCE, about, read, subdirectories, write_file};

impl Cgroup {
    /// Moves process `pid` into it, with all its threads.
    ///
    /// # Errors
    /// `ESRCH` when the process is gone.
    pub fn add(&self, pid: i32) -> io::Result<()> {
        self.directories()
            .try_for_each(|dir| write_file(&dir.join("cgroup.procs"), &pid.to_string()))
    }

    /// The version 1 files through which a single-threaded process joins by writing `0`.
    ///
    /// # Errors
    /// `NotFound` when the cgroup doesn't exist.
    pub fn join_files(&self) -> io::Result<Vec<File>> {
        let open = |dir: &Hierarchy| {
            let path = dir.mount.join("tasks");
            OpenOptions::new().write(true).open(&path).map_err(|e| about(e, "open", &path))
        };
        self.v1.iter().map(open).collect()
    }

    /// Stops all its processes and waits until they are.
    ///
    /// # Errors
    /// `TimedOut` when they don't stop in 5 s; they run on then.
    pub fn freeze(&self) -> io::Result<()> {
        let (file, value) = self.freezer("FROZEN", "1")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            write_file(&file, value)?;
            if self.is_frozen()? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.thaw()?;
                return Err(about(io::ErrorKind::TimedOut.into(), "freeze", &file));
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Lets its processes run again.
    ///
    /// # Errors
    /// `NotFound` when the cgroup doesn't exist.
    pub fn thaw(&self) -> io::Result<()> {
        let (file, value) = self.freezer("THAWED", "0")?;
        write_file(&file, value)
    }

    /// Whether all its processes are stopped.
    ///
    /// # Errors
    /// `NotFound` when the cgroup doesn't exist.
    pub fn is_frozen(&self) -> io::Result<bool> {
        let (file, _) = self.freezer("", "")?;
        if self.v2 {
            let events = read(&file.with_file_name("cgroup.events"))?;
            return Ok(events.lines().any(|line| line == "frozen 1"));
        }
        Ok(read(&file)?.trim() == "FROZEN")
    }

    /// Pids of its processes, those of cgroups below included.
    ///
    /// # Errors
    /// What reading says; a cgroup that doesn't exist has none.
    pub fn procs(&self) -> io::Result<Vec<i32>> {
        let dir = self.directory("pids").or_else(|| self.directories().next());
        let mut pids = Vec::new();
        if let Some(dir) = dir {
            collect_procs(dir, &mut pids)?;
        }
        Ok(pids)
    }

    /// Sends SIGKILL to all its processes, those that are being forked meanwhile included.
    ///
    /// # Errors
    /// What reading says.
    pub fn kill_all(&self) -> io::Result<()> {
        if let (true, Some(dir)) = (self.v2, &self.unified) {
            // Linux 5.14; older kernels get the loop.
            if write_file(&dir.join("cgroup.kill"), "1").is_ok() {
                return Ok(());
            }
        }
        let first = self.kill_each()?;
        // Whoever was born meanwhile may bear others: nobody does in a frozen cgroup.
        if self.procs()?.iter().any(|pid| !first.contains(pid)) {
            // One that doesn't freeze in time is killed as it is.
            let _ = self.freeze();
            self.kill_each()?;
        }
        // A frozen process of version 1 only dies when it is thawed.
        match self.freezer("", "") {
            Ok((file, _)) if file.exists() => self.thaw(),
            _ => Ok(()),
        }
    }

    fn kill_each(&self) -> io::Result<Vec<i32>> {
        let pids = self.procs()?;
        for pid in pids.iter().filter_map(|&pid| rustix::process::Pid::from_raw(pid)) {
            // Gone already is what was wanted.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        Ok(pids)
    }

    fn freezer<'v>(&self, v1: &'v str, v2: &'v str) -> io::Result<(PathBuf, &'v str)> {
        let dir = self.directory("freezer").ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "no freezer cgroup controller")
        })?;
        Ok(if self.v2 { (dir.join("cgroup.freeze"), v2) } else { (dir.join("freezer.state"), v1) })
    }
}

fn collect_procs(dir: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let text = match fs::read_to_string(dir.join("cgroup.procs")) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
            return Ok(());
        }
        other => other?,
    };
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    subdirectories(dir)?.iter().try_for_each(|child| collect_procs(child, pids))
}
