//! A connection to one monitor: requests with replies, and a channel of events.
//!
//! The socket is `SOCK_SEQPACKET`, one message per packet. One task per connection reads; it owns no
//! buffer while it waits, so an idle container costs the daemon a few hundred bytes.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use davit_monitor::protocol::{Event, MAX_MESSAGE, Request, RequestMessage};
use davit_types::{Context, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

/// What the monitor says, in order; ends when the monitor does.
pub(crate) type Events = mpsc::UnboundedReceiver<Event>;

/// A connection to a monitor. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Monitor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: AsyncFd<OwnedFd>,
    next: AtomicU32,
    pending: Mutex<HashMap<u32, oneshot::Sender<Option<String>>>>,
}

impl Monitor {
    /// Takes over a connected, non-blocking socket. Must be called inside the runtime.
    pub(crate) fn new(socket: OwnedFd) -> Result<(Self, Events)> {
        #[expect(deprecated, reason = "its successor is unsafe; an `OwnedFd` is all it asks for")]
        let socket = AsyncFd::new(socket).context(|| "register the monitor's socket")?;
        let shared =
            Arc::new(Shared { socket, next: AtomicU32::new(1), pending: Mutex::default() });
        let (sender, events) = mpsc::unbounded_channel();
        tokio::spawn(read(Arc::clone(&shared), sender));
        Ok((Self { shared }, events))
    }

    /// Connects to the socket `monitor.sock` of a task's directory.
    pub(crate) fn connect(directory: &Path) -> Result<(Self, Events)> {
        let socket = connect(directory)
            .context(|| format!("connect to the monitor of {}", directory.display()))?;
        Self::new(socket)
    }

    /// Sends a request and waits for its reply.
    pub(crate) async fn request(&self, request: Request, fd: Option<OwnedFd>) -> Result<()> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.shared.pending().insert(number, sender);
        if let Err(error) = self.send(number, request, fd.as_ref().map(AsFd::as_fd)).await {
            self.shared.pending().remove(&number);
            return Err(error);
        }
        match reply.await {
            Ok(None) => Ok(()),
            Ok(Some(message)) => Err(Error::internal(message)),
            Err(_) => Err(Error::internal("the container's monitor has ended")),
        }
    }

    /// Lets the created process run; the answer is an event.
    pub(crate) async fn start(&self) -> Result<()> {
        self.send(0, Request::Start, None).await
    }

    async fn send(&self, number: u32, request: Request, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let message = serde_json::to_vec(&RequestMessage { number, request })
            .context(|| "encode a request to the monitor")?;
        loop {
            let mut ready =
                self.shared.socket.writable().await.context(|| "wait for the monitor")?;
            if let Ok(sent) = ready.try_io(|socket| send_packet(socket.as_fd(), &message, fd)) {
                return sent.context(|| "send a request to the monitor");
            }
        }
    }
}

impl Shared {
    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<u32, oneshot::Sender<Option<String>>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, number: u32, error: Option<String>) {
        if let Some(waiting) = self.pending().remove(&number) {
            // Whoever asked may have gone; the monitor has done it anyhow.
            let _ = waiting.send(error);
        }
    }
}

async fn read(shared: Arc<Shared>, events: mpsc::UnboundedSender<Event>) {
    loop {
        let Ok(mut ready) = shared.socket.readable().await else { break };
        match ready.try_io(|socket| receive_packet(socket.as_fd())) {
            Err(_would_block) => {}
            Ok(Ok(Some(Event::Reply { number, error }))) => shared.answer(number, error),
            Ok(Ok(Some(event))) => {
                // The receiver is gone when nobody follows this task any more; replies still count.
                let _ = events.send(event);
            }
            Ok(Ok(None)) => break,
            Ok(Err(error)) => {
                tracing::warn!(%error, "lost the connection to a monitor");
                break;
            }
        }
    }
    // Dropping the senders tells the waiting requests.
    shared.pending().clear();
}

fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[io::IoSlice::new(bytes)], &mut control, flags)?;
    Ok(())
}

fn receive_packet(socket: BorrowedFd<'_>) -> io::Result<Option<Event>> {
    let mut buffer = [0_u8; MAX_MESSAGE];
    let (length, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
    if length == 0 {
        return Ok(None);
    }
    serde_json::from_slice(&buffer[..length]).map(Some).map_err(io::Error::other)
}

/// Connects through a descriptor of the directory, since a socket's path has only 108 bytes.
fn connect(directory: &Path) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let directory = rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/monitor.sock", directory.as_raw_fd());
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_str())?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .expect("socketpair")
    }

    fn say(socket: &OwnedFd, event: &Event) {
        let bytes = serde_json::to_vec(event).expect("encode");
        rustix::net::send(socket, &bytes, SendFlags::empty()).expect("send");
    }

    #[tokio::test]
    async fn replies_go_to_their_request_and_events_to_the_channel() {
        let (ours, theirs) = pair();
        let (monitor, mut events) = Monitor::new(ours).expect("register");
        let resize = Request::Resize { height: 1, width: 2 };
        let asked = tokio::spawn({
            let monitor = monitor.clone();
            async move { monitor.request(resize, None).await }
        });
        tokio::task::yield_now().await;
        say(&theirs, &Event::Oom);
        say(&theirs, &Event::Reply { number: 1, error: Some("no terminal".into()) });
        assert_eq!(events.recv().await, Some(Event::Oom));
        let error = asked.await.expect("task").expect_err("refused");
        assert_eq!(error.to_string(), "no terminal");
    }

    #[tokio::test]
    async fn the_monitors_end_ends_events_and_waiting_requests() {
        let (ours, theirs) = pair();
        let (monitor, mut events) = Monitor::new(ours).expect("register");
        let asked = tokio::spawn(async move {
            monitor.request(Request::Signal { signal: 9, cancel_restart: true }, None).await
        });
        tokio::task::yield_now().await;
        drop(theirs);
        assert_eq!(events.recv().await, None);
        assert!(asked.await.expect("task").is_err());
    }
}
