//! Inside the child: the named steps from a fresh process to the container's first program.
//!
//! The child is a copy of the single-threaded caller, so ordinary code may run here. It is not
//! dumpable until it executes the program: a process of the container's can't look into it or take
//! its descriptors. The runtime's own program can't be overwritten through `/proc/<pid>/exe` either:
//! beside an engine's container the monitor executes the same file for as long as it lives
//! (`ETXTBSY`), and the command line of its own runs from a copy that nobody can write
//! ([`davit_sys::sealed`]).

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use davit_sys::{namespace, process as sys_process, startsync};
use rustix::process::DumpableBehavior;
use rustix::thread::{Gid, Uid};

use crate::Failure;
use crate::failure::{Step, Wrap, text};
use crate::gate::Gate;
use crate::hooks::{self, HookSurroundings, Kind};
use crate::labels;
use crate::plan::{Plan, Sysctl};
use crate::process::{self, RuntimeFile, Surroundings};
use crate::procfs::Procfs;
use crate::request::{Launch, Stdio};
use crate::rootfs::{self, Console, Tree};
use crate::seccomp::Filter;

/// A namespace to enter, opened beforehand.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its kind, a `CLONE_NEW*` flag.
    pub(crate) kind: u64,
    /// What stands for it.
    pub(crate) file: OwnedFd,
    /// Its path, for messages.
    pub(crate) name: String,
}

/// What the child of a create is given.
#[derive(Debug)]
pub(crate) struct Init<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) channel: BorrowedFd<'a>,
    pub(crate) stdio: &'a Stdio,
    pub(crate) entries: &'a [Entry],
    /// They were entered before this process was made.
    pub(crate) staged: bool,
    /// The runtime is an ordinary user's.
    pub(crate) rootless: bool,
    /// Sources of mounts that were made before, in the order of the plan's.
    pub(crate) prepared: &'a [Option<OwnedFd>],
    pub(crate) cgroup_files: &'a [File],
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) runtime: RuntimeFile,
    pub(crate) gate: Option<&'a Gate>,
    pub(crate) launch: Launch,
}

