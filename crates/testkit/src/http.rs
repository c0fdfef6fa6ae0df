//! HTTP/1.1 by hand over any stream: raw enough to check status line, headers and framing.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, chunks joined.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `message` of an error body.
    pub fn message(&self) -> String {
        let value = self.json().unwrap_or(Value::Null);
        value["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Demands that status.
    pub fn expect(self, status: u16) -> Result<Self> {
        if self.status != status {
            bail!("status {} instead of {status}: {}", self.status, self.text());
        }
        Ok(self)
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a str,
    /// Path with query.
    pub path: &'a str,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// Body.
    pub body: &'a [u8],
}

/// One request to a daemon's unix socket.
pub fn over_unix(socket: &Path, request: Request<'_>) -> Result<Response> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    exchange(&mut stream, "docker", request)
}

/// Writes the request to `stream` and reads the whole answer; the connection is then of no use.
pub fn exchange<S: Read + Write>(
    stream: &mut S,
    host: &str,
    request: Request<'_>,
) -> Result<Response> {
    let Request { method, path, headers, body } = request;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" || method == "PUT" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()?;
    let mut reader = BufReader::new(stream);
    read_response(&mut reader, method == "HEAD")
        .with_context(|| format!("read the answer to {method} {path}"))
}

/// Reads status line, headers and body.
pub fn read_response(reader: &mut impl BufRead, no_body: bool) -> Result<Response> {
    let (status, reason, headers) = read_head(reader)?;
    let mut response = Response { status, reason, headers, body: Vec::new() };
    if no_body || status == 204 || status == 304 {
        return Ok(response);
    }
    if response.header("transfer-encoding") == Some("chunked") {
        read_chunks(reader, &mut response.body)?;
    } else if let Some(length) = response.header("content-length") {
        let length: usize = length.parse().context("content-length")?;
        response.body.resize(length, 0);
        reader.read_exact(&mut response.body).context("body shorter than its length")?;
    } else {
        reader.read_to_end(&mut response.body)?;
    }
    Ok(response)
}

type Head = (u16, String, Vec<(String, String)>);

/// Reads up to the empty line.
fn read_head(reader: &mut impl BufRead) -> Result<Head> {
    let line = read_line(reader)?;
    let mut words = line.splitn(3, ' ').skip(1);
    let status = words.next().context("no status")?.parse().context("status")?;
    let reason = words.next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok((status, reason, headers));
        }
        let (name, value) = line.split_once(':').context("header without a colon")?;
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let line = read_line(reader)?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).context("chunk size")?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..]).context("chunk cut short")?;
        read_line(reader)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        bail!("connection closed");
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        let raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let response = read_response(&mut &raw[..], false).unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "abcde"));
    }

    #[test]
    fn a_short_body_is_an_error() {
        let raw = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nabc";
        assert!(read_response(&mut &raw[..], false).is_err());
    }
}
