//! What another runtime can do, as its `features` says, and configurations that suit it.

use std::path::Path;
use std::process::{Command, Stdio};

use davit_types::oci::runtime::{Linux, LinuxNamespaceType, Spec};
use serde::Deserialize;

/// What is of interest of `features`. A runtime that is too old to have the verb says nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Features {
    linux: LinuxFeatures,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LinuxFeatures {
    namespaces: Vec<String>,
}

/// Leaves out of `spec` what `program` doesn't know and nobody asked for: the time namespace without
/// offsets, which every container gets by default. runc knows it since 1.2.
pub(super) fn suit(spec: &mut Spec, program: &Path) {
    suit_to(spec, || said_by(program));
}

/// [`suit`] to a runtime whose `features` says `says()`.
fn suit_to(spec: &mut Spec, says: impl FnOnce() -> Vec<u8>) {
    let Some(linux) = spec.linux_mut().as_mut().filter(|linux| has_plain_time_namespace(linux))
    else {
        return;
    };
    let features: Features = serde_json::from_slice(&says()).unwrap_or_default();
    if !features.linux.namespaces.iter().any(|kind| kind == "time") {
        drop_time_namespace(linux);
    }
}

/// Nothing when it fails.
fn said_by(program: &Path) -> Vec<u8> {
    let mut command = Command::new(program);
    command.arg("features").stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success());
    output.map(|output| output.stdout).unwrap_or_default()
}

/// One that is joined or has offsets was asked for, so the runtime is to refuse it.
fn has_plain_time_namespace(linux: &Linux) -> bool {
    let offsets = linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty());
    let mut all = linux.namespaces().iter().flatten();
    !offsets && all.any(|one| one.typ() == LinuxNamespaceType::Time && one.path().is_none())
}

fn drop_time_namespace(linux: &mut Linux) {
    if let Some(namespaces) = linux.namespaces_mut() {
        namespaces.retain(|namespace| namespace.typ() != LinuxNamespaceType::Time);
    }
}

#[cfg(test)]
mod tests {
    use LinuxNamespaceType::{Mount, Pid, Time};
    use serde_json::{Value, json};

    use super::*;

    /// The namespaces that remain for a runtime that says this of itself.
    fn suited(says: &str, linux: &Value) -> Vec<LinuxNamespaceType> {
        let spec = json!({ "ociVersion": "1.3.0", "linux": linux });
        let mut spec: Spec = serde_json::from_value(spec).expect("a configuration");
        suit_to(&mut spec, || says.into());
        let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        namespaces.into_iter().flatten().map(|one| one.typ()).collect()
    }

    fn plain() -> Value {
        json!({ "namespaces": [{ "type": "mount" }, { "type": "time" }, { "type": "pid" }] })
    }

    #[test]
    fn a_runtime_gets_a_time_namespace_when_it_knows_them() {
        let newer = r#"{"linux": {"namespaces": ["pid", "time"], "cgroup": {"v1": true}}}"#;
        assert_eq!(suited(newer, &plain()), [Mount, Time, Pid]);
        let older = r#"{"ociVersionMax": "1.0.2-dev", "linux": {"namespaces": ["pid"]}}"#;
        for older in [older, "", "usage: ...", "{}"] {
            assert_eq!(suited(older, &plain()), [Mount, Pid], "{older}");
        }
    }

    #[test]
    fn a_time_namespace_that_was_asked_for_stays() {
        let joined = json!({ "namespaces": [{ "type": "time", "path": "/proc/1/ns/time" }] });
        assert_eq!(suited("", &joined), [Time]);
        let mut moved = plain();
        moved["timeOffsets"] = json!({ "boottime": { "secs": 60, "nanosecs": 0 } });
        assert_eq!(suited("", &moved), [Mount, Time, Pid]);
    }
}
