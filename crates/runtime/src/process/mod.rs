//! From the runtime's child to the container's process: limits, credentials, program.
//!
//! The same for a container's first process and for an exec.

pub(crate) mod caps;
mod diagnose;
mod lookup;
pub(crate) mod schedule;

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use davit_sys::process as sys_process;
use davit_sys::startsync;
use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Rlimit};

use crate::Failure;
use crate::failure::{self, Step, Wrap, errno_text, text};
use crate::gate::Gate;
use crate::plan::{Domain, ProcessPlan};
use crate::request::Launch;
use crate::rootfs::{Console, Tree};
use crate::seccomp::Filter;
use crate::user;

pub(crate) use lookup::RuntimeFile;

/// What the last steps need beside the plan.
pub(crate) struct Surroundings<'a> {
    /// Names the session keyring.
    pub(crate) id: &'a str,
    /// The child's end of the start conversation.
    pub(crate) channel: BorrowedFd<'a>,
    /// System call filter.
    pub(crate) filter: Option<&'a Filter>,
    /// Its terminal.
    pub(crate) console: Option<&'a Console>,
    /// What holds for every process of the container.
    pub(crate) domain: &'a Domain,
    /// What is to be done between the word to start and the program.
    pub(crate) before: &'a dyn Fn() -> Result<(), Failure>,
    /// The runtime's own program.
    pub(crate) runtime: RuntimeFile,
    /// Where it waits when nobody holds the channel's other end.
    pub(crate) gate: Option<&'a Gate>,
    /// How it is set up.
    pub(crate) launch: Launch,
}

/// Becomes the program. Only returns on failure; `Ok` can't be.
pub(crate) fn become_program(
    plan: &ProcessPlan,
    around: &Surroundings<'_>,
) -> Result<Infallible, Failure> {
    close_others(around)?;
    schedule::apply(&plan.schedule, around.domain)?;
    set_rlimits(plan)?;
    if !around.launch.keep_keyring {
        join_keyring(around.id)?;
    }
    own_stdio(plan.uid);
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    let env = environment(plan);
    let in_cwd = enter_cwd(plan, Attempt::AsRoot)?;
    sys_process::reset_signals().step("reset", "signals")?;
    // Without no_new_privileges only CAP_SYS_ADMIN may install a filter, so it comes first; with it,
    // it comes last, so that a narrow profile need not allow our own calls.
    let early = around.filter.filter(|_| !plan.no_new_privileges);
    if let Some(filter) = early {
        filter.install(around.channel)?;
    }
    change_user(plan)?;
    if !in_cwd {
        enter_cwd(plan, Attempt::AsUser)?;
    }
    check_cwd()?;
    // A change of user may have taken it back (`fs.suid_dumpable`).
    hide()?;
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).step("set", "no_new_privs")?;
    }
    let program = lookup::find(&plan.args[0], plan.variable("PATH"))?;
    lookup::refuse_runtime(&program, around.runtime)?;
    // Whoever knows the agent is there until the start only.
    if let Some(filter) = late(plan, around).filter(|filter| filter.listens()) {
        filter.install(around.channel)?;
    }
    wait_for_release(around)?;
    let Err(failure) = execute(plan, around, &program, &env);
    if let Some(gate) = around.gate {
        gate.tell(&failure);
    }
    Err(failure)
}

/// The filter that needs no power to be installed.
fn late<'a>(plan: &ProcessPlan, around: &Surroundings<'a>) -> Option<&'a Filter> {
    around.filter.filter(|_| plan.no_new_privileges)
}

/// The last steps, when the word has come.
fn execute(
    plan: &ProcessPlan,
    around: &Surroundings<'_>,
    program: &CStr,
    env: &[CString],
) -> Result<Infallible, Failure> {
    (around.before)()?;
    if let Some(filter) = late(plan, around).filter(|filter| !filter.listens()) {
        filter.install(around.channel)?;
    }
    let error = sys_process::execve(program, &plan.args, env);
    Err(diagnose::failure(program, &plan.args, env, &error))
}

/// Keeps the container's processes from looking into this one, and from taking its descriptors,
/// before it is one of theirs.
pub(crate) fn hide() -> Result<(), Failure> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).step("hide", "process")
}

/// Closes what is the host's. Close-on-exec is not enough: a working directory or program named by
/// way of `/proc/self/fd` would still lead outside (CVE-2024-21626).
fn close_others(around: &Surroundings<'_>) -> Result<(), Failure> {
    let mut keep = vec![around.channel];
    keep.extend(around.console.map(|console| console.master.as_fd()));
    keep.extend(around.gate.iter().flat_map(|gate| gate.descriptors()));
    sys_process::close_from(3 + around.launch.preserved_fds, &keep).step("close", "descriptors")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    AsRoot,
    AsUser,
}

fn wait_for_release(around: &Surroundings<'_>) -> Result<(), Failure> {
    const OBJECT: &str = "the start message";
    match around.console {
        Some(console) => startsync::ready_with_console(around.channel, console.master.as_fd()),
        None => startsync::ready(around.channel),
    }
    .step("send", OBJECT)?;
    if let Some(gate) = around.gate {
        return gate.wait();
    }
    if startsync::wait_release(around.channel).step("wait for", OBJECT)? {
        return Ok(());
    }
    // Given up by the starter: nobody is left to tell.
    sys_process::exit_now(0)
}

