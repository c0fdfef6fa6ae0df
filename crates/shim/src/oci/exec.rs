//! `exec`

use std::fs;
use std::path::PathBuf;

use davit_runtime::state::State;
use davit_runtime::{ExecRequest, Launch, Stdio};
use davit_types::oci::runtime::Process;
use davit_types::{Context, Error, Result};
use rustix::process::Pid;
use serde::Deserialize;
use serde_json::{Value, json};

use super::foreground::Foreground;
use super::{Host, bundle, failed, launch};

/// In front of an error; its exit status is one that programs seldom have.
pub(crate) const FAILED: &str = "exec failed";
pub(crate) const FAILED_STATUS: u8 = 255;

/// Flags of `exec`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) handles: launch::Handles,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Set a variable of the environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// User, and group
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// A further group
    #[arg(short = 'g', long, value_name = "GID")]
    pub(crate) additional_gids: Vec<u32>,
    /// File with the process, as in config.json; the other flags about it are left aside
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Don't wait for the process' end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    pub(crate) process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    pub(crate) apparmor: Option<String>,
    /// Let nothing that the process executes give it more privileges
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// A further capability
    #[arg(short, long, value_name = "CAPABILITY")]
    pub(crate) cap: Vec<String>,
    /// A cgroup below the container's
    #[arg(long, value_name = "[CONTROLLER[,CONTROLLER]:]PATH")]
    pub(crate) cgroup: Vec<String>,
    /// Do it in a paused container, too
    #[arg(long)]
    pub(crate) ignore_paused: bool,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
    /// Program and arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

pub(crate) fn run(host: &Host<'_>, args: &Args) -> Result<u8> {
    execute(host, args).context(|| FAILED)
}

fn execute(host: &Host<'_>, args: &Args) -> Result<u8> {
    let state = State::load(&host.root, &args.id).map_err(failed)?;
    let config = bundle::read(&state.bundle)?;
    let mut process = process(host, args, &config)?;
    if !args.detach {
        bundle::size_terminal(&mut process);
    }
    let terminal = process.terminal().unwrap_or(false);
    args.handles.check_terminal(terminal, args.detach)?;
    let seccomp = config.pointer("/linux/seccomp").filter(|seccomp| !seccomp.is_null());
    let seccomp = seccomp.map(|seccomp| serde_json::from_value(seccomp.clone())).transpose();
    let seccomp = seccomp.context(|| "parse the container's seccomp profile")?;
    let foreground = (!args.detach).then(Foreground::new).transpose()?;
    if foreground.is_some() {
        rustix::process::set_child_subreaper(Pid::from_raw(1)).context(|| "become a subreaper")?;
    }
    let created = davit_runtime::exec(&ExecRequest {
        id: &args.id,
        root: &host.root,
        process,
        stdio: if terminal { Stdio::Terminal } else { Stdio::Inherit },
        seccomp: seccomp.as_ref(),
        seccomp_cache: Some(&host.root.join(super::SECCOMP_CACHE)),
        cgroups: &args.cgroup,
        ignore_paused: args.ignore_paused,
        launch: Launch {
            preserved_fds: args.handles.preserve_fds + launch::listen_fds(),
            rootless: host.rootless,
            systemd_cgroup: host.systemd_cgroup,
            ..Launch::default()
        },
    });
    let created = created.map_err(failed)?;
    // Dropped unreleased, it ends.
    args.handles.announce(&created, "setns")?;
    created.start.start().map_err(failed)?;
    foreground.map_or(Ok(0), |foreground| foreground.attend(created))
}

