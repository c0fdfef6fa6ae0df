//! The bundle: a directory with a `config.json`.

use std::fs;
use std::path::{Path, PathBuf};

use davit_types::oci::runtime::{BoxBuilder, Process, Spec};
use davit_types::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Host, launch};

/// `--bundle`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) bundle: PathBuf,
}

impl Args {
    /// The bundle's directory and its configuration.
    pub(crate) fn load(&self, host: &Host<'_>) -> Result<(PathBuf, Spec)> {
        let dir = std::path::absolute(&self.bundle)
            .context(|| format!("find bundle {}", self.bundle.display()))?;
        let path = dir.join("config.json");
        let text = read_text(&path)?;
        let parse = || format!("parse {}", path.display());
        let mut value: Value = serde_json::from_slice(&text).context(parse)?;
        if let Some(process) = value.get_mut("process") {
            suit_process(process, host);
        }
        let mut spec: Spec = Spec::deserialize(&value)
            .map_err(|error| at_line(&text).unwrap_or(error))
            .context(parse)?;
        refuse_lists_for_objects(&value, &spec).context(parse)?;
        check_version(spec.version())?;
        if let (Some(process), Some(listen)) = (spec.process_mut(), launch::listen_variables()) {
            add_variables(process, listen);
        }
        Ok((dir, spec))
    }
}

/// The `config.json` in `dir`.
pub(crate) fn read(dir: &Path) -> Result<Value> {
    let path = dir.join("config.json");
    serde_json::from_slice(&read_text(&path)?).context(|| format!("parse {}", path.display()))
}

fn read_text(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("JSON specification file {} not found", path.display());
            Err(Error::not_found(text))
        }
        other => other.context(|| format!("read {}", path.display())),
    }
}

/// What is wrong, with the line it is in, which a value without its text can't tell.
fn at_line(text: &[u8]) -> Option<serde_json::Error> {
    let error = serde_json::from_slice::<Spec>(text).err()?;
    // Those that are unknown were taken out; something else must be wrong.
    let text = error.to_string();
    (!["`CAP_", "`SCHED_FLAG_"].iter().any(|known| text.contains(known))).then_some(error)
}

/// The reader takes the values of an object's fields in a list for the object; nobody else does. What
/// it has read tells where an object belongs.
pub(crate) fn refuse_lists_for_objects(given: &Value, read: &impl Serialize) -> Result<()> {
    let read = serde_json::to_value(read).context(|| "check the configuration's form")?;
    match list_for_object(given, &read) {
        None => Ok(()),
        Some(path) => {
            let path = path.trim_start_matches('.');
            Err(Error::invalid(format!("{path} has to be an object, not an array")))
        }
    }
}

fn list_for_object(given: &Value, read: &Value) -> Option<String> {
    let below = |name: String, given, read| {
        list_for_object(given, read).map(|path| format!("{name}{path}"))
    };
    match (given, read) {
        (Value::Array(_), Value::Object(_)) => Some(String::new()),
        (Value::Array(given), Value::Array(read)) => {
            let mut pairs = given.iter().zip(read).enumerate();
            pairs.find_map(|(index, (given, read))| below(format!("[{index}]"), given, read))
        }
        (Value::Object(given), Value::Object(read)) => {
            given.iter().find_map(|(name, given)| below(format!(".{name}"), given, read.get(name)?))
        }
        _ => None,
    }
}

pub(crate) fn add_variables(process: &mut Process, more: impl IntoIterator<Item = String>) {
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(more);
    process.set_env(Some(env));
}

/// Gives a terminal that is to be shown on ours its size from the beginning.
pub(crate) fn size_terminal(process: &mut Process) {
    if !process.terminal().unwrap_or(false) || process.console_size().is_some() {
        return;
    }
    // Standard input that is no terminal has no size.
    let Ok(own) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) else { return };
    let size = BoxBuilder::default().height(own.ws_row).width(own.ws_col).build();
    process.set_console_size(size.ok());
}

/// Makes of a process what the reader understands.
pub(crate) fn suit_process(process: &mut Value, host: &Host<'_>) {
    leave_unknown_capabilities(process, host);
    respell_scheduler_flags(process);
}

/// The reader knows two of the specification's words by other spellings.
fn respell_scheduler_flags(process: &mut Value) {
    const SPELLINGS: &[(&str, &str)] = &[
        ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
        ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
    ];
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        if let Some((_, own)) = SPELLINGS.iter().find(|(spelling, _)| flag == spelling) {
            *flag = Value::from(*own);
        }
    }
}