fn set_rlimits(plan: &ProcessPlan) -> Result<(), Failure> {
    let some = |limit: u64| (limit != u64::MAX).then_some(limit);
    for limit in &plan.rlimits {
        let new = Rlimit { current: some(limit.soft), maximum: some(limit.hard) };
        rustix::process::setrlimit(limit.resource, new).map_err(|errno| {
            let own = rustix::process::getrlimit(limit.resource).maximum;
            let own = own.map_or("unlimited".to_owned(), |own| own.to_string());
            let error = io::Error::from(errno);
            let message = format!(
                "error setting rlimit {} to {}:{} (the engine's own hard limit is {own}, and raising \
                 it needs CAP_SYS_RESOURCE): {}",
                limit.name,
                limit.soft,
                limit.hard,
                errno_text(&error)
            );
            Failure { message, ..failure::io("rlimit", &limit.name, &error) }
        })?;
    }
    Ok(())
}

/// Leaves the starter's session keyring. Kernels without keyrings have nothing to leave.
fn join_keyring(id: &str) -> Result<(), Failure> {
    let name = CString::new(format!("_ses.{id}")).expect("an id has no zero byte");
    match sys_process::join_session_keyring(&name) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        other => other.step("join", "session keyring"),
    }
}

/// Gives the standard streams to the user, who may want to open `/dev/stdout`.
fn own_stdio(uid: u32) {
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(fd) else { continue };
        let null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(1, 3);
        if stat.st_uid != uid && !null {
            // A file that can't be given away (a read-only file system) still is readable.
            let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None);
        }
    }
}

/// The environment, with `HOME` of the user's entry in `/etc/passwd` when the configuration has none.
fn environment(plan: &ProcessPlan) -> Vec<CString> {
    let mut env = plan.env.clone();
    if plan.variable("HOME").is_none_or(<[u8]>::is_empty) {
        env.retain(|entry| !entry.as_bytes().starts_with(b"HOME="));
        let home = Tree::open(Path::new("/")).ok().and_then(|root| user::home(&root, plan.uid));
        let home = home.filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned());
        env.extend(CString::new(format!("HOME={home}")));
    }
    env
}

/// Creates the working directory if it is missing: a container's first process gets it, an exec not.
pub(crate) fn create_cwd(plan: &ProcessPlan) -> Result<(), Failure> {
    if plan.cwd.exists() {
        return Ok(());
    }
    let name = plan.cwd.to_string_lossy();
    let root = Tree::open(Path::new("/")).step("open", "/")?;
    root.make_directory(&plan.cwd, 0o755).map(drop).map_err(|errno| {
        let error = io::Error::from(errno);
        let message = format!("mkdir {name}: {}", errno_text(&error));
        Failure { message, ..failure::io("mkdir", &name, &error) }
    })
}

/// Goes to the working directory. False: the user has to try.
fn enter_cwd(plan: &ProcessPlan, attempt: Attempt) -> Result<bool, Failure> {
    let name = plan.cwd.to_string_lossy();
    match rustix::process::chdir(&plan.cwd) {
        Ok(()) => Ok(true),
        // On a network file system root may be nobody.
        Err(Errno::ACCESS | Errno::PERM) if attempt == Attempt::AsRoot => Ok(false),
        Err(errno) => {
            let error = io::Error::from(errno);
            let reason = errno_text(&error);
            let message = format!("chdir to cwd ({name:?}) set in config.json failed: {reason}");
            Err(Failure { message, ..failure::io("chdir", &name, &error) }).at("cwd")
        }
    }
}

/// A working directory outside of the root would be a way out (CVE-2024-21626).
fn check_cwd() -> Result<(), Failure> {
    let cwd = rustix::process::getcwd(Vec::new()).step("getcwd", "")?;
    if cwd.as_bytes().first() == Some(&b'/') {
        return Ok(());
    }
    let message = "current working directory is outside of container mount namespace root \
                   -- possible container breakout detected";
    Err(text("chdir", &cwd.to_string_lossy(), message))
}

/// Leaves all further groups, unless that is denied: to an ordinary user who maps only himself, since
/// membership may also take rights away.
pub(crate) fn leave_groups() -> Result<(), Errno> {
    match rustix::thread::set_thread_groups(&[]) {
        Err(Errno::PERM) if groups_are_denied() => Ok(()),
        other => other,
    }
}

fn groups_are_denied() -> bool {
    // Where it can't be read, nothing but that is left as a reason.
    std::fs::read_to_string("/proc/self/setgroups").map_or(true, |text| text.trim() == "deny")
}

fn change_user(plan: &ProcessPlan) -> Result<(), Failure> {
    caps::drop_bounding(plan.capabilities.bounding)?;
    rustix::thread::set_keep_capabilities(true).step("keep", "capabilities")?;
    let groups: Vec<Gid> = plan.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    if groups.is_empty() {
        leave_groups().step("setgroups", "[]")?;
    } else {
        rustix::thread::set_thread_groups(&groups)
            .step("setgroups", format!("{:?}", plan.groups))
            .hint(&[libc::EPERM], || {
                "a user who maps only himself can't have additionalGids".to_owned()
            })?;
    }
    let (uid, gid) = (Uid::from_raw(plan.uid), Gid::from_raw(plan.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).step("setgid", plan.gid.to_string())?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).step("setuid", plan.uid.to_string())?;
    rustix::thread::set_keep_capabilities(false).step("keep", "capabilities")?;
    caps::apply(&plan.capabilities)
}
