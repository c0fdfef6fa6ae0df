//! A good configuration with accidents: no panic, and no part of a container that is left.
//!
//! The same ground as the targets in `fuzz/`, bounded and always with the same numbers, so that a
//! failure comes again.

#[allow(dead_code, reason = "what one binary does not use another one does")]
mod support;

use std::path::Path;

use davit_runtime::check_seccomp;
use davit_runtime::plan::{Host, Plan};
use davit_sys::cgroup::Layout;
use davit_types::oci::runtime::Spec;
use serde_json::{Value, json};
use support::{Bundle, sandboxed};

const PLANS: u32 = 2500;
const CONTAINERS: u32 = 60;

/// xorshift64*, from a fixed beginning.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % limit
    }
}

/// Values that code is wrong about.
fn odd_value(numbers: &mut Numbers) -> Value {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(4096),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(u32::MAX),
        json!(1e300),
        json!(""),
        json!("/"),
        json!(".."),
        json!("../../etc"),
        json!("/proc/self/fd/3"),
        json!("a\0b"),
        json!("\u{fffd}\n"),
        json!("x".repeat(5000)),
        json!("rbind"),
        json!("private"),
        json!("CAP_SYS_ADMIN"),
        json!("user"),
        json!([]),
        json!({}),
        json!([[]]),
        json!([""]),
    ];
    values[numbers.below(values.len())].clone()
}

/// Paths to everything in a document.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                pointers(inner, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(map) => {
            for (key, inner) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(inner, &format!("{at}/{key}"), found);
            }
        }
        _ => {}
    }
}

/// One to three accidents.
fn mutate(spec: &mut Value, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let mut all = Vec::new();
        pointers(spec, "", &mut all);
        let place = all[numbers.below(all.len())].clone();
        let other = all[numbers.below(all.len())].clone();
        let other = spec.pointer(&other).cloned().unwrap_or_default();
        let Some(target) = spec.pointer_mut(&place) else { continue };
        match (numbers.below(8), target) {
            (0, Value::Object(map)) if !map.is_empty() => {
                let key = map.keys().nth(numbers.below(map.len())).cloned();
                map.remove(&key.expect("one of them"));
            }
            (0, Value::Array(list)) if !list.is_empty() => {
                list.remove(numbers.below(list.len()));
            }
            (1, Value::Array(list)) if !list.is_empty() => {
                list.push(list[numbers.below(list.len())].clone());
            }
            (2, target) => *target = other,
            // Of the same type for the most part, or the parser is all that is met.
            (3.., target) => {
                let kind = std::mem::discriminant(&*target);
                let mut tries = (0..40).map(|_| odd_value(numbers));
                if let Some(value) = tries.find(|value| std::mem::discriminant(value) == kind) {
                    *target = value;
                }
            }
            (_, target) => *target = odd_value(numbers),
        }
    }
}

/// What Docker writes, with a bit of everything beside.
fn rich(mut spec: Value) -> Value {
    spec["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    spec["process"]["consoleSize"] = json!({"height": 24, "width": 80});
    spec["process"]["noNewPrivileges"] = json!(true);
    spec["linux"]["devices"] =
        json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438}]);
    spec["linux"]["resources"]["pids"] = json!({"limit": 100});
    spec["linux"]["resources"]["memory"] = json!({"limit": 268_435_456, "swap": 268_435_456});
    spec["linux"]["rootfsPropagation"] = json!("rslave");
    spec["linux"]["seccomp"]["syscalls"].as_array_mut().expect("rules").push(json!(
        {"names": ["clone", "socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
         "args": [{"index": 0, "value": 40, "valueTwo": 7, "op": "SCMP_CMP_MASKED_EQ"},
                  {"index": 1, "value": 2, "op": "SCMP_CMP_GT"}]}));
    spec["annotations"] = json!({"a.b": "c"});
    let mounts = spec["mounts"].as_array_mut().expect("mounts");
    mounts.push(
        json!({"destination": "/data", "source": "rootfs/etc", "options": ["rbind", "ro", "rprivate"]}),
    );
    spec
}

#[test]
fn no_accident_makes_the_planner_or_the_compiler_panic() {
    let bundle = Bundle::new();
    let good = rich(bundle.spec(&["true"]));
    let mut numbers = Numbers(0x00d1_5ea5_e000_0001);
    let hosts = [Layout::V2("/sys/fs/cgroup".into())].map(|cgroups| Host {
        cgroups,
        time_namespaces: true,
        systemd: None,
    });
    let (mut refused, mut planned) = (0, 0);
    for _ in 0..PLANS {
        let mut spec = good.clone();
        mutate(&mut spec, &mut numbers);
        let Ok(spec) = serde_json::from_value::<Spec>(spec) else { continue };
        for host in &hosts {
            match Plan::new("c1", Path::new("/bundle"), &spec, host) {
                Ok(plan) => {
                    planned += 1;
                    if let Some(profile) = &plan.seccomp {
                        // Refused is as good as compiled.
                        let _ = check_seccomp(profile);
                    }
                }
                Err(failure) => {
                    assert!(!failure.message.is_empty(), "{failure:?}");
                    refused += 1;
                }
            }
        }
    }
    // Both ways must be met often, or the accidents are no good.
    assert!(refused > PLANS / 50 && planned > PLANS / 50, "{refused} refused, {planned} planned");
}

#[test]
fn no_accident_leaves_a_part_of_a_container() {
    sandboxed("no_accident_leaves_a_part_of_a_container", || {
        let bundle = Bundle::new();
        let good = rich(bundle.spec(&["true"]));
        let mut numbers = Numbers(0x00d1_5ea5_e000_0002);
        let (mut failed, mut made) = (0, 0);
        while failed + made < CONTAINERS {
            let mut spec = good.clone();
            mutate(&mut spec, &mut numbers);
            // What would reach beyond the sandbox, or take for ever, stays as it is.
            let parts = ["root", "process", "linux"];
            if !spec.is_object() || parts.iter().any(|part| !spec[*part].is_object()) {
                continue;
            }
            spec["root"] = good["root"].clone();
            spec["linux"]["cgroupsPath"] = good["linux"]["cgroupsPath"].clone();
            spec["linux"]["namespaces"] = good["linux"]["namespaces"].clone();
            spec["linux"]["resources"] = good["linux"]["resources"].clone();
            spec["process"]["args"] = good["process"]["args"].clone();
            spec["process"]["oomScoreAdj"] = good["process"]["oomScoreAdj"].clone();
            if serde_json::from_value::<Spec>(spec.clone()).is_err() {
                continue;
            }
            match bundle.run(spec) {
                Ok(_) => made += 1,
                Err(failure) => {
                    assert!(!failure.message.is_empty(), "{failure:?}");
                    failed += 1;
                }
            }
            bundle.assert_nothing_left();
        }
        assert!(failed > 5 && made > 5, "{failed} failed, {made} made");
    });
}
