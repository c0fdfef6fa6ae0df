//! A bundle's `config.json`, through everything that is decided before a process exists.

#![no_main]

use std::path::Path;

use davit_runtime::check_seccomp;
use davit_runtime::plan::{Host, Plan};
use davit_sys::cgroup::Layout;
use davit_types::oci::runtime::Spec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(spec) = serde_json::from_slice::<Spec>(data) else { return };
    let cgroups = Layout::V2("/sys/fs/cgroup".into());
    let host = Host { cgroups, time_namespaces: true };
    if let Ok(plan) = Plan::new("c1", Path::new("/bundle"), &spec, &host)
        && let Some(profile) = &plan.seccomp
    {
        let _ = check_seccomp(profile);
    }
});