/// The process of `--process`, or the container's own with another program and the flags' changes.
fn process(host: &Host<'_>, args: &Args, config: &Value) -> Result<Process> {
    let mut value = match &args.process {
        Some(path) => {
            let what = || format!("read {}", path.display());
            serde_json::from_slice(&fs::read(path).context(what)?).context(what)?
        }
        None => changed(args, config)?,
    };
    bundle::suit_process(&mut value, host);
    let what = || "parse the process";
    let mut process = Process::deserialize(&value).context(what)?;
    bundle::refuse_lists_for_objects(&value, &process).context(what)?;
    if let Some(listen) = launch::listen_variables() {
        bundle::add_variables(&mut process, listen);
    }
    Ok(process)
}

fn changed(args: &Args, config: &Value) -> Result<Value> {
    if args.command.is_empty() {
        return Err(Error::invalid("process args cannot be empty"));
    }
    let mut process = config.get("process").cloned().unwrap_or_else(|| json!({}));
    process["args"] = json!(args.command);
    process["terminal"] = json!(args.tty);
    if let Some(cwd) = &args.cwd {
        process["cwd"] = json!(cwd);
    }
    if let Some(profile) = &args.apparmor {
        process["apparmorProfile"] = json!(profile);
    }
    if let Some(label) = &args.process_label {
        process["selinuxLabel"] = json!(label);
    }
    if args.no_new_privs {
        process["noNewPrivileges"] = json!(true);
    }
    append(&mut process["env"], args.env.iter().map(|variable| json!(variable)));
    if let Some(user) = &args.user {
        let (uid, gid) = user_ids(user)?;
        process["user"]["uid"] = json!(uid);
        if let Some(gid) = gid {
            process["user"]["gid"] = json!(gid);
        }
    }
    append(&mut process["user"]["additionalGids"], args.additional_gids.iter().map(|g| json!(g)));
    add_capabilities(&mut process["capabilities"], &args.cap);
    Ok(process)
}

fn append(list: &mut Value, more: impl Iterator<Item = Value>) {
    let mut all = list.as_array().cloned().unwrap_or_default();
    all.extend(more);
    *list = Value::Array(all);
}

/// Ambient ones need inheritable ones, which a container may have on purpose none of.
fn add_capabilities(sets: &mut Value, capabilities: &[String]) {
    if capabilities.is_empty() {
        if sets.is_null() {
            *sets = json!({});
        }
        return;
    }
    let inherits = sets["inheritable"].as_array().is_some_and(|set| !set.is_empty());
    let grown = ["bounding", "effective", "permitted"].into_iter();
    for set in grown.chain(inherits.then_some("ambient")) {
        append(&mut sets[set], capabilities.iter().map(|name| json!(name)));
    }
}

fn user_ids(user: &str) -> Result<(u32, Option<u32>)> {
    let number = |text: &str| {
        let what = || format!("parse {text:?} as a number for --user {user}");
        text.parse::<u32>().context(what)
    };
    match user.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(user)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn process_of(line: &str) -> Value {
        let words = std::iter::once("exec").chain(line.split(' '));
        let args = Line::try_parse_from(words).expect("a command line").args;
        let config = json!({"process": {
            "args": ["init"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 1, "gid": 2},
            "capabilities": {"bounding": ["CAP_KILL"]}, "terminal": true,
        }});
        changed(&args, &config).expect("a process")
    }

    #[test]
    fn flags_change_the_containers_own_process() {
        let line = "-e A=1 --cwd /tmp -u 5:6 -g 7 -g 8 --cap CAP_CHOWN --no-new-privs c id -u";
        let expected = json!({
            "args": ["id", "-u"], "cwd": "/tmp", "env": ["PATH=/bin", "A=1"],
            "user": {"uid": 5, "gid": 6, "additionalGids": [7, 8]}, "terminal": false,
            "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_CHOWN"],
                             "permitted": ["CAP_CHOWN"]},
        });
        assert_eq!(process_of(line), expected);
        assert_eq!(process_of("-u 9 c true")["user"]["gid"], 2);
    }

    #[test]
    fn names_of_users_are_not_numbers() {
        assert!(user_ids("root").is_err());
        assert!(user_ids("0:root").is_err());
    }
}
