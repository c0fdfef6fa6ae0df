//! The conversation between a process being set up and whoever starts it.
//!
//! One `SOCK_SEQPACKET` pair. The process being set up (the *child*) holds one end, close-on-exec.
//! Its starter holds the other end and may hand it over across an exec of itself, which is why this
//! lives here and not in the runtime: the monitor only ever uses [`release`] and [`outcome`].
//!
//! ```text
//! starter                               child
//!   proceed  ───────────────────────▶     (only with a user namespace: the id maps are written)
//!            ◀───────────────────────   before pivot (only with hooks that the starter has to run)
//!   proceed  ───────────────────────▶
//!            ◀───────────────────────   ready, with the terminal's master; or failed
//!   release  ───────────────────────▶
//!            ◀───────────────────────   end of file: the program runs; or failed
//! ```

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

const PROCEED: u8 = b'P';
const READY: u8 = b'R';
const BEFORE_PIVOT: u8 = b'B';
const LISTENER: u8 = b'L';
const START: u8 = b'S';
const FAILED: u8 = b'F';

/// Longer records are cut; no message of ours comes near.
const MAX_RECORD: usize = 8192;

/// A step that failed, as the child reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// The part of the set-up it happened in, e.g. `rootfs` or `exec`.
    pub stage: String,
    /// What was being done, e.g. `mount`; empty when it was not a system call.
    pub call: String,
    /// `errno`, 0 when it was not a system call.
    pub errno: i32,
    /// What the step worked on: a path, a limit's name.
    pub object: String,
    /// The text for people, Docker's where clients match on it.
    pub message: String,
    /// What may be wrong and can be done about it; often empty.
    pub hint: Box<str>,
}

impl fmt::Display for Failure {
    /// The message, and behind it the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " ({})", self.hint) }
    }
}

impl std::error::Error for Failure {}

/// What the child says.
#[derive(Debug)]
pub enum Message {
    /// Everything is set up; the child waits for [`release`].
    Ready {
        /// Master of the terminal that was made inside the container.
        console: Option<OwnedFd>,
    },
    /// The namespaces and mounts are made; the child waits for [`proceed`].
    BeforePivot,
    /// The child is under its system call filter and waits for [`proceed`]; its descriptor of this
    /// number is the filter's listener.
    Listener(i32),
    /// A step failed; the child is gone.
    Failed(Failure),
    /// The child's end is closed: its program runs, or it was killed.
    Closed,
}

/// A connected pair: the starter's end and the child's, both close-on-exec.
///
/// # Errors
/// When the process is out of file descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Starter: lets a child go on whose user namespace has its id maps now, or whose hooks have run.
///
/// # Errors
/// `EPIPE` when the child is gone.
pub fn proceed(starter: BorrowedFd<'_>) -> io::Result<()> {
    send(starter, &[PROCEED])
}

/// Starter: lets the child execute its program.
///
/// # Errors
/// `EPIPE` when the child is gone.
pub fn release(starter: BorrowedFd<'_>) -> io::Result<()> {
    send(starter, &[START])
}

/// Starter: waits for the child's next message.
///
/// # Errors
/// What `recvmsg` says; `EAGAIN` on a non-blocking socket without a message.
pub fn receive(starter: BorrowedFd<'_>) -> io::Result<Message> {
    let mut record = [0; MAX_RECORD];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [IoSliceMut::new(&mut record)];
    let received = loop {
        match rustix::net::recvmsg(starter, &mut buffer, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            // The child died with our release unread.
            Err(rustix::io::Errno::CONNRESET) => break 0,
            other => break other?.bytes,
        }
    };
    let console = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match record[..received].split_first() {
        None => Ok(Message::Closed),
        Some((&READY, _)) => Ok(Message::Ready { console }),
        Some((&BEFORE_PIVOT, _)) => Ok(Message::BeforePivot),
        Some((&LISTENER, number)) => match number.try_into() {
            Ok(number) => Ok(Message::Listener(i32::from_le_bytes(number))),
            Err(_) => Err(io::Error::other("start message of wrong length")),
        },
        Some((&FAILED, record)) => Ok(Message::Failed(decode(record))),
        Some((other, _)) => Err(io::Error::other(format!("unknown start message {other}"))),
    }
}

/// Starter, after [`release`]: waits for the end of the start. `None`: the program runs.
///
/// # Errors
/// As [`receive`].
pub fn outcome(starter: BorrowedFd<'_>) -> io::Result<Option<Failure>> {
    match receive(starter)? {
        Message::Closed => Ok(None),
        Message::Failed(failure) => Ok(Some(failure)),
        Message::Ready { .. } | Message::BeforePivot | Message::Listener(_) => {
            Err(io::Error::other("start message out of order: ready"))
        }
    }
}

/// Child: tells that its namespaces and mounts are made, and that it waits for [`proceed`].
///
/// # Errors
/// `EPIPE` when the starter is gone.
pub fn before_pivot(child: BorrowedFd<'_>) -> io::Result<()> {
    send(child, &[BEFORE_PIVOT])
}

/// [`outcome`] when the child writes into a pipe, which it closes by executing its program.
///
/// # Errors
/// What `read` says.
pub fn outcome_of_pipe(pipe: BorrowedFd<'_>) -> io::Result<Option<Failure>> {
    let mut record = Vec::new();
    let mut part = [0; 1024];
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut part))? {
            0 => break,
            count => record.extend(&part[..count]),
        }
    }
    match record.split_first() {
        None => Ok(None),
        Some((&FAILED, record)) => Ok(Some(decode(record))),
        Some((other, _)) => Err(io::Error::other(format!("unknown start message {other}"))),
    }
}

