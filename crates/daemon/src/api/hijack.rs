//! Taking a connection away from HTTP: attach and exec.
//!
//! With an `Upgrade` header the answer is `101 UPGRADED` and the socket itself is handed on, so that
//! the daemon is out of the data path. Without one the answer is a plain body of unknown length and
//! the bytes are relayed through a socket pair; a client that talks without declaring a body can't
//! be served that way.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;

use bytes::Bytes;
use davit_engine::ClientStream;
use davit_types::{Context as _, Error, Result};
use futures_util::TryStreamExt as _;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::ReaderStream;

use super::response::{self, Body, Response, empty};

/// A connection about to be taken over: what to answer, and where the client's stream comes out.
pub(crate) struct Hijack {
    pub(crate) response: Response,
    pub(crate) client: Pin<Box<dyn Future<Output = Result<ClientStream>> + Send>>,
}

/// Whether the client is ready for a change of protocol.
pub(crate) fn wants_upgrade(request: &Request<Body>) -> bool {
    request.headers().contains_key(UPGRADE)
}

/// Prepares the take-over in whichever way the client asked for.
pub(crate) fn take_over(mut request: Request<Body>, content_type: &'static str) -> Result<Hijack> {
    if wants_upgrade(&request) {
        let upgrade = hyper::upgrade::on(&mut request);
        let client = Box::pin(socket_of(upgrade));
        return Ok(Hijack { response: switching_protocols(content_type), client });
    }
    let (ours, theirs) = StdUnixStream::pair().context(|| "make a socket pair for a client")?;
    ours.set_nonblocking(true).context(|| "make a socket pair for a client")?;
    let ours = UnixStream::from_std(ours).context(|| "make a socket pair for a client")?;
    let (output, input) = tokio::io::split(ours);
    relay_input(request.into_body(), input);
    let client = ClientStream { fd: theirs.into(), early_input: Vec::new() };
    let response = response::stream(content_type, output_chunks(output));
    Ok(Hijack { response, client: Box::pin(std::future::ready(Ok(client))) })
}

fn switching_protocols(content_type: &'static str) -> Response {
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    response
}

/// The client's socket once the 101 is out, and what was read from it beyond the request.
async fn socket_of(upgrade: OnUpgrade) -> Result<ClientStream> {
    let upgraded = upgrade.await.context(|| "take over the client's connection")?;
    let (fd, early) = match upgraded.downcast::<TokioIo<UnixStream>>() {
        Ok(parts) => (parts.io.into_inner().into_std().map(OwnedFd::from), parts.read_buf),
        Err(upgraded) => tcp_socket_of(upgraded)?,
    };
    let fd = fd.context(|| "take over the client's connection")?;
    Ok(ClientStream { fd, early_input: early.to_vec() })
}

fn tcp_socket_of(upgraded: Upgraded) -> Result<(std::io::Result<OwnedFd>, Bytes)> {
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| Error::internal("the client's connection is of an unknown kind"))?;
    Ok((parts.io.into_inner().into_std().map(OwnedFd::from), parts.read_buf))
}

/// Copies a declared body to the process' input and closes it at the end. A request without a body
/// leaves the input open.
fn relay_input(mut body: Body, mut input: WriteHalf<UnixStream>) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            if input.write_all(&data).await.is_err() {
                return; // The process has closed its input; its output goes on.
            }
        }
        // Fails only if the other end is gone already.
        let _ = input.shutdown().await;
    });
}

fn output_chunks(
    output: ReadHalf<UnixStream>,
) -> impl futures_util::Stream<Item = Result<Bytes>> + Send + 'static {
    ReaderStream::new(output)
        .map_err(|error| Error::internal("read the container's output").with_source(error))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::{Read as _, Write as _};
    use std::net::Shutdown;

    use davit_api::stream::RAW;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;

    use super::*;

    /// Stands for the engine: gives back what comes in, early bytes first, until the end of input.
    fn echo(client: ClientStream) {
        let mut socket = StdUnixStream::from(client.fd);
        socket.set_nonblocking(false).expect("a socket");
        let mut input = client.early_input;
        socket.read_to_end(&mut input).expect("read until the client's end of input");
        socket.write_all(&input.to_ascii_uppercase()).expect("the client listens");
    }

    /// Sends `request` and what follows it at once, ends the input, and reads all there is.
    async fn ask(request: &'static str) -> String {
        let (server, mut client) = StdUnixStream::pair().expect("a pair");
        server.set_nonblocking(true).expect("a socket");
        let server = TokioIo::new(UnixStream::from_std(server).expect("a socket"));
        let service = service_fn(|request: Request<hyper::body::Incoming>| async {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            let Hijack { response, client } = take_over(request, RAW).expect("taken over");
            tokio::spawn(async { echo(client.await.expect("a client")) });
            Ok::<_, Infallible>(response)
        });
        let builder = http1::Builder::new().half_close(true).serve_connection(server, service);
        tokio::spawn(builder.with_upgrades());
        let answer = tokio::task::spawn_blocking(move || {
            client.write_all(request.as_bytes()).expect("written");
            client.shutdown(Shutdown::Write).expect("half closed");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("text");
            answer
        });
        answer.await.expect("no panic")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_upgraded_connection_is_handed_over_with_its_early_bytes() {
        let answer = ask(
            "POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly",
        );
        let answer = answer.await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("upgrade: tcp"), "{head}");
        assert_eq!(body, "EARLY");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_an_upgrade_the_bodies_are_relayed() {
        let answer = ask("POST /attach HTTP/1.0\r\nContent-Length: 5\r\n\r\ninput").await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(" 200 OK\r\n"), "{head}");
        assert!(head.contains(RAW), "{head}");
        assert_eq!(body, "INPUT");
    }
}
