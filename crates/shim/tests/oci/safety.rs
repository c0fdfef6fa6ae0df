//! What is wrong is said in one line; and nothing of the host's is within reach of a container.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use rustix::fs::StatVfsMountFlags;
use serde_json::{Value, json};

use crate::support::{Bundle, is_foreign, lab};

/// What is done to a bundle, and what then is said. `$B` is its directory.
type Case = (fn(&Bundle) -> Result<()>, &'static str);

/// Changes `config.json`.
fn change(bundle: &Bundle, change: impl FnOnce(&mut Value)) -> Result<()> {
    let path = bundle.file("config.json");
    let mut spec = serde_json::from_slice(&fs::read(&path)?)?;
    change(&mut spec);
    Ok(fs::write(path, serde_json::to_string_pretty(&spec)?)?)
}

const INIT: &str =
    "davit-runc run failed: unable to start container process: error during container init: ";

const BROKEN: &[Case] = &[
    (
        |b| Ok(fs::remove_file(b.file("config.json"))?),
        "JSON specification file $B/config.json not found",
    ),
    (|b| Ok(fs::remove_dir_all(&b.dir)?), "JSON specification file $B/config.json not found"),
    (
        |b| Ok(fs::write(b.file("config.json"), "{\n  \"ociVersion\": \"1.0.0\",\n}\n")?),
        "parse $B/config.json: trailing comma at line 3 column 1",
    ),
    (
        |b| Ok(fs::write(b.file("config.json"), "")?),
        "parse $B/config.json: EOF while parsing a value at line 1 column 0",
    ),
    (
        |b| Ok(fs::write(b.file("config.json"), "{\n\"ociVersion\": 1\n}\n")?),
        "parse $B/config.json: invalid type: integer `1`, expected a string at line 2 column 15",
    ),
    (
        |b| change(b, |spec| spec["root"]["path"] = json!("/no/such/root")),
        "${INIT}error preparing rootfs \"/no/such/root\": open /no/such/root: no such file or directory",
    ),
    (
        |b| change(b, |spec| spec["process"]["args"] = json!(["nosuch"])),
        "${INIT}exec: \"nosuch\": executable file not found in $PATH",
    ),
    (
        |b| change(b, |spec| spec["process"]["args"] = json!(["echo hello"])),
        "${INIT}exec: \"echo hello\": executable file not found in $PATH (the name contains a space: \
         are program and arguments one string by mistake?)",
    ),
    (
        |b| change(b, |spec| spec["process"]["args"] = json!(["/etc/passwd"])),
        "${INIT}exec: \"/etc/passwd\": permission denied (its mode 0644 has no x bit: chmod +x)",
    ),
    (
        |b| change(b, |spec| spec["process"]["args"] = json!(["/proc/self/exe"])),
        "${INIT}exec: \"/proc/self/exe\": permission denied (it is the container runtime's own program)",
    ),
    (
        |b| change(b, |spec| spec["process"]["cwd"] = json!("/etc/passwd")),
        "${INIT}chdir to cwd (\"/etc/passwd\") set in config.json failed: not a directory",
    ),
    (
        |b| {
            change(b, |spec| {
                let mount = json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs",
                                   "options": ["sise=1m"]});
                spec["mounts"].as_array_mut().expect("a list").push(mount);
            })
        },
        "${INIT}error mounting \"tmpfs\" to rootfs at \"/x\": mount tmpfs: invalid argument (tmpfs: \
         Unknown parameter 'sise')",
    ),
];

#[test]
fn a_broken_bundle_is_explained_in_one_line() -> Result<()> {
    let Some(lab) = lab("a_broken_bundle_is_explained_in_one_line")? else { return Ok(()) };
    if is_foreign() {
        return Ok(());
    }
    for (spoil, expected) in BROKEN {
        let bundle = lab.bundle(&["true"], |_| {})?;
        spoil(&bundle)?;
        // As engines read it.
        let log = lab.sandbox.dir().join(format!("{}.log", bundle.id));
        let globals = ["--log", log.to_str().expect("a plain path"), "--log-format", "json"];
        let run = ["run", "--bundle", bundle.path(), &bundle.id];
        lab.verb(&[globals.as_slice(), &run].concat())?.err()?;
        let line: Value = serde_json::from_str(fs::read_to_string(&log)?.trim_end())?;
        let said = line["msg"].as_str().expect("a text").replace(bundle.path(), "$B");
        assert_eq!(said, expected.replace("${INIT}", INIT));
        assert_eq!(lab.leftovers()?, Vec::<String>::new());
    }
    Ok(())
}

