//! Namespaces, cgroups and what only exists inside a new one.

use rustix::fd::AsFd;
use rustix::io::{Errno, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::system::{setdomainname, sethostname};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags, move_into_link_name_space,
    move_into_thread_name_spaces,
};
use sys::clone::{CLONE_PARENT, exit, fork, fork_into};

use crate::data::{Fd, Text};
use crate::message::{Kind, Message};
use crate::op::Request;
use crate::page::{Called, Failure};
use crate::run::Executor;

const LINK_TYPES: [(u32, LinkNameSpaceType); 8] = [
    (0x1000_0000, LinkNameSpaceType::User),
    (0x2000_0000, LinkNameSpaceType::ProcessID),
    (0x0002_0000, LinkNameSpaceType::Mount),
    (0x4000_0000, LinkNameSpaceType::Network),
    (0x0800_0000, LinkNameSpaceType::InterProcessCommunication),
    (0x0400_0000, LinkNameSpaceType::HostNameAndNISDomainName),
    (0x0200_0000, LinkNameSpaceType::ControlGroup),
    (0x0000_0080, LinkNameSpaceType::Time),
];

impl Executor<'_> {
    pub(crate) fn join_namespace(&self, fd: Fd, kind: u32) -> Result<(), Failure> {
        let link_type = LINK_TYPES.iter().find(|entry| entry.0 == kind).map(|entry| entry.1);
        move_into_link_name_space(sys::fd::borrow(fd.0).as_fd(), link_type).called("setns")
    }

    pub(crate) fn join_process(&self, pidfd: Fd, flags: u32) -> Result<(), Failure> {
        let types = ThreadNameSpaceType::from_bits_retain(flags);
        move_into_thread_name_spaces(sys::fd::borrow(pidfd.0), types).called("setns")
    }

    pub(crate) fn unshare(&self, flags: u32) -> Result<(), Failure> {
        sys::clone::unshare(UnshareFlags::from_bits_retain(flags)).called("unshare")
    }

    pub(crate) fn become_root(&self) -> Result<(), Failure> {
        sys::clone::become_root().called("setresuid")
    }

    pub(crate) fn clone_last(&self, flags: u64) -> Result<(), Failure> {
        let pid = fork(flags | CLONE_PARENT).called("clone3")?;
        if pid == 0 {
            return self.await_go();
        }
        // The number is what this process sees, whose pid namespace is still the parent's.
        let _ = Message { kind: Kind::Cloned, value: pid }.send(self.socket);
        exit(0)
    }

    pub(crate) fn clone_into(&self, group: Option<Fd>) -> Result<(), Failure> {
        let made = match group {
            Some(group) => fork_into(CLONE_PARENT, sys::fd::borrow(group.0)),
            None => fork(CLONE_PARENT),
        };
        let pid = made.called("clone3")?;
        if pid == 0 {
            return Ok(());
        }
        let _ = Message { kind: Kind::Cloned, value: pid }.send(self.socket);
        exit(0)
    }

    pub(crate) fn await_parent(&self, request: Request) -> Result<(), Failure> {
        Message::from(Kind::from(request)).send(self.socket).called("write")?;
        self.await_go()
    }

    /// Waits for Go; end of file means that the parent is gone or has given up, and there is no one to tell.
    pub(crate) fn await_go(&self) -> Result<(), Failure> {
        match Message::receive(self.socket).called("read")? {
            Some(Message { kind: Kind::Go, .. }) => Ok(()),
            Some(_) => Err(Failure::new("read", Errno::PROTO)),
            None => exit(1),
        }
    }

    pub(crate) fn join_cgroups(&self, first: Fd, count: u32) -> Result<(), Failure> {
        let files = (first.0..).take(count as usize);
        files.map(sys::fd::borrow).try_for_each(|file| write(file, b"0").map(drop)).called("write")
    }

    pub(crate) fn loopback_up(&self) -> Result<(), Failure> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .called("socket")?;
        sys::net::loopback_up(socket).called("ioctl(SIOCSIFFLAGS)")
    }

    pub(crate) fn hostname(&self, name: Text<'_>) -> Result<(), Failure> {
        sethostname(name.0.to_bytes()).called("sethostname")
    }

    pub(crate) fn domainname(&self, name: Text<'_>) -> Result<(), Failure> {
        setdomainname(name.0.to_bytes()).called("setdomainname")
    }
}
