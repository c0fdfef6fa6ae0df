//! The process: scheduler, priorities, processors, personality, memory policy, labels, umask, groups.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde_json::json;

use crate::support::{Bundle, Streams, process, sandboxed, wait};

#[test]
fn scheduler_and_priorities_are_as_asked_for() {
    sandboxed("process::scheduler_and_priorities_are_as_asked_for", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&[
            "sh",
            "-c",
            "awk '{print $41, $19}' /proc/self/stat; ionice -p $$; umask; id -G",
        ]);
        spec["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
        spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
        spec["process"]["user"] =
            json!({"uid": 0, "gid": 3, "umask": 0o27, "additionalGids": [5, 7]});
        let output = bundle.run(spec.clone()).expect("it runs");
        // SCHED_BATCH is 3, SCHED_IDLE 5.
        let expected = "3 5\nbest-effort: prio 6\n0027\n3 5 7\n";
        assert_eq!(output.stdout, expected, "{output:?}");

        spec["process"]["scheduler"] = json!({"policy": "SCHED_IDLE"});
        spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE"});
        let output = bundle.run(spec).expect("it runs");
        assert!(output.stdout.starts_with("5 0\n"), "{output:?}");
        assert!(output.stdout.contains("idle\n"), "{output:?}");
        bundle.assert_nothing_left();
    });
}

#[test]
fn personality_holds_for_the_container_and_what_is_executed_in_it() {
    sandboxed("process::personality_holds_for_the_container_and_what_is_executed_in_it", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&["sh", "-c", "uname -m; exec sleep 1000"]);
        spec["linux"]["personality"] = json!({"domain": "LINUX32"});
        let streams = Streams::new();
        let created = bundle.create(spec, streams.stdio).expect("created");
        created.start.start().expect("started");
        let output = bundle.run_exec(process(&["uname", "-m"])).expect("an exec");
        assert_eq!(output.stdout, "i686\n", "{output:?}");
        let mut line = [0; 5];
        File::from(streams.stdout).read_exact(&mut line).expect("a line");
        assert_eq!(&line, b"i686\n");
        davit_runtime::kill(&bundle.root, "c1", 9).expect("killed");
        wait(&created);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
    });
}

#[test]
fn the_processors_of_an_exec_are_its_own() {
    sandboxed("process::the_processors_of_an_exec_are_its_own", || {
        let bundle = Bundle::new();
        let status = fs::read_to_string("/proc/self/status").expect("our status");
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed = allowed.expect("a list").trim().to_owned();
        let one = allowed.split(['-', ',']).next().expect("one at least").to_owned();
        let created =
            bundle.create(bundle.spec(&["sleep", "1000"]), Streams::new().stdio).expect("created");
        created.start.start().expect("started");
        let mut wanted = process(&["grep", "Cpus_allowed_list", "/proc/self/status"]);
        for (affinity, expected) in [
            (json!({"initial": one}), &one),
            (json!({"final": one}), &one),
            (json!({"initial": one, "final": allowed}), &allowed),
        ] {
            wanted["execCPUAffinity"] = affinity;
            let output = bundle.run_exec(wanted.clone()).expect("an exec");
            assert_eq!(output.stdout, format!("Cpus_allowed_list:\t{expected}\n"), "{output:?}");
        }
        let now = fs::read_to_string("/proc/self/status").expect("our status");
        assert!(now.contains(&format!("Cpus_allowed_list:\t{allowed}\n")), "ours are as before");
        davit_runtime::kill(&bundle.root, "c1", 9).expect("killed");
        wait(&created);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
    });
}

#[test]
fn memory_comes_from_where_the_policy_says() {
    sandboxed("process::memory_comes_from_where_the_policy_says", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&["cat", "/proc/self/numa_maps"]);
        spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
        let result = bundle.run(spec);
        if Path::new("/proc/self/numa_maps").exists() {
            let output = result.expect("it runs");
            assert!(output.stdout.contains(" bind:0 "), "{output:?}");
        } else {
            let failure = result.expect_err("no memory nodes in this kernel");
            assert!(failure.message.contains("set memoryPolicy: "), "{failure}");
        }
        bundle.assert_nothing_left();
    });
}

#[test]
fn labels_that_the_kernel_lacks_are_refused_before_anything_exists() {
    sandboxed("process::labels_that_the_kernel_lacks_are_refused_before_anything_exists", || {
        let bundle = Bundle::new();
        if !Path::new("/sys/module/apparmor").exists() {
            let mut spec = bundle.spec(&["true"]);
            spec["process"]["apparmorProfile"] = json!("docker-default");
            let failure = bundle.run(spec).expect_err("no apparmor");
            assert_eq!(failure.message, "apparmor: config provided but apparmor not supported");
        }
        if !Path::new("/sys/fs/selinux").exists() {
            for (place, name) in [("process", "selinuxLabel"), ("linux", "mountLabel")] {
                let mut spec = bundle.spec(&["true"]);
                spec[place][name] = json!("system_u:object_r:container_file_t:s0");
                let failure = bundle.run(spec).expect_err("no selinux");
                assert!(
                    failure.message.contains("selinux is disabled or not supported"),
                    "{failure}"
                );
            }
        }
        bundle.assert_nothing_left();
    });
}
