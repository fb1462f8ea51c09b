//! Calls that an architecture also takes through `socketcall(2)` or `ipc(2)`: the first argument selects one of
//! them. A rule for `socket` must answer there too, or the other entry is a way around it.
//!
//! Source: `include/uapi/linux/net.h` (SYS_*) and `include/uapi/linux/ipc.h`.

/// A call that stands for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Multiplexer {
    /// `socketcall(int call, unsigned long *args)`.
    Socketcall,
    /// `ipc(unsigned int call, ...)`: the upper half of `call` is a version, not a part of the selector.
    Ipc,
}

impl Multiplexer {
    /// The name of the call that selects.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Socketcall => "socketcall",
            Self::Ipc => "ipc",
        }
    }

    /// The bits of the first argument by which the kernel selects.
    pub(crate) const fn mask(self) -> u64 {
        match self {
            Self::Socketcall => 0xffff_ffff,
            Self::Ipc => 0xffff,
        }
    }
}

/// The multiplexer of a call and the value that selects it there.
pub(crate) fn selector(name: &str) -> Option<(Multiplexer, u64)> {
    // Most names of a profile end the search at their first letter.
    if !name.starts_with(['a', 'b', 'c', 'g', 'l', 'm', 'r', 's']) {
        return None;
    }
    let socketcall = |value| Some((Multiplexer::Socketcall, value));
    let ipc = |value| Some((Multiplexer::Ipc, value));
    match name {
        "socket" => socketcall(1),
        "bind" => socketcall(2),
        "connect" => socketcall(3),
        "listen" => socketcall(4),
        "accept" => socketcall(5),
        "getsockname" => socketcall(6),
        "getpeername" => socketcall(7),
        "socketpair" => socketcall(8),
        "send" => socketcall(9),
        "recv" => socketcall(10),
        "sendto" => socketcall(11),
        "recvfrom" => socketcall(12),
        "shutdown" => socketcall(13),
        "setsockopt" => socketcall(14),
        "getsockopt" => socketcall(15),
        "sendmsg" => socketcall(16),
        "recvmsg" => socketcall(17),
        "accept4" => socketcall(18),
        "recvmmsg" => socketcall(19),
        "sendmmsg" => socketcall(20),
        "semop" => ipc(1),
        "semget" => ipc(2),
        "semctl" => ipc(3),
        "semtimedop" => ipc(4),
        "msgsnd" => ipc(11),
        "msgrcv" => ipc(12),
        "msgget" => ipc(13),
        "msgctl" => ipc(14),
        "shmat" => ipc(21),
        "shmdt" => ipc(22),
        "shmget" => ipc(23),
        "shmctl" => ipc(24),
        _ => None,
    }
}
