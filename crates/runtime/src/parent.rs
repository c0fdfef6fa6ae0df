//! Creating a container, seen from outside: cgroup, child, state, and undoing all of it on failure.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use davit_sys::cgroup::{Cgroup, Layout, Limits};
use davit_sys::clone::{Child, clone3};
use davit_sys::{namespace, startsync};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use crate::Failure;
use crate::failure::{Step, Wrap, text};
use crate::gate::Gate;
use crate::hooks::{self, HookSurroundings, Kind};
use crate::idmap;
use crate::init::{Entry, Init};
use crate::labels;
use crate::lock::Lock;
use crate::network::Moves;
use crate::plan::{CgroupPlan, Host, Join, Plan, Unit};
use crate::process::RuntimeFile;
use crate::rdt::{self, Rdt};
use crate::request::{CreateRequest, Created, NotCreated, StartHandle};
use crate::rootfs;
use crate::seccomp::{Agent, Filter};
use crate::stage;
use crate::state::{self, State};
use crate::systemd::{self, Held};

/// Creates the container. Its process is set up and waits for [`StartHandle::start`] or
/// [`davit_sys::startsync::release`].
///
/// # Errors
/// The step that failed, with Docker's text where clients match on it. Nothing is left behind, and the
/// `poststop` hooks have run if there was something.
pub fn create(request: &CreateRequest<'_>) -> Result<Created, NotCreated> {
    let host = probe(request.launch.systemd_cgroup)?;
    let plan = Plan::new(request.id, request.bundle, &request.spec, &host)?;
    labels::check(&plan.process, plan.mount_label.as_deref())?;
    let filter = plan.seccomp.as_ref().map(|profile| Filter::new(profile, request.seccomp_cache));
    let filter = filter.transpose()?;
    let rdt = find_rdt(&plan)?;
    let lock = Lock::claim(request.root, request.id)?;
    let mut undo = Undo::default();
    let lock = undo.lock.insert(lock);
    // Before there is a cgroup: whatever happens to this process, it is found and removed.
    let first = State { rdt: rdt.clone(), ..first_record(request, &plan) };
    first.save(lock.directory())?;
    lock.mark_recorded()?;
    undo.rdt = rdt;
    let result = build(request, &plan, filter.as_ref(), &mut undo);
    match result.wrap(|| "unable to start container process".to_owned()) {
        Ok(created) => {
            undo.disarm();
            Ok(created)
        }
        Err(failure) => {
            drop(undo);
            Err(NotCreated { failure: failure.into(), warnings: hooks::poststop(&first) })
        }
    }
}

/// What is to be taken back when a step fails.
#[derive(Debug, Default)]
struct Undo {
    lock: Option<Lock>,
    cgroup: Option<Cgroup>,
    child: Option<OwnedFd>,
    unit: Option<Unit>,
    held: Option<Held>,
    network: Option<Moves>,
    rdt: Option<Rdt>,
}

impl Undo {
    fn disarm(&mut self) {
        self.unit = None;
        self.held = None;
        self.lock = None;
        self.cgroup = None;
        self.child = None;
        self.network = None;
        self.rdt = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // A failure is on its way to the caller already; these can only make it less clear.
        if let Some(child) = self.child.take() {
            kill_and_reap(&child);
        }
        if let Some(moves) = self.network.take() {
            moves.give_back();
        }
        if let Some(rdt) = self.rdt.take() {
            let _ = rdt.remove();
        }
        self.held = None;
        if let Some(unit) = self.unit.take() {
            let _ = systemd::stop(&unit);
        }
        if let Some(cgroup) = self.cgroup.take() {
            let _ = cgroup.remove();
        }
        if let Some(lock) = self.lock.take() {
            let _ = lock.remove();
        }
    }
}

pub(crate) fn probe(systemd_cgroup: bool) -> Result<Host, Failure> {
    Ok(Host {
        cgroups: Layout::known().step("detect", "cgroups")?.clone(),
        time_namespaces: Path::new("/proc/self/ns/time").exists(),
        systemd: systemd_cgroup.then(systemd::here).transpose()?,
    })
}