/// CVE-2019-5736: what `/proc/<pid>/exe` opens can't be written, whoever asks.
#[test]
fn the_program_of_a_process_that_waits_is_sealed() -> Result<()> {
    let Some(lab) = lab("the_program_of_a_process_that_waits_is_sealed")? else { return Ok(()) };
    let bundle = lab.create(&["sleep", "1000"], |_| {})?;
    let pid = lab.state(&bundle.id)?["pid"].as_i64().expect("a number");
    let exe = lab.sandbox.proc_dir().join(pid.to_string()).join("exe");
    let flags = rustix::fs::statvfs(&exe)?.f_flag;
    // A mount that is read-only, or a sealed file in memory.
    let in_memory = fs::read_link(&exe)?.to_string_lossy().starts_with("/memfd:");
    assert!(flags.contains(StatVfsMountFlags::RDONLY) || in_memory, "{flags:?}");
    lab.verb(&["start", &bundle.id])?.ok()?;
    lab.until(&bundle.id, "running")?;
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// CVE-2019-5736: a script that names the runtime as its interpreter, and that only the kernel can read,
/// executes what is sealed, with the container's rights, and ends.
#[test]
fn a_script_that_has_the_runtime_interpret_it_fails() -> Result<()> {
    let test = "a_script_that_has_the_runtime_interpret_it_fails";
    let Some(lab) = lab(test)? else { return Ok(()) };
    let script = lab.sandbox.dir().join("rootfs/bin/own");
    let size = fs::metadata(&lab.runtime)?.len();
    for (mode, user) in [(0o755, 0), (0o111, 1000)] {
        fs::write(&script, "#!/proc/self/exe\n")?;
        fs::set_permissions(&script, fs::Permissions::from_mode(mode))?;
        let bundle =
            lab.bundle(&["/bin/own"], |spec| spec["process"]["user"]["uid"] = json!(user))?;
        let ended = lab.verb(&["run", "--bundle", bundle.path(), &bundle.id])?;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        if is_foreign() {
            // runc 1.1 runs its copy, which shows its help.
            continue;
        }
        assert_ne!(ended.code, 0, "{said}");
        let expected: &[&str] = match user {
            0 => &["its interpreter /proc/self/exe is the container runtime's own program"],
            // The second if it is linked dynamically, as the tests are: the container has no libraries.
            _ => {
                &["unrecognized subcommand '/bin/own'", "exec /bin/own: no such file or directory"]
            }
        };
        assert!(expected.iter().any(|expected| said.contains(expected)), "{said}");
        fs::remove_file(&script)?;
    }
    assert_eq!(fs::metadata(&lab.runtime)?.len(), size);
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// Descriptors that a careless caller leaves open reach neither the program, nor an exec, nor a hook
/// that runs in the container.
#[test]
fn no_descriptor_of_the_callers_is_left() -> Result<()> {
    let Some(lab) = lab("no_descriptor_of_the_callers_is_left")? else { return Ok(()) };
    let leak = fs::File::open("/")?;
    davit_sys::fdpass::make_inheritable(&leak)?;
    let list = "ls /proc/self/fd";
    let bundle = lab.bundle(&["sh", "-c", &format!("{list}; exec sleep 1000")], |spec| {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "ls /proc/self/fd > /tmp/hook"]});
        spec["hooks"] = json!({"startContainer": [hook]});
    })?;
    // The shell's own list: streams, and the directory that `ls` reads.
    const STREAMS: &str = "0\n1\n2\n3\n";
    let mut run = lab.command(&["run", "--detach", "--bundle", bundle.path(), &bundle.id]);
    let output = bundle.file("output");
    let file = fs::File::create(&output)?;
    run.stdout(file.try_clone()?).stderr(file);
    assert!(run.status()?.success(), "{}", fs::read_to_string(&output)?);
    davit_testkit::wait::until_true(crate::support::PATIENCE, "the list", || {
        Ok(fs::read_to_string(&output)?.lines().count() >= 4)
    })?;
    assert_eq!(fs::read_to_string(&output)?, STREAMS);
    let hook = lab.sandbox.dir().join("rootfs/tmp/hook");
    assert_eq!(fs::read_to_string(hook)?, STREAMS);
    let exec = lab.verb(&["exec", &bundle.id, "sh", "-c", list])?.ok()?;
    assert_eq!(exec, STREAMS);
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}
