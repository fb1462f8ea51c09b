//! `linux.netDevices`: interfaces of the host move into the container's network namespace while the child waits.
//!
//! All or none: whatever fails, those that have moved go back under their names, with their addresses. What the kernel
//! drops on the way is put back by hand: an interface that changes its namespace loses its addresses and is down.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#network-devices>

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use sys::error::Context;

use crate::config::net_devices::NetDevice;
use crate::netlink::{Address, Link, Refusal, Socket, UP};
use crate::{Error, Kind, Result, procfs};

/// The attributes of an address that are its own: IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_RT_PRIORITY.
const OWN: [u16; 5] = [1, 2, IFA_LABEL, 4, 9];

/// The name of an IPv4 address, which begins with that of its interface.
const IFA_LABEL: u16 = 3;

/// IFA_F_PERMANENT: it does not end.
const PERMANENT: u32 = 0x80;

/// The flags that a user may set: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN. The others say what the
/// kernel found out, and it will find out again.
const SETTABLE: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;

/// RT_SCOPE_UNIVERSE.
const GLOBAL: u8 = 0;

/// Interfaces that have moved.
#[derive(Debug)]
pub struct Moved {
    host: Socket,
    host_namespace: OwnedFd,
    inside: Socket,
    /// Kept open, so that it outlives its processes: the interfaces may have to go back.
    namespace: OwnedFd,
    list: Vec<Device>,
}

/// One of them, as it was.
#[derive(Debug)]
struct Device {
    key: String,
    before: Link,
    addresses: Vec<Address>,
    /// Its number inside.
    index: i32,
}

/// Moves `devices` into the network namespace of process `pid`.
///
/// # Errors
/// With the key of the interface; none has moved then.
pub fn move_to(devices: &[NetDevice], pid: i32) -> Result<Moved> {
    let mut moved = open(pid)?;
    for device in devices {
        if let Err(error) = moved.take(device) {
            return Err(match moved.back() {
                Ok(()) => error,
                Err(other) => error.and_also(other),
            });
        }
    }
    Ok(moved)
}

fn open(pid: i32) -> Result<Moved> {
    let open = |path: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(procfs::open()?, path, flags, Mode::empty()).context("openat", || format!("open /proc/{path}"))
    };
    let host_namespace = open("thread-self/ns/net")?;
    let namespace = open(&format!("{pid}/ns/net"))?;
    let inode = |fd: &OwnedFd| fstat(fd).map(|seen| (seen.st_dev, seen.st_ino));
    if inode(&host_namespace) == inode(&namespace) {
        let text = "the container's network namespace is the runtime's own";
        return Err(Error::invalid("linux.netDevices", text));
    }
    let what = || "talk to the kernel about network interfaces".to_owned();
    let host = Socket::open().context("socket", what)?;
    let inside = Socket::open_in(&namespace).context("socket", what)?;
    Ok(Moved { host, host_namespace, inside, namespace, list: Vec::new() })
}

impl Moved {
    /// Moves one interface. In between it has a name that nobody else has, because the kernel moves first and finds out
    /// afterwards that a name is taken.
    fn take(&mut self, device: &NetDevice) -> Result<()> {
        let failed = |doing: &'static str| move |refusal| explain(&device.key, &device.host, doing, refusal);
        let before = self.host.link(&device.host).map_err(failed("find"))?;
        if !device.name.ends_with("%d") && self.inside.link(&device.name).is_ok() {
            return Err(taken(device));
        }
        let mut addresses = self.host.addresses(before.index).map_err(failed("read the addresses of"))?;
        addresses.retain(|address| address.scope == GLOBAL && address.flags & PERMANENT != 0);
        let between = format!("orlop{:x}", before.index);
        let namespace = self.namespace.as_fd();
        self.host.move_link(before.index, namespace, &between).map_err(failed("move"))?;
        let index = self.inside.link(&between).map_err(failed("find again"))?.index;
        self.list.push(Device { key: device.key.clone(), before, addresses, index });
        self.inside.rename(index, &device.name).map_err(|refusal| match refusal.errno {
            Errno::EXIST => taken(device),
            _ => failed("rename")(refusal),
        })?;
        self.list.last().map_or(Ok(()), |device| self.furnish(device))
    }

