//! Options of the `local` driver, and the mount that they describe. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use davit_types::{Error, Result};
use rustix::mount::{MountFlags, MountPropagationFlags};

/// A volume's options, or a request's.
pub(crate) type Options = BTreeMap<String, String>;

/// What each option can't be without.
const TOGETHER: [(&str, &[&str]); 3] =
    [("device", &["type"]), ("type", &["device"]), ("o", &["device", "type"])];

/// What is mounted over a volume's directory while the volume is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalMount {
    /// File system type, `none` for a bind.
    pub(crate) kind: String,
    /// What is mounted.
    pub(crate) device: String,
    /// Options as written, separated by commas.
    pub(crate) options: String,
}

impl LocalMount {
    /// The mount that a volume's options ask for; none without a type and a device.
    pub(crate) fn of(options: Option<&Options>) -> Option<Self> {
        let options = options?;
        let get = |key: &str| options.get(key).cloned().unwrap_or_default();
        let mount = Self { kind: get("type"), device: get("device"), options: get("o") };
        (!mount.kind.is_empty() || !mount.device.is_empty()).then_some(mount)
    }

    /// The server's name that has to be looked up before the kernel gets to see it: it resolves none.
    pub(crate) fn host(&self) -> Option<&str> {
        if !matches!(self.kind.as_str(), "nfs" | "cifs") {
            return None;
        }
        let host = match self.option("addr") {
            Some(address) => address,
            None if self.kind == "cifs" => share_host(&self.device)?,
            None => return None,
        };
        (!host.is_empty() && host.parse::<IpAddr>().is_err()).then_some(host)
    }

    /// The same mount with the server's address in place of its name.
    pub(crate) fn resolved(&self, address: IpAddr) -> Self {
        let mut mount = self.clone();
        match self.option("addr") {
            Some(name) => {
                let (old, new) = (format!("addr={name}"), format!("addr={address}"));
                mount.options = mount.options.replacen(&old, &new, 1);
            }
            None => {
                let name = share_host(&self.device).unwrap_or_default();
                mount.device = mount.device.replacen(name, &address.to_string(), 1);
            }
        }
        mount
    }

    fn option(&self, key: &str) -> Option<&str> {
        self.options.split(',').find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
    }

    /// An error's text without the password that is among the options.
    pub(crate) fn without_password(&self, text: &str) -> String {
        match self.option("password").filter(|password| !password.is_empty()) {
            Some(password) => text.replace(&format!("password={password}"), "password=********"),
            None => text.to_owned(),
        }
    }
}

/// The host in `//host/share`.
fn share_host(device: &str) -> Option<&str> {
    device.strip_prefix("//")?.split('/').next()
}

/// Checks what a volume is asked to be.
///
/// # Errors
/// In Docker's words: an unknown option, one without what it needs, a size, which needs quotas.
pub(crate) fn check(name: &str, options: &Options) -> Result<()> {
    let invalid = |reason: String| Err(Error::invalid(format!("create {name}: {reason}")));
    let known = ["type", "o", "device", "size"];
    if let Some(key) = options.keys().find(|key| !known.contains(&key.as_str())) {
        return invalid(format!("invalid option: {key:?}"));
    }
    let device = options.get("device").map(String::as_str).unwrap_or_default();
    let is_cifs = options.get("type").is_some_and(|kind| kind == "cifs");
    if is_cifs && share_host(device).is_some_and(|host| host.contains(':') && !host.ends_with(']'))
    {
        return invalid("port not allowed in CIFS device URL, include 'port' in 'o='".to_owned());
    }
    match options.get("size").map(|size| (size, crate::container::parse_size(size))) {
        Some((size, None)) => return invalid(format!("invalid size: '{size}'")),
        Some((_, Some(1..))) => {
            return invalid("quota size requested but no quota support".to_owned());
        }
        _ => {}
    }
    for (given, needed) in TOGETHER {
        let missing = needed.iter().find(|key| !options.contains_key(**key));
        if let (true, Some(key)) = (options.contains_key(given), missing) {
            return invalid(format!("missing required option: {key:?}"));
        }
    }
    Ok(())
}

/// Mount options apart: flags of the mount, its propagation, and what is the file system's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) mount: MountFlags,
    pub(crate) propagation: MountPropagationFlags,
    pub(crate) data: String,
}

