//! The wire, against a server that plays a script: what it expects to read, and what it answers.

use std::path::PathBuf;

use http::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::*;

/// A directory with a socket in it, removed at the end.
struct Server {
    folder: PathBuf,
    script: JoinHandle<Vec<String>>,
}

impl Server {
    /// Answers each request on a new or the same connection with the next of `answers`.
    fn play(name: &str, answers: &'static [&'static str]) -> Self {
        let folder = std::env::temp_dir().join(format!("davit-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a writable temp directory");
        let listener = UnixListener::bind(folder.join("s")).expect("a free path");
        let script = tokio::spawn(async move {
            let mut heads = Vec::new();
            let mut stream: Option<UnixStream> = None;
            for answer in answers {
                let mut connection = match stream.take() {
                    Some(stream) => stream,
                    None => listener.accept().await.expect("a client").0,
                };
                heads.push(read_head(&mut connection).await);
                connection.write_all(answer.as_bytes()).await.expect("a client that reads");
                if answer.starts_with("HTTP/1.1 101") {
                    let mut input = String::new();
                    connection.read_to_string(&mut input).await.expect("the end of input");
                    connection
                        .write_all(format!("got {input}").as_bytes())
                        .await
                        .expect("still reading");
                    heads.push(input);
                } else {
                    stream = Some(connection);
                }
            }
            heads
        });
        Self { folder, script }
    }

    fn client(&self) -> Client {
        Client::new(Address::Unix(self.folder.join("s")), false).expect("no version is pinned")
    }

    /// The heads of all requests.
    async fn heads(self) -> Vec<String> {
        let heads = self.script.await.expect("the script ran to its end");
        std::fs::remove_dir_all(&self.folder).expect("it was made above");
        heads
    }
}

async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole request head"));
    }
    String::from_utf8(head).expect("text")
}

#[tokio::test]
async fn one_request_is_one_round_trip_and_the_connection_is_kept() {
    let server = Server::play(
        "kept",
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\": 1}\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ],
    );
    let client = server.client();
    let found: Value = client.get("/x", &Query::new().with("all", "1")).await.expect("an answer");
    assert_eq!(found, serde_json::json!({"a": 1}));
    client.post("/y", &Query::new()).await.expect("an answer");
    let heads = server.heads().await;
    assert!(heads[0].starts_with(&format!("GET /v{NEWEST}/x?all=1 HTTP/1.1\r\n")), "{}", heads[0]);
    assert!(heads[1].starts_with(&format!("POST /v{NEWEST}/y HTTP/1.1\r\n")), "{}", heads[1]);
}

#[tokio::test]
async fn an_older_daemon_is_asked_for_its_version_and_the_request_repeated() {
    let server = Server::play(
        "older",
        &[
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 80\r\n\r\n{\"message\":\"client version 1.56 is too new. Maximum supported API version 1.45\"}",
            "HTTP/1.1 200 OK\r\nApi-Version: 1.45\r\nContent-Length: 2\r\n\r\nOK",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        ],
    );
    let client = server.client();
    let _: Value = client.get("/info", &Query::new()).await.expect("the second try succeeds");
    assert_eq!(client.version().to_string(), "1.45");
    let heads = server.heads().await;
    assert!(heads[1].starts_with("GET /_ping "), "{}", heads[1]);
    assert!(heads[2].starts_with("GET /v1.45/info "), "{}", heads[2]);
}

#[tokio::test]
async fn the_daemons_error_keeps_its_status_and_its_words() {
    let server = Server::play(
        "error",
        &[
            "HTTP/1.1 404 Not Found\r\nContent-Length: 36\r\n\r\n{\"message\":\"No such container: abc\"}",
        ],
    );
    let failure =
        server.client().get_raw("/containers/abc/json", &Query::new()).await.expect_err("a 404");
    assert!(failure.is_status(404));
    assert_eq!(failure.text, "Error response from daemon: No such container: abc");
    server.heads().await;
}

#[tokio::test]
async fn closing_the_input_of_an_upgraded_stream_leaves_its_output_open() {
    let server = Server::play(
        "upgraded",
        &["HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"],
    );
    let request = Request::new(Method::POST, "/containers/abc/attach", &Query::new());
    let mut duplex = server.client().hijack(request).await.expect("an upgrade");
    duplex.writer.write_all(b"hello").await.expect("a reader");
    duplex.writer.shutdown().await.expect("a socket");
    let mut output = String::new();
    duplex.reader.read_to_string(&mut output).await.expect("output after the input's end");
    assert_eq!(output, "got hello");
    let heads = server.heads().await;
    assert!(heads[0].to_lowercase().contains("upgrade: tcp"), "{}", heads[0]);
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let client =
        Client::new(Address::Unix(PathBuf::from("/nonexistent/d.sock")), false).expect("a client");
    let failure = client.post("/x", &Query::new()).await.expect_err("nobody listens");
    let expected = "Cannot connect to the Docker daemon at unix:///nonexistent/d.sock. Is the docker daemon running?";
    assert_eq!(failure.text, expected);
}
