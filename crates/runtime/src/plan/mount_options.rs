//! The words of a mount's `options`.

use davit_sys::mount::MountAttr;

use super::Propagation;

pub(super) const RDONLY: u64 = 0x1;
pub(super) const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
pub(super) const NOEXEC: u64 = 0x8;
/// The field of the three access time modes, of which relatime is 0.
pub(super) const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
pub(super) const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
pub(super) const NOSYMFOLLOW: u64 = 0x20_0000;

/// The options of one mount.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) attr: MountAttr,
    pub(super) recursive_attr: MountAttr,
    pub(super) propagation: Vec<Propagation>,
    pub(super) bind: bool,
    pub(super) recursive_bind: bool,
    /// Ids are to be mapped; of everything below, too.
    pub(super) idmap: Option<bool>,
    /// Changes a mount that is there.
    pub(super) remount: bool,
    pub(super) copy_up: bool,
    pub(super) parameters: Vec<(String, Option<String>)>,
}

impl Options {
    pub(super) fn parse(list: &[String]) -> Self {
        let mut options = Self::default();
        for option in list {
            options.add(option);
        }
        options
    }

    fn add(&mut self, option: &str) {
        if let Some((set, bits)) = attribute(option) {
            return change(&mut self.attr, set, bits);
        }
        let recursive = match option {
            // What is left then is the ordinary mode.
            "rnostrictatime" => Some((true, 0)),
            "rnorelatime" => return,
            _ => option.strip_prefix('r').and_then(attribute),
        };
        if let Some((set, bits)) = recursive {
            return change(&mut self.recursive_attr, set, bits);
        }
        if let Some(propagation) = Propagation::parse(option) {
            return self.propagation.push(propagation);
        }
        match option {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive_bind) = (true, true),
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            // Nothing to do: what is so anyway, or was only ever for mount(8).
            "defaults" | "silent" | "loud" | "async" | "nomand" | "noiversion" | "norelatime"
            | "nostrictatime" | "nofail" | "_netdev" | "auto" | "noauto" => {}
            _ => match option.split_once('=') {
                Some((key, value)) => {
                    self.parameters.push((key.to_owned(), Some(value.to_owned())))
                }
                None => self.parameters.push((option.to_owned(), None)),
            },
        }
    }
}

/// Whether an option sets or clears which attributes.
fn attribute(option: &str) -> Option<(bool, u64)> {
    Some(match option {
        "ro" => (true, RDONLY),
        "rw" => (false, RDONLY),
        "nosuid" => (true, NOSUID),
        "suid" => (false, NOSUID),
        "nodev" => (true, NODEV),
        "dev" => (false, NODEV),
        "noexec" => (true, NOEXEC),
        "exec" => (false, NOEXEC),
        "noatime" => (true, NOATIME),
        "strictatime" => (true, STRICTATIME),
        "relatime" | "atime" => (true, 0),
        "nodiratime" => (true, NODIRATIME),
        "diratime" => (false, NODIRATIME),
        "nosymfollow" => (true, NOSYMFOLLOW),
        "symfollow" => (false, NOSYMFOLLOW),
        _ => return None,
    })
}

fn change(attr: &mut MountAttr, set: bool, bits: u64) {
    // The access time modes exclude each other, and setting one means naming the whole field.
    let is_atime = set && (bits == 0 || bits & ATIME != 0);
    if is_atime {
        attr.set &= !ATIME;
        attr.clear |= ATIME;
    }
    if set {
        attr.set |= bits;
        attr.clear &= if is_atime { !0 } else { !bits };
    } else {
        attr.clear |= bits;
        attr.set &= !bits;
    }
}
