//! Network devices for rows about them: made in the host's namespace with `ip`, gone with the test.
//!
//! A pair of veth devices, because a kernel without modules has no dummy ones. Start at [`Device::pair`].

use crate::row::{Stop, skip};
use std::process::Command;

/// A device of the host; its peer stays there.
pub(crate) struct Device(pub(crate) String);

impl Device {
    /// Makes one, down and with an address; skipped where that cannot be done.
    pub(crate) fn pair(name: &str) -> Result<Device, Stop> {
        if !make(name) {
            return skip("this host makes no veth device");
        }
        let device = Device(name.to_owned());
        ip(&["address", "add", "192.0.2.7/24", "dev", name]);
        Ok(device)
    }
}

/// Makes a device and its peer, and says whether it worked.
pub(crate) fn make(name: &str) -> bool {
    ip(&["link", "add", name, "type", "veth", "peer", "name", &format!("{name}p")])
}

impl Drop for Device {
    fn drop(&mut self) {
        // The peer never leaves the host, and takes the other end with it.
        ip(&["link", "delete", &format!("{}p", self.0)]);
    }
}

/// Runs `ip` and says whether it worked.
fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).output().is_ok_and(|output| output.status.success())
}