/// Capabilities that are newer than this program can't be given; as with runc, that is only said.
fn leave_unknown_capabilities(process: &mut Value, host: &Host<'_>) {
    let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) else { return };
    let mut unknown = Vec::new();
    for set in sets.values_mut().filter_map(Value::as_array_mut) {
        set.retain(|name| {
            let known = name.as_str().is_some_and(is_capability);
            if !known && !unknown.contains(name) {
                unknown.push(name.clone());
            }
            known
        });
    }
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        let names = names.join(" ");
        host.log.warn(&format!("ignoring unknown or unavailable capabilities: [{names}]"));
    }
}

pub(crate) fn is_capability(name: &str) -> bool {
    serde_json::from_value::<davit_types::oci::runtime::Capability>(Value::from(name)).is_ok()
}

/// All of major version 1 is understood: what is newer in it adds, and what is not done is refused.
fn check_version(version: &str) -> Result<()> {
    let number = |part: &str| {
        let padded = part.len() > 1 && part.starts_with('0');
        part.parse::<u32>().ok().filter(|_| !padded)
    };
    let mut parts = version.split(['.', '-', '+']);
    let major = parts.next().and_then(number);
    let rest = parts.take(2).filter(|part| number(part).is_some()).count();
    if (major, rest) == (Some(1), 2) {
        return Ok(());
    }
    let text = format!("unsupported ociVersion {version:?} (versions 1.x.y are supported)");
    Err(Error::invalid(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_no_object() {
        let good = serde_json::json!({
            "ociVersion": "1.3.0", "root": {"path": "r"}, "mounts": [{"destination": "/x"}],
            "process": {"user": {"uid": 1, "gid": 2}, "args": ["a"], "cwd": "/",
                "capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"]},
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]},
            "linux": {"resources": {"devices": [{"allow": false, "access": "rwm"}]},
                "namespaces": [{"type": "uts"}]},
        });
        let check = |value: &Value| {
            let spec = Spec::deserialize(value).map_err(|error| error.to_string())?;
            refuse_lists_for_objects(value, &spec).map_err(|error| error.to_string())
        };
        assert_eq!(check(&good), Ok(()));
        let list = serde_json::json!([1, 2]);
        for (pointer, value, path) in [
            ("/process/user", list, "process.user"),
            ("/root", serde_json::json!(["r"]), "root"),
            ("/mounts/0", serde_json::json!(["/x"]), "mounts[0]"),
            ("/linux/resources", serde_json::json!([]), "linux.resources"),
            ("/process/capabilities", serde_json::json!([["CAP_KILL"]]), "process.capabilities"),
            (
                "/process/rlimits/0",
                serde_json::json!(["RLIMIT_NOFILE", 2, 1]),
                "process.rlimits[0]",
            ),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).expect("there") = value;
            let error = check(&bad).expect_err(path);
            let refused = error == format!("{path} has to be an object, not an array");
            // Some the reader itself doesn't take.
            assert!(refused || error.contains("invalid length"), "{path}: {error}");
        }
    }

    #[test]
    fn the_specifications_scheduler_flags_are_read() {
        let flags = [
            "SCHED_FLAG_RESET_ON_FORK",
            "SCHED_FLAG_RECLAIM",
            "SCHED_FLAG_DL_OVERRUN",
            "SCHED_FLAG_KEEP_POLICY",
            "SCHED_FLAG_KEEP_PARAMS",
            "SCHED_FLAG_UTIL_CLAMP_MIN",
            "SCHED_FLAG_UTIL_CLAMP_MAX",
        ];
        let mut value = serde_json::json!({
            "user": {"uid": 0, "gid": 0}, "cwd": "/",
            "scheduler": {"policy": "SCHED_DEADLINE", "flags": flags},
        });
        respell_scheduler_flags(&mut value);
        let process = Process::deserialize(&value).expect("all are known");
        let read = process.scheduler().as_ref().and_then(|scheduler| scheduler.flags().as_ref());
        assert_eq!(read.map(Vec::len), Some(flags.len()));
    }

    #[test]
    fn versions_of_the_first_major_one_are_supported() {
        for version in ["1.0.0", "1.0.2-dev", "1.3.0", "1.9.0"] {
            check_version(version).expect(version);
        }
        for version in ["", "1", "0.9.0", "2.0.0", "1.x.0", "01.0.0", "1.00.0"] {
            check_version(version).expect_err(version);
        }
    }
}
