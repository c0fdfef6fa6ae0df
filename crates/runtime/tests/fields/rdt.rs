//! Groups of the resctrl file system, which few machines have: what they do is tested beside the code.

use serde_json::json;

use crate::support::{Bundle, sandboxed};

#[test]
fn without_the_file_system_a_group_is_refused() {
    sandboxed("rdt::without_the_file_system_a_group_is_refused", || {
        // This mount namespace is the test's own. Where it isn't mounted there is nothing to do.
        let detach = rustix::mount::UnmountFlags::DETACH;
        let _ = rustix::mount::unmount("/sys/fs/resctrl", detach);
        let bundle = Bundle::new();
        for rdt in [json!({}), json!({"closID": "gold", "l3CacheSchema": "L3:0=f"})] {
            let mut spec = bundle.spec(&["true"]);
            spec["linux"]["intelRdt"] = rdt;
            let failure = bundle.run(spec).expect_err("not mounted");
            let expected = "linux.intelRdt: no resctrl file system is mounted";
            assert!(failure.message.contains(expected), "{failure}");
            bundle.assert_nothing_left();
        }
    });
}
