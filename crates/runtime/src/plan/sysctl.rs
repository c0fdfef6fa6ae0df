//! Kernel settings: only those that a namespace of the container's own keeps from the host.

use davit_sys::namespace::{IPC, NETWORK, UTS};
use davit_types::oci::runtime::Linux;

use super::{Namespaces, config};
use crate::Failure;

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sysctl {
    /// Its file below `/proc/sys`; no part is empty, `.` or `..`.
    pub path: String,
    /// What is written to it.
    pub value: String,
    /// Its name as the configuration has it.
    pub name: String,
}

impl Sysctl {
    /// Whether it belongs to the network namespace.
    pub(crate) fn is_network(&self) -> bool {
        self.path.starts_with("net/")
    }
}

const IPC_FILES: &[&str] = &[
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

pub(super) fn plan(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<Sysctl>, Failure> {
    let mut sysctls = Vec::new();
    for (name, value) in linux.sysctl().iter().flatten() {
        let path = path(name)?;
        if path == "kernel/hostname" && namespaces.has(UTS) {
            let text = format!(
                "sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field"
            );
            return Err(config(name, text));
        }
        let separate = if path.starts_with("net/") {
            namespaces.has(NETWORK)
        } else if IPC_FILES.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
            namespaces.has(IPC)
        } else {
            path == "kernel/domainname" && namespaces.has(UTS)
        };
        if !separate {
            let text = format!("sysctl {name:?} is not in a separate kernel namespace");
            return Err(config(name, text));
        }
        sysctls.push(Sysctl { path, value: value.clone(), name: name.clone() });
    }
    sysctls.sort();
    if let Some(pair) = sysctls.windows(2).find(|pair| pair[0].path == pair[1].path) {
        let text = format!("sysctl {:?} is given twice", pair[1].name);
        return Err(config(&pair[1].name, text));
    }
    Ok(sysctls)
}

/// The file of a setting. Both separators are in use; whichever comes first is the separator, and the
/// other one then stands for it inside of a name (an interface's).
fn path(name: &str) -> Result<String, Failure> {
    let slashes = name.find('/').is_some_and(|slash| name.find('.').is_none_or(|dot| slash < dot));
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path = if slashes { name.to_owned() } else { name.chars().map(swap).collect() };
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if path.split('/').all(plain) {
        return Ok(path);
    }
    Err(config(name, format!("invalid sysctl {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan_one(name: &str, kinds: u64) -> Result<String, String> {
        let linux: Linux =
            serde_json::from_value(json!({"sysctl": {name: "1"}})).expect("a configuration");
        let namespaces = Namespaces { new: kinds, ..Namespaces::default() };
        match plan(&linux, &namespaces) {
            Ok(mut list) => Ok(list.remove(0).path),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn both_separators_name_the_same_file() {
        let cases = [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
            ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ];
        for (name, expected) in cases {
            assert_eq!(plan_one(name, NETWORK).as_deref(), Ok(expected));
        }
        assert_eq!(plan_one("fs.mqueue.msg_max", IPC).as_deref(), Ok("fs/mqueue/msg_max"));
        assert_eq!(plan_one("kernel.domainname", UTS).as_deref(), Ok("kernel/domainname"));
    }

    #[test]
    fn tricks_do_not_reach_the_host() {
        let all = NETWORK | IPC | UTS;
        let tricks = [
            "net/../kernel/core_pattern",
            "net.//.kernel.core_pattern",
            "net...kernel.core_pattern",
            "net..",
            "net/",
            "net.",
            "net/./x",
            "/net/x",
            ".net.x",
            "net.ipv4./.",
            "net/ipv4/../../kernel/modprobe",
            "fs.mqueue.//.//.kernel.modprobe",
            "net/ipv4/x\0y",
        ];
        for name in tricks {
            let error = plan_one(name, all).expect_err(name);
            assert!(
                error.contains("invalid sysctl") || error.contains("separate"),
                "{name}: {error}"
            );
        }
        for name in
            ["kernel.pid_max", "vm.swappiness", "kernel.core_pattern", "network.x", "fs.mqueue"]
        {
            assert!(plan_one(name, all).expect_err(name).contains("separate kernel namespace"));
        }
        assert!(plan_one("kernel.hostname", all).expect_err("refused").contains("conflicts"));
    }

    #[test]
    fn a_setting_needs_the_namespace_that_it_belongs_to() {
        for (name, kind) in [
            ("net.core.somaxconn", NETWORK),
            ("kernel.shmmax", IPC),
            ("fs.mqueue.msg_max", IPC),
            ("kernel.domainname", UTS),
        ] {
            assert!(plan_one(name, kind).is_ok(), "{name}");
            let others = (NETWORK | IPC | UTS) & !kind;
            assert!(plan_one(name, others).is_err(), "{name}");
        }
    }

    #[test]
    fn two_names_of_one_file_are_refused() {
        let linux = json!({"sysctl": {"net.core.somaxconn": "1", "net/core/somaxconn": "2"}});
        let linux: Linux = serde_json::from_value(linux).expect("a configuration");
        let namespaces = Namespaces { new: NETWORK, ..Namespaces::default() };
        assert!(plan(&linux, &namespaces).expect_err("twice").message.contains("given twice"));
    }
}
