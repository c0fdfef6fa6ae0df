//! Options of mounts.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;
use serde_json::{Value, json};

use crate::support::{Bundle, Output, sandboxed};

/// A directory on a file system of its own, with another one mounted on `sub`.
fn volume(bundle: &Bundle) -> PathBuf {
    let volume = bundle.dir.join("volume");
    fs::create_dir(&volume).expect("a directory");
    mount_tmpfs(&volume, MountFlags::empty());
    fs::create_dir(volume.join("sub")).expect("a directory");
    mount_tmpfs(&volume.join("sub"), MountFlags::empty());
    volume
}

fn mount_tmpfs(path: &Path, flags: MountFlags) {
    rustix::mount::mount("tmpfs", path, "tmpfs", flags, Some(c"mode=755")).expect("a tmpfs");
}

fn run(bundle: &Bundle, mounts: &[Value], script: &str) -> Output {
    let mut spec = bundle.spec(&["sh", "-c", script]);
    spec["mounts"].as_array_mut().expect("mounts").extend(mounts.iter().cloned());
    bundle.run(spec).expect("it runs")
}

/// Adds a user namespace whose root is user 100000 of the host, who gets the container's root.
fn with_users(bundle: &Bundle, spec: &mut Value) {
    spec["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "user"}));
    let table = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    spec["linux"]["uidMappings"] = table.clone();
    spec["linux"]["gidMappings"] = table;
    let rootfs = bundle.dir.join("rootfs");
    for name in ["", "tmp", "etc", "dev"] {
        chown(rootfs.join(name), Some(100_000), Some(100_000)).expect("owned");
    }
}

#[test]
fn recursive_attributes_hold_below_and_plain_ones_do_not() {
    sandboxed("mounts::recursive_attributes_hold_below_and_plain_ones_do_not", || {
        let bundle = Bundle::new();
        let volume = volume(&bundle);
        let bind = |to: &str, options: &[&str]| json!({"destination": to, "source": volume, "options": options});
        let mounts = [
            bind("/plain", &["rbind", "ro", "nosuid", "rprivate"]),
            bind(
                "/deep",
                &["rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rprivate"],
            ),
            bind("/back", &["rbind", "rro", "rw", "rprivate"]),
        ];
        let script = "for d in /plain /plain/sub /deep /deep/sub /back /back/sub; do touch $d/x 2>/dev/null && echo $d; done; \
             grep -E ' /(deep|plain)' /proc/self/mountinfo | cut -d ' ' -f 5,6";
        let output = run(&bundle, &mounts, script);
        let expected = "/plain/sub\n/plain ro,nosuid,relatime\n/plain/sub rw,relatime\n\
                        /deep ro,nosuid,nodev,noexec,noatime\n/deep/sub ro,nosuid,nodev,noexec,noatime\n";
        assert_eq!(output.stdout, expected, "{output:?}");
    });
}

#[test]
fn links_are_not_followed_where_they_should_not_be() {
    sandboxed("mounts::links_are_not_followed_where_they_should_not_be", || {
        let bundle = Bundle::new();
        let volume = volume(&bundle);
        fs::write(volume.join("file"), "content\n").expect("a file");
        symlink("file", volume.join("link")).expect("a link");
        let mounts =
            [json!({"destination": "/v", "source": volume, "options": ["bind", "nosymfollow"]})];
        let output = run(&bundle, &mounts, "cat /v/file; cat /v/link");
        assert_eq!(output.stdout, "content\n", "{output:?}");
        assert!(output.stderr.contains("/v/link"), "{output:?}");
    });
}

#[test]
fn ids_of_a_mount_are_mapped() {
    sandboxed("mounts::ids_of_a_mount_are_mapped", || {
        let bundle = Bundle::new();
        let volume = volume(&bundle);
        for file in ["top", "sub/below"] {
            fs::write(volume.join(file), "").expect("a file");
        }
        let table = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        let bind = |to: &str, option: &str| {
            json!({"destination": to, "source": volume, "options": ["rbind", option, "rprivate"],
                   "uidMappings": table, "gidMappings": table})
        };
        let mounts = [bind("/one", "idmap"), bind("/all", "ridmap"), bind("/implied", "nosuid")];
        let script = "stat -c '%n %u:%g' /one/top /one/sub/below /all/top /all/sub/below /implied/top; touch /all/new";
        let output = run(&bundle, &mounts, script);
        let expected = "/one/top 1000:1000\n/one/sub/below 0:0\n/all/top 1000:1000\n\
                        /all/sub/below 1000:1000\n/implied/top 1000:1000\n";
        assert_eq!(output.stdout, expected, "{output:?}");
        // Root of the container is nobody the table knows.
        assert!(output.stderr.contains("Value too large"), "{output:?}");
    });
}

#[test]
fn a_mount_takes_the_ids_of_the_containers_users() {
    sandboxed("mounts::a_mount_takes_the_ids_of_the_containers_users", || {
        let bundle = Bundle::new();
        let volume = volume(&bundle);
        fs::write(volume.join("top"), "").expect("a file");
        let script = "stat -c '%n %u:%g' /mapped/top /plain/top; touch /mapped/new";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        with_users(&bundle, &mut spec);
        let mounts = spec["mounts"].as_array_mut().expect("mounts");
        mounts.push(
            json!({"destination": "/mapped", "source": volume, "options": ["bind", "idmap"]}),
        );
        mounts.push(json!({"destination": "/plain", "source": volume, "options": ["rbind"]}));
        let output = bundle.run(spec).expect("it runs");
        assert_eq!(output.stdout, "/mapped/top 0:0\n/plain/top 65534:65534\n", "{output:?}");
        let made = fs::metadata(volume.join("new")).expect("made through the mount");
        assert_eq!((made.uid(), made.gid()), (0, 0));
    });
}

#[test]
fn what_the_host_has_locked_stays_locked_in_a_user_namespace() {
    sandboxed("mounts::what_the_host_has_locked_stays_locked_in_a_user_namespace", || {
        let bundle = Bundle::new();
        let volume = bundle.dir.join("locked");
        fs::create_dir(&volume).expect("a directory");
        mount_tmpfs(&volume, MountFlags::NOSUID | MountFlags::NODEV);
        let mut spec =
            bundle.spec(&["sh", "-c", "grep ' /v ' /proc/self/mountinfo | cut -d ' ' -f 6"]);
        with_users(&bundle, &mut spec);
        let with = |options: Value| {
            let mut spec = spec.clone();
            let mounts = spec["mounts"].as_array_mut().expect("mounts");
            mounts.push(json!({"destination": "/v", "source": volume, "options": options}));
            bundle.run(spec)
        };
        let output = with(json!(["bind", "ro"])).expect("it runs");
        assert_eq!(output.stdout, "ro,nosuid,nodev,relatime\n", "{output:?}");
        let failure = with(json!(["bind", "suid"])).expect_err("locked");
        assert!(failure.message.contains("operation not permitted"), "{failure}");
    });
}

#[test]
fn a_tmpfs_begins_with_what_it_covers() {
    sandboxed("mounts::a_tmpfs_begins_with_what_it_covers", || {
        let bundle = Bundle::new();
        let covered = bundle.dir.join("rootfs/data");
        fs::create_dir_all(covered.join("a/b")).expect("directories");
        fs::write(covered.join("a/b/file"), "content").expect("a file");
        fs::set_permissions(covered.join("a/b/file"), PermissionsExt::from_mode(0o4711))
            .expect("a mode");
        chown(covered.join("a"), Some(12), Some(34)).expect("an owner");
        symlink("../nowhere", covered.join("a/link")).expect("a link");
        let script = "cd /data; cat a/b/file; stat -c ' %a %u:%g %Y' a/b/file a; readlink a/link; \
             touch new && echo writable; rm -r /data/a; touch /ro/x || ls /ro/a";
        let mount = |to: &str, options: Value| json!({"destination": to, "type": "tmpfs", "source": "tmpfs", "options": options});
        fs::create_dir_all(bundle.dir.join("rootfs/ro/a/b")).expect("directories");
        let mounts = [
            mount("/data", json!(["tmpcopyup", "nosuid"])),
            mount("/ro", json!(["tmpcopyup", "ro"])),
        ];
        let modified = |name: &str| fs::metadata(covered.join(name)).expect("there").mtime();
        let output = run(&bundle, &mounts, script);
        let expected = format!(
            "content 4711 0:0 {}\n 755 12:34 {}\n../nowhere\nwritable\nb\n",
            modified("a/b/file"),
            modified("a")
        );
        assert_eq!(output.stdout, expected, "{output:?}");
        assert!(covered.join("a/b/file").exists() && !covered.join("new").exists());
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_tmpfs_has_the_mode_of_what_it_covers_or_its_own() {
    sandboxed("mounts::a_tmpfs_has_the_mode_of_what_it_covers_or_its_own", || {
        let bundle = Bundle::new();
        let there = bundle.dir.join("rootfs/there");
        fs::create_dir(&there).expect("a directory");
        fs::set_permissions(&there, PermissionsExt::from_mode(0o710)).expect("a mode");
        let mount = |to: &str, options: Value| json!({"destination": to, "type": "tmpfs", "source": "tmpfs", "options": options});
        let mounts = [
            mount("/there", json!([])),
            mount("/missing/below", json!([])),
            mount("/given", json!(["mode=700"])),
        ];
        let output = run(&bundle, &mounts, "stat -c %a /there /missing/below /missing /given");
        assert_eq!(output.stdout, "710\n1777\n755\n700\n", "{output:?}");
        bundle.assert_nothing_left();
    });
}

#[test]
fn a_read_only_file_system_is_filled_first() {
    sandboxed("mounts::a_read_only_file_system_is_filled_first", || {
        let bundle = Bundle::new();
        fs::write(bundle.dir.join("file"), "bound\n").expect("a file");
        let mut spec = bundle.spec(&[
            "sh",
            "-c",
            "cat /run/deep/file; touch /run/x; touch /dev/x; echo y >/dev/null && echo null",
        ]);
        spec["mounts"][1]["options"] = json!(["nosuid", "mode=755", "ro"]);
        let mounts = spec["mounts"].as_array_mut().expect("mounts");
        mounts.push(
            json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}),
        );
        mounts.push(
            json!({"destination": "/run/deep/file", "source": "file", "options": ["bind", "ro"]}),
        );
        let output = bundle.run(spec).expect("it runs");
        assert_eq!(output.stdout, "bound\nnull\n", "{output:?}");
        assert!(output.stderr.contains("/run/x: Read-only file system"), "{output:?}");
        assert!(output.stderr.contains("/dev/x: Read-only file system"), "{output:?}");
        bundle.assert_nothing_left();
    });
}

#[test]
fn the_cgroup_file_systems_are_read_only_when_asked() {
    sandboxed("mounts::the_cgroup_file_systems_are_read_only_when_asked", || {
        let bundle = Bundle::new();
        let script = "cd /sys/fs/cgroup; mkdir x 2>/dev/null && echo top; \
             for d in */; do [ -L ${d%/} ] || { mkdir ${d}x 2>/dev/null && rmdir ${d}x && echo $d; }; done; true";
        let mut spec = bundle.spec(&["sh", "-c", script]);
        let output = bundle.run(spec.clone()).expect("it runs");
        assert_eq!(output.stdout, "", "{output:?}");
        spec["mounts"][4]["options"] = json!(["nosuid", "noexec", "nodev"]);
        let output = bundle.run(spec).expect("it runs");
        assert_ne!(output.stdout, "", "{output:?}");
        bundle.assert_nothing_left();
    });
}
