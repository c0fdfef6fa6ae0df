//! Running programs as named steps, and saying so.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use davit_testkit::{command, paths};

/// Tells the user what happens now.
#[allow(clippy::print_stdout, reason = "a command-line tool")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Runs `work` under a headline, and says how long it took.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(&format!("\n== {name}"));
    let start = Instant::now();
    let value = work().with_context(|| format!("step failed: {name}"))?;
    say(&format!("== {name}: done in {:.0} s", start.elapsed().as_secs_f32()));
    Ok(value)
}

/// `cargo` with `arguments`, in the workspace. Without the variable that names our own package: some
/// build scripts look at it, and would run again whenever cargo is called by hand in between.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(paths::workspace()).env_remove("CARGO_MANIFEST_DIR");
    command
}

/// Runs `command` with our own standard streams; anything but success is an error.
pub(crate) fn succeed(mut command: Command) -> Result<()> {
    let text = command::describe(&command);
    let status = command.status().with_context(|| format!("run `{text}`"))?;
    if !status.success() {
        bail!("`{text}`: {status}");
    }
    Ok(())
}

/// Runs `command` and gives its standard output; anything but success is an error.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let text = command::describe(&command);
    let output = command.output().with_context(|| format!("run `{text}`"))?;
    if !output.status.success() {
        bail!("`{text}`: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
