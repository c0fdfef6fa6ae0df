//! Devices: what the container's `/dev` and device cgroup get beyond the defaults.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use davit_api::container::{DeviceMapping, HostConfig};
use davit_types::{Context, Error, Result};
use serde_json::{Value, json};

/// A device node of the host as the container will see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// Path in the container.
    pub path: PathBuf,
    /// `b` or `c`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `rwm` or a part of it.
    pub access: String,
}

impl HostDevice {
    /// The node, as `linux.devices` has it.
    pub(super) fn node(&self) -> Value {
        json!({
            "path": self.path, "type": self.kind.to_string(), "major": self.major,
            "minor": self.minor, "fileMode": self.mode, "uid": self.uid, "gid": self.gid,
        })
    }

    /// The permission, as `linux.resources.devices` has it.
    pub(super) fn rule(&self) -> Value {
        json!({
            "allow": true, "type": self.kind.to_string(), "major": self.major,
            "minor": self.minor, "access": self.access,
        })
    }
}

/// Looks the wanted devices up on the host: `--device`, or all of `/dev` when privileged.
///
/// # Errors
/// Docker's text when a wanted device can't be read or is none; it makes the CLI exit with 127.
pub fn resolve(host_config: &HostConfig) -> Result<Vec<HostDevice>> {
    let mut devices = Vec::new();
    if host_config.privileged {
        collect(Path::new("/dev"), &mut devices)?;
        return Ok(devices);
    }
    for mapping in host_config.resources.devices.iter().flatten() {
        resolve_mapping(mapping, &mut devices)?;
    }
    Ok(devices)
}

fn resolve_mapping(mapping: &DeviceMapping, devices: &mut Vec<HostDevice>) -> Result<()> {
    let source = Path::new(&mapping.path_on_host);
    let real = fs::canonicalize(source).context(|| gathering(source))?;
    let from = devices.len();
    if real.is_dir() {
        collect(&real, devices)?;
    } else if let Some(device) = host_device(&real)? {
        devices.push(device);
    } else {
        return Err(Error::internal(format!("{}: not a device node", gathering(source))));
    }
    for device in &mut devices[from..] {
        let inside = device.path.strip_prefix(&real).unwrap_or(Path::new("")).to_owned();
        device.path = Path::new(&mapping.path_in_container).components().collect();
        if !inside.as_os_str().is_empty() {
            device.path.push(inside);
        }
        if !mapping.cgroup_permissions.is_empty() {
            device.access.clone_from(&mapping.cgroup_permissions);
        }
    }
    Ok(())
}

fn gathering(path: &Path) -> String {
    format!("error gathering device information while adding custom device \"{}\"", path.display())
}

/// All device nodes below `directory`, without what the container has mounts of its own for.
fn collect(directory: &Path, devices: &mut Vec<HostDevice>) -> Result<()> {
    const OWN: [&str; 7] = ["pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts"];
    let read = || format!("read devices of {}", directory.display());
    for entry in fs::read_dir(directory).context(read)? {
        let path = entry.context(read)?.path();
        let name = path.file_name().unwrap_or_default();
        if OWN.iter().any(|own| name == *own) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(&path, devices)?;
        } else if let Some(device) = host_device(&path)? {
            devices.push(device);
        }
    }
    Ok(())
}

/// The device at `path`; `None` when something else is there, or nothing any more.
fn host_device(path: &Path) -> Result<Option<HostDevice>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(|| gathering(path)),
    };
    let file_type = metadata.file_type();
    let kind = match (file_type.is_char_device(), file_type.is_block_device()) {
        (true, _) => 'c',
        (_, true) => 'b',
        _ => return Ok(None),
    };
    let number = metadata.rdev();
    Ok(Some(HostDevice {
        path: path.to_owned(),
        kind,
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: "rwm".to_owned(),
    }))
}
