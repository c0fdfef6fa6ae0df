//! Users and groups by name, looked up in the container's own `/etc/passwd` and `/etc/group`.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use crate::Failure;
use crate::failure::text;
use crate::rootfs::open_in;

/// Larger files are not user databases.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Largest user or group id.
const MAXIMUM: i64 = i32::MAX as i64;

/// A user as a process needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory, `/` when there is no entry.
    pub home: String,
}

/// Resolves `user[:group]`, names or numbers, inside the root `rootfs`, with `extra` groups.
///
/// # Errors
/// A name without an entry, or a number out of range, with Docker's text.
pub fn resolve(rootfs: BorrowedFd<'_>, user: &str, extra: &[String]) -> Result<User, Failure> {
    let passwd = read(rootfs, "/etc/passwd");
    let group = read(rootfs, "/etc/group");
    resolve_in(&passwd, &group, user, extra).map_err(|message| text("user", user, message))
}

/// Home directory of `uid` by the root's `/etc/passwd`.
pub(crate) fn home(root: &impl AsFd, uid: u32) -> Option<String> {
    let passwd = read(root.as_fd(), "/etc/passwd");
    let entry = passwd.lines().filter_map(Passwd::parse).find(|entry| entry.uid == uid)?;
    Some(entry.home.to_owned())
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Passwd<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Self { name, gid, members: fields.next().unwrap_or_default() })
    }

    fn has(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member == user)
    }
}

fn resolve_in(passwd: &str, group: &str, user: &str, extra: &[String]) -> Result<User, String> {
    let (user, wanted_group) = user.split_once(':').unwrap_or((user, ""));
    let mut entries = passwd.lines().filter_map(Passwd::parse);
    let number = number(user)?;
    let entry = match (user, number) {
        ("", _) => entries.find(|entry| entry.uid == 0),
        // A name wins over the number it looks like.
        (_, number) => {
            let entries: Vec<Passwd<'_>> = entries.collect();
            let named = entries.iter().position(|entry| entry.name == user);
            let numbered = entries.iter().position(|entry| Some(entry.uid) == number);
            named.or(numbered).and_then(|index| entries.into_iter().nth(index))
        }
    };
    let mut found = match (&entry, number) {
        (Some(entry), _) => {
            User { uid: entry.uid, gid: entry.gid, groups: Vec::new(), home: entry.home.to_owned() }
        }
        (None, Some(uid)) => User { uid, gid: 0, groups: Vec::new(), home: String::new() },
        (None, None) if user.is_empty() => {
            User { uid: 0, gid: 0, groups: Vec::new(), home: String::new() }
        }
        (None, None) => {
            return Err(format!("unable to find user {user}: no matching entries in passwd file"));
        }
    };
    if found.home.is_empty() {
        found.home = "/".to_owned();
    }
    let groups = || group.lines().filter_map(Group::parse);
    if wanted_group.is_empty() {
        // The groups a user is member of count only without a group of its own choice.
        if let Some(name) = entry.as_ref().map(|entry| entry.name).filter(|name| !name.is_empty()) {
            found.groups =
                groups().filter(|group| group.has(name)).map(|group| group.gid).collect();
        }
    } else {
        found.gid = group_id(group, wanted_group)?;
    }
    // The own group counts among them, lest dropping it would widen access (CVE-2022-36109).
    found.groups.insert(0, found.gid);
    for name in extra {
        found.groups.push(group_id(group, name)?);
    }
    let mut seen = Vec::new();
    found.groups.retain(|gid| {
        !seen.contains(gid) && {
            seen.push(*gid);
            true
        }
    });
    check_range(&found)?;
    Ok(found)
}

fn check_range(user: &User) -> Result<(), String> {
    let mut ids = user.groups.iter().chain([&user.uid, &user.gid]);
    if ids.any(|&id| i64::from(id) > MAXIMUM) { Err(out_of_range()) } else { Ok(()) }
}

fn out_of_range() -> String {
    format!("uids and gids must be in range 0-{MAXIMUM}")
}

