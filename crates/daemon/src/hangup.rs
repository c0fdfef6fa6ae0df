//! Noticing that a client is gone while nothing is read from it or written to it.
//!
//! End of input is no sign: it only means that the client sends nothing more. A socket that is
//! closed on both sides raises `POLLHUP`, which epoll reports unasked.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::io::Interest;
use tokio::net::UnixStream;

/// Resolves when the other end of `socket` is gone. Watches a duplicate, so that the connection's
/// own readiness is not touched; it is closed with the future.
pub(crate) fn watch(socket: BorrowedFd<'_>) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    // The type is only a name for the descriptor: nothing is done with it that a TCP socket can't.
    let duplicate = UnixStream::from_std(StdUnixStream::from(socket.try_clone_to_owned()?))?;
    Ok(async move {
        loop {
            match duplicate.ready(Interest::WRITABLE).await {
                Ok(ready) if !ready.is_write_closed() => wait_for_change(&duplicate),
                // Gone, or the runtime is shutting down.
                _ => return,
            }
        }
    })
}

/// Forgets that the socket can be written to, so that only news end the next wait.
fn wait_for_change(socket: &UnixStream) {
    let would_block = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
    // The result is the error just made.
    let _ = socket.try_io(Interest::WRITABLE, would_block);
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn only_a_client_that_is_gone_counts() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let gone = watch(ours.as_fd()).expect("watched");
        tokio::pin!(gone);
        theirs.write_all(b"x").await.expect("written");
        theirs.shutdown().await.expect("half closed");
        assert!(timeout(Duration::from_millis(50), gone.as_mut()).await.is_err());
        drop(theirs);
        assert!(timeout(Duration::from_secs(5), gone).await.is_ok());
    }
}
