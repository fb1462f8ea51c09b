//! The terminal: a pty of the container's own devpts, verified, never a path of the image.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, Uid, fchown, fstatfs, openat};
use rustix::io::Errno;
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use sys::fd::dup_to;

use super::mounts::{attach, clone_tree};
use super::paths::{make_directory, open_beneath};
use crate::message::{Kind, Message};
use crate::op::{Depth, Newlines, Placement};
use crate::page::{Called, Failure};
use crate::run::Executor;

/// The magic number of devpts (linux/magic.h).
const DEVPTS_SUPER_MAGIC: i128 = 0x1cd1;

impl Executor<'_> {
    pub(crate) fn console(
        &mut self,
        size: (u16, u16),
        uid: u32,
        (placement, newlines): (Placement, Newlines),
    ) -> Result<(), Failure> {
        let master = self.open_master()?;
        let peer = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .called("ioctl(TIOCGPTPEER)")?;
        if size != (0, 0) {
            let window = Winsize { ws_row: size.0, ws_col: size.1, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&peer, window).called("ioctl(TIOCSWINSZ)")?;
        }
        if newlines == Newlines::AsWritten {
            let mut modes = tcgetattr(&peer).called("ioctl(TCGETS)")?;
            modes.output_modes -= OutputModes::ONLCR;
            tcsetattr(&peer, OptionalActions::Now, &modes).called("ioctl(TCSETS)")?;
        }
        give(&peer, uid)?;
        if placement == Placement::Console {
            self.bind_console(&peer)?;
        }
        ioctl_tiocsctty(&peer).called("ioctl(TIOCSCTTY)")?;
        (0..3).try_for_each(|number| dup_to(&peer, number)).called("dup3")?;
        Message::from(Kind::Console).send_with(self.socket, master.as_fd()).called("sendmsg")
    }

    fn open_master(&self) -> Result<OwnedFd, Failure> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let root = self.root()?;
        let pts =
            open_beneath(root, c"/dev/pts", OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)
                .called("openat2(/dev/pts)")?;
        if i128::from(fstatfs(&pts).called("fstatfs")?.f_type) != DEVPTS_SUPER_MAGIC {
            return Err(Failure::new("/dev/pts is not a devpts", Errno::NODEV));
        }
        let master =
            openat(&pts, c"ptmx", flags | OFlags::CLOEXEC, Mode::empty()).called("openat(/dev/pts/ptmx)")?;
        unlockpt(&master).called("ioctl(TIOCSPTLCK)")?;
        Ok(master)
    }

    fn bind_console(&self, peer: &OwnedFd) -> Result<(), Failure> {
        let dev = make_directory(self.root()?, c"/dev", ResolveFlags::empty())?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let onto = match openat(&dev, c"console", flags, Mode::from_raw_mode(0o600)) {
            Err(Errno::EXIST) => {
                openat(&dev, c"console", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            }
            other => other,
        };
        attach(clone_tree(peer, c"", Depth::One).called("open_tree")?, onto.called("openat(/dev/console)")?)
    }
}

/// Makes the terminal the user's. An id without a mapping, or a process without the right, leaves it as it is.
fn give(peer: &OwnedFd, uid: u32) -> Result<(), Failure> {
    match fchown(peer, Some(Uid::from_raw(uid)), None) {
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => Ok(()),
        Err(errno) => Err(Failure::new("fchown", errno)),
    }
}
