//! `linux.resources.blockIO`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#block-io)).
//!
//! | key | version 1 | version 2 |
//! |---|---|---|
//! | weight | blkio.weight, else blkio.bfq.weight | io.bfq.weight, else io.weight, see [`io_weight`] |
//! | weightDevice[].weight | blkio.weight_device, else blkio.bfq.weight_device | io.bfq.weight, else io.weight |
//! | leafWeight, weightDevice[].leafWeight | ended with CFQ in Linux 5.0 | likewise |
//! | throttleReadBpsDevice and its three sisters | blkio.throttle.read_bps_device ... | io.max |

use serde::{Deserialize, Serialize};

use super::write::{Field, IfAbsent, Writes};
use crate::controller::{Controller, Version};

/// Block I/O limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BlockIo {
    /// Relative share, 10 to 1000; 0 asks for nothing.
    pub weight: Option<u16>,
    /// Share of the group's own tasks against groups beneath.
    pub leaf_weight: Option<u16>,
    /// Shares of single devices.
    pub weight_device: Option<Vec<WeightDevice>>,
    /// Bytes per second read.
    pub throttle_read_bps_device: Option<Vec<ThrottleDevice>>,
    /// Bytes per second written.
    pub throttle_write_bps_device: Option<Vec<ThrottleDevice>>,
    /// Reads per second.
    #[serde(rename = "throttleReadIOPSDevice")]
    pub throttle_read_iops_device: Option<Vec<ThrottleDevice>>,
    /// Writes per second.
    #[serde(rename = "throttleWriteIOPSDevice")]
    pub throttle_write_iops_device: Option<Vec<ThrottleDevice>>,
}

/// The share of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WeightDevice {
    /// Device number.
    pub major: i64,
    /// Device number.
    pub minor: i64,
    /// Relative share, 10 to 1000; 0 asks for nothing.
    pub weight: Option<u16>,
    /// Share of the group's own tasks against groups beneath.
    pub leaf_weight: Option<u16>,
}

/// The rate of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ThrottleDevice {
    /// Device number.
    pub major: i64,
    /// Device number.
    pub minor: i64,
    /// Bytes or operations per second; 0 lifts the limit.
    pub rate: u64,
}

const NO_LEAF_WEIGHT: &str = "no kernel since 5.0 has leaf weights, which were part of the CFQ scheduler";

impl BlockIo {
    pub(super) fn convert(&self, out: &mut Writes) {
        self.convert_weights(out);
        let fields = [
            (
                "throttleReadBpsDevice",
                "blkio.throttle.read_bps_device",
                "rbps",
                &self.throttle_read_bps_device,
            ),
            (
                "throttleWriteBpsDevice",
                "blkio.throttle.write_bps_device",
                "wbps",
                &self.throttle_write_bps_device,
            ),
            (
                "throttleReadIOPSDevice",
                "blkio.throttle.read_iops_device",
                "riops",
                &self.throttle_read_iops_device,
            ),
            (
                "throttleWriteIOPSDevice",
                "blkio.throttle.write_iops_device",
                "wiops",
                &self.throttle_write_iops_device,
            ),
        ];
        for (name, file, word, devices) in fields {
            for (index, device) in devices.iter().flatten().enumerate() {
                device.convert(&format!("linux.resources.blockIO.{name}[{index}]"), file, word, out);
            }
        }
    }

    fn convert_weights(&self, out: &mut Writes) {
        if let Some(weight) = checked_weight("linux.resources.blockIO.weight", self.weight, out) {
            out.field(Controller::Blkio, "linux.resources.blockIO.weight", |version| {
                weight_field(version, "", weight)
            });
        }
        if self.leaf_weight.is_some_and(|weight| weight != 0) {
            out.cannot("linux.resources.blockIO.leafWeight", NO_LEAF_WEIGHT);
        }
        for (index, device) in self.weight_device.iter().flatten().enumerate() {
            device.convert(&format!("linux.resources.blockIO.weightDevice[{index}]"), out);
        }
    }
}

impl WeightDevice {
    fn convert(&self, key: &str, out: &mut Writes) {
        if self.leaf_weight.is_some_and(|weight| weight != 0) {
            out.cannot(format!("{key}.leafWeight"), NO_LEAF_WEIGHT);
        }
        let Some(device) = device_number(key, self.major, self.minor, out) else { return };
        let key = format!("{key}.weight");
        let Some(weight) = checked_weight(&key, self.weight, out) else { return };
        out.field(Controller::Blkio, key, |version| weight_field(version, &format!("{device} "), weight));
    }
}

impl ThrottleDevice {
    fn convert(&self, key: &str, file: &'static str, word: &str, out: &mut Writes) {
        let Some(device) = device_number(key, self.major, self.minor, out) else { return };
        out.field(Controller::Blkio, key.to_owned(), |version| match (version, self.rate) {
            (Version::V1, rate) => Field::file(file, format!("{device} {rate}")),
            (Version::V2, 0) => Field::file("io.max", format!("{device} {word}=max")),
            (Version::V2, rate) => Field::file("io.max", format!("{device} {word}={rate}")),
        });
    }
}

/// `prefix` is empty for the group's own weight, or a device number and a blank.
fn weight_field(version: Version, prefix: &str, weight: u16) -> Field {
    let plain = format!("{prefix}{weight}");
    let (file, instead) = match (version, prefix) {
        (Version::V1, "") => ("blkio.weight", ("blkio.bfq.weight", plain.clone())),
        (Version::V1, _) => ("blkio.weight_device", ("blkio.bfq.weight_device", plain.clone())),
        (Version::V2, _) => ("io.bfq.weight", ("io.weight", format!("{prefix}{}", io_weight(weight)))),
    };
    let instead = IfAbsent::Instead { file: instead.0, value: instead.1 };
    let hint = Some("weights need the BFQ scheduler, or io.cost on version 2");
    Field::Special(file.into(), plain, instead, hint)
}

/// The weight of `io.weight` (1 to 10000) for a weight of 10 to 1000.
pub fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).max(10) - 10) * 9_999 / 990
}

fn checked_weight(key: &str, weight: Option<u16>, out: &mut Writes) -> Option<u16> {
    let weight = weight.filter(|weight| *weight != 0)?;
    if (10..=1_000).contains(&weight) {
        return Some(weight);
    }
    out.invalid(key.to_owned(), format!("{weight} is not between 10 and 1000"));
    None
}

/// Device numbers of Linux have 12 and 20 bits.
fn device_number(key: &str, major: i64, minor: i64, out: &mut Writes) -> Option<String> {
    if (0..1 << 12).contains(&major) && (0..1 << 20).contains(&minor) {
        return Some(format!("{major}:{minor}"));
    }
    out.invalid(key.to_owned(), format!("{major}:{minor} is not a device number"));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_their_ends() {
        for (weight, expected) in [(0, 1), (10, 1), (100, 910), (500, 4_950), (1_000, 10_000)] {
            assert_eq!(io_weight(weight), expected, "{weight}");
        }
    }
}
