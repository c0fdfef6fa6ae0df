//! The standard streams of a process: pipes whose other ends the monitor holds, or a terminal.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use davit_monitor::task::{Stdin, Task};
use davit_runtime::Stdio;

/// The monitor's ends. All absent for a terminal, whose master comes from the runtime.
#[derive(Debug, Default)]
pub(crate) struct Ours {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// Makes the streams that `task` asks for: the process' ends and ours.
///
/// # Errors
/// No descriptor is left.
pub(crate) fn streams(task: &Task) -> io::Result<(Stdio, Ours)> {
    if task.terminal {
        return Ok((Stdio::Terminal, Ours::default()));
    }
    let (stdin, input): (OwnedFd, _) = match task.stdin {
        Stdin::Closed => (File::open("/dev/null")?.into(), None),
        Stdin::Open | Stdin::Once => {
            let (reader, writer) = io::pipe()?;
            (reader.into(), Some(writer.into()))
        }
    };
    let (output, stdout) = io::pipe()?;
    let (errors, stderr) = io::pipe()?;
    let theirs = Stdio::Files { stdin, stdout: stdout.into(), stderr: stderr.into() };
    Ok((theirs, Ours { stdin: input, stdout: Some(output.into()), stderr: Some(errors.into()) }))
}
