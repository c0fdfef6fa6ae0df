//! `davit cp`: tar archives between the daemon and the local file system.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use davit_api::container::PathStat;
use http::Method;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_util::io::SyncIoBridge;

use super::copy_path::{self, Placement, Side, Target};
use super::path;
use crate::catalogue::{Arity, Verb};
use crate::client::{Body, Query, Request, read_all};
use crate::failure::{Failure, Outcome, go_io_error};
use crate::output::{self, units};
use crate::session::Session;
use crate::stream::BodyReader;
use crate::terminal;

const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;

/// Flags of `davit cp`.
#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// Keep owner and group
    #[arg(long, short)]
    archive: bool,
    /// Copy what a symbolic link points to
    #[arg(long, short = 'L')]
    follow_link: bool,
    /// Say nothing about progress
    #[arg(long, short)]
    quiet: bool,
    operands: Vec<String>,
}

impl Verb for Cp {
    const ABOUT: &'static str = "Copy files between a container and the local file system";
    const USAGE: &'static str = "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tdavit cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH";
    const ARITY: Arity = Arity::Exactly(2);

    async fn run(self, session: &Session) -> Outcome {
        let (source, target) = (&self.operands[0], &self.operands[1]);
        if source.is_empty() {
            return Err(Failure::new("source can not be empty"));
        }
        if target.is_empty() {
            return Err(Failure::new("destination can not be empty"));
        }
        let report = match (Side::parse(source), Side::parse(target)) {
            (Side::Container(name, from), Side::Local(to)) => {
                self.fetch(session, &name, &from, &to).await?
            }
            (Side::Local(from), Side::Container(name, to)) => {
                self.send(session, &name, &from, &to).await?
            }
            (Side::Container(..), Side::Container(..)) => {
                return Err(Failure::new("copying between containers is not supported"));
            }
            (Side::Local(_), Side::Local(_)) => {
                return Err(Failure::new("must specify at least one container source"));
            }
        };
        if let Some(report) = report
            && !self.quiet
            && terminal::is_stdout()
        {
            output::complain(&report);
        }
        Ok(0)
    }
}

impl Cp {
    /// From a container to here.
    async fn fetch(
        &self,
        session: &Session,
        name: &str,
        from: &str,
        to: &str,
    ) -> Outcome<Option<String>> {
        let mut from = absolute_in_container(from);
        if self.follow_link {
            let found = stat(session, name, &from).await?;
            if found.mode & GO_SYMLINK != 0 {
                from = resolve(&from, &found.link_target);
            }
        }
        let query = Query::new().with("path", &from);
        let answer =
            session.client.send(Request::new(Method::GET, path(name, "/archive"), &query)).await?;
        let found = path_stat(&answer)?;
        let reader = SyncIoBridge::new(BodyReader::new(answer.into_body()));
        if to == "-" {
            run_blocking(move || copy_to_stdout(reader)).await?;
            return Ok(None);
        }
        let target = match std::fs::metadata(to) {
            Ok(metadata) if metadata.is_dir() => Target::Directory,
            Ok(_) => Target::File,
            Err(_) => Target::Missing,
        };
        let placement = copy_path::place(&from, found.mode & GO_DIRECTORY != 0, to, target)?;
        if !Path::new(&placement.directory).is_dir() {
            return Err(Failure::new(format!(
                "invalid output path: directory {:?} does not exist",
                placement.directory
            )));
        }
        let top = found.name;
        let size = run_blocking(move || unpack(reader, &placement, &top)).await?;
        Ok(Some(format!("Successfully copied {} to {to}", units::decimal_size(size as f64, 3))))
    }

    /// From here into a container.
    async fn send(
        &self,
        session: &Session,
        name: &str,
        from: &str,
        to: &str,
    ) -> Outcome<Option<String>> {
        let mut to = absolute_in_container(to);
        let mut target = Target::Missing;
        if let Ok(found) = stat(session, name, &to).await {
            let found = match found.mode & GO_SYMLINK {
                0 => Some(found),
                _ => {
                    to = resolve(&to, &found.link_target);
                    stat(session, name, &to).await.ok()
                }
            };
            target = found.map_or(Target::Missing, |found| match found.mode & GO_DIRECTORY {
                0 => Target::File,
                _ => Target::Directory,
            });
        }
        let (body, directory) = if from == "-" {
            if target != Target::Directory {
                return Err(Failure::new(format!(
                    "destination \"{name}:{to}\" must be a directory"
                )));
            }
            (streamed(|mut out| io::copy(&mut io::stdin().lock(), &mut out).map(drop)), to.clone())
        } else {
            let (local, is_directory) = self.local_source(from)?;
            let placement = copy_path::place(from, is_directory, &to, target)?;
            let directory = placement.directory.clone();
            let entry = placement.name.unwrap_or_else(|| ".".to_owned());
            (streamed(move |out| pack(&local, &entry, is_directory, out)), directory)
        };
        let query = Query::new()
            .with("noOverwriteDirNonDir", "true")
            .with_some("copyUIDGID", self.archive.then_some("true"))
            .with("path", &directory);
        let request = Request::new(Method::PUT, path(name, "/archive"), &query)
            .streamed(body, "application/x-tar");
        read_all(session.client.send(request).await?).await?;
        Ok((from != "-").then(|| format!("Successfully copied {from} to {name}:{to}")))
    }

