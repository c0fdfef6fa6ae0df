//! A further process in a running container.

use std::convert::Infallible;
use std::fs::{self, File};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use davit_sys::cgroup::{Cgroup, Hierarchy, Layout};
use davit_sys::clone::{Child, clone3};
use davit_sys::{namespace, startsync};
use rustix::process::{Pid, PidfdFlags};

use crate::Failure;
use crate::failure::{Step, Wrap, text};
use crate::hooks;
use crate::init::{connect_stdio, hide_command_line, join_cgroups};
use crate::labels;
use crate::parent::{died, first_word, kill_and_reap, open_unified, report, set_oom_score};
use crate::plan::{Domain, ProcessPlan};
use crate::process::schedule::{Elsewhere, set_processors};
use crate::process::{self, RuntimeFile, Surroundings};
use crate::request::{Created, ExecRequest, Launch, StartHandle, Stdio};
use crate::rootfs::{self, Tree};
use crate::seccomp::{Agent, Filter};
use crate::stage::{self, Way};
use crate::state::{State, Status};

/// Makes a process in the namespaces and cgroup of a container. It is set up and waits for
/// [`StartHandle::start`] or [`davit_sys::startsync::release`].
///
/// # Errors
/// The step that failed, with Docker's text where clients match on it. Nothing is left behind.
pub fn exec(request: &ExecRequest<'_>) -> Result<Created, Failure> {
    let state = State::load(request.root, request.id)?;
    let plan = ProcessPlan::new(&request.process)?;
    labels::check(&plan, None)?;
    let filter = request.seccomp.map(|profile| Filter::new(profile, request.seccomp_cache));
    let filter = filter.transpose()?;
    let mut target = Target::open(request, &state)?;
    if !request.ignore_paused && state.status() == Status::Paused {
        let message = "cannot exec in a paused container (use --ignore-paused to override)";
        return Err(text("exec", request.id, message));
    }
    for wanted in request.cgroups {
        target.descend(wanted)?;
    }
    let prefix = || "unable to start container process".to_owned();
    start(request, &plan, &state, filter.as_ref(), &target).wrap(prefix)
}

/// The container to be entered.
#[derive(Debug)]
struct Target {
    pidfd: OwnedFd,
    /// Kinds of namespaces that differ from ours.
    kinds: u64,
    /// Directories of the version 1 hierarchies, with their controllers.
    v1: Vec<Hierarchy>,
    unified: Option<PathBuf>,
}

impl Target {
    fn open(request: &ExecRequest<'_>, state: &State) -> Result<Self, Failure> {
        let stopped = || text("exec", request.id, "cannot exec in a stopped container");
        let pid = Pid::from_raw(state.pid).ok_or_else(stopped)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| stopped())?;
        // Checked with the pidfd in hand: from here on it is this process or none.
        if !state.is_alive() {
            return Err(stopped());
        }
        let layout = Layout::known().step("detect", "cgroups")?;
        let cgroup =
            Cgroup::of_process(layout, state.pid).step("find", "the container's cgroup")?;
        let has_own = state.cgroup.is_some();
        Ok(Self {
            pidfd,
            kinds: foreign_namespaces(state.pid)?,
            // Without a cgroup of its own (an ordinary user's) it is in that of whoever started it.
            v1: if has_own { cgroup.v1_directories().to_vec() } else { Vec::new() },
            unified: cgroup.unified_directory().filter(|_| has_own).map(Path::to_owned),
        })
    }

    /// Goes to a cgroup below, `[CONTROLLER[,CONTROLLER]:]PATH`.
    fn descend(&mut self, wanted: &str) -> Result<(), Failure> {
        let bad = |why: &str| text("cgroup", wanted, format!("invalid cgroup {wanted:?}: {why}"));
        let (controllers, path) = match wanted.rsplit_once(':') {
            Some((controllers, path)) => (controllers.split(',').collect(), path),
            None => (Vec::new(), wanted),
        };
        let path = Path::new(path.trim_start_matches('/'));
        if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(bad("it is not below the container's"));
        }
        let known = |name: &&str| self.v1.iter().any(|dir| has_controller(dir, name));
        if let Some(unknown) = controllers.iter().find(|name| !known(name)) {
            return Err(bad(&format!("there is no controller {unknown:?} of version 1")));
        }
        let all = controllers.is_empty();
        for dir in &mut self.v1 {
            if all || controllers.iter().any(|name| has_controller(dir, name)) {
                dir.mount.push(path);
            }
        }
        if let Some(dir) = self.unified.as_mut().filter(|_| all) {
            // Beside version 1 it is used for nothing but the membership itself.
            if self.v1.is_empty() || dir.join(path).is_dir() {
                dir.push(path);
            }
        }
        Ok(())
    }

    /// The version 1 files through which the child joins.
    fn join_files(&self) -> Result<Vec<File>, Failure> {
        let open = |dir: &Hierarchy| {
            let path = dir.mount.join("tasks");
            let file = fs::OpenOptions::new().write(true).open(&path);
            file.step("open cgroup", path.to_string_lossy())
        };
        self.v1.iter().map(open).collect()
    }
}

