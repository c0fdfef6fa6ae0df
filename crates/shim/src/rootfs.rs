//! The container's root: an overlay at `merged`.
//!
//! Many layers make long options. Since 6.5 they can be given one by one (`lowerdir+`) to a mount
//! that is built detached; before, all options must fit in one page, which is why they are relative
//! to the directory of layers.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use davit_monitor::task::Overlay;
use davit_types::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount,
    unmount,
};

/// Settings under which `docker diff` and the layers on disk mean what they say; kernels without one
/// of them behave like that anyway.
const SETTINGS: [(&str, &str); 2] = [("index", "off"), ("redirect_dir", "off")];

/// Longest value that `fsconfig` takes.
const MAX_VALUE: usize = 255;

/// Mounts the overlay at `merged`, which is made when it is missing.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn mount_overlay(overlay: &Overlay) -> Result<()> {
    let merged = &overlay.merged;
    let what = || format!("mount overlay on {}", merged.display());
    if let Err(error) = std::fs::create_dir(merged)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(error).context(what);
    }
    if overlay.volatile {
        forget_volatile_use(overlay).context(what)?;
    }
    std::env::set_current_dir(&overlay.layers).context(what)?;
    let by_parts = if takes_parts() { mount_by_parts(overlay) } else { Err(Errno::NOSYS) };
    let mounted = match by_parts {
        Err(Errno::NOSYS | Errno::INVAL | Errno::TOOBIG) => mount_classic(overlay),
        other => other.map_err(std::io::Error::from),
    };
    // Where it was before; the root directory always exists.
    let _ = std::env::set_current_dir("/");
    mounted.context(what)
}

/// Whether the kernel knows `lowerdir+` (6.5). Older ones write each attempt into their log.
fn takes_parts() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 5)
}

/// A root that was mounted volatile is marked, so that it isn't used after a crash of the host. One
/// that is made volatile has nothing to lose.
fn forget_volatile_use(overlay: &Overlay) -> std::io::Result<()> {
    match std::fs::remove_dir(overlay.work.join("work/incompat/volatile")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A root that is no longer in any mount table. It holds the last reference to the overlay, whose end
/// writes back everything that is dirty on the filesystem below: seconds, on a busy disk.
#[derive(Debug)]
#[must_use = "dropping it can take seconds"]
pub(crate) struct Unmounted {
    _root: Option<OwnedFd>,
}

/// Unmounts the root, whoever still uses it. Keep the result until nobody waits any more.
pub(crate) fn unmount_overlay(merged: &Path) -> Unmounted {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(merged, flags, Mode::empty()).ok();
    // Not mounted is what is wanted.
    let _ = unmount(merged, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    Unmounted { _root: root }
}

fn mount_by_parts(overlay: &Overlay) -> Result<(), Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, path: &Path| {
        if path.as_os_str().len() > MAX_VALUE {
            return Err(Errno::TOOBIG);
        }
        fsconfig_set_string(&context, key, path)
    };
    for lower in &overlay.lower {
        set("lowerdir+", lower)?;
    }
    set("upperdir", relative(overlay, &overlay.upper))?;
    set("workdir", relative(overlay, &overlay.work))?;
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
    move_mount(&detached, "", CWD, &overlay.merged, flags)
}

fn mount_classic(overlay: &Overlay) -> std::io::Result<()> {
    let mut options = b"index=off,lowerdir=".to_vec();
    for (position, lower) in overlay.lower.iter().enumerate() {
        if position > 0 {
            options.push(b':');
        }
        append_escaped(&mut options, lower);
    }
    options.extend_from_slice(b",upperdir=");
    append_escaped(&mut options, relative(overlay, &overlay.upper));
    options.extend_from_slice(b",workdir=");
    append_escaped(&mut options, relative(overlay, &overlay.work));
    if overlay.volatile {
        options.extend_from_slice(b",volatile");
    }
    let options = CString::new(options)?;
    let flags = MountFlags::empty();
    Ok(mount("overlay", &overlay.merged, "overlay", flags, options.as_c_str())?)
}

/// Short names leave room for more layers.
fn relative<'a>(overlay: &Overlay, path: &'a Path) -> &'a Path {
    path.strip_prefix(&overlay.layers).unwrap_or(path)
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
