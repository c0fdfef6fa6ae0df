//! Further processes of a container.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::json;

use crate::support::{Bundle, Lab, is_foreign, lab};

#[test]
fn exec_takes_its_process_from_flags_or_a_file() -> Result<()> {
    let Some(lab) = lab("exec_takes_its_process_from_flags_or_a_file")? else { return Ok(()) };
    let bundle = lab.start(&["sleep", "1000"], |_| {})?;
    let script = "echo $A; pwd; id -u; id -g; exit 9";
    let exec =
        ["exec", "-e", "A=1", "--cwd", "/tmp", "--user", "5:6", &bundle.id, "sh", "-c", script];
    let ended = lab.verb(&exec)?;
    assert_eq!((ended.code, &*ended.stdout), (9, "1\n/tmp\n5\n6\n"), "{}", ended.stderr);
    let file = bundle.file("process.json");
    let process = json!({
        "user": {"uid": 3, "gid": 4, "additionalGids": [7]}, "args": ["id"],
        "env": ["PATH=/bin"], "cwd": "/",
    });
    fs::write(&file, process.to_string())?;
    let path = file.to_str().context("a plain path")?;
    assert_eq!(lab.verb(&["exec", "--process", path, &bundle.id])?.ok()?, "uid=3 gid=4 groups=7\n");
    let missing = lab.verb(&["exec", &bundle.id, "nosuch"])?;
    assert_eq!(missing.code, 255);
    assert!(missing.stderr.contains("executable file not found in $PATH"), "{}", missing.stderr);
    lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}

/// What `lab` says of an exec by a caller with a umask of his own.
fn exec_with_umask(lab: &Lab, words: &[&str]) -> Result<String> {
    let mut command = lab.sandbox.command("sh");
    command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(&lab.runtime);
    command.arg("--root").arg(lab.root()).arg("exec").args(words);
    command.stdin(Stdio::null());
    lab.finish(command)?.ok()
}

#[test]
fn exec_has_the_containers_umask_and_the_capabilities_it_is_given() -> Result<()> {
    let test = "exec_has_the_containers_umask_and_the_capabilities_it_is_given";
    let Some(lab) = lab(test)? else { return Ok(()) };
    let plain = lab.start(&["sleep", "1000"], |_| {})?;
    let own = lab.start(&["sleep", "1000"], |spec| {
        spec["process"]["user"]["umask"] = json!(0o027);
        spec["process"]["capabilities"]["inheritable"] = json!(["CAP_CHOWN"]);
    })?;
    for (bundle, umask) in [(&plain, "0022\n"), (&own, "0027\n")] {
        let seen = exec_with_umask(&lab, &[&bundle.id, "sh", "-c", "umask"])?;
        // In runc 1.1 an exec has the caller's, unlike the container's first process.
        assert_eq!(seen, if is_foreign() { "0077\n" } else { umask });
    }

    // CAP_CHOWN, CAP_KILL, CAP_SETGID and CAP_SETUID are the container's; CAP_NET_RAW comes along.
    let sets = |bundle: &Bundle| -> Result<Vec<String>> {
        let exec = ["exec", "--cap", "CAP_NET_RAW", &bundle.id, "grep", "Cap", "/proc/self/status"];
        let text = lab.verb(&exec)?.ok()?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    };
    let (all, none, chown) = ("00000000000020e1", "0000000000000000", "0000000000000001");
    let expected = |inheritable, ambient| {
        ["CapInh:", inheritable, "CapPrm:", all, "CapEff:", all, "CapBnd:", all, "CapAmb:", ambient]
    };
    assert_eq!(sets(&plain)?, expected(none, none));
    assert_eq!(sets(&own)?, expected(chown, none));
    for bundle in [plain, own] {
        lab.verb(&["delete", "--force", &bundle.id])?.ok()?;
    }
    assert_eq!(lab.leftovers()?, Vec::<String>::new());
    Ok(())
}
