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
        .find(|fields| fields.len() >= 4 && (fields[0] == user || is_same(fields[2], user)));
    let ids = match entry {
        Some(fields) => number(fields[2])?.zip(number(fields[3])?),
        None => number(user)?.map(|uid| (uid, 0)),
    };
    ids.ok_or_else(|| {
        Error::invalid(format!("unable to find user {user}: no matching entries in passwd file"))
    })
}

/// `name:password:gid:members`; a number stands for itself.
fn find_group(root: BorrowedFd<'_>, group: &str) -> Result<u32> {
    let table = read(root, "etc/group");
    let named = table
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 3 && fields[0] == group);
    let gid = match named {
        Some(fields) => number(fields[2])?,
        None => number(group)?,
    };
    gid.ok_or_else(|| {
        Error::invalid(format!("unable to find group {group}: no matching entries in group file"))
    })
}

fn is_same(one: &str, other: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().ok();
    number(one).is_some_and(|one| number(other) == Some(one))
}

/// An id, unless it is no number. To the kernel, the last 32 bit number means "leave it as it is", which
/// would be root; Docker has no ids beyond 31 bits at all.
fn number(text: &str) -> Result<Option<u32>> {
    let Ok(number) = text.parse::<i64>() else { return Ok(None) };
    match u32::try_from(number).ok().filter(|id| i32::try_from(*id).is_ok()) {
        Some(id) => Ok(Some(id)),
        None => Err(Error::invalid("uids and gids must be in range 0-2147483647")),
    }
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
        std::fs::write(
            root.path().join("etc/passwd"),
            "web:x:101:102::/:/bin/sh\nall:x:4294967295:1::/:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(root.path().join("etc/group"), "staff:x:50:\nall:x:-1:\n").unwrap();
        let fd = File::open(root.path()).unwrap();
        let range = "uids and gids must be in range 0-2147483647";
        for user in [
            "-1",
            "4294967295",
            "4294967296",
            "2147483648",
            "web:-1",
            "web:4294967295",
            "all",
            "web:all",
        ] {
            assert_eq!(owner(fd.as_fd(), user).unwrap_err().message(), range, "{user}");
        }
        let cases = [
            ("", Some((0, 0))),
            ("web", Some((101, 102))),
            ("101", Some((101, 102))),
            ("0101", Some((101, 102))),
            ("2147483647", Some((2147483647, 0))),
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
