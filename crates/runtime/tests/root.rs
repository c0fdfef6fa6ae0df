//! Containers for real: every test makes some in a sandbox of its own. Needs root.

mod support;

use std::fs;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use davit_runtime::Stdio;
use davit_runtime::state::{State, Status};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use serde_json::{Value, json};
use support::{Bundle, Streams, process, sandboxed, wait};

#[test]
fn a_container_sees_what_docker_shows() {
    sandboxed("a_container_sees_what_docker_shows", || {
        let bundle = Bundle::new();
        let script = "hostname; echo $$ $HOME; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
             grep -E 'CapBnd|CapEff|NoNewPrivs|Seccomp:' /proc/self/status; ls /dev; ls -l /proc/self/fd; \
             cat /proc/self/cgroup; ip addr; cat /proc/keys | wc -c; ls /sys/firmware | wc -l; \
             linux32 true; grep -c . /proc/net/dev";
        let output = bundle.run(bundle.spec(&["sh", "-c", script])).expect("it runs");
        let out = &output.stdout;
        assert!(out.starts_with("box\n1 /root\n0\n"), "{output:?}");
        assert!(out.contains("CapBnd:\t00000000a80425fb"), "{out}");
        assert!(out.contains("CapEff:\t00000000a80425fb"), "{out}");
        assert!(out.contains("NoNewPrivs:\t0\nSeccomp:\t2"), "{out}");
        assert!(out.contains("fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"), "{out}");
        assert!(out.contains(&bundle.cgroup), "{out}");
        assert!(out.contains("LOOPBACK,UP"), "{out}");
        assert!(output.stderr.contains("Operation not permitted"), "the filter: {output:?}");
        bundle.assert_nothing_left();
    });
}

