//! Shares of the processor's caches and memory bandwidth: `linux.intelRdt`.

use davit_types::oci::runtime::Linux;

use super::config;
use crate::Failure;

const OBJECT: &str = "linux.intelRdt";

/// The group of the resctrl file system that a container is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RdtPlan {
    /// Its name; absent: the group that everybody is in who is in no other.
    pub group: Option<String>,
    /// The configuration names it (`closID`): others may be in it, too.
    pub is_named: bool,
    /// What is written to its `schemata`, one write after the other.
    pub schemata: Vec<String>,
    /// The container is counted on its own.
    pub is_monitored: bool,
}

pub(super) fn plan(id: &str, linux: &Linux) -> Result<Option<RdtPlan>, Failure> {
    const ROOT: &str = "/";
    let Some(rdt) = linux.intel_rdt() else { return Ok(None) };
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let named = given(rdt.clos_id());
    let is_named = named.is_some();
    let group = Some(named.unwrap_or_else(|| id.to_owned())).filter(|name| name != ROOT);
    if let Some(name) = group.as_ref().filter(|name| !is_name(name)) {
        return Err(config(OBJECT, format!("{OBJECT}: invalid name of a group: {name:?}")));
    }
    let (cache, bandwidth) = (given(rdt.l3_cache_schema()), given(rdt.mem_bw_schema()));
    if bandwidth.as_ref().is_some_and(|line| !line.starts_with("MB:") || line.contains('\n')) {
        let text = format!("{OBJECT}: memBwSchema has to be one line that starts with MB:");
        return Err(config(OBJECT, text));
    }
    // The line of its own counts.
    let is_cache = |line: &&str| bandwidth.is_none() || !line.starts_with("MB:");
    let lines = cache.iter().flat_map(|text| text.lines()).filter(is_cache);
    let first = text(lines.chain(bandwidth.as_deref()));
    let last = text(rdt.schemata().iter().flatten().flat_map(|line| line.lines()));
    Ok(Some(RdtPlan {
        group,
        is_named,
        schemata: [first, last].into_iter().filter(|text| !text.is_empty()).collect(),
        is_monitored: rdt.enable_monitoring().unwrap_or(false),
    }))
}

fn text<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .fold(String::new(), |text, line| text + line + "\n")
}

/// A directory's name that the file system doesn't use itself.
fn is_name(name: &str) -> bool {
    const TAKEN: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];
    !TAKEN.contains(&name) && !name.contains(['/', '\n', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn planned(value: Value) -> Result<RdtPlan, String> {
        let linux: Linux = serde_json::from_value(json!({"intelRdt": value})).expect("linux");
        match plan("c1", &linux) {
            Ok(plan) => Ok(plan.expect("asked for")),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn a_group_is_the_containers_unless_it_is_named() {
        let own = planned(json!({})).expect("planned");
        assert_eq!((own.group.as_deref(), own.is_named), (Some("c1"), false));
        let named = planned(json!({"closID": "gold", "enableMonitoring": true})).expect("planned");
        assert_eq!((named.group.as_deref(), named.is_named), (Some("gold"), true));
        assert!(named.is_monitored && named.schemata.is_empty());
        assert_eq!(planned(json!({"closID": "/"})).expect("planned").group, None);
        for name in ["..", "a/b", "info", "mon_groups", "a\nb"] {
            let message = planned(json!({"closID": name})).expect_err(name);
            assert!(message.contains("invalid name of a group"), "{message}");
        }
        assert_eq!(plan("c1", &Linux::default()), Ok(None));
    }

    #[test]
    fn schemata_are_written_last_and_a_bandwidth_once() {
        let plan = planned(json!({
            "l3CacheSchema": "MB:0=10\nL3:0=f", "memBwSchema": "MB:0=20",
            "schemata": ["L2:0=3", "L3:0=7"],
        }));
        let schemata = plan.expect("planned").schemata;
        assert_eq!(schemata, ["L3:0=f\nMB:0=20\n", "L2:0=3\nL3:0=7\n"]);
        let plan = planned(json!({"l3CacheSchema": "MB:0=10\nL3:0=f"})).expect("planned");
        assert_eq!(plan.schemata, ["MB:0=10\nL3:0=f\n"]);
        for bad in ["L3:0=f", "MB:0=1\nMB:1=2"] {
            let message = planned(json!({"memBwSchema": bad})).expect_err(bad);
            assert!(message.contains("memBwSchema has to be one line"), "{message}");
        }
    }
}
