//! Archives as an attacker or another program makes them: what can't be unpacked is refused and
//! nothing outside the root changes; what can be is what GNU tar and Python's tarfile see in it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Tar, needs_root};
use davit_image::archive::{UnpackOptions, Unpacked, Whiteouts, pack, unpack};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

const BLOCK: usize = 512;

fn apply(archive: impl Read, root: &Path) -> davit_types::Result<Unpacked> {
    let directory = fs::File::open(root).expect("open root");
    let whiteouts = Whiteouts::Overlay;
    let options = UnpackOptions { whiteouts, root_attributes: true, ..UnpackOptions::default() };
    unpack(archive, directory.as_fd(), Path::new(""), options)
}

/// Puts `text` into the head at `head`, and its checksum right.
fn patch(archive: &mut [u8], head: usize, at: usize, text: &[u8]) {
    let head = &mut archive[head..head + BLOCK];
    head[at..at + text.len()].copy_from_slice(text);
    head[148..156].fill(b' ');
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn root_endless_names_and_attributes_are_refused_early() {
    if !needs_root("root_endless_names_and_attributes_are_refused_early") {
        return;
    }
    for kind in [b"x", b"L", b"K"] {
        let root = tempfile::tempdir().expect("a directory");
        let mut head = Tar::new().file("f", 0o644, b"").finish();
        head.truncate(BLOCK);
        patch(&mut head, 0, 124, b"77777777777");
        patch(&mut head, 0, 156, kind);
        let mut endless = head.as_slice().chain(io::repeat(b'1')).take(1 << 33);
        let error = apply(&mut endless, root.path()).expect_err("8 GiB of a name");
        assert!(format!("{error:#}").contains("take more than"), "{error:#}");
        assert!(endless.limit() > (1 << 33) - (16 << 20), "read on and on");
    }
}

#[test]
fn root_what_no_file_system_can_hold_is_refused() {
    if !needs_root("root_what_no_file_system_can_hold_is_refused") {
        return;
    }
    let huge = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.name", b"f"),
        ("GNU.sparse.realsize", b"9223372036854775807"),
    ];
    let overlap = [("GNU.sparse.size", &b"4"[..]), ("GNU.sparse.map", b"0,9")];
    let mut map = b"0\n".to_vec();
    map.resize(BLOCK, 0);
    for (archive, reason) in [
        (Tar::new().pax(&[("uid", b"4294967295")]).file("f", 0o644, b""), "owner id 4294967295"),
        (Tar::new().pax(&[("gid", b"4294967296")]).file("f", 0o644, b""), "owner id 4294967296"),
        (Tar::new().pax(&[("path", b"a\0b")]).file("f", 0o644, b""), "unpack entry"),
        (Tar::new().pax(&[("mtime", b"1e9")]).file("f", 0o644, b""), "time in a PAX record"),
        (Tar::new().pax(&huge).file("f", 0o644, &map), "write"),
        (Tar::new().pax(&overlap).file("f", 0o644, b"123456789"), "bad sparse map"),
        (Tar::new().file(&"d/".repeat(3000), 0o755, b""), "unpack entry"),
        (Tar::new().file(&"n".repeat(256), 0o644, b""), "unpack entry"),
        (Tar::new().pax(&[("size", b"18446744073709551615")]).file("f", 0o644, b"x"), "archive"),
    ] {
        let root = tempfile::tempdir().expect("a directory");
        let error = apply(archive.finish().as_slice(), root.path()).expect_err(reason);
        assert!(format!("{error:#}").contains(reason), "{error:#} / {reason}");
    }
}

