//! Device nodes.

use std::path::{Path, PathBuf};

use davit_types::oci::runtime::{Linux, LinuxDevice, LinuxDeviceType};

use super::process::id;
use super::{clean, config};
use crate::Failure;

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where, in the container.
    pub path: PathBuf,
    /// What.
    pub kind: DeviceNode,
    /// Device number, major part.
    pub major: u32,
    /// Device number, minor part.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceNode {
    /// Block device.
    Block,
    /// Character device.
    Char,
    /// Named pipe.
    Fifo,
}

/// The nodes every container has, then those of the configuration, which may replace them.
pub(super) fn plan(linux: &Linux) -> Result<Vec<Device>, Failure> {
    const DEFAULT: &[(&str, u32, u32)] = &[
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    let mut devices: Vec<Device> = DEFAULT
        .iter()
        .map(|&(name, major, minor)| Device {
            path: Path::new("/dev").join(name),
            kind: DeviceNode::Char,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    for device in linux.devices().iter().flatten() {
        let device = planned_device(device)?;
        // Made by hand in every container, each in its own way.
        if ["/dev/ptmx", "/dev/console"].iter().any(|own| device.path == Path::new(own)) {
            continue;
        }
        match devices.iter_mut().find(|known| known.path == device.path) {
            Some(known) => *known = device,
            None => devices.push(device),
        }
    }
    Ok(devices)
}

fn planned_device(device: &LinuxDevice) -> Result<Device, Failure> {
    let path = device.path();
    let bad =
        |what: &str| config(&path.to_string_lossy(), format!("device {}: {what}", path.display()));
    let kind = match device.typ() {
        LinuxDeviceType::B => DeviceNode::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => DeviceNode::Char,
        LinuxDeviceType::P => DeviceNode::Fifo,
        LinuxDeviceType::A => return Err(bad("a node can't be of type a")),
    };
    if !path.is_absolute() {
        return Err(bad("the path is not absolute"));
    }
    let number = |number: i64| u32::try_from(number).map_err(|_| bad("invalid device number"));
    let fifo = kind == DeviceNode::Fifo;
    Ok(Device {
        path: clean(path),
        kind,
        major: if fifo { 0 } else { number(device.major())? },
        minor: if fifo { 0 } else { number(device.minor())? },
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: id(device.uid().unwrap_or(0), &format!("device {}", path.display()))?,
        gid: id(device.gid().unwrap_or(0), &format!("device {}", path.display()))?,
    })
}