fn has_controller(dir: &Hierarchy, name: &str) -> bool {
    dir.controllers.iter().any(|controller| controller.trim_start_matches("name=") == name)
}

/// The kinds of namespaces in which `pid` is not where we are.
fn foreign_namespaces(pid: i32) -> Result<u64, Failure> {
    const KINDS: &[(&str, u64)] = &[
        ("mnt", namespace::MOUNT),
        ("pid", namespace::PID),
        ("net", namespace::NETWORK),
        ("uts", namespace::UTS),
        ("ipc", namespace::IPC),
        ("cgroup", namespace::CGROUP),
        ("time", namespace::TIME),
        ("user", namespace::USER),
    ];
    let mut kinds = 0;
    for (name, kind) in KINDS {
        let path = format!("/proc/{pid}/ns/{name}");
        let Ok(own) = fs::metadata(format!("/proc/self/ns/{name}")) else { continue };
        let theirs = fs::metadata(&path).step("stat", &path)?;
        if theirs.ino() != own.ino() {
            kinds |= kind;
        }
    }
    Ok(kinds)
}

fn start(
    request: &ExecRequest<'_>,
    plan: &ProcessPlan,
    state: &State,
    filter: Option<&Filter>,
    target: &Target,
) -> Result<Created, Failure> {
    let files = target.join_files()?;
    let unified = open_unified(target.unified.as_deref())?;
    let agent = Agent::connect(request.seccomp, filter)?;
    let (starter, channel) = startsync::pair().step("make", "start channel")?;
    let mut starter = Some(starter);
    // Only in his own user namespace has an ordinary user the power to enter the others.
    let rootless = target.kinds & namespace::USER != 0 && !rustix::process::geteuid().is_root();
    // And who is in the container's pid namespace is seen by its processes: it must be in its other
    // namespaces by then.
    let staged = rootless || target.kinds & namespace::PID != 0;
    let guest = Guest {
        id: request.id,
        plan,
        domain: &state.domain,
        channel: channel.as_fd(),
        stdio: &request.stdio,
        pidfd: target.pidfd.as_fd(),
        kinds: target.kinds,
        staged,
        cgroup_files: &files,
        filter,
        runtime: RuntimeFile::own()?,
        launch: request.launch,
    };
    let elsewhere = Elsewhere::on(&plan.schedule.first_processors)?;
    let cloned = if staged {
        let mut keep = vec![channel.as_fd()];
        keep.extend(request.stdio.files());
        let way = Way {
            channel: channel.as_fd(),
            cgroup: unified.as_ref(),
            flags: 0,
            close: Some((3 + request.launch.preserved_fds, keep)),
        };
        stage::through(&way, &mut starter, || guest.enter(), || report(guest.channel, guest.run()))
    } else {
        clone3(0, unified.as_ref().map(AsFd::as_fd), || {
            // The child's copy would keep the channel open when the starter is gone.
            starter = None;
            report(guest.channel, guest.run())
        })
        .step("clone", "process")
    };
    drop(elsewhere);
    drop(channel);
    let starter = starter.expect("only the child lets go of it");
    // What the process in between had to say tells more than that it is gone.
    let child = cloned.map_err(|failure| first_word(&starter, staged).unwrap_or(failure))?;
    let ready = set_oom_score(plan.oom_score_adj, child.pid)
        .and_then(|()| state.rdt.as_ref().map_or(Ok(()), |rdt| rdt.join(child.pid)))
        .and_then(|()| wait_ready(state, &starter, &child, agent.as_ref()));
    match ready {
        Ok(console_master) => Ok(Created {
            pid: child.pid,
            pidfd: child.pidfd,
            start: StartHandle(starter),
            console_master,
        }),
        Err(failure) => {
            kill_and_reap(&child.pidfd);
            Err(failure)
        }
    }
}

