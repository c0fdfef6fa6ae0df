//! The contents of the test images, as tar streams.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tar::{Builder, EntryType, Header};

use crate::debian::Archive;

/// What nginx serves at `/`.
pub const PAGE: &str = "<html><head><title>Welcome to nginx!</title></head>\
<body><h1>Welcome to nginx!</h1></body></html>\n";

const NGINX_SITE: &str = "server {
    listen 80 default_server;
    root /var/www/html;
    index index.html;
}
";

/// Writes a tar stream entry by entry.
pub struct Tar(Builder<Vec<u8>>);

/// Mode, owner and group of an entry.
#[derive(Debug, Clone, Copy)]
pub struct Owner(pub u32, pub u64, pub u64);

const ROOT_DIR: Owner = Owner(0o755, 0, 0);
const ROOT_FILE: Owner = Owner(0o644, 0, 0);
const PROGRAM: Owner = Owner(0o755, 0, 0);

impl Tar {
    /// An empty stream.
    #[allow(clippy::new_without_default, reason = "a stream is begun, not defaulted")]
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// A directory.
    pub fn dir(&mut self, path: &str, owner: Owner) -> Result<()> {
        self.entry(EntryType::Directory, path, None, owner, b"")
    }

    /// A file.
    pub fn file(&mut self, path: &str, owner: Owner, data: &[u8]) -> Result<()> {
        self.entry(EntryType::Regular, path, None, owner, data)
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.entry(EntryType::Symlink, path, Some(target), Owner(0o777, 0, 0), b"")
    }

    /// A hard link to a path of the image; engines apply its mode to the file that it links to.
    pub fn hardlink(&mut self, path: &str, target: &str, owner: Owner) -> Result<()> {
        self.entry(EntryType::Link, path, Some(target), owner, b"")
    }

    /// An extended attribute of the entry that follows.
    pub fn xattr(&mut self, name: &str, value: &[u8]) -> Result<()> {
        let key = format!("SCHILY.xattr.{name}");
        Ok(self.0.append_pax_extensions([(key.as_str(), value)])?)
    }

    /// A character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) -> Result<()> {
        let mut header = header(EntryType::Char, Owner(0o666, 0, 0), 0);
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
        header.set_path(path)?;
        header.set_cksum();
        Ok(self.0.append(&header, &b""[..])?)
    }

    /// Whatever entry, with the path as it is given: also `../x` and `/x`.
    pub fn entry(
        &mut self,
        kind: EntryType,
        path: &str,
        link: Option<&str>,
        owner: Owner,
        data: &[u8],
    ) -> Result<()> {
        let mut header = header(kind, owner, data.len() as u64);
        if let Some(link) = link {
            header.set_link_name_literal(link)?;
        }
        let field = &mut header.as_old_mut().name;
        if path.len() < field.len() {
            field[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            return Ok(self.0.append(&header, data)?);
        }
        header.set_cksum();
        Ok(self.0.append_data(&mut header, path, data)?)
    }

    /// The finished stream.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(self.0.into_inner()?)
    }
}

/// A small system around Debian's static busybox, every applet a link in /bin.
pub fn busybox() -> Result<Vec<u8>> {
    let program = crate::paths::program("busybox").context("busybox is not installed")?;
    let applets = Command::new(&program).arg("--list").output().context("run busybox --list")?;
    let applets = String::from_utf8(applets.stdout)?;
    let mut tar = Tar::new();
    for dir in ["bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin", "var", "var/www"] {
        tar.dir(dir, ROOT_DIR)?;
    }
    tar.dir("root", Owner(0o700, 0, 0))?;
    tar.dir("tmp", Owner(0o1777, 0, 0))?;
    tar.dir("home/user", Owner(0o755, 1000, 1000))?;
    tar.file("bin/busybox", PROGRAM, &fs::read(&program)?)?;
    for applet in applets.lines().filter(|name| *name != "busybox") {
        tar.hardlink(&format!("bin/{applet}"), "bin/busybox", PROGRAM)?;
    }
    tar.symlink("usr/bin/env", "/bin/busybox")?;
    let passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n\
                  nobody:x:65534:65534:nobody:/home:/bin/false\n";
    let group = "root:x:0:\nuser:x:1000:\nextra:x:2000:user\nnobody:x:65534:\n";
    tar.file("etc/passwd", ROOT_FILE, passwd.as_bytes())?;
    tar.file("etc/group", ROOT_FILE, group.as_bytes())?;
    tar.file("var/www/index.html", ROOT_FILE, b"busybox\n")?;
    tar.finish()
}