/// Sorts the options of `mount(8)`.
pub(crate) fn flags(options: &str) -> Flags {
    let mut flags = Flags {
        mount: MountFlags::empty(),
        propagation: MountPropagationFlags::empty(),
        data: String::new(),
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        if let Some((flag, is_set)) = mount_flag(option) {
            flags.mount.set(flag, is_set);
        } else if let Some(propagation) = propagation(option) {
            flags.propagation |= propagation;
        } else {
            let comma = if flags.data.is_empty() { "" } else { "," };
            flags.data.push_str(comma);
            flags.data.push_str(option);
        }
    }
    flags
}

/// The flag behind a word, and whether the word sets it.
fn mount_flag(word: &str) -> Option<(MountFlags, bool)> {
    Some(match word {
        "defaults" => (MountFlags::empty(), true),
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "bind" => (MountFlags::BIND, true),
        "rbind" => (MountFlags::BIND | MountFlags::REC, true),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "mand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
        "nomand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, false),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "nostrictatime" => (MountFlags::STRICTATIME, false),
        _ => return None,
    })
}

fn propagation(word: &str) -> Option<MountPropagationFlags> {
    let recursive = word.strip_prefix('r').filter(|rest| *rest != "ivate");
    let flag = match recursive.unwrap_or(word) {
        "private" => MountPropagationFlags::PRIVATE,
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some(if recursive.is_some() { flag | MountPropagationFlags::REC } else { flag })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn item8_options_are_refused_in_dockers_words() {
        for (pairs, reason) in [
            (&[("nosuch", "1")][..], "invalid option: \"nosuch\""),
            (&[("type", "tmpfs")], "missing required option: \"device\""),
            (&[("device", "tmpfs")], "missing required option: \"type\""),
            (&[("o", "size=1m")], "missing required option: \"device\""),
            (&[("size", "1g")], "quota size requested but no quota support"),
            (&[("size", "much")], "invalid size: 'much'"),
            (
                &[("type", "cifs"), ("device", "//host:445/share")],
                "port not allowed in CIFS device URL, include 'port' in 'o='",
            ),
        ] {
            let error = check("v", &options(pairs)).expect_err(reason);
            assert_eq!(error.to_string(), format!("create v: {reason}"));
            assert_eq!(error.kind(), davit_types::Kind::InvalidParameter);
        }
        check("v", &options(&[("size", "0")])).expect("no limit needs no quota");
        let all = options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=1")]);
        check("v", &all).expect("complete");
        assert_eq!(LocalMount::of(Some(&options(&[("size", "0")]))), None);
        let mount = LocalMount::of(Some(&all)).expect("a mount");
        assert_eq!((mount.kind.as_str(), mount.options.as_str()), ("tmpfs", "size=1m,uid=1"));
    }

    #[test]
    fn item8_servers_names_are_looked_up_for_the_kernel() {
        let mount = |kind: &str, device: &str, options: &str| LocalMount {
            kind: kind.into(),
            device: device.into(),
            options: options.into(),
        };
        let address: IpAddr = "192.0.2.7".parse().expect("an address");
        let nfs = mount("nfs", ":/export", "addr=server,rw,nfsvers=4");
        assert_eq!(nfs.host(), Some("server"));
        assert_eq!(nfs.resolved(address).options, "addr=192.0.2.7,rw,nfsvers=4");
        assert_eq!(mount("nfs", ":/export", "addr=192.0.2.1,rw").host(), None);
        assert_eq!(mount("nfs", "server:/export", "rw").host(), None);
        let cifs = mount("cifs", "//server/share", "username=u,password=secret");
        assert_eq!(cifs.host(), Some("server"));
        assert_eq!(cifs.resolved(address).device, "//192.0.2.7/share");
        assert_eq!(mount("tmpfs", "tmpfs", "addr=server").host(), None);
        let hidden = cifs.without_password("data: username=u,password=secret: no");
        assert_eq!(hidden, "data: username=u,password=********: no");
    }

    #[test]
    fn item8_mount_options_are_flags_propagation_or_the_file_systems() {
        let all = flags("rbind,ro,nosuid,rslave,size=1m,mode=700");
        assert_eq!(
            all.mount,
            MountFlags::BIND | MountFlags::REC | MountFlags::RDONLY | MountFlags::NOSUID
        );
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        assert_eq!((all.propagation, all.data.as_str()), (slave, "size=1m,mode=700"));
        assert!(flags("ro,rw,defaults").mount.is_empty(), "the last word counts");
        assert_eq!(flags("private").propagation, MountPropagationFlags::PRIVATE);
        let recursive = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        assert_eq!(flags("rprivate").propagation, recursive);
    }
}