/// Child: tells that it is under its system call filter, whose listener is its descriptor `number`, and
/// that it waits for [`proceed`]. Only a number is sent: of all calls, the filter has to allow `write`.
///
/// # Errors
/// `EPIPE` when the starter is gone.
pub fn listener(child: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    let [a, b, c, d] = number.to_le_bytes();
    send(child, &[LISTENER, a, b, c, d])
}

/// Child: waits for [`proceed`]. False when the starter is gone.
///
/// # Errors
/// What `read` says.
pub fn wait_proceed(child: BorrowedFd<'_>) -> io::Result<bool> {
    wait(child, PROCEED)
}

/// Child: waits for [`release`]. False when the starter is gone.
///
/// Plain `read`, since a seccomp filter may be in force already.
///
/// # Errors
/// What `read` says.
pub fn wait_release(child: BorrowedFd<'_>) -> io::Result<bool> {
    wait(child, START)
}

/// Child: everything is set up.
///
/// # Errors
/// `EPIPE` when the starter is gone.
pub fn ready(child: BorrowedFd<'_>) -> io::Result<()> {
    write(child, &[READY])
}

/// Child: everything is set up, and this is the terminal's master.
///
/// # Errors
/// `EPIPE` when the starter is gone.
pub fn ready_with_console(child: BorrowedFd<'_>, console: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [console];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let data = [IoSlice::new(&[READY])];
    rustix::net::sendmsg(child, &data, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Child: this step failed.
///
/// # Errors
/// `EPIPE` when the starter is gone.
pub fn failed(child: BorrowedFd<'_>, failure: &Failure) -> io::Result<()> {
    write(child, &encode(failure))
}

fn send(fd: BorrowedFd<'_>, data: &[u8]) -> io::Result<()> {
    rustix::net::send(fd, data, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn write(fd: BorrowedFd<'_>, data: &[u8]) -> io::Result<()> {
    retry(|| rustix::io::write(fd, data))?;
    Ok(())
}

fn wait(fd: BorrowedFd<'_>, expected: u8) -> io::Result<bool> {
    let mut byte = [0];
    let count = retry(|| rustix::io::read(fd.as_fd(), &mut byte))?;
    Ok(count == 1 && byte[0] == expected)
}

/// Repeats what a signal has interrupted, but not for ever: a system call filter may answer `EINTR`
/// each time.
fn retry<T>(mut call: impl FnMut() -> Result<T, rustix::io::Errno>) -> io::Result<T> {
    const ATTEMPTS: u32 = 1000;
    let mut result = call();
    for _ in 0..ATTEMPTS {
        if !matches!(result, Err(rustix::io::Errno::INTR)) {
            break;
        }
        result = call();
    }
    Ok(result?)
}

fn encode(failure: &Failure) -> Vec<u8> {
    let mut record = vec![FAILED];
    record.extend(failure.errno.to_le_bytes());
    let Failure { stage, call, errno: _, object, message, hint } = failure;
    for text in [&**stage, call, object, hint, message] {
        let room = (MAX_RECORD - record.len()).saturating_sub(2);
        let bytes = &text.as_bytes()[..text.len().min(room).min(usize::from(u16::MAX))];
        let length = u16::try_from(bytes.len()).expect("cut to a u16 above");
        record.extend(length.to_le_bytes());
        record.extend(bytes);
    }
    record
}

fn decode(record: &[u8]) -> Failure {
    let mut rest = record;
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at(count.min(rest.len()));
        rest = tail;
        head
    };
    let errno = take(4).try_into().map_or(0, i32::from_le_bytes);
    let mut text = || {
        let length = take(2).try_into().map_or(0, u16::from_le_bytes);
        String::from_utf8_lossy(take(length.into())).into_owned()
    };
    let (stage, call, object, hint, message) = (text(), text(), text(), text(), text());
    Failure { stage, call, errno, object, message, hint: hint.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure {
            stage: "rootfs".to_owned(),
            call: "mount".to_owned(),
            errno: libc::ENOENT,
            object: "/proc".to_owned(),
            message: "mount /proc: no such file or directory".to_owned(),
            hint: "the root has no /proc".into(),
        }
    }

    #[test]
    fn a_failure_survives_the_socket() {
        let (starter, child) = pair().expect("a socket pair");
        failed(child.as_fd(), &failure()).expect("room in the socket");
        drop(child);
        assert_eq!(outcome(starter.as_fd()).expect("a message"), Some(failure()));
        assert_eq!(outcome(starter.as_fd()).expect("end of file"), None);
    }

    #[test]
    fn an_overlong_message_is_cut_and_not_lost() {
        let long = Failure { message: "x".repeat(3 * MAX_RECORD), ..failure() };
        let (starter, child) = pair().expect("a socket pair");
        failed(child.as_fd(), &long).expect("room in the socket");
        let Message::Failed(got) = receive(starter.as_fd()).expect("a message") else {
            panic!("not a failure");
        };
        assert_eq!((got.stage, got.errno), (long.stage, long.errno));
        assert!(got.message.len() > MAX_RECORD / 2);
    }

    #[test]
    fn the_console_travels_with_ready_and_release_is_seen() {
        let (starter, child) = pair().expect("a socket pair");
        ready_with_console(child.as_fd(), starter.as_fd()).expect("room in the socket");
        let message = receive(starter.as_fd()).expect("a message");
        assert!(matches!(message, Message::Ready { console: Some(_) }));
        release(starter.as_fd()).expect("room in the socket");
        assert!(wait_release(child.as_fd()).expect("a byte"));
        drop(message);
        drop(starter);
        assert!(!wait_release(child.as_fd()).expect("end of file"));
    }
}