    /// Gives an interface inside what it had on the host.
    fn furnish(&self, device: &Device) -> Result<()> {
        let name = &device.before.name;
        let failed = |doing: &'static str| move |refusal| explain(&device.key, name, doing, refusal);
        let now = self.inside.link_at(device.index).map_err(failed("find again"))?.name;
        for address in &device.addresses {
            let address = renamed(address, name, &now);
            self.inside.add_address(device.index, &address).map_err(failed("restore an address of"))?;
        }
        self.inside.set_up(device.index).map_err(failed("set up"))
    }

    /// Moves all of them back to the host, as they were.
    ///
    /// # Errors
    /// What could not be restored.
    pub fn back(&self) -> Result<()> {
        let failures = self.list.iter().rev().filter_map(|device| self.give_back(device).err());
        failures.reduce(Error::and_also).map_or(Ok(()), Err)
    }

    fn give_back(&self, device: &Device) -> Result<()> {
        let Device { key, before, addresses, index } = device;
        let failed = |doing: &'static str| move |refusal| explain(key, &before.name, doing, refusal);
        let home = self.host_namespace.as_fd();
        self.inside.move_link(*index, home, &before.name).map_err(failed("move back"))?;
        let index = self.host.link(&before.name).map_err(failed("find again"))?.index;
        for address in addresses {
            let address = renamed(address, &before.name, &before.name);
            self.host.add_address(index, &address).map_err(failed("restore an address of"))?;
        }
        if before.flags & UP == 0 { Ok(()) } else { self.host.set_up(index).map_err(failed("set up")) }
    }
}

/// An address as it is asked for anew, on an interface whose name changed from `old` to `new`.
fn renamed(address: &Address, old: &str, new: &str) -> Address {
    let own = address.attributes.iter().filter(|(kind, _)| OWN.contains(kind));
    let attributes = own.filter_map(|(kind, value)| match *kind {
        IFA_LABEL => Some((IFA_LABEL, label(value, old, new)?)),
        kind => Some((kind, value.clone())),
    });
    Address { flags: address.flags & SETTABLE, attributes: attributes.collect(), ..address.clone() }
}

/// `eth0:1` becomes `ctr0:1`; the plain name of the interface is what the kernel takes by itself.
fn label(value: &[u8], old: &str, new: &str) -> Option<Vec<u8>> {
    let rest = value.strip_prefix(old.as_bytes())?.strip_prefix(b":")?;
    let label = [new.as_bytes(), b":", rest].concat();
    // IFNAMSIZ with the terminator.
    (label.len() <= 16).then_some(label)
}

fn taken(device: &NetDevice) -> Error {
    let text = format!(
        "move network interface {}: the container's network namespace has an interface {:?}",
        device.host, device.name
    );
    Error::kernel(text, "netlink(RTM_NEWLINK)", Errno::EXIST)
        .with_key(device.key.clone())
        .with_hint("a name that ends with %d gets a free number")
}

fn explain(key: &str, host: &str, doing: &str, refusal: Refusal) -> Error {
    let Refusal { request, errno, text } = refusal;
    let call = format!("netlink({request})");
    let error =
        Error::kernel(format!("{doing} network interface {host}"), call, errno).with_key(key.to_owned());
    match (errno, text) {
        (Errno::NODEV, _) => {
            error.with_kind(Kind::NotFound).with_hint("the host has no interface of this name")
        }
        (_, Some(text)) => error.with_hint(text),
        (Errno::INVAL, None) if doing == "move" => {
            error.with_hint("some interfaces cannot leave their namespace (lo, bridges, tunnels of the host)")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_follows_the_name() {
        assert_eq!(label(b"eth0\0", "eth0", "ctr0"), None);
        assert_eq!(label(b"eth0:1\0", "eth0", "ctr0").unwrap(), b"ctr0:1\0");
        assert_eq!(label(b"eth0:longlabel\0", "eth0", "container0"), None);
        assert_eq!(label(b"eth00:1\0", "eth0", "ctr0"), None);
    }

    #[test]
    fn an_address_keeps_what_is_its_own() {
        let address = Address {
            family: 2,
            prefix: 24,
            scope: GLOBAL,
            flags: PERMANENT | 0x200,
            attributes: vec![(2, vec![10, 0, 0, 1]), (IFA_LABEL, b"eth0\0".to_vec()), (6, vec![0; 16])],
        };
        let again = renamed(&address, "eth0", "x");
        assert_eq!((again.flags, again.attributes), (0x200, vec![(2, vec![10, 0, 0, 1])]));
    }
}
