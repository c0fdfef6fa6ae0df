//! Archives applied to directories and made from them. Everything but the reading of names needs
//! root: owners, devices and trusted attributes.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Tar, needs_root};
use davit_image::archive::{UnpackOptions, Unpacked, Whiteouts, pack, unpack};

fn apply(archive: &[u8], whiteouts: Whiteouts, root: &Path) -> davit_types::Result<Unpacked> {
    let directory = fs::File::open(root).expect("open root");
    let root_attributes = whiteouts == Whiteouts::Overlay;
    let options = UnpackOptions { whiteouts, root_attributes, ..UnpackOptions::default() };
    unpack(archive, directory.as_fd(), Path::new(""), options)
}

fn layer(archive: &[u8]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    apply(archive, Whiteouts::Overlay, root.path()).expect("a good layer");
    root
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let size = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(size);
    Some(value)
}

#[test]
fn root_layer_attributes_are_applied_exactly() {
    if !needs_root("root_layer_attributes_are_applied_exactly") {
        return;
    }
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let archive = Tar::new()
        .directory("./", 0o751)
        .directory("dir/", 0o1777)
        .pax(&[("mtime", b"1600000000.123456789")])
        .file("dir/setuid", 0o4755, b"data")
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .owned_file("dir/ping", 0o755, 7, 8, b"p")
        .symlink("abs", "/etc/passwd")
        .hardlink("hard", "dir/setuid")
        .device("null", b'3', 1, 3)
        .device("pipe", b'6', 0, 0)
        .file(&"n".repeat(200), 0o600, b"")
        .file("made/on/the/way", 0o644, b"x")
        .finish();
    let root = layer(&archive);
    let at = |path: &str| fs::symlink_metadata(root.path().join(path)).expect(path);
    assert_eq!(root.path().metadata().expect("root").mode() & 0o7777, 0o751);
    assert_eq!(at("dir").mode() & 0o7777, 0o1777);
    assert_eq!(at("dir").mtime(), 1_500_000_000, "set after its entries");
    let setuid = at("dir/setuid");
    assert_eq!(setuid.mode() & 0o7777, 0o4755);
    assert_eq!((setuid.mtime(), setuid.mtime_nsec()), (1_600_000_000, 123_456_789));
    assert_eq!((at("dir/ping").uid(), at("dir/ping").gid()), (7, 8));
    let ping = root.path().join("dir/ping");
    assert_eq!(xattr(&ping, "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(at("hard").ino(), setuid.ino());
    assert_eq!(fs::read_link(root.path().join("abs")).expect("link"), Path::new("/etc/passwd"));
    assert!(at("null").file_type().is_char_device() && at("null").rdev() == 0x103);
    assert!(at("pipe").file_type().is_fifo());
    assert!(at(&"n".repeat(200)).is_file());
    assert_eq!(at("made/on/the").permissions().mode() & 0o777, 0o755);
}

#[test]
fn root_whiteouts_become_overlayfs_marks() {
    if !needs_root("root_whiteouts_become_overlayfs_marks") {
        return;
    }
    let archive = Tar::new()
        .file(".wh.gone", 0o644, b"")
        .directory("fresh/", 0o755)
        .file("fresh/.wh..wh..opq", 0o644, b"")
        .file("fresh/new", 0o644, b"n")
        .file(".wh.remade", 0o644, b"")
        .directory("remade/", 0o755)
        .directory("later/", 0o755)
        .file(".wh.later", 0o644, b"")
        .file(".wh..wh.plnk", 0o644, b"")
        .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")])
        .directory("redirected/", 0o755)
        .finish();
    let root = layer(&archive);
    let gone = fs::symlink_metadata(root.path().join("gone")).expect("whiteout");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for opaque in ["fresh", "remade", "later"] {
        let mark = xattr(&root.path().join(opaque), "trusted.overlay.opaque");
        assert_eq!(mark.as_deref(), Some(&b"y"[..]), "{opaque}");
    }
    assert_eq!(xattr(&root.path().join("redirected"), "trusted.overlay.redirect"), None);
    assert_eq!(fs::read_dir(root.path()).expect("root").count(), 5);
}

#[test]
fn root_hostile_entries_are_refused_or_stay_inside() {
    if !needs_root("root_hostile_entries_are_refused_or_stay_inside") {
        return;
    }
    let outside = tempfile::tempdir().expect("a directory");
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").expect("write");
    let victim_name = victim.to_str().expect("utf-8");
    let root_name = outside.path().to_str().expect("utf-8");
    for (archive, refused) in [
        (Tar::new().file("../victim", 0o644, b"!").finish(), Some("\"../victim\"")),
        (Tar::new().file("a/../../victim", 0o644, b"!").finish(), Some("leads out")),
        (Tar::new().file(victim_name, 0o644, b"!").finish(), None),
        (
            Tar::new().symlink("l", root_name).file("l/victim", 0o644, b"!").finish(),
            Some("l/victim"),
        ),
        (Tar::new().symlink("l", victim_name).file("l", 0o644, b"!").finish(), None),
        (Tar::new().hardlink("h", victim_name).finish(), Some("hard link")),
        (Tar::new().hardlink("h", "../../victim").finish(), Some("hard link leads out")),
        (Tar::new().symlink("l", root_name).hardlink("h", "l/victim").finish(), Some("hard link")),
        (Tar::new().symlink("l", "..").file("l/l/victim", 0o644, b"!").finish(), None),
        (Tar::new().file(".wh...", 0o644, b"").finish(), Some("whiteout of no name")),
        (Tar::new().file("", 0o644, b"!").finish(), Some("root")),
    ] {
        let root = outside.path().join("root");
        fs::create_dir(&root).expect("mkdir");
        let result = apply(&archive, Whiteouts::Overlay, &root);
        match (&result, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(text)) => {
                assert!(format!("{error:#}").contains(text), "{error:#} / {text}");
            }
            _ => panic!("{result:?}, expected {refused:?}"),
        }
        assert_eq!(fs::read_to_string(&victim).expect("victim"), "untouched");
        assert_eq!(fs::metadata(&victim).expect("victim").nlink(), 1);
        assert_eq!(fs::read_dir(outside.path()).expect("outside").count(), 2);
        fs::remove_dir_all(&root).expect("clean up");
    }
}

#[test]
fn root_packed_tree_is_read_by_gnu_tar_and_by_us() {
    if !needs_root("root_packed_tree_is_read_by_gnu_tar_and_by_us") {
        return;
    }
    let long = "x".repeat(150);
    let archive = Tar::new()
        .directory("d/", 0o750)
        .pax(&[
            ("mtime", b"1600000000.5"),
            ("SCHILY.xattr.user.k", b"v"),
            ("path", format!("d/{long}").as_bytes()),
        ])
        .file("d/short", 0o640, b"hello")
        .hardlink("d/z", &format!("d/{long}"))
        .symlink("d/link", &long)
        .device("d/null", b'3', 1, 3)
        .finish();
    let root = layer(&archive);
    let directory = fs::File::open(root.path()).expect("open");
    let mut packed = Vec::new();
    pack(directory.as_fd(), Path::new("/d"), "renamed", &mut packed).expect("pack");

    let mut tar = Command::new("tar")
        .args(["-tf", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("GNU tar");
    tar.stdin.take().expect("stdin").write_all(&packed).expect("feed tar");
    let listed = tar.wait_with_output().expect("tar ends");
    let expected = format!("renamed/\nrenamed/link\nrenamed/null\nrenamed/{long}\nrenamed/z\n");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), expected);

    std::os::unix::fs::symlink("d", root.path().join("to-d")).expect("link");
    let mut followed = Vec::new();
    pack(directory.as_fd(), Path::new("/to-d/."), "renamed", &mut followed).expect("pack");
    assert!(followed == packed, "a trailing dot follows the link");
    let mut link = Vec::new();
    pack(directory.as_fd(), Path::new("/to-d"), "renamed", &mut link).expect("pack");
    assert_eq!(link[link.len() - 1536 + 156], b'2', "without it the link itself is packed");

    let copy = tempfile::tempdir().expect("a directory");
    apply(&packed, Whiteouts::Keep, copy.path()).expect("unpack");
    let file = copy.path().join("renamed").join(&long);
    let stat = fs::metadata(&file).expect("file");
    assert_eq!((stat.mode() & 0o777, stat.nlink(), stat.mtime_nsec()), (0o640, 2, 500_000_000));
    assert_eq!(fs::read(&file).expect("read"), b"hello");
    assert_eq!(xattr(&file, "user.k").as_deref(), Some(&b"v"[..]));
}

#[test]
fn root_sparse_files_of_gnu_tar_keep_contents_and_holes() {
    if !needs_root("root_sparse_files_of_gnu_tar_keep_contents_and_holes") {
        return;
    }
    let source = tempfile::tempdir().expect("a directory");
    let file = fs::File::create(source.path().join("holes")).expect("create");
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 5 << 20).expect("write");
    file.set_len(10 << 20).expect("set_len");
    for format in ["gnu", "posix"] {
        let packed = Command::new("tar")
            .current_dir(source.path())
            .args(["-S", &format!("--format={format}"), "-cf", "-", "holes"])
            .output()
            .expect("GNU tar")
            .stdout;
        assert!(packed.len() < 1 << 20, "tar made no sparse archive");
        let root = layer(&packed);
        let path = root.path().join("holes");
        let same = fs::read(&path).expect("copy")
            == fs::read(source.path().join("holes")).expect("source");
        assert!(same, "{format}");
        assert!(fs::metadata(&path).expect("stat").blocks() < 2048, "{format} has no holes");
    }
}