fn group_id(group: &str, wanted: &str) -> Result<u32, String> {
    let mut groups = group.lines().filter_map(Group::parse);
    if let Some(group) = groups.find(|group| group.name == wanted) {
        return Ok(group.gid);
    }
    number(wanted)?
        .ok_or_else(|| format!("unable to find group {wanted}: no matching entries in group file"))
}

/// The text as an id, if it is a number at all.
fn number(text: &str) -> Result<Option<u32>, String> {
    match text.parse::<i64>() {
        Err(_) => Ok(None),
        Ok(number) if (0..=MAXIMUM).contains(&number) => Ok(u32::try_from(number).ok()),
        Ok(_) => Err(out_of_range()),
    }
}

/// A regular file's text; nothing when there is none.
fn read(rootfs: BorrowedFd<'_>, path: &str) -> String {
    let mut bytes = Vec::new();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    if let Ok(file) = open_in(rootfs, Path::new(path), flags) {
        let regular = rustix::fs::fstat(&file)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        if regular {
            // A file that can't be read is one without entries.
            let _ = File::from(file).take(MAX_SIZE).read_to_end(&mut bytes);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbad line\n\
                          www:x:33:33:www:/var/www:/bin/false\n1000:x:7:8::/odd:\nnohome:x:9:9:::\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\nadm:x:4:root,www\naudio:x:29:www\n";

    type Resolved = (u32, u32, Vec<u32>, String);

    fn user(text: &str, extra: &[&str]) -> Result<Resolved, String> {
        let extra: Vec<String> = extra.iter().map(|&name| name.to_owned()).collect();
        resolve_in(PASSWD, GROUP, text, &extra).map(|u| (u.uid, u.gid, u.groups, u.home))
    }

    #[test]
    fn names_numbers_and_groups_are_resolved() {
        let home = |home: &str| home.to_owned();
        let cases: &[(&str, Resolved)] = &[
            ("", (0, 0, vec![0, 4], home("/root"))),
            ("root", (0, 0, vec![0, 4], home("/root"))),
            ("www", (33, 33, vec![33, 4, 29], home("/var/www"))),
            ("33", (33, 33, vec![33, 4, 29], home("/var/www"))),
            ("www:adm", (33, 4, vec![4], home("/var/www"))),
            ("www:77", (33, 77, vec![77], home("/var/www"))),
            ("4711", (4711, 0, vec![0], home("/"))),
            ("4711:4712", (4711, 4712, vec![4712], home("/"))),
            ("1000", (7, 8, vec![8], home("/odd"))),
            ("nohome", (9, 9, vec![9], home("/"))),
        ];
        for (text, expected) in cases {
            assert_eq!(user(text, &[]).as_ref(), Ok(expected), "{text:?}");
        }
        assert_eq!(user("www:www", &["adm", "50", "adm"]).expect("known").2, [33, 4, 50]);
    }

    #[test]
    fn an_entry_with_an_id_out_of_range_is_refused() {
        for entry in ["evil:x:4294967295:1::/:/bin/sh", "evil:x:1:4294967295::/:/bin/sh"] {
            let refused = resolve_in(entry, GROUP, "evil", &[]).expect_err(entry);
            assert_eq!(refused, "uids and gids must be in range 0-2147483647");
        }
        let groups = "evil:x:2147483648:www\n";
        assert!(resolve_in(PASSWD, groups, "www", &[]).is_err());
        assert!(resolve_in(PASSWD, groups, "0:evil", &[]).is_err());
    }

    #[test]
    fn the_texts_are_dockers() {
        let cases = [
            ("nosuch", "unable to find user nosuch: no matching entries in passwd file"),
            ("root:nosuch", "unable to find group nosuch: no matching entries in group file"),
            ("-1", "uids and gids must be in range 0-2147483647"),
            ("4294967296", "uids and gids must be in range 0-2147483647"),
        ];
        for (text, expected) in cases {
            assert_eq!(user(text, &[]), Err(expected.to_owned()));
        }
        let failed = user("root", &["nosuch"]);
        assert_eq!(
            failed,
            Err("unable to find group nosuch: no matching entries in group file".to_owned())
        );
    }
}
