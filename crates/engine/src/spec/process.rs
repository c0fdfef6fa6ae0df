//! The process: arguments, environment, capabilities, limits; for a container and for an exec.

use davit_api::container::{Config, HostConfig, Ulimit};
use davit_types::{Error, Result};
use serde_json::{Value, json};

use super::SpecInput;

/// Where the init program is in the container.
pub(super) const INIT: &str = "/sbin/docker-init";

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `process` of the container's spec. The user stays 0: the create role resolves names inside the root.
pub(super) fn container_process(input: &SpecInput<'_>, capabilities: &[String]) -> Result<Value> {
    let host_config = input.host_config;
    let mut process = json!({
        "terminal": input.config.tty,
        "user": { "uid": 0, "gid": 0, "additionalGids": [0] },
        "args": arguments(input),
        "env": environment(input.config, input.hostname, &input.link_env),
        "cwd": working_directory(&input.config.working_dir),
        "capabilities": capability_sets(capabilities),
        "oomScoreAdj": host_config.oom_score_adj,
        "noNewPrivileges": no_new_privileges(host_config)?,
    });
    let limits = rlimits(host_config.resources.ulimits.as_deref().unwrap_or_default())?;
    if !limits.is_empty() {
        process["rlimits"] = json!(limits);
    }
    if input.config.tty && host_config.console_size != [0, 0] {
        let [height, width] = host_config.console_size;
        process["consoleSize"] = json!({ "height": height, "width": width });
    }
    Ok(process)
}

fn arguments(input: &SpecInput<'_>) -> Vec<String> {
    let init = input.init.map(|_| [INIT.to_owned(), "--".to_owned()]);
    init.into_iter().flatten().chain(input.args.iter().cloned()).collect()
}

/// What an exec's process is made of.
#[derive(Debug)]
pub struct ExecInput<'a> {
    /// The container's configuration.
    pub config: &'a Config,
    /// The container's host configuration.
    pub host_config: &'a HostConfig,
    /// Program and arguments.
    pub args: &'a [String],
    /// `KEY=value` over the container's environment.
    pub env: &'a [String],
    /// Variables about linked containers, which the configured ones replace.
    pub link_env: &'a [String],
    /// Host name of the container.
    pub hostname: &'a str,
    /// Working directory; empty: the container's.
    pub working_dir: &'a str,
    /// A terminal.
    pub tty: bool,
    /// Height and width of the terminal; absent: unknown.
    pub console_size: Option<[u32; 2]>,
    /// All capabilities.
    pub privileged: bool,
    /// Capabilities the host can give.
    pub available: &'a [String],
}

/// `process.json` of an exec.
///
/// # Errors
/// Those of the container's own process.
pub fn exec_process(input: &ExecInput<'_>) -> Result<Value> {
    let capabilities = if input.privileged {
        input.available.to_vec()
    } else {
        super::capabilities::effective(input.host_config, input.available)?
    };
    let mut config = input.config.clone();
    config.tty = input.tty;
    let mut env = environment(&config, input.hostname, input.link_env);
    merge(&mut env, input.env);
    let directory =
        if input.working_dir.is_empty() { &input.config.working_dir } else { input.working_dir };
    let mut process = json!({
        "terminal": input.tty,
        "user": { "uid": 0, "gid": 0, "additionalGids": [0] },
        "args": input.args,
        "env": env,
        "cwd": working_directory(directory),
        "capabilities": capability_sets(&capabilities),
        "oomScoreAdj": input.host_config.oom_score_adj,
        "noNewPrivileges": no_new_privileges(input.host_config)?,
    });
    let limits = rlimits(input.host_config.resources.ulimits.as_deref().unwrap_or_default())?;
    if !limits.is_empty() {
        process["rlimits"] = json!(limits);
    }
    if let Some([height, width]) = input.console_size {
        process["consoleSize"] = json!({ "height": height, "width": width });
    }
    Ok(process)
}

fn working_directory(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

fn capability_sets(names: &[String]) -> Value {
    json!({ "bounding": names, "effective": names, "permitted": names })
}

/// PATH, HOSTNAME and TERM, replaced and followed by the configured variables.
fn environment(config: &Config, hostname: &str, link_env: &[String]) -> Vec<String> {
    let mut env = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={hostname}")];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    merge(&mut env, link_env);
    merge(&mut env, config.env.as_deref().unwrap_or_default());
    env
}

/// Replaces variables of the same name in place, appends the others; a name without `=` removes it.
fn merge(env: &mut Vec<String>, over: &[String]) {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in over {
        let same = env.iter().position(|present| name(present) == name(entry));
        match (entry.contains('='), same) {
            (true, Some(index)) => env[index].clone_from(entry),
            (true, None) => env.push(entry.clone()),
            (false, Some(index)) => drop(env.remove(index)),
            (false, None) => {}
        }
    }
}

/// `no-new-privileges`, `no-new-privileges:true`, `=false`.
fn no_new_privileges(host_config: &HostConfig) -> Result<bool> {
    let mut set = false;
    for option in host_config.security_opt.iter().flatten() {
        let Some(rest) = option.strip_prefix("no-new-privileges") else { continue };
        set = match rest.trim_start_matches(['=', ':']) {
            "" | "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(Error::invalid(format!("invalid --security-opt 2: {option:?}"))),
        };
    }
    Ok(set)
}

fn rlimits(ulimits: &[Ulimit]) -> Result<Vec<Value>> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    // -1 means unlimited, RLIM_INFINITY.
    let value = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    ulimits
        .iter()
        .map(|limit| {
            if !NAMES.contains(&limit.name.as_str()) {
                return Err(Error::invalid(format!("invalid ulimit type: {}", limit.name)));
            }
            let name = format!("RLIMIT_{}", limit.name.to_ascii_uppercase());
            Ok(json!({ "type": name, "soft": value(limit.soft), "hard": value(limit.hard) }))
        })
        .collect()
}
