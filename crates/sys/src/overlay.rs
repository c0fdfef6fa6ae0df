//! Overlays of any number of layers.
//!
//! Many layers make long options. Since 6.5 they can be given one by one (`lowerdir+`) to a mount
//! that is built detached; before, all options must fit in one page, which is why they are relative
//! to the directory of layers.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount,
};

/// Settings under which the upper layer says by itself what was changed; kernels without one of them
/// behave like that anyway.
const SETTINGS: [(&str, &str); 2] = [("index", "off"), ("redirect_dir", "off")];

/// Longest value that `fsconfig` takes.
const MAX_VALUE: usize = 255;

/// What is mounted, and where.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// The directory that `lower` is relative to.
    pub layers: &'a Path,
    /// Lower directories, topmost first.
    pub lower: &'a [PathBuf],
    /// Where changes go.
    pub upper: &'a Path,
    /// Overlayfs's own directory.
    pub work: &'a Path,
    /// The mount point.
    pub merged: &'a Path,
    /// Unmounting does not write back.
    pub volatile: bool,
}

/// Mounts it. The working directory, which the caller must share with no other thread, is `/`
/// afterwards.
///
/// # Errors
/// What the kernel says; more layers than it takes are `InvalidInput` with their number.
pub fn mount_overlay(overlay: &Overlay<'_>) -> io::Result<()> {
    std::env::set_current_dir(overlay.layers)?;
    let by_parts = if takes_parts() { mount_by_parts(overlay) } else { Err(Errno::NOSYS) };
    let mounted = match by_parts {
        Err(Errno::NOSYS | Errno::INVAL | Errno::TOOBIG) => mount_classic(overlay),
        other => other.map_err(io::Error::from),
    };
    // The root directory always exists.
    let _ = std::env::set_current_dir("/");
    mounted.map_err(|error| explain(error, overlay.lower.len()))
}

/// The kernel says no more than "invalid argument" to more layers than it takes.
fn explain(error: io::Error, layers: usize) -> io::Error {
    /// `OVL_MAX_STACK`; what fits into a page of options is less.
    const MOST: usize = 500;
    const FIT: usize = 120;
    if error.raw_os_error() != Some(libc::EINVAL) || layers <= FIT {
        return error;
    }
    let most = if takes_parts() { MOST } else { FIT };
    if layers <= most {
        return error;
    }
    let text = format!("{layers} layers are more than the {most} that this kernel takes");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Whether the kernel knows `lowerdir+` (6.5). Older ones write each attempt into their log.
fn takes_parts() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 5)
}

fn mount_by_parts(overlay: &Overlay<'_>) -> Result<(), Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, path: &Path| {
        if path.as_os_str().len() > MAX_VALUE {
            return Err(Errno::TOOBIG);
        }
        fsconfig_set_string(&context, key, path)
    };
    for lower in overlay.lower {
        set("lowerdir+", lower)?;
    }
    set("upperdir", relative(overlay, overlay.upper))?;
    set("workdir", relative(overlay, overlay.work))?;
    for (key, value) in SETTINGS {
        let _ = fsconfig_set_string(&context, key, value);
    }
    if overlay.volatile {
        fsconfig_set_flag(&context, "volatile")?;
    }
    fsconfig_set_string(&context, "source", "overlay")?;
    fsconfig_create(&context)?;
    let detached = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&detached, "", CWD, overlay.merged, flags)
}

fn mount_classic(overlay: &Overlay<'_>) -> io::Result<()> {
    let mut options = b"index=off,lowerdir=".to_vec();
    for (position, lower) in overlay.lower.iter().enumerate() {
        if position > 0 {
            options.push(b':');
        }
        append_escaped(&mut options, lower);
    }
    options.extend_from_slice(b",upperdir=");
    append_escaped(&mut options, relative(overlay, overlay.upper));
    options.extend_from_slice(b",workdir=");
    append_escaped(&mut options, relative(overlay, overlay.work));
    if overlay.volatile {
        options.extend_from_slice(b",volatile");
    }
    let options = CString::new(options)?;
    let flags = MountFlags::empty();
    Ok(mount("overlay", overlay.merged, "overlay", flags, options.as_c_str())?)
}

/// Short names leave room for more layers.
fn relative<'a>(overlay: &Overlay<'_>, path: &'a Path) -> &'a Path {
    path.strip_prefix(overlay.layers).unwrap_or(path)
}

/// Colons and commas would end a path.
fn append_escaped(options: &mut Vec<u8>, path: &Path) {
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            options.push(b'\\');
        }
        options.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_layers_are_told_by_their_number() {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        assert!(explain(invalid(), 501).to_string().starts_with("501 layers are more than the "));
        assert_eq!(explain(invalid(), 3).raw_os_error(), Some(libc::EINVAL));
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!(explain(full, 501).raw_os_error(), Some(libc::ENOSPC));
    }
}
