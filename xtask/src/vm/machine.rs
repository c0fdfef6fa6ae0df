//! Running the machine and hearing what it says.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use davit_testkit::paths;

use super::image::Image;
use super::payload::Payload;
use crate::run::say;

/// Until the first word. Seconds on an idle machine.
const BOOT: Duration = Duration::from_secs(300);
/// Between two lines.
const SILENCE: Duration = Duration::from_secs(300);
/// Altogether.
const LIMIT: Duration = Duration::from_secs(1800);

/// How a test program ended.
pub(super) struct Outcome {
    pub(super) program: String,
    pub(super) passed: u32,
    pub(super) failed: u32,
}

/// Boots `image` with the payload as its second disk and waits for the results of all its programs.
pub(super) fn run(image: &Image, payload: &Payload, work: &Path) -> Result<Vec<Outcome>> {
    let console = work.join("console");
    let mut qemu = Qemu(boot(image, &payload.disk, &console)?);
    let stdout = qemu.0.stdout.take().context("stdout is piped")?;
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let outcomes = listen(&lines).with_context(|| {
        let text = fs::read(&console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("the machine's console ended with:\n{tail}\n")
    })?;
    complete(&payload.wanted, &outcomes)?;
    Ok(outcomes)
}

/// Every test that was to run did.
fn complete(wanted: &[(String, usize)], outcomes: &[Outcome]) -> Result<()> {
    for (program, tests) in wanted {
        let outcome = outcomes.iter().find(|outcome| outcome.program == *program);
        let ran = outcome.map_or(0, |outcome| outcome.passed + outcome.failed);
        ensure!(ran as usize == *tests, "{program}: {ran} of {tests} tests were run");
    }
    Ok(())
}

/// Ends with its owner.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn boot(image: &Image, disk: &Path, console: &Path) -> Result<Child> {
    let drive = |file: &Path| format!("file={},format=raw,if=virtio,snapshot=on", file.display());
    let mut qemu = Command::new(paths::program_or_name("qemu-system-x86_64"));
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"])
        .args(["-nodefaults", "-display", "none", "-nic", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(&image.kernel)
        .arg("-initrd")
        .arg(&image.initrd)
        .args(["-append", "console=ttyS0 panic=-1 systemd.unit=davit-test.service"])
        .args(["-drive", &drive(&image.root), "-drive", &drive(disk)])
        .args(["-serial", &format!("file:{}", console.display()), "-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    qemu.spawn().context("run qemu-system-x86_64")
}

fn listen(lines: &Receiver<String>) -> Result<Vec<Outcome>> {
    let start = Instant::now();
    let mut limit = BOOT;
    let mut outcomes = Vec::new();
    let mut summary = None;
    loop {
        let line = lines.recv_timeout(limit).map_err(|_| {
            let seconds = start.elapsed().as_secs();
            anyhow!("the machine is silent, or ended, {seconds} s after its start")
        })?;
        limit = SILENCE;
        if start.elapsed() > LIMIT {
            bail!("the machine was not ready in {} s", LIMIT.as_secs());
        }
        match line.strip_prefix("DAVIT-VM-").and_then(|rest| rest.split_once(' ')) {
            None if line == "DAVIT-VM-END" => return Ok(outcomes),
            Some(("UP", what)) => {
                say(&format!("up after {:.0} s: {what}", start.elapsed().as_secs_f32()));
            }
            Some(("RESULT", result)) => outcomes.push(outcome(result, summary.take())?),
            _ => {
                summary = counts(&line).or(summary);
                say(&line);
            }
        }
    }
}

/// `davit-sys-cgroup 0`, after the program's own summary.
fn outcome(result: &str, summary: Option<(u32, u32)>) -> Result<Outcome> {
    let (program, status) = result.split_once(' ').context("a result without a status")?;
    let Some((passed, failed)) = summary else {
        bail!("{program} ended with {status} before it summed up its tests");
    };
    if (status == "0") != (failed == 0) {
        bail!("{program} ended with {status} and {failed} failed tests");
    }
    Ok(Outcome { program: program.to_owned(), passed, failed })
}

/// Passed and failed in `test result: ok. 12 passed; 0 failed; ...`.
fn counts(line: &str) -> Option<(u32, u32)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut numbers = counts.split("; ").map(|part| part.split(' ').next()?.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Result<Vec<Outcome>> {
        let (sender, receiver) = channel();
        for line in lines {
            sender.send((*line).to_owned()).unwrap();
        }
        drop(sender);
        listen(&receiver)
    }

    #[test]
    fn results_are_read_from_the_serial_line() {
        let ok = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out";
        let bad = "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured";
        let all = ["DAVIT-VM-UP 6.1", ok, "DAVIT-VM-RESULT a 0", bad, "DAVIT-VM-RESULT b 101"];
        let outcomes = heard(&[&all[..], &["DAVIT-VM-END"]].concat()).unwrap();
        assert_eq!((outcomes[0].passed, outcomes[0].failed), (12, 0));
        assert_eq!((outcomes[1].program.as_str(), outcomes[1].failed), ("b", 1));
    }

    #[test]
    fn a_test_that_was_not_run_is_an_error() {
        let ok = "test result: ok. 12 passed; 0 failed; 1 ignored";
        let outcomes = heard(&[ok, "DAVIT-VM-RESULT a 0", "DAVIT-VM-END"]).unwrap();
        let wanted = |program: &str, count| [(program.to_owned(), count)];
        complete(&wanted("a", 12), &outcomes).unwrap();
        assert!(complete(&wanted("a", 13), &outcomes).is_err());
        assert!(complete(&wanted("b", 1), &outcomes).is_err());
    }

    #[test]
    fn a_machine_that_goes_silent_or_a_program_that_crashes_is_an_error() {
        assert!(heard(&["DAVIT-VM-UP 6.1"]).is_err());
        assert!(heard(&["DAVIT-VM-RESULT a 139", "DAVIT-VM-END"]).is_err());
        let ok = "test result: ok. 1 passed; 0 failed; 0 ignored";
        assert!(heard(&[ok, "DAVIT-VM-RESULT a 139", "DAVIT-VM-END"]).is_err());
    }
}