#[test]
fn root_the_last_of_several_entries_of_one_name_stays() {
    if !needs_root("root_the_last_of_several_entries_of_one_name_stays") {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let mut archive = Tar::new()
        .file("twice", 0o600, b"long content")
        .file("twice", 0o644, b"2")
        .file("to-directory", 0o644, b"")
        .file("to-directory/inside", 0o644, b"i")
        .finish();
    apply(archive.as_slice(), root.path()).expect_err("a file is no directory");
    assert_eq!(fs::read(root.path().join("twice")).expect("read"), b"2");
    archive = Tar::new()
        .directory("d/", 0o755)
        .file("d/inside", 0o644, b"i")
        .file("d", 0o644, b"now a file")
        .directory("e/", 0o755)
        .symlink("e", "/")
        .file("e/inside", 0o644, b"through the link")
        .finish();
    archive.extend_from_slice(b"what comes after the end is read and means nothing");
    let mut rest = archive.as_slice();
    apply(&mut rest, root.path()).expect("unpack");
    assert!(rest.is_empty());
    assert_eq!(fs::read(root.path().join("d")).expect("read"), b"now a file");
    assert_eq!(fs::read(root.path().join("inside")).expect("read"), b"through the link");
}

/// An entry of each kind.
fn everything() -> Vec<u8> {
    let long = "l/".repeat(60) + "name";
    Tar::new()
        .directory("./", 0o755)
        .directory("dir/", 0o2755)
        .pax(&[("mtime", b"12.5"), ("SCHILY.xattr.user.k", b"v"), ("size", b"3")])
        .file("dir/file", 0o4755, b"abc")
        .hardlink("hard", "dir/file")
        .symlink("up", "..")
        .file("up/contained", 0o644, b"")
        .device("null", b'3', 1, 3)
        .device("pipe", b'6', 0, 0)
        .file("dir/.wh.gone", 0o644, b"")
        .file(&long, 0o644, b"deep")
        .finish()
}

/// Where heads are, by the sizes in them.
fn heads(archive: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while archive[at] != 0 {
        found.push(at);
        let digits = String::from_utf8_lossy(&archive[at + 124..at + 135]).into_owned();
        let size = usize::from_str_radix(&digits, 8).expect("a size");
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
    found
}

#[test]
fn root_damaged_archives_change_nothing_outside() {
    if !needs_root("root_damaged_archives_change_nothing_outside") {
        return;
    }
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("victim"), "untouched").expect("write");
    let good = everything();
    let heads = heads(&good);
    let attempt = |archive: &[u8]| {
        let root = outside.path().join("root");
        fs::create_dir(&root).expect("mkdir");
        let result = apply(archive, &root);
        assert_eq!(fs::read_dir(outside.path()).expect("outside").count(), 2);
        let victim = fs::metadata(outside.path().join("victim")).expect("victim");
        assert_eq!((victim.nlink(), victim.size(), victim.mode() & 0o777), (1, 9, 0o644));
        davit_image::remove_tree(&root).expect("clean up");
        result
    };
    attempt(&good).expect("the whole archive");
    for length in (0..good.len()).step_by(480) {
        let ends_between_entries =
            heads.contains(&length) || good[length..].iter().all(|byte| *byte == 0);
        let result = attempt(&good[..length]);
        assert!(result.is_err() || ends_between_entries, "cut to {length}: {result:?}");
    }
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut refused = 0;
    for _ in 0..150 {
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % below as u64).expect("small")
        };
        let mut damaged = good.clone();
        let head = heads[next(heads.len())];
        // In front of what the checksum itself takes, or in the type, link and name fields.
        let at = [next(148), 156 + next(356), next(100), 156][next(4)];
        let byte = [b'.', b'/', 0, b'7', b'S', b'1', b'2', 0xff][next(8)];
        patch(&mut damaged, head, at, &[byte]);
        refused += usize::from(attempt(&damaged).is_err());
    }
    assert!(refused > 10 && refused < 150, "{refused} refused");
}

/// A tree with everything that a layer may have.
fn fill(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("a/b")).expect("mkdir");
    fs::create_dir_all(at(&format!("deep/{}", "x".repeat(200)))).expect("mkdir");
    fs::write(at("a/plain"), "content").expect("write");
    fs::write(at("empty"), "").expect("write");
    fs::write(at(&format!("deep/{}/{}", "x".repeat(200), "y".repeat(90))), "long").expect("write");
    fs::write(at("ünïcode \\ name\n"), "n").expect("write");
    fs::hard_link(at("a/plain"), at("a/b/linked")).expect("link");
    symlink("../../etc/passwd", at("a/symbolic")).expect("symlink");
    symlink("t".repeat(180), at("long-target")).expect("symlink");
    let mode = Mode::from_raw_mode(0o640);
    for (name, kind, device) in [
        ("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("disk", FileType::BlockDevice, rustix::fs::makedev(7, 300)),
        ("pipe", FileType::Fifo, 0),
    ] {
        rustix::fs::mknodat(CWD, at(name), kind, mode, device).expect("mknod");
    }
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    fs::write(at("ping"), "p").expect("write");
    std::os::unix::fs::chown(at("ping"), Some(1000), Some(3_000_000)).expect("chown");
    std::os::unix::fs::lchown(at("long-target"), Some(5), Some(6)).expect("chown");
    let set = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::lsetxattr(at(name), key, value, XattrFlags::empty()).expect("xattr");
    };
    set("ping", "security.capability", &capability);
    set("a", "user.lines", b"one\ntwo=\0three");
    for (name, mode) in [("a/plain", 0o6755), ("a/b", 0o1777), ("empty", 0o000)] {
        rustix::fs::chmod(at(name), Mode::from_raw_mode(mode)).expect("chmod");
    }
    // What a floating point number holds exactly.
    let touch = [".", "-exec", "touch", "-h", "-d", "@1500000000.25", "{}", "+"];
    output("find", root, &touch);
    for (name, tv_sec, tv_nsec) in [("a/plain", 1_600_000_000, 123_456_789), ("empty", 1, 0)] {
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, at(name), &times, AtFlags::SYMLINK_NOFOLLOW).expect("times");
    }
}

