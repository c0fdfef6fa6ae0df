//! The system call filter: compiled by ourselves, once per profile, and kept as ready bytes.
//!
//! libseccomp needs 9 to 16 ms for Docker's profile at every start; reading and installing a kept
//! program takes well under one.

mod compile;
#[cfg(test)]
mod interpret;
mod listener;
mod syscalls;

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use davit_sys::seccomp::{
    FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_WAIT_KILLABLE_RECV, Instruction, install,
    install_with_listener,
};
use davit_sys::startsync;
use davit_types::oci::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};

use crate::Failure;
use crate::failure::{Step, text};

pub(crate) use listener::Agent;

/// Changes whenever the compiler or its tables do: what older versions kept is not used.
const VERSION: u8 = 2;

/// A program that is ready to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    program: Vec<Instruction>,
    flags: u32,
    /// Somebody else decides on some of the calls.
    listens: bool,
}

impl Filter {
    /// Compiles `profile`, or reads the program kept for it in `cache`.
    pub(crate) fn new(profile: &LinuxSeccomp, cache: Option<&Path>) -> Result<Self, Failure> {
        let listens = listens(profile)?;
        let flags = flags(profile.flags().as_deref(), listens)?;
        let compiled = || {
            let program = compile::check(profile).and_then(|()| compile::compile(profile));
            program.map_err(|why| text("seccomp", "profile", format!("seccomp profile: {why}")))
        };
        let Some(directory) = cache else {
            return Ok(Self { program: compiled()?, flags, listens });
        };
        let mut key = serde_json::to_vec(profile)
            .map_err(|error| text("seccomp", "profile", format!("seccomp profile: {error}")))?;
        key.push(VERSION);
        let path = directory.join(format!("{:016x}.bpf", fnv1a(&key)));
        if let Some(program) = fs::read(&path).ok().and_then(|kept| unpack(&kept, &key)) {
            return Ok(Self { program, flags, listens });
        }
        let program = compiled()?;
        // What can't be kept is compiled again next time.
        let _ = keep(directory, &path, &pack(&key, &program));
        Ok(Self { program, flags, listens })
    }

    /// Whether somebody else decides on some of the calls, and has to be told before the program runs.
    pub(crate) fn listens(&self) -> bool {
        self.listens
    }

    /// Puts the calling process under the filter. With a listener, its end goes to whoever is at the
    /// other end of `channel`.
    pub(crate) fn install(&self, channel: BorrowedFd<'_>) -> Result<(), Failure> {
        if !self.listens {
            return install(&self.program, self.flags).step("install", "seccomp filter");
        }
        let listener = install_with_listener(&self.program, self.flags)
            .step("install", "seccomp filter with a listener")?;
        startsync::listener(channel, listener.as_raw_fd()).step("send", "seccomp listener")?;
        if startsync::wait_proceed(channel).step("wait for", "seccomp agent")? {
            return Ok(());
        }
        // Given up by the starter: nobody is left to tell.
        davit_sys::process::exit_now(0)
    }
}

/// Whether the profile has calls for somebody else to decide on, who has to be reachable then.
fn listens(profile: &LinuxSeccomp) -> Result<bool, Failure> {
    const NOTIFY: LinuxSeccompAction = LinuxSeccompAction::ScmpActNotify;
    let bad = |what: &str| Err(text("seccomp", "SCMP_ACT_NOTIFY", what));
    if profile.default_action() == NOTIFY {
        return bad("SCMP_ACT_NOTIFY cannot be used as default action");
    }
    let rules = profile.syscalls().iter().flatten();
    let mut rules = rules.filter(|rule| rule.action() == NOTIFY).peekable();
    let path = profile.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = profile.listener_metadata().as_ref().is_some_and(|text| !text.is_empty());
    if metadata && path.is_none() {
        return bad("seccomp listenerMetadata is set without listenerPath");
    }
    if rules.peek().is_none() {
        return Ok(false);
    }
    if path.is_none() {
        return bad("SCMP_ACT_NOTIFY needs the listenerPath of an agent");
    }
    // It is with this call that the agent gets to know of the listener.
    if rules.any(|rule| rule.names().iter().any(|name| name == "write")) {
        return bad("SCMP_ACT_NOTIFY cannot be used for the write syscall");
    }
    Ok(true)
}

/// Whether `profile` can be compiled.
///
/// # Errors
/// The first thing in it that is wrong or not supported.
pub fn check(profile: &LinuxSeccomp) -> Result<(), Failure> {
    Filter::new(profile, None).map(drop)
}

