//! Which devices a cgroup's processes may use.
//!
//! Version 1 takes rules one by one through `devices.allow` and `devices.deny`, version 2 as a program.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};

use super::{Cgroup, about};

/// A rule; a later one wins over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which kind of devices.
    pub kind: DeviceKind,
    /// Major number; absent: all.
    pub major: Option<u32>,
    /// Minor number; absent: all.
    pub minor: Option<u32>,
    /// What is allowed or denied.
    pub access: Access,
}

/// Character or block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Open for reading.
    pub read: bool,
    /// Open for writing.
    pub write: bool,
    /// Make a node.
    pub mknod: bool,
}

impl Access {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, mknod: true };
    /// Only making nodes.
    pub const MKNOD: Self = Self { read: false, write: false, mknod: true };
}

impl DeviceRule {
    /// Whether it speaks of every device and every use.
    pub(super) fn is_total(&self) -> bool {
        self.kind == DeviceKind::All
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == Access::ALL
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::All => "a",
            DeviceKind::Char => "c",
            DeviceKind::Block => "b",
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (set, letter) in
            [(self.access.read, "r"), (self.access.write, "w"), (self.access.mknod, "m")]
        {
            if set {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// The rules that make a difference: what comes before the last rule about everything doesn't, nor
/// does a repetition, nor denying at a point where that device wasn't allowed.
fn effective(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    let start = rules.iter().rposition(DeviceRule::is_total).unwrap_or(0);
    let mut kept: Vec<DeviceRule> = Vec::new();
    let mut denies_all = false;
    for rule in &rules[start..] {
        if rule.is_total() {
            denies_all = !rule.allow;
            kept.push(*rule);
            continue;
        }
        let same = |known: &&DeviceRule| {
            (known.kind, known.major, known.minor) == (rule.kind, rule.major, rule.minor)
        };
        let redundant = match kept.iter().rev().find(same) {
            Some(known) => known == rule,
            // Exact entries only exist here because of exact allow rules.
            None => !rule.allow && denies_all && rule.major.is_some() && rule.minor.is_some(),
        };
        if !redundant {
            kept.push(*rule);
        }
    }
    kept
}

pub(super) fn apply(cgroup: &Cgroup, rules: &[DeviceRule]) -> io::Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    if cgroup.is_v2() {
        return cgroup.attach_device_program(&effective(rules));
    }
    let Some(dir) = cgroup.directory("devices") else { return Ok(()) };
    let rules = effective(rules);
    // Rules of a kind follow each other as a rule: their file is opened once.
    for rules in rules.chunk_by(|one, next| one.allow == next.allow) {
        let path = dir.join(if rules[0].allow { "devices.allow" } else { "devices.deny" });
        let file = OpenOptions::new().write(true).open(&path);
        let mut file = file.map_err(|error| about(error, "open", &path))?;
        for rule in rules {
            let value = if rule.is_total() { "a".to_owned() } else { rule.to_string() };
            let written = file.write_all(value.as_bytes());
            written.map_err(|error| about(error, &format!("write {value:?} to"), &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, major: u32, minor: u32) -> DeviceRule {
        DeviceRule {
            allow,
            kind: DeviceKind::Char,
            major: Some(major),
            minor: Some(minor),
            access: Access::ALL,
        }
    }

    fn all(allow: bool) -> DeviceRule {
        DeviceRule { allow, kind: DeviceKind::All, major: None, minor: None, access: Access::ALL }
    }

    #[test]
    fn rules_read_as_the_kernel_writes_them() {
        assert_eq!(rule(true, 1, 3).to_string(), "c 1:3 rwm");
        let any = DeviceRule { major: Some(136), minor: None, ..rule(true, 0, 0) };
        assert_eq!(any.to_string(), "c 136:* rwm");
        let mknod = DeviceRule { access: Access::MKNOD, kind: DeviceKind::Block, ..all(true) };
        assert_eq!(mknod.to_string(), "b *:* m");
    }

    #[test]
    fn only_rules_that_matter_are_written() {
        let rules = [
            all(false),
            rule(true, 9, 9),
            all(false),
            rule(true, 1, 3),
            rule(false, 10, 229),
            rule(true, 1, 3),
            rule(false, 1, 3),
        ];
        assert_eq!(effective(&rules), [all(false), rule(true, 1, 3), rule(false, 1, 3)]);
        assert_eq!(effective(&[all(false), rule(true, 1, 3), all(true)]), [all(true)]);
    }
}