fn build(
    request: &CreateRequest<'_>,
    plan: &Plan,
    filter: Option<&Filter>,
    undo: &mut Undo,
) -> Result<Created, Failure> {
    let cgroup = make_cgroup(plan, request.launch.rootless, undo)?;
    // Before the child is in it: rule by rule, they take away what they give back later.
    allow_devices(plan, cgroup.as_ref())?;
    let files = cgroup.as_ref().map(Cgroup::join_files).transpose().step("open", "cgroup")?;
    let unified = open_unified(cgroup.as_ref().and_then(Cgroup::unified_directory))?;
    let entries = open_namespaces(plan)?;
    let prepared = rootfs::prepare(plan)?;
    let runtime = RuntimeFile::own()?;
    let agent = Agent::connect(plan.seccomp.as_ref(), filter)?;
    let (starter, channel) = startsync::pair().step("make", "start channel")?;
    let mut starter = Some(starter);
    let directory = undo.lock.as_ref().expect("claimed before").directory().to_owned();
    let gate = request.launch.gated.then(|| Gate::make(&directory)).transpose()?;
    let init = Init {
        plan,
        channel: channel.as_fd(),
        stdio: &request.stdio,
        entries: &entries,
        staged: stage::is_needed(&plan.namespaces),
        rootless: !rustix::process::geteuid().is_root(),
        prepared: &prepared,
        cgroup_files: files.as_deref().unwrap_or_default(),
        filter,
        runtime,
        gate: gate.as_ref(),
        launch: request.launch,
    };
    let cloned = if stage::is_needed(&plan.namespaces) {
        stage::clone(&init, unified.as_ref(), &mut starter)
    } else {
        clone(&init, unified.as_ref(), &mut starter)
    };
    drop(channel);
    let told = starter.as_ref().expect("only the child lets go of it");
    let child = match cloned {
        // What the process in between had to say tells more than that it is gone.
        Err(failure) => {
            let staged = stage::is_needed(&plan.namespaces);
            return Err(first_word(told, staged).unwrap_or(failure));
        }
        Ok(child) => child,
    };
    undo.child = Some(child.pidfd.try_clone().step("copy", "pidfd")?);
    drop(gate);
    let starter = starter.expect("only the child lets go of it");
    map_ids(plan, &child, &starter)?;
    // The child is busy with its mounts meanwhile.
    limit(plan, cgroup.as_ref())?;
    set_oom_score(plan.process.oom_score_adj, child.pid)?;
    let rdt = share(plan, undo, child.pid)?;
    let state = record(request, plan, &child, runtime, cgroup.is_some())?;
    let state = State { rdt, ..state };
    state.save(&directory)?;
    let console_master = wait_ready(plan, &starter, &child, agent.as_ref(), undo)?;
    state.finish(&directory)?;
    Ok(Created { pid: child.pid, pidfd: child.pidfd, start: StartHandle(starter), console_master })
}

/// The group that the container is going to be in.
fn find_rdt(plan: &Plan) -> Result<Option<Rdt>, Failure> {
    let Some(wanted) = &plan.rdt else { return Ok(None) };
    Rdt::new(wanted, &plan.id, rdt::root()?.as_deref()).map(Some)
}

/// Makes that group and puts the child in.
fn share(plan: &Plan, undo: &Undo, pid: i32) -> Result<Option<Rdt>, Failure> {
    if let Some((rdt, wanted)) = undo.rdt.as_ref().zip(plan.rdt.as_ref()) {
        rdt.make(wanted)?;
        rdt.join(pid)?;
    }
    Ok(undo.rdt.clone())
}

/// The container's child.
fn clone(
    init: &Init<'_>,
    cgroup: Option<&OwnedFd>,
    starter: &mut Option<OwnedFd>,
) -> Result<Child, Failure> {
    let pid_namespace = init.entries.iter().find(|entry| entry.kind == namespace::PID);
    let _inside = pid_namespace.map(PidNamespace::enter).transpose()?;
    clone3(init.plan.namespaces.new, cgroup.map(AsFd::as_fd), || {
        // The child's copy would keep the channel open when the starter is gone.
        *starter = None;
        report(init.channel, init.run())
    })
    .step("clone", "container process")
}

