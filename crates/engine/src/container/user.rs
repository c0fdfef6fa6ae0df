//! Whose files are copied with `cp -a`: the container's user, looked up in the container's own files.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use davit_types::{Error, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// More of `/etc/passwd` or `/etc/group` is not read, bytes.
const LARGEST: u64 = 1 << 20;

/// Numbers of `user[:group]`; empty is root.
///
/// # Errors
/// A name that the container's files don't have, in Docker's words.
pub(crate) fn owner(root: BorrowedFd<'_>, user: &str) -> Result<(u32, u32)> {
    let (user, group) = user.split_once(':').map_or((user, None), |(u, g)| (u, Some(g)));
    let (uid, primary) = if user.is_empty() { (0, 0) } else { find_user(root, user)? };
    let gid = match group {
        Some(group) if !group.is_empty() => find_group(root, group)?,
        _ => primary,
    };
    Ok((uid, gid))
}

/// `name:password:uid:gid:...`; a number that no line has stands for itself.
fn find_user(root: BorrowedFd<'_>, user: &str) -> Result<(u32, u32)> {
    let table = read(root, "etc/passwd");
    let entry = table
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 4 && (fields[0] == user || fields[2] == user));
    let number = |text: &str| text.parse().ok();
    match entry {
        Some(fields) => number(fields[2]).zip(number(fields[3])),
        None => number(user).map(|uid| (uid, 0)),
    }
    .ok_or_else(|| {
        Error::invalid(format!("unable to find user {user}: no matching entries in passwd file"))
    })
}

/// `name:password:gid:members`; a number stands for itself.
fn find_group(root: BorrowedFd<'_>, group: &str) -> Result<u32> {
    let table = read(root, "etc/group");
    let named = table.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| {
        (fields.len() >= 3 && fields[0] == group).then(|| fields[2].parse().ok())
    });
    named.flatten().or_else(|| group.parse().ok()).ok_or_else(|| {
        Error::invalid(format!("unable to find group {group}: no matching entries in group file"))
    })
}

/// A file inside the root; a missing one is empty, as an image need not have one.
fn read(root: BorrowedFd<'_>, path: &str) -> String {
    let mut text = String::new();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if let Ok(fd) = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        // What can't be read has no entries either.
        let _ = File::from(fd).take(LARGEST).read_to_string(&mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn names_and_numbers_are_looked_up_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), "web:x:101:102::/:/bin/sh\n").unwrap();
        std::fs::write(root.path().join("etc/group"), "staff:x:50:\n").unwrap();
        let fd = File::open(root.path()).unwrap();
        let cases = [
            ("", Some((0, 0))),
            ("web", Some((101, 102))),
            ("101", Some((101, 102))),
            ("7", Some((7, 0))),
            ("web:staff", Some((101, 50))),
            ("web:9", Some((101, 9))),
            ("nosuch", None),
            ("web:nosuch", None),
        ];
        for (user, expected) in cases {
            assert_eq!(owner(fd.as_fd(), user).ok(), expected, "{user}");
        }
    }
}