    fn local_source(&self, from: &str) -> Outcome<(PathBuf, bool)> {
        let metadata = std::fs::symlink_metadata(from)
            .map_err(|error| Failure::new(format!("lstat {from}: {}", go_io_error(&error))))?;
        let follows =
            metadata.is_symlink() && (self.follow_link || copy_path::claims_directory(from));
        if !follows {
            return Ok((PathBuf::from(from), metadata.is_dir()));
        }
        let real = std::fs::canonicalize(from)?;
        let is_directory = real.is_dir();
        Ok((real, is_directory))
    }
}

fn absolute_in_container(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The target of a link at `path`.
fn resolve(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let parent = path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
    format!("{parent}/{target}")
}

async fn stat(session: &Session, name: &str, file: &str) -> Outcome<PathStat> {
    let query = Query::new().with("path", file);
    let answer =
        session.client.send(Request::new(Method::HEAD, path(name, "/archive"), &query)).await?;
    path_stat(&answer)
}

fn path_stat<B>(answer: &http::Response<B>) -> Outcome<PathStat> {
    let header = answer.headers().get("x-docker-container-path-stat");
    let json = header.and_then(|value| STANDARD.decode(value.as_bytes()).ok());
    json.and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(|| Failure::new("the daemon's answer lacks the file's description"))
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Outcome<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Failure::new(error.to_string())),
    }
}

fn copy_to_stdout(mut reader: SyncIoBridge<BodyReader>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    io::copy(&mut reader, &mut out)?;
    out.flush()
}

/// Unpacks an archive whose entries all begin with `top`, which gets its new name; returns the bytes of content.
fn unpack(reader: impl io::Read, placement: &Placement, top: &str) -> io::Result<u64> {
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_preserve_ownerships(rustix::process::geteuid().is_root());
    archive.set_overwrite(true);
    let directory = Path::new(&placement.directory);
    let mut size = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        size += entry.size();
        let Some(name) = renamed(&entry.path()?, top, placement.name.as_deref()) else { continue };
        let target = directory.join(&name);
        if !stays_inside(&name) {
            return Err(io::Error::other(format!(
                "{} leaves the target directory",
                name.display()
            )));
        }
        if entry.header().entry_type().is_hard_link()
            && let Some(link) = entry.link_name()?
        {
            let source =
                renamed(&link, top, placement.name.as_deref()).unwrap_or_else(|| link.into_owned());
            if stays_inside(&source) {
                // What is in the way is replaced, and need not be there.
                let _ = std::fs::remove_file(&target);
                std::fs::hard_link(directory.join(source), target)?;
            }
            continue;
        }
        entry.unpack(&target)?;
    }
    Ok(size)
}

fn stays_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// `path` with its first part replaced, or taken away; nothing is left of the top entry itself then.
fn renamed(path: &Path, top: &str, name: Option<&str>) -> Option<PathBuf> {
    let plain = |path: &Path| -> PathBuf {
        path.components().filter(|part| *part != Component::CurDir).collect()
    };
    let clean = plain(path);
    let top = plain(Path::new(top.trim_matches('/')));
    let inner = clean.strip_prefix(&top).unwrap_or(&clean);
    let renamed: PathBuf =
        name.into_iter().map(Path::new).chain([inner]).flat_map(Path::components).collect();
    (!renamed.as_os_str().is_empty()).then_some(renamed)
}

fn pack(local: &Path, entry: &str, is_directory: bool, out: impl Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(out);
    builder.follow_symlinks(false);
    builder.mode(tar::HeaderMode::Complete);
    match is_directory {
        true => builder.append_dir_all(entry, local)?,
        false if local.is_symlink() => builder.append_path_with_name(local, entry)?,
        false => builder.append_file(entry, &mut File::open(local)?)?,
    }
    builder.into_inner()?.flush()
}

/// A request body that a thread of its own writes.
pub(crate) fn streamed(
    write: impl FnOnce(io::BufWriter<ChannelWriter>) -> io::Result<()> + Send + 'static,
) -> Body {
    let (sender, receiver) = mpsc::channel(8);
    let failed = sender.clone();
    tokio::task::spawn_blocking(move || {
        let out = io::BufWriter::with_capacity(64 * 1024, ChannelWriter(sender));
        if let Err(error) = write(out) {
            // Nobody listens any more when the request has failed already.
            let _ = failed.blocking_send(Err(error));
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    });
    StreamBody::new(stream).boxed_unsync()
}

/// Hands what is written to the request's body.
pub(crate) struct ChannelWriter(mpsc::Sender<io::Result<Frame<Bytes>>>);

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let frame = Frame::data(Bytes::copy_from_slice(bytes));
        match self.0.blocking_send(Ok(frame)) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_get_the_new_name_in_place_of_the_top_one() {
        let table = [
            ("data/in/y", "data", Some("out"), Some("out/in/y")),
            ("data/", "data", Some("out"), Some("out")),
            ("./in/y", "data", Some("out"), Some("out/in/y")),
            ("./", "data", Some("out"), Some("out")),
            ("data/in", "data", None, Some("in")),
            ("data/.", "data", None, None),
            ("./", "data", None, None),
        ];
        for (path, top, name, expected) in table {
            assert_eq!(
                renamed(Path::new(path), top, name),
                expected.map(PathBuf::from),
                "{path} {name:?}"
            );
        }
    }
}