/// Two layers over busybox that use everything a layer can hold.
pub fn layered() -> Result<[Vec<u8>; 2]> {
    let mut lower = Tar::new();
    lower.dir("data", Owner(0o750, 1234, 4321))?;
    lower.file("data/removed", ROOT_FILE, b"removed above\n")?;
    lower.file("data/replaced", ROOT_FILE, b"lower\n")?;
    lower.file("data/owned", Owner(0o640, 1234, 4321), b"owned\n")?;
    lower.dir("opaque", ROOT_DIR)?;
    lower.file("opaque/old", ROOT_FILE, b"old\n")?;
    lower.dir("gone", ROOT_DIR)?;
    lower.file("gone/inside", ROOT_FILE, b"x\n")?;
    let mut upper = Tar::new();
    upper.dir("data", Owner(0o750, 1234, 4321))?;
    upper.file("data/.wh.removed", ROOT_FILE, b"")?;
    upper.file("data/replaced", ROOT_FILE, b"upper\n")?;
    upper.dir("opaque", ROOT_DIR)?;
    upper.file("opaque/.wh..wh..opq", ROOT_FILE, b"")?;
    upper.file("opaque/new", ROOT_FILE, b"new\n")?;
    upper.file(".wh.gone", ROOT_FILE, b"")?;
    upper.dir("special", ROOT_DIR)?;
    upper.file("special/setuid", Owner(0o4755, 0, 0), b"#!/bin/sh\n")?;
    upper.file("special/first", ROOT_FILE, b"linked\n")?;
    upper.hardlink("special/second", "special/first", ROOT_FILE)?;
    upper.symlink("special/absolute", "/data/replaced")?;
    upper.device("special/null", 1, 3)?;
    upper.entry(EntryType::Fifo, "special/fifo", None, ROOT_FILE, b"")?;
    upper.xattr("user.color", b"blue")?;
    upper.file("special/attribute", ROOT_FILE, b"")?;
    let long = format!("special/{}/{}", "d".repeat(120), "f".repeat(120));
    upper.file(&long, ROOT_FILE, b"long\n")?;
    Ok([lower.finish()?, upper.finish()?])
}

/// nginx from the machine's package archive in a minimal system, and a layer with its
/// configuration: logs to stdout and stderr, a welcome page.
pub fn nginx(work: &Path) -> Result<[Vec<u8>; 2]> {
    let root = work.join("nginx");
    Archive::of_this_machine()?.debootstrap(&["nginx-light"], &root)?;
    for leftover in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        fs::remove_dir_all(root.join(leftover)).with_context(|| format!("remove {leftover}"))?;
    }
    let base = tar_of(&root)?;
    fs::remove_dir_all(&root)?;
    let mut top = Tar::new();
    top.file("etc/nginx/sites-enabled/.wh.default", ROOT_FILE, b"")?;
    top.file("etc/nginx/conf.d/default.conf", ROOT_FILE, NGINX_SITE.as_bytes())?;
    top.file("var/www/html/index.html", ROOT_FILE, PAGE.as_bytes())?;
    top.symlink("var/log/nginx/access.log", "/dev/stdout")?;
    top.symlink("var/log/nginx/error.log", "/dev/stderr")?;
    Ok([base, top.finish()?])
}

/// GNU tar knows owners, links and capabilities of a tree best.
fn tar_of(root: &Path) -> Result<Vec<u8>> {
    let output = Command::new("tar")
        .args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=./dev/*", "-C"])
        .arg(root)
        .args(["-c", "."])
        .stderr(Stdio::inherit())
        .output()
        .context("run tar")?;
    ensure!(output.status.success(), "tar of {} failed", root.display());
    Ok(output.stdout)
}

fn header(kind: EntryType, Owner(mode, uid, gid): Owner, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_size(size);
    header.set_mtime(1_767_225_600);
    header
}
