//! `davit-shim`: the small program between the daemon and a container.
//!
//! Its roles, chosen by the first argument: `create` builds a container, `exec` a further process in
//! one, and both then replace themselves by `monitor`, which stays as long as the process lives. A
//! restart goes the other way, from `monitor` back to `create`. `compress-log` gzips one rotated log, and
//! `resolver` answers the DNS queries of all containers.
//! What the roles leave each other is in [`davit_monitor::handover`].
//!
//! Under the name `docker-init` it is the first process of a container that is run with `--init`.
//! Under any other name, `davit-runc` as a rule, it is an OCI runtime with runc's command line.

mod build;
mod failure;
mod init;
mod monitor;
mod oci;
mod resolver;
mod rootfs;
mod runtime;
mod stdio;
mod surroundings;

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use davit_monitor::rotate;
use davit_types::{Context, Error, Result};

#[global_allocator]
static ALLOCATOR: davit_sys::heap::Allocator = davit_sys::heap::Allocator;

/// The name under which the daemon knows the program.
const NAME: &str = "davit-shim";

/// What the program was started for.
enum Role {
    Create { task_dir: PathBuf, handover: Option<RawFd> },
    Exec { task_dir: PathBuf },
    Monitor { task_dir: PathBuf, handover: RawFd },
    CompressLog { path: PathBuf },
    Resolver,
    SystemdScope,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    let name = Path::new(&name);
    if !name.ends_with(NAME) && !name.ends_with(init::NAME) {
        return oci::run(&args);
    }
    let result = if name.ends_with(init::NAME) {
        init::run(&args)
    } else {
        Role::parse(args).and_then(run).map(|()| ExitCode::SUCCESS)
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // Seen by people who try the program by hand; a daemon gets an event.
            let text = format!("davit-shim: {error:#}\n");
            let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run(role: Role) -> Result<()> {
    match role {
        Role::Create { task_dir, handover: None } => build::create(task_dir),
        Role::Create { task_dir, handover: Some(fd) } => build::create_again(task_dir, fd),
        Role::Exec { task_dir } => build::exec(task_dir),
        Role::Monitor { task_dir, handover } => monitor::run(task_dir, handover),
        Role::CompressLog { path } => rotate::compress(&path)
            .map_err(|error| Error::internal("compress a rotated log").with_source(error)),
        Role::Resolver => resolver::run(),
        Role::SystemdScope => {
            davit_runtime::systemd::serve().context(|| "pass an order on to systemd")
        }
    }
}

impl Role {
    fn parse(args: Vec<OsString>) -> Result<Self> {
        let number = |text: &OsString| text.to_str()?.parse().ok();
        let role = match (args.first().and_then(|role| role.to_str()), &args[1.min(args.len())..]) {
            (Some("create"), [dir]) => Some(Self::Create { task_dir: dir.into(), handover: None }),
            (Some("create"), [dir, fd]) => {
                number(fd).map(|fd| Self::Create { task_dir: dir.into(), handover: Some(fd) })
            }
            (Some("exec"), [dir]) => Some(Self::Exec { task_dir: dir.into() }),
            (Some("monitor"), [dir, fd]) => {
                number(fd).map(|handover| Self::Monitor { task_dir: dir.into(), handover })
            }
            (Some(rotate::COMPRESS_ROLE), [path]) => Some(Self::CompressLog { path: path.into() }),
            (Some(davit_monitor::resolver::ROLE), []) => Some(Self::Resolver),
            (Some(davit_runtime::systemd::ROLE), []) => Some(Self::SystemdScope),
            _ => None,
        };
        role.ok_or_else(|| {
            Error::invalid("usage: davit-shim create|exec TASK-DIR (started by the davit daemon)")
        })
    }
}
