//! Davit's developer commands: everything that CI, a newcomer or a maintainer runs is in here, not in
//! shell scripts.

mod arch;
mod bench;
mod build;
mod demo;
mod packages;
mod run;
mod test;
mod vm;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask <command>

  arch                  check the crates against the table in ARCHITECTURE.md
  bench [options]       measure against Docker and Podman (--help for the options)
  build                 build target/release/davit and davit-shim (also as davit-runc)
  demo [--port N]       run nginx in a daemon of its own and show what happened
  demo --down           remove every trace of the demo
  test [FILTER]         check everything; with FILTER, run the tests whose names contain it
  vm-bench              measure the runtime against runc and crun in a virtual machine
  vm-test [FILTER]      run the tests for cgroup v2 and systemd in a virtual machine
";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["arch"] => arch::check(),
        ["bench", rest @ ..] => bench::run(rest),
        ["build"] => build::release().map(|_| ()),
        ["demo", rest @ ..] => demo::run(rest),
        ["test"] => test::everything(),
        ["test", filter] => test::matching(filter),
        ["vm-bench"] => vm::bench(),
        ["vm-test"] => vm::test(None),
        ["vm-test", filter] => vm::test(Some(filter)),
        _ => bail!("{USAGE}"),
    }
}
