//! Deletion in two steps: a rename, which is instant and atomic, and unlinking in the background.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use davit_types::{Context as _, Result};
use tracing::warn;

use crate::tree;

/// The trash directory and the thread that empties it. The thread ends with this value.
#[derive(Debug)]
pub(crate) struct Trash {
    directory: PathBuf,
    wake: Sender<()>,
}

impl Trash {
    /// Opens the trash and starts emptying it of what an earlier process left.
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory)
            .and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)))
            .context(|| format!("create {}", directory.display()))?;
        let (wake, woken) = channel();
        let emptied = directory.clone();
        std::thread::Builder::new()
            .name("trash".to_owned())
            .spawn(move || empty_when_woken(&emptied, &woken))
            .context(|| "start the trash thread")?;
        let trash = Self { directory, wake };
        trash.wake();
        Ok(trash)
    }

    /// Moves `path` away; it not being there is fine.
    pub(crate) fn discard(&self, path: &Path) -> Result<()> {
        let place = || format!("move {} to the trash", path.display());
        let to = self.directory.join(random_name().context(place)?);
        match fs::rename(path, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).context(place),
            Ok(()) => {
                self.wake();
                Ok(())
            }
        }
    }

    fn wake(&self) {
        // The thread ends only with this value.
        self.wake.send(()).ok();
    }
}

fn empty_when_woken(directory: &Path, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        while woken.try_recv().is_ok() {}
        if let Err(error) = empty(directory) {
            warn!(path = %directory.display(), "trash not emptied: {error}");
        }
    }
}

fn empty(directory: &Path) -> io::Result<()> {
    let fd = File::open(directory)?;
    let mut result = Ok(());
    for name in tree::names(&fd)? {
        if let Err(error) = tree::remove(fd.as_fd(), &name) {
            result = Err(error);
        }
    }
    result
}

/// 26 characters, like Docker's short links.
pub(crate) fn random_name() -> io::Result<String> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = [0_u8; 26];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect())
}
