//! `cp` and `export`: paths of a container's root as tar streams, and tar streams into it.
//!
//! Works on running and stopped containers alike (see `root`). All look-ups are by file descriptor
//! inside the container's root, so its links can't lead to the host.

use std::io::{self, BufReader, BufWriter, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use davit_api::container::PathStat;
use davit_image::archive::{self, UnpackOptions};
use davit_types::{Context, Error, Kind, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use tokio::sync::{mpsc, oneshot};

use super::record::Snapshot;
use super::root::{View, with_root};
use super::streams::{CHUNK, Chunks, Receiver, Sender};
use super::user;
use crate::options::PutArchiveOptions;
use crate::{Engine, error};

impl Engine {
    /// The facts of `X-Docker-Container-Path-Stat`.
    ///
    /// # Errors
    /// No such container, or nothing at that path.
    pub async fn archive_stat(&self, name: &str, path: &str) -> Result<PathStat> {
        let container = self.inner().containers.find(name)?;
        let (name, path) = (name.to_owned(), clean(path));
        with_root(self.inner(), &container, View::WithMounts, move |root| stat(root, &path, &name))
            .await
    }

    /// The path as a tar stream whose names begin with its last name.
    ///
    /// # Errors
    /// No such container, or nothing at that path. What fails later ends the stream.
    pub async fn archive_get(&self, name: &str, path: &str) -> Result<(PathStat, Chunks)> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        let (name, path) = (name.to_owned(), clean(path));
        inner.publish(&container.snapshot(), "archive-path", &[("path", path.clone())]);
        let (sender, mut chunks) = mpsc::channel(4);
        let (found, facts) = oneshot::channel();
        tokio::spawn(async move {
            let writer = Sender(sender.clone());
            let packing = with_root(&inner, &container, View::WithMounts, move |root| {
                // Nobody to take it means that the client has gone; packing will notice.
                let _ = found.send(stat(root, &path, &name)?);
                let out = BufWriter::with_capacity(CHUNK, writer);
                archive::pack(root, Path::new(&path), name_in_archive(&path), out)
            });
            send_failure(packing.await, &sender).await;
        });
        match facts.await {
            Ok(facts) => Ok((facts, chunks)),
            Err(_) => Err(first_failure(&mut chunks).await),
        }
    }

    /// Unpacks a tar, plain or gzip, into a directory of the container.
    ///
    /// # Errors
    /// No such container or directory, a read-only place, a broken archive, or a body that ends with
    /// an error. What was unpacked before stays.
    pub async fn archive_put(
        &self,
        name: &str,
        path: &str,
        options: PutArchiveOptions,
        body: Chunks,
    ) -> Result<()> {
        let inner = self.inner();
        let container = inner.containers.find(name)?;
        let snapshot = container.snapshot();
        let facts = Arc::clone(&snapshot);
        let (name, directory) = (name.to_owned(), clean(path));
        with_root(inner, &container, View::WithMounts, move |root| {
            check_target(root, &directory, &name, &facts)?;
            let owner = if options.copy_uid_gid {
                Some(user::owner(root, &facts.record.config.user)?)
            } else {
                None
            };
            let options = UnpackOptions {
                no_overwrite_dir_non_dir: options.no_overwrite_dir_non_dir,
                owner,
                ..UnpackOptions::default()
            };
            let reader = decompressed(Receiver::new(body))?;
            archive::unpack(reader, root, Path::new(&directory), options).map(drop)
        })
        .await?;
        inner.publish(&snapshot, "extract-to-dir", &[("path", path.to_owned())]);
        Ok(())
    }

    /// A tar of the container's root without what is mounted into it.
    ///
    /// # Errors
    /// No such container. What fails later ends the stream.
    pub async fn export(&self, name: &str) -> Result<Chunks> {
        let inner = Arc::clone(self.inner());
        let container = inner.containers.find(name)?;
        inner.publish(&container.snapshot(), "export", &[]);
        let (sender, chunks) = mpsc::channel(4);
        tokio::spawn(async move {
            let writer = Sender(sender.clone());
            let packing = with_root(&inner, &container, View::LayersOnly, move |root| {
                archive::pack(root, Path::new("/"), "", BufWriter::with_capacity(CHUNK, writer))
            });
            send_failure(packing.await, &sender).await;
        });
        Ok(chunks)
    }
}

/// The absolute path without `.`, `..` and doubled slashes, by its text alone, as Docker takes it. A
/// slash or `/.` at the end is kept: it asks for what a link leads to, or for a directory's contents.
fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    let end = ["/.", "/"].into_iter().find(|end| path.ends_with(end)).unwrap_or_default();
    let cleaned = format!("/{}", names.join("/"));
    if names.is_empty() { cleaned } else { cleaned + end }
}

