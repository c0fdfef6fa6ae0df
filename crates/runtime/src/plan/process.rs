//! The process: program, credentials and limits.

use std::ffi::CString;
use std::path::PathBuf;

use davit_types::oci::runtime::{
    Capabilities as SpecCapabilities, PosixRlimit, PosixRlimitType, Process,
};
use rustix::process::Resource;

use super::{Schedule, config};
use crate::Failure;

/// What a process is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessPlan {
    /// Program and arguments.
    pub args: Vec<CString>,
    /// Environment.
    pub env: Vec<CString>,
    /// Working directory.
    pub cwd: PathBuf,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// The five sets.
    pub capabilities: Capabilities,
    /// Nothing it executes gives it more.
    pub no_new_privileges: bool,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// `oom_score_adj`; absent: the caller's.
    pub oom_score_adj: Option<i32>,
    /// Scheduler, priority and processors.
    pub schedule: Schedule,
    /// AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// SELinux label.
    pub selinux_label: Option<String>,
    /// Rows and columns of its terminal.
    pub console_size: Option<(u16, u16)>,
}

/// Bit sets of capabilities, bit n for capability n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What it can ever get.
    pub bounding: u64,
    /// What is in force.
    pub effective: u64,
    /// What it may hand on.
    pub inheritable: u64,
    /// What it may put in force.
    pub permitted: u64,
    /// What it hands on to ordinary programs.
    pub ambient: u64,
}

/// A resource limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlimit {
    /// Which.
    pub resource: Resource,
    /// Its name, `RLIMIT_NOFILE`.
    pub name: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

impl ProcessPlan {
    /// Decides what `process` means.
    ///
    /// # Errors
    /// The first thing that is wrong or not supported.
    pub fn new(process: &Process) -> Result<Self, Failure> {
        let args = strings(process.args().as_deref().unwrap_or_default(), "process.args")?;
        if args.is_empty() {
            return Err(config("process.args", "args must not be empty"));
        }
        if process.command_line().as_ref().is_some_and(|line| !line.is_empty()) {
            return Err(config("process.commandLine", "process.commandLine is for Windows only"));
        }
        if let Some(score) = process.oom_score_adj().filter(|score| !(-1000..=1000).contains(score))
        {
            return Err(config("process.oomScoreAdj", format!("invalid oomScoreAdj {score}")));
        }
        if !process.cwd().is_absolute() {
            return Err(config("process.cwd", "Cwd must be an absolute path"));
        }
        let user = process.user();
        let size = process.console_size();
        let cells = |cells: u64| u16::try_from(cells).unwrap_or(u16::MAX);
        Ok(Self {
            args,
            env: strings(process.env().as_deref().unwrap_or_default(), "process.env")?,
            cwd: process.cwd().clone(),
            uid: id(user.uid(), "process.user.uid")?,
            gid: id(user.gid(), "process.user.gid")?,
            groups: groups(user.additional_gids().as_deref().unwrap_or_default())?,
            umask: user.umask().unwrap_or(0o022) & 0o777,
            capabilities: capabilities(process),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            rlimits: rlimits(process.rlimits().as_deref().unwrap_or_default())?,
            oom_score_adj: process.oom_score_adj(),
            schedule: Schedule::new(process)?,
            apparmor_profile: label(process.apparmor_profile(), "process.apparmorProfile")?,
            selinux_label: label(process.selinux_label(), "process.selinuxLabel")?,
            console_size: size.map(|size| (cells(size.height()), cells(size.width()))),
        })
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        self.env
            .iter()
            .rev()
            .find_map(|entry| entry.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

/// A user or group that the kernel can be told; its -1 would leave things as they are.
pub(super) fn id(id: u32, name: &str) -> Result<u32, Failure> {
    const MAXIMUM: u32 = i32::MAX.cast_unsigned();
    if id <= MAXIMUM {
        return Ok(id);
    }
    Err(config(name, format!("{name}: uids and gids must be in range 0-{MAXIMUM}")))
}

fn groups(groups: &[u32]) -> Result<Vec<u32>, Failure> {
    groups.iter().map(|&group| id(group, "process.user.additionalGids")).collect()
}

fn label(text: &Option<String>, name: &str) -> Result<Option<String>, Failure> {
    match text.as_deref() {
        None | Some("") => Ok(None),
        // Written to files of the kernel as one line.
        Some(text) if text.contains(['\0', '\n']) => {
            Err(config(name, format!("{name}: invalid label {text:?}")))
        }
        Some(text) => Ok(Some(text.to_owned())),
    }
}

fn strings(list: &[String], name: &str) -> Result<Vec<CString>, Failure> {
    let string = |text: &String| {
        let bad = |_| config(name, format!("{name} contains nul byte: {text:?}"));
        CString::new(text.as_str()).map_err(bad)
    };
    list.iter().map(string).collect()
}

fn capabilities(process: &Process) -> Capabilities {
    let Some(sets) = process.capabilities() else { return Capabilities::default() };
    let bits = |set: &Option<SpecCapabilities>| {
        let set = set.iter().flatten();
        set.fold(0, |bits, capability| bits | crate::process::caps::bit(*capability))
    };
    Capabilities {
        bounding: bits(sets.bounding()),
        effective: bits(sets.effective()),
        inheritable: bits(sets.inheritable()),
        permitted: bits(sets.permitted()),
        ambient: bits(sets.ambient()),
    }
}

fn rlimits(list: &[PosixRlimit]) -> Result<Vec<Rlimit>, Failure> {
    let mut rlimits: Vec<Rlimit> = Vec::new();
    for entry in list {
        let name = entry.typ().to_string();
        let resource = resource(entry.typ());
        let (soft, hard) = (entry.soft(), entry.hard());
        if soft > hard {
            let text =
                format!("rlimit {name}: the soft limit {soft} is above the hard limit {hard}");
            return Err(config(&name, text));
        }
        if rlimits.iter().any(|known| known.resource == resource) {
            return Err(config(&name, format!("rlimit {name} is given twice")));
        }
        rlimits.push(Rlimit { resource, name, soft, hard });
    }
    Ok(rlimits)
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}
