//! The agent that decides on some of a container's system calls.
//!
//! It listens on a socket of the host and gets there, once for each filter, the state of the process as
//! JSON together with the filter's listener.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use davit_types::oci::runtime::LinuxSeccomp;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::process::PidfdGetfdFlags;
use serde_json::{Value, json};

use super::Filter;
use crate::Failure;
use crate::failure::{Step, Wrap};

/// A connection to an agent.
#[derive(Debug)]
pub(crate) struct Agent {
    socket: OwnedFd,
    metadata: Option<String>,
}

impl Agent {
    /// Connects to the agent of `profile` before there is a process that would have to wait for it;
    /// nothing when there is nothing for it to decide.
    pub(crate) fn connect(
        profile: Option<&LinuxSeccomp>,
        filter: Option<&Filter>,
    ) -> Result<Option<Self>, Failure> {
        let (Some(profile), Some(true)) = (profile, filter.map(Filter::listens)) else {
            return Ok(None);
        };
        let path = profile.listener_path().as_ref().expect("a filter that listens has a path");
        let connect = || -> io::Result<OwnedFd> {
            let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
            let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_path())?)?;
            Ok(socket)
        };
        let socket = connect().step("connect to", path.to_string_lossy());
        let socket = socket.wrap(|| "seccomp agent of the profile's listenerPath".to_owned())?;
        let metadata = profile.listener_metadata().clone().filter(|text| !text.is_empty());
        Ok(Some(Self { socket, metadata }))
    }

    /// Hands over descriptor `number` of the process `pid` behind `pidfd`, with the state of its
    /// container.
    pub(crate) fn hand_over(
        &self,
        pidfd: &OwnedFd,
        number: i32,
        pid: i32,
        container: &Value,
    ) -> Result<(), Failure> {
        let flags = PidfdGetfdFlags::empty();
        let listener = rustix::process::pidfd_getfd(pidfd, number, flags)
            .step("take over", "seccomp listener")?;
        let mut state = json!({
            "ociVersion": container["ociVersion"],
            "fds": ["seccompFd"],
            "pid": pid,
            "state": container,
        });
        if let Some(metadata) = &self.metadata {
            state["metadata"] = json!(metadata);
        }
        let bytes = serde_json::to_vec(&state).expect("a value has string keys only");
        self.send(&bytes, &listener).step("send seccomp listener to", "the agent")
    }

    /// The descriptor goes with the first byte.
    fn send(&self, bytes: &[u8], listener: &OwnedFd) -> io::Result<()> {
        let fds = [listener.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let mut rest = bytes;
        while !rest.is_empty() {
            let data = [IoSlice::new(rest)];
            let flags = SendFlags::NOSIGNAL;
            let sent = rustix::io::retry_on_intr(|| {
                rustix::net::sendmsg(&self.socket, &data, &mut control, flags)
            })?;
            control.clear();
            rest = &rest[sent..];
        }
        Ok(())
    }
}