fn wait_ready(
    state: &State,
    starter: &OwnedFd,
    child: &Child,
    agent: Option<&Agent>,
) -> Result<Option<OwnedFd>, Failure> {
    loop {
        match (startsync::receive(starter.as_fd()).step("wait for", "process")?, agent) {
            (startsync::Message::Ready { console }, _) => return Ok(console),
            (startsync::Message::Listener(number), Some(agent)) => {
                let document = hooks::subject(state).document("running", Some(state.pid));
                agent.hand_over(&child.pidfd, number, child.pid, &document)?;
                startsync::proceed(starter.as_fd()).step("signal", "seccomp agent")?;
            }
            (startsync::Message::BeforePivot | startsync::Message::Listener(_), _) => {
                return Err(text("exec", "", "unexpected message of the process"));
            }
            (startsync::Message::Failed(failure), _) => return Err(failure),
            (startsync::Message::Closed, _) => {
                return Err(died(&child.pidfd, None, "the process"));
            }
        }
    }
}

/// What the child of an exec is given.
#[derive(Debug)]
struct Guest<'a> {
    id: &'a str,
    plan: &'a ProcessPlan,
    domain: &'a Domain,
    channel: BorrowedFd<'a>,
    stdio: &'a Stdio,
    pidfd: BorrowedFd<'a>,
    kinds: u64,
    /// The process in between has entered the container.
    staged: bool,
    cgroup_files: &'a [File],
    filter: Option<&'a Filter>,
    runtime: RuntimeFile,
    launch: Launch,
}

impl Guest<'_> {
    /// Enters the container. Of its pid namespace only children are members.
    fn enter(&self) -> Result<(), Failure> {
        process::hide()?;
        hide_command_line()?;
        join_cgroups(self.cgroup_files)?;
        labels::apply(self.plan)?;
        if self.kinds != 0 {
            namespace::setns(self.pidfd, self.kinds).step("join", "the container's namespaces")?;
            rustix::process::chdir("/").step("chdir", "/")?;
        }
        // Another user namespace has taken it back.
        process::hide()
    }

    /// Runs all steps. Only returns on failure.
    fn run(&self) -> Result<Infallible, Failure> {
        if !self.staged {
            self.enter()?;
        }
        set_processors(&self.plan.schedule.processors)?;
        rustix::process::setsid().step("setsid", "")?;
        let console = match self.stdio {
            Stdio::Terminal => {
                let root = Tree::open(Path::new("/")).step("open", "/")?;
                Some(rootfs::open_console(&root, self.plan.console_size)?)
            }
            Stdio::Inherit | Stdio::Files { .. } => None,
        };
        // Never dropped: its descriptors are closed with all others, by number.
        let console = ManuallyDrop::new(console);
        connect_stdio(self.stdio, console.as_ref())?;
        let around = Surroundings {
            id: self.id,
            channel: self.channel,
            filter: self.filter,
            console: console.as_ref(),
            domain: self.domain,
            before: &|| Ok(()),
            runtime: self.runtime,
            gate: None,
            launch: self.launch,
        };
        process::become_program(self.plan, &around)
    }
}