/// A failure that a process in between told before there was a child.
pub(crate) fn first_word(starter: &OwnedFd, staged: bool) -> Option<Failure> {
    if !staged {
        return None;
    }
    match startsync::receive(starter.as_fd()) {
        Ok(startsync::Message::Failed(failure)) => Some(failure),
        _ => None,
    }
}

fn make_cgroup(plan: &Plan, rootless: bool, undo: &mut Undo) -> Result<Option<Cgroup>, Failure> {
    let Some(wanted) = &plan.cgroup else { return Ok(None) };
    let cgroup = wanted.cgroup.clone();
    if !cgroup.procs().step("read cgroup", &wanted.path)?.is_empty() {
        let message = format!("container's cgroup is not empty: {}", wanted.path);
        return Err(text("cgroup", &wanted.path, message));
    }
    undo.cgroup = Some(cgroup.clone());
    if let Some(unit) = &wanted.unit {
        undo.unit = Some(unit.clone());
        undo.held = Some(start_scope(plan, wanted, unit)?);
    }
    match cgroup.create() {
        Err(error) if rootless && is_refusal(&error) => {
            undo.cgroup = None;
            if !wanted.asked && wanted.limits == Limits::default() {
                return Ok(None);
            }
            let hint = "rootless needs no limits + no cgroupsPath when no permission is granted for cgroups";
            Err(error).step("create cgroup", &wanted.path).hint(REFUSALS, || hint.to_owned())
        }
        other => other.step("create cgroup", &wanted.path).map(|()| Some(cgroup)),
    }
}

fn start_scope(plan: &Plan, wanted: &CgroupPlan, unit: &Unit) -> Result<Held, Failure> {
    let mut properties = systemd::of_container(&plan.id);
    properties.extend(systemd::of_limits(&wanted.limits, wanted.cgroup.is_v2()));
    properties.extend(systemd::annotated(&plan.annotations)?);
    systemd::start(unit, properties)
}

/// What an ordinary user gets to hear who was given no cgroups of his own.
const REFUSALS: &[i32] = &[libc::EACCES, libc::EPERM, libc::EROFS];

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn allow_devices(plan: &Plan, cgroup: Option<&Cgroup>) -> Result<(), Failure> {
    let Some((plan, cgroup)) = plan.cgroup.as_ref().zip(cgroup) else { return Ok(()) };
    cgroup.apply_devices(&plan.devices).step("apply cgroup configuration:", &plan.path)
}

fn limit(plan: &Plan, cgroup: Option<&Cgroup>) -> Result<(), Failure> {
    let Some((plan, cgroup)) = plan.cgroup.as_ref().zip(cgroup) else { return Ok(()) };
    cgroup.apply(&plan.limits).step("apply cgroup configuration:", &plan.path)
}

/// The unified cgroup's directory, for the child to be born in.
pub(crate) fn open_unified(path: Option<&Path>) -> Result<Option<OwnedFd>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, path, flags, Mode::empty());
    directory.map(Some).step("open", path.to_string_lossy())
}

fn open_namespaces(plan: &Plan) -> Result<Vec<Entry>, Failure> {
    let open = |join: &Join| {
        let name = join.path.to_string_lossy().into_owned();
        let file = File::open(&join.path).step("open namespace", &name)?;
        if join.kind == namespace::NETWORK {
            refuse_host_sysctls(plan, &file)?;
        }
        if join.kind == namespace::MOUNT {
            refuse_host_mounts(&file, &name)?;
        }
        Ok(Entry { kind: join.kind, file: file.into(), name })
    };
    plan.namespaces.join.iter().map(open).collect()
}