#[test]
fn mounts_are_as_docker_makes_them() {
    sandboxed("mounts_are_as_docker_makes_them", || {
        let bundle = Bundle::new();
        fs::write(bundle.dir.join("hosts"), "127.0.0.1 localhost\n").expect("a file");
        fs::create_dir(bundle.dir.join("data")).expect("a directory");
        let mut spec = bundle.spec(&[
            "sh",
            "-c",
            "cat /proc/self/mountinfo; cat /etc/hosts; touch /data/x /ro/y",
        ]);
        let mounts = spec["mounts"].as_array_mut().expect("mounts");
        mounts.push(json!({"destination": "/etc/hosts", "source": "hosts", "options": ["rbind", "rprivate"]}));
        mounts.push(json!({"destination": "/data", "source": "data", "options": ["rbind"]}));
        mounts.push(
            json!({"destination": "/ro", "source": "data", "options": ["rbind", "ro", "rprivate"]}),
        );
        mounts.push(json!({"destination": "/run/deep/tmp", "type": "tmpfs", "source": "tmpfs",
            "options": ["noexec", "nosuid", "nodev", "size=65536"]}));
        spec["root"]["readonly"] = json!(true);
        let output = bundle.run(spec).expect("it runs");
        let line = |path: &str| {
            let fields = |line: &str| line.splitn(6, ' ').map(str::to_owned).collect::<Vec<_>>();
            let mut lines = output.stdout.lines().map(fields);
            let found = lines.find(|fields| fields.get(4).is_some_and(|field| field == path));
            let found = format!(" {}", found.unwrap_or_else(|| panic!("{path}: {output:?}"))[5]);
            // How tmpfs numbers its files is the kernel's configuration.
            found.replace(",inode64", "")
        };
        assert!(line("/").starts_with(" ro,"));
        assert_eq!(line("/proc"), " rw,nosuid,nodev,noexec,relatime - proc proc rw");
        assert_eq!(line("/dev"), " rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755");
        assert_eq!(
            line("/dev/pts"),
            " rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620,ptmxmode=666"
        );
        assert_eq!(line("/sys"), " ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro");
        assert_eq!(line("/dev/shm"), " rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k");
        assert_eq!(line("/dev/mqueue"), " rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw");
        assert!(line("/proc/sys").starts_with(" ro,nosuid,nodev,noexec,relatime"));
        assert!(line("/proc/keys").contains("size=65536k"), "the container's null device");
        assert!(
            line("/sys/firmware").starts_with(" ro,relatime - tmpfs tmpfs ro,size=4k,nr_inodes=1")
        );
        assert!(line("/run/deep/tmp").contains("size=64k"));
        if Path::new("/sys/fs/cgroup/memory").exists() {
            assert!(line("/sys/fs/cgroup/memory").starts_with(" ro,nosuid,nodev,noexec,relatime"));
        }
        assert!(output.stdout.ends_with("127.0.0.1 localhost\n"));
        assert!(bundle.dir.join("data/x").exists());
        assert!(output.stderr.contains("/ro/y: Read-only file system"), "{output:?}");
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_program_that_cannot_run_is_told_as_docker_does() {
    sandboxed("a_program_that_cannot_run_is_told_as_docker_does", || {
        let bundle = Bundle::new();
        let cases: &[(&str, Value, &str)] = &[
            (
                "/process/args",
                json!(["nosuch"]),
                "exec: \"nosuch\": executable file not found in $PATH",
            ),
            ("/process/args", json!(["/etc"]), "exec: \"/etc\": is a directory: permission denied"),
            ("/process/args", json!(["/etc/passwd"]), "exec: \"/etc/passwd\": permission denied"),
            ("/process/args", json!(["/x"]), "exec: \"/x\": stat /x: no such file or directory"),
            (
                "/process/cwd",
                json!("/etc/passwd"),
                "chdir to cwd (\"/etc/passwd\") set in config.json failed: not a directory",
            ),
            ("/process/cwd", json!("/etc/passwd/x"), "mkdir /etc/passwd/x: not a directory"),
        ];
        for (pointer, value, expected) in cases {
            let mut spec = bundle.spec(&["true"]);
            *spec.pointer_mut(pointer).expect("in the configuration") = value.clone();
            let failure = bundle.run(spec).expect_err(expected);
            let prefix = "unable to start container process: error during container init: ";
            assert_eq!(failure.message, format!("{prefix}{expected}"));
            bundle.assert_nothing_left();
        }
    });
}

#[test]
fn every_root_propagation_starts_and_leaves_the_host_alone() {
    sandboxed("every_root_propagation_starts_and_leaves_the_host_alone", || {
        let bundle = Bundle::new();
        let data = bundle.dir.join("data");
        fs::create_dir(&data).expect("a directory");
        // As the engine's: the container's root and the volume are mounts of their own.
        let rootfs = bundle.dir.join("rootfs");
        for dir in [&rootfs, &data] {
            rustix::mount::mount_bind(dir, dir).expect("a mount");
        }
        let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", shared).expect("a shared root");
        let table = || fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let before = table();
        for kind in ["", "shared", "rshared", "slave", "rslave", "private", "rprivate"] {
            let mut spec = bundle.spec(&["grep", " /data ", "/proc/self/mountinfo"]);
            let option = if kind.is_empty() { "rprivate" } else { kind };
            spec["mounts"].as_array_mut().expect("mounts").push(
                json!({"destination": "/data", "source": data, "options": ["rbind", option]}),
            );
            spec["linux"]["rootfsPropagation"] = json!(kind);
            let output = bundle.run(spec).unwrap_or_else(|failure| panic!("{kind}: {failure}"));
            let line = &output.stdout;
            assert_eq!(line.contains(" shared:"), kind.ends_with("shared"), "{kind}: {output:?}");
            assert_eq!(line.contains(" master:"), kind.ends_with("slave"), "{kind}: {output:?}");
            let peers =
                |line: &str| line.split(' ').find(|w| w.starts_with("shared:")).map(str::to_owned);
            if kind.ends_with("shared") {
                let place = data.to_str().expect("a plain path");
                let host = before.lines().find(|line| line.split(' ').nth(4) == Some(place));
                assert_eq!(peers(line), peers(host.expect("the volume")), "{kind}");
            }
            assert_eq!(table(), before, "{kind}");
        }
        for dir in [&rootfs, &data] {
            rustix::mount::unmount(dir, UnmountFlags::DETACH).expect("unmounted");
        }
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_dangling_link_leads_a_mount_inside_the_root() {
    sandboxed("a_dangling_link_leads_a_mount_inside_the_root", || {
        use std::os::unix::fs::symlink;
        let bundle = Bundle::new();
        let rootfs = bundle.dir.join("rootfs");
        symlink("../run/systemd/resolve/stub.conf", rootfs.join("etc/resolv.conf"))
            .expect("a link");
        symlink("/../../../srv/there", rootfs.join("data")).expect("a link");
        fs::write(bundle.dir.join("resolv.conf"), "nameserver 192.0.2.1\n").expect("a file");
        let script =
            "cat /etc/resolv.conf /run/systemd/resolve/stub.conf; mount | grep -c /srv/there/deep";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        let mounts = spec["mounts"].as_array_mut().expect("mounts");
        mounts.push(json!({"destination": "/etc/resolv.conf", "source": "resolv.conf", "options": ["rbind", "rprivate"]}));
        mounts.push(
            json!({"destination": "/data/deep/tmp", "type": "tmpfs", "source": "tmpfs", "options": []}),
        );
        let output = bundle.run(spec).expect("it runs");
        let expected = "nameserver 192.0.2.1\nnameserver 192.0.2.1\n1\n";
        assert_eq!(output.stdout, expected, "{output:?}");
        assert!(rootfs.join("srv/there/deep/tmp").is_dir());
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_failed_set_up_names_its_step_and_leaves_nothing() {
    sandboxed("a_failed_set_up_names_its_step_and_leaves_nothing", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&["true"]);
        let mount = json!({"destination": "/x", "source": "/no/such", "options": ["rbind"]});
        spec["mounts"].as_array_mut().expect("mounts").push(mount);
        let failure = bundle.run(spec).expect_err("no such source");
        assert!(
            failure.message.contains("error mounting \"/no/such\" to rootfs at \"/x\""),
            "{failure}"
        );
        assert!(failure.message.ends_with("no such file or directory"), "{failure}");
        bundle.assert_nothing_left();

        let mut spec = bundle.spec(&["true"]);
        spec["linux"]["resources"]["cpu"] = json!({"cpus": "4711"});
        let failure = bundle.run(spec).expect_err("no such processor");
        assert!(failure.message.contains("cpuset.cpus"), "{failure}");
        bundle.assert_nothing_left();

        fs::write(bundle.dir.join("rootfs/bin/garbage"), "garbage").expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(bundle.dir.join("rootfs/bin/garbage"), mode).expect("executable");
        let failure = bundle.run(bundle.spec(&["garbage"])).expect_err("not a program");
        assert_eq!(failure.message, "exec /bin/garbage: exec format error");
        assert_eq!((failure.stage.as_str(), failure.errno), ("exec", 8));
        bundle.assert_nothing_left();
    });
}

#[test]
fn another_user_gets_its_groups_home_and_streams() {
    sandboxed("another_user_gets_its_groups_home_and_streams", || {
        let bundle = Bundle::new();
        let script = "id; echo $HOME; pwd; umask; echo to-dev-stdout > /dev/stdout; cat /proc/self/status | grep Cap";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        spec["process"]["user"] =
            json!({"uid": 33, "gid": 33, "additionalGids": [33, 50], "umask": 0o027});
        spec["process"]["cwd"] = json!("/new/directory");
        spec["process"]["noNewPrivileges"] = json!(true);
        spec["process"]["capabilities"]["effective"] = json!([]);
        spec["process"]["capabilities"]["permitted"] = json!([]);
        let output = bundle.run(spec).expect("it runs");
        let expected = "uid=33(www) gid=33(www) groups=33(www),50\n/var/www\n/new/directory\n0027\nto-dev-stdout\n";
        assert!(output.stdout.starts_with(expected), "{output:?}");
        assert!(output.stdout.contains("CapPrm:\t0000000000000000"), "{output:?}");
    });
}

#[test]
fn an_exec_joins_the_container() {
    sandboxed("an_exec_joins_the_container", || {
        let bundle = Bundle::new();
        let streams = Streams::new();
        let created =
            bundle.create(bundle.spec(&["sleep", "1000"]), streams.stdio).expect("created");
        let state = State::load(&bundle.root, "c1").expect("a state");
        assert_eq!((state.status(), state.pid), (Status::Created, created.pid));
        let refused = davit_runtime::create(&davit_runtime::CreateRequest {
            id: "c1",
            bundle: &bundle.dir,
            root: &bundle.root,
            spec: serde_json::from_value(bundle.spec(&["true"])).expect("a configuration"),
            stdio: Stdio::Inherit,
            seccomp_cache: None,
            launch: davit_runtime::Launch::default(),
        });
        let refused = refused.expect_err("taken").failure;
        assert_eq!(refused.message, "container with given ID already exists");
        created.start.start().expect("started");
        assert_eq!(state.status(), Status::Running);

        let script =
            "hostname; readlink /proc/self/ns/pid; cat /proc/self/cgroup; cat /proc/1/comm; exit 7";
        let output = bundle.run_exec(process(&["sh", "-c", script])).expect("it runs");
        assert_eq!(output.code, 7);
        let lines: Vec<&str> = output.stdout.lines().collect();
        let pid_namespace = fs::read_link(format!("/proc/{}/ns/pid", created.pid));
        let pid_namespace = pid_namespace.expect("a namespace");
        assert_eq!(
            (lines[0], Path::new(lines[1]) == pid_namespace, *lines.last().expect("a line")),
            ("box", true, "sleep")
        );
        assert!(
            lines.iter().filter(|line| line.ends_with(&bundle.cgroup)).count() > 0,
            "{output:?}"
        );
        assert!(!lines.iter().any(|line| line.ends_with(":/")), "{output:?}");

        let failure = bundle.run_exec(process(&["nosuch"])).expect_err("no such program");
        let expected = "unable to start container process: exec: \"nosuch\": executable file not found in $PATH";
        assert_eq!(failure.message, expected);

        let mut elsewhere = process(&["true"]);
        elsewhere["cwd"] = json!("/nosuch/cwd");
        let failure = bundle.run_exec(elsewhere).expect_err("no such directory");
        let expected =
            "chdir to cwd (\"/nosuch/cwd\") set in config.json failed: no such file or directory";
        assert!(failure.message.ends_with(expected), "{failure}");
        assert!(!bundle.dir.join("rootfs/nosuch").exists(), "an exec creates no directory");

        let failure = davit_runtime::delete(&bundle.root, "c1").expect_err("running");
        assert!(failure.message.contains("that is not stopped: running"), "{failure}");
        davit_runtime::kill(&bundle.root, "c1", 9).expect("killed");
        assert_eq!(wait(&created), 137);
        assert_eq!(state.status(), Status::Stopped);
        let failure = bundle.run_exec(process(&["true"])).expect_err("stopped");
        assert_eq!(failure.message, "cannot exec in a stopped container");
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_terminal_is_the_containers_own() {
    sandboxed("a_terminal_is_the_containers_own", || {
        let bundle = Bundle::new();
        let mut spec =
            bundle.spec(&["sh", "-c", "tty; stty size; ls -l /dev/console; cat; sleep 1000"]);
        spec["process"]["terminal"] = json!(true);
        spec["process"]["consoleSize"] = json!({"height": 31, "width": 97});
        let mut created = bundle.create(spec, Stdio::Terminal).expect("created");
        let mut master = File::from(created.console_master.take().expect("a master"));
        created.start.start().expect("started");
        master.write_all(b"hello\n\x04").expect("typed");
        let mut text = String::new();
        while text.matches("hello").count() < 2 {
            let mut chunk = [0; 512];
            let count = master.read(&mut chunk).expect("shown");
            text.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
        assert!(text.contains("/dev/pts/0\r\n") && text.contains("31 97\r\n"), "{text:?}");
        assert!(text.contains("136,   0") && text.contains("/dev/console"), "{text:?}");

        let mut second = bundle
            .exec(process(&["sh", "-c", "tty; test -t 1"]), Stdio::Terminal)
            .expect("created");
        let mut shown = File::from(second.console_master.take().expect("a master"));
        second.start.start().expect("started");
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut chunk = [0; 512];
            let count = shown.read(&mut chunk).expect("shown");
            line.extend_from_slice(&chunk[..count]);
        }
        assert_eq!(line, b"/dev/pts/1\r\n");
        assert_eq!(wait(&second), 0);

        // Control-C reaches the foreground of the controlling terminal; init itself ignores it.
        davit_runtime::kill(&bundle.root, "c1", 9).expect("killed");
        assert_eq!(wait(&created), 137);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
        bundle.assert_nothing_left();
    });
}

#[test]
fn limits_hold_and_an_oom_kill_is_counted() {
    sandboxed("limits_hold_and_an_oom_kill_is_counted", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&["sh", "-c", "x=a; while :; do x=$x$x$x; done"]);
        spec["linux"]["resources"]["memory"] = json!({"limit": 8 << 20, "swap": 8 << 20});
        spec["linux"]["resources"]["cpu"] =
            json!({"shares": 512, "quota": 50000, "period": 100_000});
        spec["linux"]["resources"]["pids"] = json!({"limit": 33});
        let streams = Streams::new();
        let created = bundle.create(spec, streams.stdio).expect("created");
        let layout = davit_sys::cgroup::Layout::detect().expect("cgroups");
        let cgroup = davit_sys::cgroup::Cgroup::open(&layout, &bundle.cgroup).expect("a path");
        let stats = cgroup.stats().expect("counters");
        assert_eq!((stats.memory.limit, stats.pids.limit), (8 << 20, Some(33)));
        assert_eq!(cgroup.procs().expect("pids"), [created.pid]);
        if let Some(dir) = cgroup.directory("devices").filter(|_| !cgroup.is_v2()) {
            let list = fs::read_to_string(dir.join("devices.list")).expect("the rules");
            assert!(!list.contains("a *:* rwm") && list.contains("c 1:3 rwm"), "{list}");
        }
        cgroup.freeze().expect("frozen");
        assert_eq!(State::load(&bundle.root, "c1").expect("a state").status(), Status::Paused);
        cgroup.thaw().expect("thawed");
        assert_eq!(State::load(&bundle.root, "c1").expect("a state").status(), Status::Created);
        created.start.start().expect("started");
        assert_eq!(wait(&created), 137);
        assert_eq!(cgroup.oom_kills().expect("a count"), 1);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
        bundle.assert_nothing_left();
    });
}

#[test]
fn namespaces_can_be_joined_by_path() {
    sandboxed("namespaces_can_be_joined_by_path", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&[
            "sh",
            "-c",
            "readlink /proc/self/ns/net; readlink /proc/self/ns/uts; echo $$; cat /proc/self/cgroup",
        ]);
        spec["hostname"] = json!("");
        spec["linux"]["sysctl"] = json!({});
        spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid"}, {"type": "cgroup"},
            {"type": "network", "path": "/proc/self/ns/net"}, {"type": "uts", "path": "/proc/self/ns/uts"}]);
        let output = bundle.run(spec).expect("it runs");
        let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(Path::new(lines[0]), own("net"));
        assert_eq!(Path::new(lines[1]), own("uts"));
        assert_eq!(lines[2], "1");
        // The cgroup namespace begins at the container's cgroup.
        assert!(lines[3..].iter().all(|line| line.ends_with(":/")), "{output:?}");
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_limit_above_the_engines_own_is_a_clear_error_without_the_right_to_raise_it() {
    sandboxed(
        "a_limit_above_the_engines_own_is_a_clear_error_without_the_right_to_raise_it",
        || {
            let bundle = Bundle::new();
            let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            let Some(hard) = own.maximum else { return };
            let mut spec = bundle.spec(&["sh", "-c", "ulimit -n; ulimit -Hn"]);
            spec["process"]["rlimits"] =
                json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
            assert_eq!(bundle.run(spec.clone()).expect("it runs").stdout, "100\n200\n");
            let set = rustix::thread::CapabilitySet::SYS_RESOURCE;
            let may = rustix::thread::capabilities(None).expect("our own").effective.contains(set);
            spec["process"]["rlimits"] =
                json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": hard + 1}]);
            if !may {
                let failure = bundle.run(spec).expect_err("not allowed");
                assert!(
                    failure.message.contains("error setting rlimit RLIMIT_NOFILE"),
                    "{failure}"
                );
                assert!(failure.message.ends_with("operation not permitted"), "{failure}");
            }
            bundle.assert_nothing_left();
        },
    );
}

#[test]
fn a_process_that_is_not_released_goes_with_its_starter() {
    sandboxed("a_process_that_is_not_released_goes_with_its_starter", || {
        let bundle = Bundle::new();
        let streams = Streams::new();
        let created = bundle.create(bundle.spec(&["true"]), streams.stdio).expect("created");
        let davit_runtime::Created { pidfd, start, pid, .. } = created;
        drop(start);
        let rest = davit_runtime::Created {
            pid,
            pidfd,
            start: davit_runtime::StartHandle(File::open("/dev/null").expect("null").into()),
            console_master: None,
        };
        assert_eq!(wait(&rest), 0);
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
        bundle.assert_nothing_left();
    });
}

#[test]
fn the_device_program_of_version_2_is_obeyed() {
    sandboxed("the_device_program_of_version_2_is_obeyed", || {
        use davit_sys::cgroup::{Access, Cgroup, DeviceKind, DeviceRule, Layout};
        let layout = Layout::detect().expect("cgroups");
        if layout.unified().is_none() {
            return;
        }
        let bundle = Bundle::new();
        let streams = Streams::new();
        let script = "head -c1 /dev/zero | wc -c; echo > /dev/full;  head -c1 /dev/random";
        let created = bundle.create(bundle.spec(&["sh", "-c", script]), streams.stdio);
        let created = created.expect("created");
        let all = DeviceRule {
            allow: false,
            kind: DeviceKind::All,
            major: None,
            minor: None,
            access: Access::ALL,
        };
        let char = |minor, access| DeviceRule {
            allow: true,
            kind: DeviceKind::Char,
            major: Some(1),
            minor: Some(minor),
            access,
        };
        let read = Access { read: true, write: false, mknod: false };
        let rules = [all, char(5, Access::ALL), char(7, read)];
        let cgroup = Cgroup::open(&layout, &bundle.cgroup).expect("a path");
        cgroup.attach_device_program(&rules).expect("attached");
        created.start.start().expect("started");
        let output = support::collect(created, streams.stdout, streams.stderr);
        assert_eq!(output.stdout, "1\n");
        assert!(output.stderr.contains("/dev/full: Operation not permitted"), "{output:?}");
        assert!(output.stderr.contains("/dev/random: Operation not permitted"), "{output:?}");
        davit_runtime::delete(&bundle.root, "c1").expect("deleted");
        bundle.assert_nothing_left();
    });
}

#[test]
fn ambient_capabilities_that_cannot_be_are_left_out() {
    sandboxed("ambient_capabilities_that_cannot_be_are_left_out", || {
        let bundle = Bundle::new();
        let mut spec = bundle.spec(&["grep", "CapAmb", "/proc/self/status"]);
        let sets = &mut spec["process"]["capabilities"];
        sets["ambient"] = json!(["CAP_KILL", "CAP_AUDIT_WRITE"]);
        let output = bundle.run(spec.clone()).expect("it runs");
        assert_eq!(output.stdout, "CapAmb:\t0000000000000000\n", "{output:?}");
        spec["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
        let output = bundle.run(spec).expect("it runs");
        assert_eq!(output.stdout, "CapAmb:\t0000000000000020\n", "{output:?}");
        bundle.assert_nothing_left();
    });
}