fn stat(root: BorrowedFd<'_>, path: &str, container: &str) -> Result<PathStat> {
    let facts = archive::stat(root, Path::new(path)).map_err(|cause| match cause.kind() {
        Kind::NotFound => error::no_such_file(path, container),
        _ => cause,
    })?;
    let (seconds, nanoseconds) = facts.mtime;
    let mtime = jiff::Timestamp::new(seconds, i32::try_from(nanoseconds).unwrap_or(0));
    Ok(PathStat {
        name: facts.name,
        size: facts.size,
        mode: facts.mode,
        mtime: mtime.unwrap_or_default().into(),
        link_target: facts.link_target,
    })
}

/// The name that stands for `path` in its archive: its last one; `.` when the contents are asked for.
fn name_in_archive(path: &str) -> &str {
    if path.ends_with("/.") || path == "." {
        return ".";
    }
    path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(".")
}

/// The place must be a directory that may be written.
fn check_target(
    root: BorrowedFd<'_>,
    path: &str,
    container: &str,
    snapshot: &Snapshot,
) -> Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let target = opened.map_err(|errno| match errno {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
            error::no_such_file(path, container)
        }
        _ => Error::internal(format!("open {path} in container {container}")).with_source(errno),
    })?;
    let failed = || format!("look up {path} in container {container}");
    let facts = rustix::fs::fstat(&target).context(failed)?;
    if !rustix::fs::FileType::from_raw_mode(facts.st_mode).is_dir() {
        return Err(Error::invalid("extraction point is not a directory"));
    }
    let in_root_layer = facts.st_dev == rustix::fs::fstat(root).context(failed)?.st_dev;
    if snapshot.host_config.readonly_rootfs && in_root_layer {
        return Err(Error::invalid("container rootfs is marked read-only"));
    }
    let mount = rustix::fs::fstatvfs(target.as_fd()).context(failed)?;
    if mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Err(Error::invalid("mounted volume is marked read-only"));
    }
    Ok(())
}

/// Looks at the first bytes: gzip is unpacked, a plain tar passed on.
fn decompressed(body: Receiver) -> Result<Box<dyn Read>> {
    let mut body = BufReader::with_capacity(CHUNK, body);
    let head = io::BufRead::fill_buf(&mut body).context(|| "read archive")?;
    match head {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(body))),
        [b'B', b'Z', b'h', ..] => Err(unsupported("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(unsupported("xz")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(unsupported("zstd")),
        _ => Ok(Box::new(body)),
    }
}

fn unsupported(format: &str) -> Error {
    Error::invalid(format!("the archive is compressed with {format}; send it plain or as gzip"))
}

async fn send_failure(result: Result<()>, sender: &mpsc::Sender<Result<Bytes>>) {
    if let Err(error) = result {
        // Nobody to take it means that the client has gone.
        let _ = sender.send(Err(error)).await;
    }
}

async fn first_failure(chunks: &mut Chunks) -> Error {
    match chunks.recv().await {
        Some(Err(error)) => error,
        _ => Error::internal("the archive ended before it began"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        let cases = [
            ("/../../etc/passwd", "/etc/passwd"),
            ("/..", "/"),
            ("/d/..", "/"),
            ("etc", "/etc"),
            ("/etc//./x/", "/etc/x/"),
            ("/etc/.", "/etc/."),
            ("/pc/../etc/passwd", "/etc/passwd"),
            ("/.", "/"),
            ("", "/"),
        ];
        for (path, cleaned) in cases {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn an_archive_is_named_after_the_last_name_of_its_path() {
        let cases =
            [("/etc/passwd", "passwd"), ("/etc/", "etc"), ("/etc/.", "."), ("/", "."), (".", ".")];
        for (path, name) in cases {
            assert_eq!(name_in_archive(path), name, "{path}");
        }
    }
}