/// A network namespace that is joined may be the host's own, whose settings are not the container's.
fn refuse_host_sysctls(plan: &Plan, joined: &File) -> Result<(), Failure> {
    const OWN: &str = "/proc/self/ns/net";
    let Some(sysctl) = plan.sysctls.iter().find(|sysctl| sysctl.is_network()) else {
        return Ok(());
    };
    let own = fs::metadata(OWN).step("stat", OWN)?;
    let joined = joined.metadata().step("stat", "network namespace")?;
    if (own.dev(), own.ino()) != (joined.dev(), joined.ino()) {
        return Ok(());
    }
    let message = format!("sysctl {:?} not allowed in host network namespace", sysctl.name);
    Err(text("config", &sysctl.name, message))
}

/// A mount namespace that is joined gets the container's root.
fn refuse_host_mounts(joined: &File, name: &str) -> Result<(), Failure> {
    let joined = joined.metadata().step("stat", name)?;
    for path in ["/proc/self/ns/mnt", "/proc/1/ns/mnt"] {
        let same = |host: fs::Metadata| (host.dev(), host.ino()) == (joined.dev(), joined.ino());
        if fs::metadata(path).is_ok_and(same) {
            let message = format!("namespace {name}: the host's mounts can't be a container's");
            return Err(text("config", name, message));
        }
    }
    Ok(())
}

/// While it lives, children of this process are born in another pid namespace.
struct PidNamespace {
    own: OwnedFd,
}

impl PidNamespace {
    fn enter(entry: &Entry) -> Result<Self, Failure> {
        const OWN: &str = "/proc/self/ns/pid";
        let own = File::open(OWN).step("open", OWN)?.into();
        namespace::setns(entry.file.as_fd(), namespace::PID)
            .step("join pid namespace", &entry.name)?;
        Ok(Self { own })
    }
}

impl Drop for PidNamespace {
    fn drop(&mut self) {
        // Ours, which we were in before: it can't be refused.
        let _ = namespace::setns(self.own.as_fd(), namespace::PID);
    }
}

/// Child: tells the failure and gives the exit status.
pub(crate) fn report(channel: BorrowedFd<'_>, result: Result<Infallible, Failure>) -> i32 {
    let Err(failure) = result;
    // Nobody listens any more: nothing else to be done about it.
    let _ = startsync::failed(channel, &failure);
    1
}

fn map_ids(plan: &Plan, child: &Child, starter: &OwnedFd) -> Result<(), Failure> {
    if plan.namespaces.new & namespace::USER == 0 {
        return Ok(());
    }
    idmap::write(plan, child.pid)?;
    startsync::proceed(starter.as_fd()).step("signal", "id maps")
}

/// Docker sets 0 when nobody asked for anything. Where the engine itself has more and may not go
/// below, that is not worth failing for; any other value was somebody's wish.
pub(crate) fn set_oom_score(wanted: Option<i32>, pid: i32) -> Result<(), Failure> {
    let Some(wanted) = wanted else { return Ok(()) };
    let path = format!("/proc/{pid}/oom_score_adj");
    let present = fs::read_to_string(&path).step("read", &path)?;
    if present.trim().parse() == Ok(wanted) {
        return Ok(());
    }
    match fs::write(&path, wanted.to_string()) {
        Err(error) if wanted == 0 && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other.step("write", format!("{wanted} to {path}")),
    }
}

/// What is known before there is a process.
pub(crate) fn first_record(request: &CreateRequest<'_>, plan: &Plan) -> State {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    State {
        oci_version: request.spec.version().clone(),
        id: plan.id.clone(),
        pid: 0,
        start_time: 0,
        creator: (0, 0),
        bundle: request.bundle.to_owned(),
        rootfs: plan.rootfs.clone(),
        cgroup: plan.cgroup.as_ref().map(|cgroup| cgroup.path.clone()),
        cgroup_paths: plan.cgroup.as_ref().map(|plan| plan.cgroup.paths()).unwrap_or_default(),
        unit: plan.cgroup.as_ref().and_then(|cgroup| cgroup.unit.clone()),
        gated: request.launch.gated,
        unfinished: true,
        created: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        annotations: plan.annotations.clone(),
        hooks: plan.hooks.later(),
        domain: plan.domain.clone(),
        rdt: None,
        directory: PathBuf::new(),
    }
}