fn flags(list: Option<&[LinuxSeccompFilterFlag]>, listens: bool) -> Result<u32, Failure> {
    // A filter shouldn't cost the protection's slow-down that nobody asked for.
    let Some(list) = list else { return Ok(FLAG_SPEC_ALLOW) };
    list.iter().try_fold(0, |flags, flag| {
        Ok(flags
            | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => FLAG_TSYNC,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if listens => {
                    FLAG_WAIT_KILLABLE_RECV
                }
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                    let message =
                        "seccomp flag SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs SCMP_ACT_NOTIFY";
                    return Err(text("seccomp", "flags", message));
                }
            })
    })
}

/// FNV-1a; only names the file, whose content holds the whole key.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn pack(key: &[u8], program: &[Instruction]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(key.len() + 8 * program.len() + 8);
    kept.extend((key.len() as u64).to_le_bytes());
    kept.extend(key);
    for Instruction { code, jt, jf, k } in program {
        kept.extend(code.to_le_bytes());
        kept.extend([*jt, *jf]);
        kept.extend(k.to_le_bytes());
    }
    kept
}

fn unpack(kept: &[u8], key: &[u8]) -> Option<Vec<Instruction>> {
    let (length, rest) = kept.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*length) != key.len() as u64 {
        return None;
    }
    let code = rest.strip_prefix(key)?;
    let (instructions, []) = code.as_chunks::<8>() else { return None };
    let instruction = |&[a, b, jt, jf, k @ ..]: &[u8; 8]| Instruction {
        code: u16::from_le_bytes([a, b]),
        jt,
        jf,
        k: u32::from_le_bytes(k),
    };
    (!instructions.is_empty()).then(|| instructions.iter().map(instruction).collect())
}

/// Written aside and renamed: a reader sees all of it or nothing.
fn keep(directory: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&aside, content).and_then(|()| fs::rename(&aside, path)).inspect_err(|_| {
        // Only the failed attempt's own file.
        let _ = fs::remove_file(&aside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_kept_program_is_the_compiled_one_and_a_damaged_one_is_not_used() {
        let profile: LinuxSeccomp = serde_json::from_value(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["execve", "read", "write"], "action": "SCMP_ACT_ALLOW"}],
        }))
        .expect("a profile");
        let directory = std::env::temp_dir().join(format!("davit-seccomp-{}", std::process::id()));

        let fresh = Filter::new(&profile, None).expect("a filter");
        for _ in 0..2 {
            assert_eq!(Filter::new(&profile, Some(&directory)).expect("a filter"), fresh);
        }
        let entry = fs::read_dir(&directory).expect("the cache").next().expect("one file");
        let path = entry.expect("readable").path();
        let kept = fs::read(&path).expect("readable");
        fs::write(&path, &kept[..kept.len() - 3]).expect("writable");
        assert_eq!(Filter::new(&profile, Some(&directory)).expect("a filter"), fresh);
        assert_eq!(fs::read(&path).expect("readable"), kept, "repaired");
        fs::remove_dir_all(&directory).expect("removable");
    }

    #[test]
    fn profiles_that_can_not_work_are_refused_with_the_reason() {
        let essential = json!({"names": ["execve", "read", "write"], "action": "SCMP_ACT_ALLOW"});
        let notify = |name: &str| json!({"names": [name], "action": "SCMP_ACT_NOTIFY"});
        let cases = [
            (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "cannot be used as default action"),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [notify("mkdir")]}),
                "needs the listenerPath",
            ),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "syscalls": [notify("write")]}),
                "cannot be used for the write syscall",
            ),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
                "without listenerPath",
            ),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}),
                "needs SCMP_ACT_NOTIFY",
            ),
            (
                json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}),
                "out of range, the last is 4095",
            ),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
                "is not for action SCMP_ACT_ALLOW",
            ),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536}]}),
                "out of range, the last is 65535",
            ),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 1}]}),
                "errnoRet is not for action SCMP_ACT_KILL",
            ),
            (json!({"defaultAction": "SCMP_ACT_ERRNO"}), "it refuses execve"),
            (
                json!({"defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [essential, {"names": ["read"], "action": "SCMP_ACT_KILL"}]}),
                "it refuses read",
            ),
        ];
        for (profile, expected) in cases {
            let profile: LinuxSeccomp = serde_json::from_value(profile).expect("a profile");
            let failure = Filter::new(&profile, None).expect_err(expected);
            assert!(failure.message.contains(expected), "{failure}");
        }
    }

    #[test]
    fn flags_are_the_kernels() {
        let profile = |flags: serde_json::Value| -> LinuxSeccomp {
            serde_json::from_value(json!({
                "defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "listenerPath": "/s",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
            }))
            .expect("a profile")
        };
        let all = ["LOG", "TSYNC", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"];
        let all = all.map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}"));
        let filter = Filter::new(&profile(json!(all)), None).expect("a filter");
        assert_eq!((filter.flags, filter.listens()), (1 | 2 | 4 | 32, true));
        assert_eq!(Filter::new(&profile(json!([])), None).expect("a filter").flags, 0);
    }
}
