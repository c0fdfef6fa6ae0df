//! Measures create + start + exit of `busybox true`, and of an exec, in a bundle that is given.
//!
//! `start_time BUNDLE COUNT`: the bundle has `config.json`. Prints medians in microseconds. Needs root.

use std::error::Error;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use davit_runtime::{CreateRequest, Created, ExecRequest, Stdio};
use davit_types::oci::runtime::{LinuxSeccomp, Process, Spec};
use rustix::process::{WaitId, WaitIdOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let bundle = args.next().ok_or("BUNDLE is missing")?;
    let count: usize = args.next().ok_or("COUNT is missing")?.parse()?;
    let bundle = Path::new(&bundle);
    let root = bundle.join("state");
    let json = fs::read(bundle.join("config.json"))?;
    let mut samples: [Vec<Duration>; 5] = Default::default();
    for _ in 0..count {
        let begin = Instant::now();
        let spec: Spec = serde_json::from_slice(&json)?;
        let parsed = Instant::now();
        let created = create(bundle, &root, spec)?;
        let ready = Instant::now();
        created.start.start()?;
        let started = Instant::now();
        wait(&created)?;
        let ended = Instant::now();
        davit_runtime::delete(&root, "bench")?;
        let deleted = Instant::now();
        let steps = [begin, parsed, ready, started, ended, deleted];
        for (sample, step) in samples.iter_mut().zip(steps.windows(2)) {
            sample.push(step[1] - step[0]);
        }
    }
    for (name, sample) in ["parse", "create", "start", "exit", "delete"].iter().zip(&mut samples) {
        show(name, sample);
    }
    let mut spec: Spec = serde_json::from_slice(&json)?;
    let process = spec.process().clone().ok_or("no process")?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone());
    let sleep = ["sleep", "1000"].map(str::to_owned).to_vec();
    spec.process_mut().as_mut().ok_or("no process")?.set_args(Some(sleep));
    let created = create(bundle, &root, spec)?;
    created.start.start()?;
    let mut sample = Vec::new();
    for _ in 0..count {
        sample.push(exec(bundle, &root, process.clone(), seccomp.as_ref())?);
    }
    show("exec", &mut sample);
    davit_runtime::kill(&root, "bench", 9)?;
    wait(&created)?;
    davit_runtime::delete(&root, "bench")?;
    Ok(())
}

fn create(bundle: &Path, root: &Path, spec: Spec) -> Result<Created, Box<dyn Error>> {
    let cache = bundle.join("seccomp");
    let stdio = Stdio::Inherit;
    let seccomp_cache = Some(cache.as_path());
    let created = davit_runtime::create(&CreateRequest {
        id: "bench",
        bundle,
        root,
        spec,
        stdio,
        seccomp_cache,
        launch: davit_runtime::Launch::default(),
    });
    Ok(created.map_err(|not_created| *not_created.failure)?)
}

fn exec(
    bundle: &Path,
    root: &Path,
    process: Process,
    seccomp: Option<&LinuxSeccomp>,
) -> Result<Duration, Box<dyn Error>> {
    let begin = Instant::now();
    let created = davit_runtime::exec(&ExecRequest {
        id: "bench",
        root,
        process,
        stdio: Stdio::Inherit,
        seccomp,
        seccomp_cache: Some(&bundle.join("seccomp")),
        cgroups: &[],
        ignore_paused: false,
        launch: davit_runtime::Launch::default(),
    })?;
    created.start.start()?;
    wait(&created)?;
    Ok(begin.elapsed())
}

fn wait(created: &Created) -> Result<(), Box<dyn Error>> {
    rustix::process::waitid(WaitId::PidFd(created.pidfd.as_fd()), WaitIdOptions::EXITED)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "its purpose")]
fn show(name: &str, sample: &mut [Duration]) {
    sample.sort();
    let (median, least) = (sample[sample.len() / 2], sample[0]);
    println!("{name:>8} {:>6} us (least {})", median.as_micros(), least.as_micros());
}