impl Init<'_> {
    /// Runs all steps. Only returns on failure.
    pub(crate) fn run(&self) -> Result<Infallible, Failure> {
        // An ordinary user can't write the id maps of a process that is hidden.
        if !self.rootless {
            process::hide()?;
        }
        hide_command_line()?;
        join_cgroups(self.cgroup_files).at("cgroup")?;
        self.enter_namespaces().at("namespaces")?;
        self.become_mapped_root().at("namespaces")?;
        self.set_time_offsets().at("namespaces")?;
        process::hide()?;
        rustix::process::setsid().step("setsid", "")?;
        self.set_names().at("namespaces")?;
        self.bring_loopback_up().at("namespaces")?;
        self.wait_for_net_devices()?;
        self.write_sysctls().at("sysctl")?;
        let terminal = matches!(self.stdio, Stdio::Terminal);
        let (tree, console) = rootfs::build(self.plan, self.prepared, terminal).at("rootfs")?;
        // Never dropped: its descriptors are closed with all others, by number.
        let console = ManuallyDrop::new(console);
        self.run_hooks_before_pivot()?;
        labels::apply(&self.plan.process)?;
        self.enter_root(tree)
            .wrap(|| "error jailing process inside rootfs".to_owned())
            .at("rootfs")?;
        process::create_cwd(&self.plan.process)?;
        connect_stdio(self.stdio, console.as_ref())?;
        let around = Surroundings {
            id: &self.plan.id,
            channel: self.channel,
            filter: self.filter,
            console: console.as_ref(),
            domain: &self.plan.domain,
            before: &|| self.run_start_hooks(),
            runtime: self.runtime,
            gate: self.gate,
            launch: self.launch,
        };
        process::become_program(&self.plan.process, &around)
    }

    fn enter_namespaces(&self) -> Result<(), Failure> {
        let early = |entry: &&Entry| !matches!(entry.kind, namespace::PID | namespace::MOUNT);
        for entry in self.entries.iter().filter(early).filter(|_| !self.staged) {
            namespace::setns(entry.file.as_fd(), entry.kind)
                .step("join namespace", &entry.name)
                .hint(&[libc::EINVAL], || "it is no namespace of the kind asked for".to_owned())?;
        }
        if self.plan.namespaces.new_cgroup {
            namespace::unshare(namespace::CGROUP).step("unshare", "cgroup namespace")?;
        }
        Ok(())
    }

    /// In the new mount namespace, or in one that exists and is left as it was when that fails.
    fn enter_root(&self, tree: Tree) -> Result<(), Failure> {
        let no_pivot = self.launch.no_pivot;
        let joined = self.entries.iter().find(|entry| entry.kind == namespace::MOUNT);
        let Some(Entry { file, name, .. }) = joined else {
            return rootfs::enter(self.plan, &tree, no_pivot);
        };
        if no_pivot {
            return Err(text(
                "rootfs",
                name,
                "a mount namespace can't be joined without pivot_root",
            ));
        }
        let tree = rootfs::take_over(&tree, file.as_fd(), name)?;
        rootfs::enter(self.plan, &tree, no_pivot).inspect_err(|_| rootfs::give_up(&tree))
    }

    /// In a user namespace: becomes its root, once a new one has its id maps.
    fn become_mapped_root(&self) -> Result<(), Failure> {
        if !self.plan.namespaces.has(namespace::USER) {
            return Ok(());
        }
        let is_new = self.plan.namespaces.new & namespace::USER != 0;
        if is_new && !startsync::wait_proceed(self.channel).step("wait for", "id maps")? {
            sys_process::exit_now(0);
        }
        process::leave_groups().step("setgroups", "in the user namespace")?;
        let (uid, gid) = (Uid::ROOT, Gid::ROOT);
        rustix::thread::set_thread_res_gid(gid, gid, gid).step("setgid", "0")?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).step("setuid", "0")
    }

    /// Makes the time namespace, which takes offsets only as long as nobody is in it, and enters it.
    fn set_time_offsets(&self) -> Result<(), Failure> {
        const OFFSETS: &str = "self/timens_offsets";
        const CHILDREN: &str = "/proc/self/ns/time_for_children";
        let Some(offsets) = &self.plan.time_offsets else { return Ok(()) };
        namespace::unshare(namespace::TIME).step("unshare", "time namespace")?;
        // The file belongs to the host's root as long as the process is hidden.
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
            .step("show", "process")?;
        Procfs::open()?.write(OFFSETS, offsets.as_bytes()).step("write", OFFSETS)?;
        let made = File::open(CHILDREN).step("open", CHILDREN)?;
        namespace::setns(made.as_fd(), namespace::TIME).step("join", "time namespace")
    }

    /// Those outside of the container, which the parent runs; then those in its namespaces, which still
    /// see the mounts of the host.
    fn run_hooks_before_pivot(&self) -> Result<(), Failure> {
        let hooks = &self.plan.hooks;
        if hooks.before_pivot() {
            startsync::before_pivot(self.channel).step("ask for", "hooks")?;
            if !startsync::wait_proceed(self.channel).step("wait for", "hooks")? {
                sys_process::exit_now(0);
            }
        }
        if hooks.create_container.is_empty() {
            return Ok(());
        }
        // As runc has it: in the root, with the environment of the program.
        let env = hooks::pairs(&self.plan.process.env);
        let surroundings = HookSurroundings { directory: Some(&self.plan.rootfs), env: Some(&env) };
        let pid = hooks::own_pid()?;
        hooks.run(Kind::CreateContainer, &self.plan.subject(), pid, &surroundings)
    }

    /// Those in the container, with the environment of its program.
    fn run_start_hooks(&self) -> Result<(), Failure> {
        if self.plan.hooks.start_container.is_empty() {
            return Ok(());
        }
        let env = hooks::pairs(&self.plan.process.env);
        let surroundings = HookSurroundings { directory: None, env: Some(&env) };
        let pid = hooks::own_pid()?;
        self.plan.hooks.run(Kind::StartContainer, &self.plan.subject(), pid, &surroundings)
    }

    fn set_names(&self) -> Result<(), Failure> {
        if let Some(name) = &self.plan.hostname {
            rustix::system::sethostname(name.as_bytes()).step("sethostname", name)?;
        }
        if let Some(name) = &self.plan.domainname {
            rustix::system::setdomainname(name.as_bytes()).step("setdomainname", name)?;
        }
        Ok(())
    }

    fn bring_loopback_up(&self) -> Result<(), Failure> {
        if self.plan.namespaces.new & namespace::NETWORK == 0 {
            return Ok(());
        }
        sys_process::loopback_up().step("bring up", "lo")
    }

    /// The parent moves them, before settings are made that may be a device's.
    fn wait_for_net_devices(&self) -> Result<(), Failure> {
        if self.plan.net_devices.is_empty() {
            return Ok(());
        }
        startsync::before_pivot(self.channel).step("ask for", "network devices")?;
        if !startsync::wait_proceed(self.channel).step("wait for", "network devices")? {
            sys_process::exit_now(0);
        }
        Ok(())
    }

    /// Through the host's procfs, which shows this process' namespaces, before it goes away.
    fn write_sysctls(&self) -> Result<(), Failure> {
        if self.plan.sysctls.is_empty() {
            return Ok(());
        }
        let procfs = Procfs::open()?;
        for Sysctl { path, value, .. } in &self.plan.sysctls {
            procfs
                .write(&format!("sys/{path}"), value.as_bytes())
                .step("write sysctl", format!("/proc/sys/{path}"))
                .hint(&[libc::ENOENT], || "this kernel has no such setting".to_owned())
                .hint(&[libc::EINVAL], || format!("it doesn't take the value {value:?}"))?;
        }
        Ok(())
    }
}

/// The command line of the caller has paths of the host, and any process may read it.
pub(crate) fn hide_command_line() -> Result<(), Failure> {
    sys_process::set_command_line("davit-runc init").step("hide", "command line")
}

/// Enters the version 1 cgroups: of a process that moves itself as a thread the kernel needs no
/// consent of others, which would take a grace period.
pub(crate) fn join_cgroups(files: &[File]) -> Result<(), Failure> {
    for mut file in files {
        file.write_all(b"0").step("join", "cgroup")?;
    }
    Ok(())
}

/// Makes the streams descriptors 0 to 2; a terminal also becomes the controlling one.
pub(crate) fn connect_stdio(stdio: &Stdio, console: Option<&Console>) -> Result<(), Failure> {
    let streams = match (stdio, console) {
        (Stdio::Inherit, _) => return Ok(()),
        (Stdio::Files { stdin, stdout, stderr }, _) => {
            [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
        }
        (Stdio::Terminal, Some(console)) => [console.slave.as_fd(); 3],
        (Stdio::Terminal, None) => return Err(text("console", "", "no terminal was made")),
    };
    for (number, stream) in (0..).zip(streams) {
        sys_process::dup_to(stream, number).step("connect", "standard streams")?;
    }
    if console.is_some() {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).step("set", "terminal")?;
    }
    Ok(())
}