fn record(
    request: &CreateRequest<'_>,
    plan: &Plan,
    child: &Child,
    runtime: RuntimeFile,
    has_cgroup: bool,
) -> Result<State, Failure> {
    let (_, start_time) = state::process_start(child.pid).step("read", "container process")?;
    let first = first_record(request, plan);
    Ok(State {
        pid: child.pid,
        start_time,
        creator: (runtime.device, runtime.inode),
        cgroup: first.cgroup.filter(|_| has_cgroup),
        ..first
    })
}

fn wait_ready(
    plan: &Plan,
    starter: &OwnedFd,
    child: &Child,
    agent: Option<&Agent>,
    undo: &mut Undo,
) -> Result<Option<OwnedFd>, Failure> {
    loop {
        match startsync::receive(starter.as_fd()).step("wait for", "container init")? {
            startsync::Message::Ready { console } => return Ok(console),
            // The child asks for its network devices first, if there are any, and then for hooks.
            startsync::Message::BeforePivot => {
                if undo.network.is_none() && !plan.net_devices.is_empty() {
                    let moves = undo.network.insert(Moves::to(child.pid)?);
                    plan.net_devices.iter().try_for_each(|device| moves.take(device))?;
                } else {
                    run_hooks(plan, child)?;
                }
                startsync::proceed(starter.as_fd()).step("signal", "container init")?;
            }
            startsync::Message::Listener(number) => {
                let agent = agent.expect("only a filter with an agent has a listener");
                let state = plan.subject().document("creating", Some(child.pid));
                agent.hand_over(&child.pidfd, number, child.pid, &state)?;
                startsync::proceed(starter.as_fd()).step("signal", "seccomp agent")?;
            }
            startsync::Message::Failed(failure) => {
                return Err(failure).wrap(|| "error during container init".to_owned());
            }
            startsync::Message::Closed => {
                return Err(died(&child.pidfd, undo.cgroup.as_ref(), "container init"));
            }
        }
    }
}

/// The hooks that run outside of the container while its child waits.
fn run_hooks(plan: &Plan, child: &Child) -> Result<(), Failure> {
    let surroundings = HookSurroundings { directory: Some(&plan.bundle), env: None };
    [Kind::Prestart, Kind::CreateRuntime]
        .iter()
        .try_for_each(|kind| plan.hooks.run(*kind, &plan.subject(), child.pid, &surroundings))
}

/// The child, called `what`, ended without a word.
pub(crate) fn died(pidfd: &OwnedFd, cgroup: Option<&Cgroup>, what: &str) -> Failure {
    let wait = || rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    let status = rustix::io::retry_on_intr(wait).ok().flatten();
    if cgroup.is_some_and(|cgroup| cgroup.oom_kills().is_ok_and(|kills| kills > 0)) {
        let message = format!("{what} was OOM-killed (memory limit too low?)");
        return text("init", "", message);
    }
    let signal = status.as_ref().and_then(|status| status.terminating_signal());
    let code = status.as_ref().and_then(|status| status.exit_status());
    let end = match (signal, code) {
        (Some(9), _) => "it was killed (SIGKILL)".to_owned(),
        (Some(signal), _) => format!("it was ended by signal {signal}"),
        (_, Some(code)) => format!("it exited with status {code} and told no reason"),
        _ => "its exit status is lost".to_owned(),
    };
    let mut failure = text("init", "", format!("{what} ended unexpectedly: {end}"));
    if signal == Some(libc::SIGSYS) {
        failure.hint = "its seccomp profile kills at a call that the set-up needs".into();
    }
    failure
}

/// Ends a child for good, whatever it was doing.
pub(crate) fn kill_and_reap(pidfd: &OwnedFd) {
    // Gone already is as good, and its status tells nothing that the failure doesn't.
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
    let wait = || rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    let _ = rustix::io::retry_on_intr(wait);
}
