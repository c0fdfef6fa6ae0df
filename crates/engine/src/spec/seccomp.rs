//! Seccomp: resolves a profile (Docker's default, or the user's) for a container's capabilities.
//!
//! A profile has conditions (architecture, capability, kernel version); the runtime specification has
//! none. Resolving leaves the rules whose conditions hold. Compiling to BPF is the runtime's.

use davit_types::{Context, Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HostFacts, SpecInput};

/// The default profile: what Docker Engine 29 allows, in Docker's profile format.
const DEFAULT_PROFILE: &str = include_str!("seccomp-default.json");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    flags: Vec<String>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// `linux.seccomp`, or nothing when unconfined or privileged.
pub(super) fn profile(input: &SpecInput<'_>, capabilities: &[String]) -> Result<Option<Value>> {
    let unconfined = input
        .host_config
        .security_opt
        .iter()
        .flatten()
        .any(|option| matches!(option.as_str(), "seccomp=unconfined" | "seccomp:unconfined"));
    if input.host_config.privileged || unconfined {
        return Ok(None);
    }
    let text = input.seccomp_profile.unwrap_or(DEFAULT_PROFILE);
    resolve(text, capabilities, input.host).map(Some)
}

/// Checks that `text` is a profile.
///
/// # Errors
/// Docker's text for malformed JSON.
pub fn validate(text: &str) -> Result<()> {
    parse(text).map(drop)
}

fn parse(text: &str) -> Result<Profile> {
    let profile: Profile = serde_json::from_str(text)
        .context(|| "loading seccomp profile failed: decoding seccomp profile failed")
        .map_err(|error| error.with_kind(davit_types::Kind::InvalidParameter))?;
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(Error::invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
        ));
    }
    Ok(profile)
}

fn resolve(text: &str, capabilities: &[String], host: &HostFacts) -> Result<Value> {
    let profile = parse(text)?;
    let rules: Vec<Value> = profile
        .syscalls
        .iter()
        .filter(|rule| applies(rule, capabilities, host))
        .map(rule_value)
        .collect();
    let mut resolved = json!({
        "defaultAction": profile.default_action,
        "architectures": architectures(&profile),
        "syscalls": rules,
    });
    for (key, value) in [
        ("defaultErrnoRet", profile.default_errno_ret.map(Value::from)),
        ("listenerPath", profile.listener_path.map(Value::from)),
        ("listenerMetadata", profile.listener_metadata.map(Value::from)),
        ("flags", (!profile.flags.is_empty()).then(|| json!(profile.flags))),
    ] {
        if let Some(value) = value {
            resolved[key] = value;
        }
    }
    Ok(resolved)
}

fn architectures(profile: &Profile) -> Vec<String> {
    if profile.arch_map.is_empty() {
        return profile.architectures.clone();
    }
    let native = match std::env::consts::ARCH {
        "x86_64" => "SCMP_ARCH_X86_64",
        "aarch64" => "SCMP_ARCH_AARCH64",
        "riscv64" => "SCMP_ARCH_RISCV64",
        other => other,
    };
    let entry = profile.arch_map.iter().find(|entry| entry.architecture == native);
    let subordinate = |entry: &Architecture| entry.sub_architectures.clone().unwrap_or_default();
    entry.map_or_else(
        || vec![native.to_owned()],
        |entry| std::iter::once(native.to_owned()).chain(subordinate(entry)).collect(),
    )
}

/// Whether a rule's conditions hold: every included one, no excluded one.
fn applies(rule: &Rule, capabilities: &[String], host: &HostFacts) -> bool {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let has = |name: &String| capabilities.contains(name);
    let includes = &rule.includes;
    let excludes = &rule.excludes;
    (includes.arches.is_empty() || includes.arches.iter().any(|name| name == arch))
        && includes.caps.iter().all(has)
        && includes.min_kernel.as_deref().is_none_or(|text| at_least(host, text))
        && !excludes.arches.iter().any(|name| name == arch)
        && !excludes.caps.iter().any(has)
        && !excludes.min_kernel.as_deref().is_some_and(|text| at_least(host, text))
}

fn at_least(host: &HostFacts, version: &str) -> bool {
    let mut numbers = version.split('.').map(|text| text.parse().unwrap_or(0));
    host.kernel >= (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn rule_value(rule: &Rule) -> Value {
    let names: Vec<&String> = rule.names.iter().chain(&rule.name).collect();
    let mut value = json!({ "names": names, "action": rule.action });
    if let Some(errno) = rule.errno_ret {
        value["errnoRet"] = json!(errno);
    }
    if let Some(args) = rule.args.as_ref().filter(|args| !args.is_empty()) {
        value["args"] = json!(args);
    }
    value
}