/// One line for each name below `root`.
fn listing(root: &Path, nanoseconds: bool, xattrs: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).expect("list") {
            let path = entry.expect("entry").path();
            let stat = fs::symlink_metadata(&path).expect("stat");
            let content = match stat.file_type() {
                kind if kind.is_dir() => {
                    waiting.push(path.clone());
                    Vec::new()
                }
                kind if kind.is_file() => fs::read(&path).expect("read"),
                kind if kind.is_symlink() => {
                    fs::read_link(&path).expect("link").as_os_str().as_bytes().to_vec()
                }
                _ => stat.rdev().to_string().into_bytes(),
            };
            // Python sets no times of links.
            let seconds = if stat.is_symlink() && !nanoseconds { 0 } else { stat.mtime() };
            let time = (seconds, if nanoseconds { stat.mtime_nsec() } else { 0 });
            let mut attributes = Vec::new();
            for key in ["security.capability", "user.lines"].iter().filter(|_| xattrs) {
                let mut value = [0; 64];
                if let Ok(size) = rustix::fs::lgetxattr(&path, *key, &mut value[..]) {
                    attributes.push((*key, value[..size].to_vec()));
                }
            }
            let links = if stat.is_dir() { 0 } else { stat.nlink() };
            let name = path.strip_prefix(root).expect("below the root");
            lines.push(format!(
                "{name:?} {:o} {}:{} {links} {time:?} {:?} {attributes:?}",
                stat.mode(),
                stat.uid(),
                stat.gid(),
                String::from_utf8_lossy(&content),
            ));
        }
    }
    lines.sort();
    lines
}

fn output(program: &str, directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(program);
    let command = command.current_dir(directory).args(arguments).stdin(Stdio::null());
    let output = command.output().expect(program);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn root_trees_packed_by_gnu_tar_and_python_come_out_the_same() {
    if !needs_root("root_trees_packed_by_gnu_tar_and_python_come_out_the_same") {
        return;
    }
    let source = tempfile::tempdir().expect("a directory");
    fill(source.path());
    let python = "import sys, tarfile\n\
        with tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=int(sys.argv[1])) as tar:\n\
        \x20   tar.add('.')\n";
    let compare = |archive: &[u8], what: &str, nanoseconds, xattrs| {
        let root = tempfile::tempdir().expect("a directory");
        apply(archive, root.path()).expect(what);
        let expected = listing(source.path(), nanoseconds, xattrs);
        assert_eq!(listing(root.path(), nanoseconds, xattrs), expected, "{what}");
    };
    for (format, exact) in [("posix", true), ("gnu", false), ("oldgnu", false)] {
        let format = format!("--format={format}");
        let mut arguments = vec![format.as_str(), "-cf", "-", "."];
        if exact {
            arguments.splice(0..0, ["--xattrs", "--xattrs-include=*"]);
        }
        let archive = output("tar", source.path(), &arguments);
        compare(&archive, &format, exact, exact);
    }
    // Python's formats 1 and 2: GNU and PAX. Its times are floating point numbers, its archives
    // have no attributes.
    for format in ["1", "2"] {
        let archive = output("python3", source.path(), &["-c", python, format]);
        compare(&archive, &format!("python {format}"), false, false);
    }
}

#[test]
fn root_what_is_packed_here_comes_out_the_same_elsewhere() {
    if !needs_root("root_what_is_packed_here_comes_out_the_same_elsewhere") {
        return;
    }
    let source = tempfile::tempdir().expect("a directory");
    fill(source.path());
    let directory = fs::File::open(source.path()).expect("open");
    let mut packed = Vec::new();
    pack(directory.as_fd(), Path::new("/"), ".", &mut packed).expect("pack");
    let work = tempfile::tempdir().expect("a directory");
    let archive = work.path().join("archive.tar");
    fs::File::create(&archive).and_then(|mut file| file.write_all(&packed)).expect("write");
    let archive = archive.to_str().expect("text");
    let python = "import sys, tarfile\n\
        with tarfile.open(sys.argv[1]) as tar:\n\
        \x20   tar.extraction_filter = staticmethod(lambda member, path: member)\n\
        \x20   tar.extractall('.', numeric_owner=True)\n";
    let gnu = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", archive];
    for (program, arguments, exact) in
        [("tar", &gnu[..], true), ("python3", &["-c", python, archive], false)]
    {
        let root = work.path().join(program);
        fs::create_dir(&root).expect("mkdir");
        output(program, &root, arguments);
        let expected = listing(source.path(), exact, exact);
        assert_eq!(listing(&root, exact, exact), expected, "{program}");
    }
}

#[test]
fn root_trees_deeper_than_any_honest_one_are_not_packed() {
    if !needs_root("root_trees_deeper_than_any_honest_one_are_not_packed") {
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(root.path().join("d/".repeat(600))).expect("mkdir");
    let directory = fs::File::open(root.path()).expect("open");
    let error = pack(directory.as_fd(), Path::new("/"), ".", io::sink()).expect_err("too deep");
    assert!(format!("{error:#}").contains("nest more than 512 deep"), "{error:#}");
}