#[test]
fn root_copying_keeps_directories_and_files_apart() {
    if !needs_root("root_copying_keeps_directories_and_files_apart") {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(root.path().join("to/dir")).expect("mkdir");
    fs::write(root.path().join("to/file"), "f").expect("write");
    let directory = fs::File::open(root.path()).expect("open");
    let copy = |archive: Vec<u8>| {
        let options = UnpackOptions {
            no_overwrite_dir_non_dir: true,
            owner: Some((3, 4)),
            ..UnpackOptions::default()
        };
        unpack(archive.as_slice(), directory.as_fd(), Path::new("/to"), options)
    };
    let error = copy(Tar::new().file("dir", 0o644, b"").finish()).expect_err("file over directory");
    assert!(
        format!("{error:#}").contains("cannot overwrite directory \"/to/dir\" with non-directory")
    );
    let error =
        copy(Tar::new().directory("file/", 0o755).finish()).expect_err("directory over file");
    assert!(
        format!("{error:#}").contains("cannot overwrite non-directory \"/to/file\" with directory")
    );
    copy(Tar::new().file("dir/.wh.kept", 0o600, b"k").finish()).expect("a plain copy");
    let kept = fs::metadata(root.path().join(OsStr::new("to/dir/.wh.kept"))).expect("kept");
    assert_eq!((kept.uid(), kept.gid(), kept.size()), (3, 4, 1));
}
