//! Pseudo-terminals: the pair and its window size.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Both ends of a new pseudo-terminal, close-on-exec and not the caller's controlling terminal.
#[derive(Debug)]
pub struct Pty {
    /// The end that plays the person at the keyboard.
    pub master: OwnedFd,
    /// The end that programs see as their terminal.
    pub slave: OwnedFd,
}

/// Opens a pseudo-terminal of this mount namespace's `/dev/ptmx`.
///
/// # Errors
/// There is no devpts, or no pseudo-terminal is left.
pub fn open() -> io::Result<Pty> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    Ok(Pty { master, slave })
}

/// Sets the window size of the terminal; its foreground processes get `SIGWINCH`.
///
/// # Errors
/// `terminal` is none.
pub fn set_size(terminal: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_joined_and_share_the_size() {
        let pty = open().expect("pty");
        set_size(&pty.master, 40, 132).expect("resize");
        let size = rustix::termios::tcgetwinsize(&pty.slave).expect("size");
        assert_eq!((size.ws_row, size.ws_col), (40, 132));

        rustix::io::write(&pty.slave, b"hello").expect("write");
        let mut buffer = [0; 16];
        let count = rustix::io::read(&pty.master, &mut buffer).expect("read");
        assert_eq!(&buffer[..count], b"hello");
    }
}
