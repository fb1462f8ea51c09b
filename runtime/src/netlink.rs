//! The few requests of rtnetlink(7) that moving a network interface takes.
//!
//! A client of our own, because six requests need 300 lines, while the crates for it bring the messages of every protocol
//! and five more packages. It knows how messages are laid out and nothing of what they are for; that is in
//! `launch/net_devices.rs`. Start at [`Socket`].

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A socket that speaks to one network namespace, whichever the caller is in later.
#[derive(Debug)]
pub struct Socket(OwnedFd);

/// What the kernel said no to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The request, in the words of rtnetlink(7).
    pub request: &'static str,
    /// The errno.
    pub errno: Errno,
    /// What the kernel says about it, if it does.
    pub text: Option<String>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: i32,
    /// Its name.
    pub name: String,
    /// IFF_*, netdevice(7).
    pub flags: u32,
}

/// An address of an interface, as rtnetlink(7) carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// AF_INET or AF_INET6.
    pub family: u8,
    /// The length of the network's prefix in bits.
    pub prefix: u8,
    /// RT_SCOPE_*.
    pub scope: u8,
    /// IFA_F_*.
    pub flags: u32,
    /// Its attributes: the type and the bytes of each.
    pub attributes: Vec<(u16, Vec<u8>)>,
}

/// IFF_UP.
pub const UP: u32 = 1;

/// Message types and flags, linux/netlink.h and linux/rtnetlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const EXCLUSIVE_CREATE: u16 = 0x600;
const DUMP_INTERRUPTED: u16 = 0x10;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Attributes, linux/if_link.h and linux/if_addr.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_FLAGS: u16 = 8;

/// The sizes of nlmsghdr, ifinfomsg and ifaddrmsg.
const HEADER: usize = 16;
const LINK_BODY: usize = 16;
const ADDRESS_BODY: usize = 8;

/// More than the kernel puts into one packet.
const PACKET: usize = 64 * 1024;

/// How often a list is asked for again that changed while the kernel wrote it.
const DUMP_TRIES: usize = 8;

type Result<T> = std::result::Result<T, Refusal>;

/// One request.
struct Request {
    name: &'static str,
    bytes: Vec<u8>,
}

/// One answer: its type, its flags and its body.
type Answer = (u16, u16, Vec<u8>);

impl Socket {
    /// A socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Those of socket(2) and setsockopt(2).
    pub fn open() -> std::result::Result<Self, Errno> {
        // No protocol is 0, which is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        sys::net::netlink_explain_errors(&socket)?;
        Ok(Self(socket))
    }

    /// A socket in another network namespace. A thread enters it and ends, so the caller's namespace stays.
    ///
    /// # Errors
    /// As [`Socket::open`], and those of setns(2).
    pub fn open_in(namespace: &OwnedFd) -> std::result::Result<Self, Errno> {
        let enter = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Self::open()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).unwrap_or(Err(Errno::NOTRECOVERABLE))
    }

    /// Sets the loopback interface up.
    ///
    /// # Errors
    /// Those of ioctl(SIOCSIFFLAGS).
    pub fn loopback_up(&self) -> std::result::Result<(), Errno> {
        sys::net::loopback_up(&self.0)
    }

    /// The interface called `name`.
    ///
    /// # Errors
    /// ENODEV.
    pub fn link(&self, name: &str) -> Result<Link> {
        let request = Request::link("RTM_GETLINK", RTM_GETLINK, 0, (0, 0)).text(IFLA_IFNAME, name);
        self.one_link(request)
    }

    /// The interface with the number `index`.
    ///
    /// # Errors
    /// ENODEV.
    pub fn link_at(&self, index: i32) -> Result<Link> {
        self.one_link(Request::link("RTM_GETLINK", RTM_GETLINK, index, (0, 0)))
    }

    fn one_link(&self, request: Request) -> Result<Link> {
        let answers = self.ask(request, ACK)?;
        let link =
            answers.iter().find_map(|(kind, _, body)| (*kind == RTM_NEWLINK).then(|| parse_link(body))?);
        link.ok_or(Refusal { request: "RTM_GETLINK", errno: Errno::NODEV, text: None })
    }

    /// Moves an interface to another namespace under another name. It is down afterwards and has no addresses.
    ///
    /// # Errors
    /// EINVAL for one that cannot move; EEXIST; EPERM.
    pub fn move_link(&self, index: i32, namespace: BorrowedFd<'_>, name: &str) -> Result<()> {
        let number = namespace.as_raw_fd().to_ne_bytes();
        let request = Request::link("RTM_NEWLINK", RTM_NEWLINK, index, (0, 0));
        self.ask(request.attribute(IFLA_NET_NS_FD, &number).text(IFLA_IFNAME, name), ACK).map(drop)
    }

    /// Renames an interface that is down; the name may end with `%d`, for which the kernel finds a number.
    ///
    /// # Errors
    /// EEXIST.
    pub fn rename(&self, index: i32, name: &str) -> Result<()> {
        let request = Request::link("RTM_NEWLINK", RTM_NEWLINK, index, (0, 0)).text(IFLA_IFNAME, name);
        self.ask(request, ACK).map(drop)
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// What its driver says.
    pub fn set_up(&self, index: i32) -> Result<()> {
        self.ask(Request::link("RTM_NEWLINK", RTM_NEWLINK, index, (UP, UP)), ACK).map(drop)
    }

    /// The addresses of an interface.
    ///
    /// # Errors
    /// EAGAIN where the list never stood still.
    pub fn addresses(&self, index: i32) -> Result<Vec<Address>> {
        for _ in 0..DUMP_TRIES {
            let answers = self.ask(Request::address("RTM_GETADDR", RTM_GETADDR, [0; 4], 0), DUMP)?;
            if answers.iter().any(|(_, flags, _)| flags & DUMP_INTERRUPTED != 0) {
                continue;
            }
            let bodies = answers.iter().filter(|(kind, ..)| *kind == RTM_NEWADDR);
            return Ok(bodies.filter_map(|(_, _, body)| parse_address(body, index)).collect());
        }
        Err(Refusal { request: "RTM_GETADDR", errno: Errno::AGAIN, text: None })
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// EEXIST.
    pub fn add_address(&self, index: i32, address: &Address) -> Result<()> {
        let Address { family, prefix, scope, flags, attributes } = address;
        let [low, ..] = flags.to_le_bytes();
        let request = Request::address("RTM_NEWADDR", RTM_NEWADDR, [*family, *prefix, low, *scope], index);
        let request = request.attribute(IFA_FLAGS, &flags.to_ne_bytes());
        let request =
            attributes.iter().fold(request, |request, (kind, bytes)| request.attribute(*kind, bytes));
        self.ask(request, ACK | EXCLUSIVE_CREATE).map(drop)
    }

    fn ask(&self, request: Request, flags: u16) -> Result<Vec<Answer>> {
        let name = request.name;
        let refused = |errno| Refusal { request: name, errno, text: None };
        let bytes = request.finish(flags);
        retry_on_intr(|| send(&self.0, &bytes, SendFlags::empty())).map_err(refused)?;
        let mut answers = Vec::new();
        let mut packet = vec![0; PACKET];
        loop {
            let (len, _) =
                retry_on_intr(|| recv(&self.0, &mut *packet, RecvFlags::empty())).map_err(refused)?;
            if len == 0 {
                return Err(refused(Errno::CONNRESET));
            }
            for (kind, flags, body) in messages(packet.get(..len).unwrap_or_default()) {
                match kind {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR => {
                        return outcome(&body).map_or(Ok(answers), |(errno, text)| {
                            Err(Refusal { request: name, errno, text })
                        });
                    }
                    _ => answers.push((kind, flags, body)),
                }
            }
        }
    }
}

impl Request {
    fn link(name: &'static str, kind: u16, index: i32, (flags, change): (u32, u32)) -> Self {
        let mut request = Self::new(name, kind);
        request.bytes.extend([0; 4]);
        request.bytes.extend(index.to_ne_bytes());
        request.bytes.extend(flags.to_ne_bytes());
        request.bytes.extend(change.to_ne_bytes());
        request
    }

    fn address(name: &'static str, kind: u16, head: [u8; 4], index: i32) -> Self {
        let mut request = Self::new(name, kind);
        request.bytes.extend(head);
        request.bytes.extend(index.to_ne_bytes());
        request
    }

    /// The header without its length and flags, which [`Request::finish`] writes.
    fn new(name: &'static str, kind: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        Self { name, bytes }
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(len.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    fn text(self, kind: u16, value: &str) -> Self {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat())
    }

    fn finish(mut self, flags: u16) -> Vec<u8> {
        let len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
        let flags = (flags | REQUEST).to_ne_bytes();
        let head = [len[0], len[1], len[2], len[3]];
        self.bytes.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        self.bytes.iter_mut().skip(6).zip(flags).for_each(|(to, from)| *to = from);
        self.bytes
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The messages of a packet. One whose length is wrong ends it.
fn messages(packet: &[u8]) -> Vec<Answer> {
    let mut found = Vec::new();
    let mut rest = packet;
    while let (Some(len), Some(kind), Some(flags)) = (word(rest, 0), half(rest, 4), half(rest, 6)) {
        let len = len as usize;
        let Some(body) = rest.get(HEADER..len) else { break };
        found.push((kind, flags, body.to_vec()));
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The attributes behind a fixed body.
fn attributes(mut rest: &[u8]) -> Vec<(u16, &[u8])> {
    /// NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    const FLAGS: u16 = 0xc000;
    let mut found = Vec::new();
    while let (Some(len), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let len = usize::from(len);
        let Some(value) = rest.get(4..len) else { break };
        found.push((kind & !FLAGS, value));
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// What an error message says; `None` is success.
fn outcome(body: &[u8]) -> Option<(Errno, Option<String>)> {
    let number = word(body, 0).map_or(-Errno::PROTO.raw_os_error(), u32::cast_signed);
    if number == 0 {
        return None;
    }
    // Behind the number is the header of the request alone, because of NETLINK_CAP_ACK.
    let attributes = attributes(body.get(4 + HEADER..).unwrap_or_default());
    let text = attributes.iter().find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG);
    let text = text.map(|(_, bytes)| text_of(bytes)).filter(|text| !text.is_empty());
    Some((Errno::from_raw_os_error(number.saturating_neg().clamp(1, 4095)), text))
}

fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let attributes = attributes(body.get(LINK_BODY..)?);
    let name = attributes.iter().find(|(kind, _)| *kind == IFLA_IFNAME)?;
    Some(Link { index: word(body, 4)?.cast_signed(), name: text_of(name.1), flags: word(body, 8)? })
}

fn parse_address(body: &[u8], index: i32) -> Option<Address> {
    let [family, prefix, low, scope]: [u8; 4] = body.get(..4)?.try_into().ok()?;
    if word(body, 4)?.cast_signed() != index {
        return None;
    }
    let mut address = Address { family, prefix, scope, flags: low.into(), attributes: Vec::new() };
    for (kind, value) in attributes(body.get(ADDRESS_BODY..)?) {
        match kind {
            IFA_FLAGS => address.flags = word(value, 0)?,
            _ => address.attributes.push((kind, value.to_vec())),
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lo_is_found_with_its_address() {
        let socket = Socket::open().unwrap();
        let lo = socket.link("lo").unwrap();
        assert_eq!((lo.index, lo.name.as_str()), (1, "lo"));
        assert_eq!(socket.link_at(1).unwrap(), lo);
        let refusal = socket.link("it-none").unwrap_err();
        assert_eq!((refusal.request, refusal.errno), ("RTM_GETLINK", Errno::NODEV));
        if lo.flags & UP != 0 {
            let addresses = socket.addresses(1).unwrap();
            assert!(
                addresses.iter().any(|address| (address.family, address.prefix) == (2, 8)),
                "{addresses:?}"
            );
        }
    }

    #[test]
    fn packets_of_any_kind_are_read_without_a_panic() {
        let whole = Request::link("x", 16, 7, (1, 1)).text(3, "eth0").finish(0);
        assert_eq!(
            parse_link(&messages(&whole)[0].2).unwrap(),
            Link { index: 7, name: "eth0".into(), flags: 1 }
        );
        for (index, value) in (0..whole.len()).flat_map(|index| [0, 1, 3, 0xff].map(|value| (index, value))) {
            let mut changed = whole.clone();
            changed[index] = value;
            for (_, _, body) in messages(&changed).into_iter().chain(messages(&whole[..index])) {
                let _ = (parse_link(&body), parse_address(&body, 7), outcome(&body));
            }
        }
    }
}
