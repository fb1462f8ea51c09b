//! `linux.resources.memory`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#memory)).
//!
//! | key | version 1 | version 2 |
//! |---|---|---|
//! | limit | memory.limit_in_bytes | memory.max |
//! | reservation | memory.soft_limit_in_bytes | memory.low |
//! | swap, which counts memory and swap together | memory.memsw.limit_in_bytes | memory.swap.max, without the memory |
//! | kernel, kernelTCP | memory.kmem.limit_in_bytes, memory.kmem.tcp.limit_in_bytes | unsupported |
//! | swappiness, disableOOMKiller | memory.swappiness, memory.oom_control | unsupported |
//! | useHierarchy | the kernels we run on always do | likewise |
//! | checkBeforeUpdate | the kernel refuses | checked before an update |

use serde::{Deserialize, Serialize};

use super::write::{Field, IfAbsent, Writes};
use crate::controller::{Controller, Version};

/// Memory limits in bytes; -1 is unlimited, 0 asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Memory {
    /// Hard limit.
    pub limit: Option<i64>,
    /// What reclaim leaves alone as long as it can.
    pub reservation: Option<i64>,
    /// Memory and swap together.
    pub swap: Option<i64>,
    /// Kernel memory; ended with Linux 5.16.
    pub kernel: Option<i64>,
    /// Kernel memory of TCP buffers.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Option<i64>,
    /// How eagerly to swap, 0 to 100.
    pub swappiness: Option<u64>,
    /// Processes wait instead of being killed.
    #[serde(rename = "disableOOMKiller")]
    pub disable_oom_killer: Option<bool>,
    /// Groups beneath share the limits.
    pub use_hierarchy: Option<bool>,
    /// Refuse a limit below the present usage.
    pub check_before_update: Option<bool>,
}

const UNLIMITED: i64 = -1;
const V1_ONLY: &str = "control groups version 2 have no such setting";

impl Memory {
    /// `in_force` is the limit of a group that exists.
    pub(super) fn convert(&self, in_force: Option<i64>, out: &mut Writes) {
        self.check(in_force, out);
        self.convert_limit(out);
        self.convert_swap(in_force, out);
        self.convert_reservation(out);
        self.convert_kernel(out);
        self.convert_behaviour(out);
    }

    fn check(&self, in_force: Option<i64>, out: &mut Writes) {
        let bytes = [
            ("linux.resources.memory.limit", self.limit),
            ("linux.resources.memory.reservation", self.reservation),
            ("linux.resources.memory.swap", self.swap),
            ("linux.resources.memory.kernel", self.kernel),
            ("linux.resources.memory.kernelTCP", self.kernel_tcp),
        ];
        for (key, value) in bytes {
            if let Some(value) = value.filter(|value| *value < UNLIMITED) {
                out.invalid(key, format!("{value} is neither a number of bytes nor -1 for unlimited"));
            }
        }
        self.check_swap(in_force, out);
        if let Some(value) = self.swappiness.filter(|value| *value > 100) {
            out.invalid("linux.resources.memory.swappiness", format!("{value} is not between 0 and 100"));
        }
    }

    fn check_swap(&self, in_force: Option<i64>, out: &mut Writes) {
        let key = "linux.resources.memory.swap";
        let Some(swap) = asked(self.swap).filter(|swap| *swap > 0) else { return };
        match asked(self.limit).or(in_force) {
            None | Some(UNLIMITED) => {
                out.invalid(key, "swap counts memory and swap together, so it needs a memory limit");
            }
            Some(limit) if swap < limit => {
                let what = format!("swap counts memory and swap together: {swap} is below the limit {limit}");
                out.invalid(key, what);
            }
            Some(_) => {}
        }
    }

    fn convert_limit(&self, out: &mut Writes) {
        let Some(limit) = asked(self.limit) else { return };
        out.field(Controller::Memory, "linux.resources.memory.limit", |version| match version {
            Version::V1 => Field::file("memory.limit_in_bytes", limit),
            Version::V2 => Field::file("memory.max", number_or_max(limit)),
        });
    }

    fn convert_swap(&self, in_force: Option<i64>, out: &mut Writes) {
        let key = "linux.resources.memory.swap";
        // An unlimited memory with a limit on memory and swap together cannot be, so one lifts the other.
        let lifted = asked(self.limit).filter(|limit| *limit == UNLIMITED);
        let Some(swap) = asked(self.swap).or(lifted) else { return };
        let limit = asked(self.limit).or(in_force).unwrap_or(0);
        let if_absent = match swap {
            UNLIMITED => IfAbsent::Skip,
            swap if swap == limit => IfAbsent::SkipWithoutSwap,
            _ => IfAbsent::Fail,
        };
        let hint = Some("the kernel must account swap, and swap must not be below the memory limit");
        out.field(Controller::Memory, key, |version| {
            let (file, value) = match version {
                Version::V1 => ("memory.memsw.limit_in_bytes", swap.to_string()),
                Version::V2 if swap == UNLIMITED => ("memory.swap.max", number_or_max(UNLIMITED)),
                Version::V2 => ("memory.swap.max", swap.saturating_sub(limit).max(0).to_string()),
            };
            Field::Special(file.into(), value, if_absent, hint)
        });
    }

    fn convert_reservation(&self, out: &mut Writes) {
        let Some(reservation) = asked(self.reservation) else { return };
        out.field(Controller::Memory, "linux.resources.memory.reservation", |version| match version {
            Version::V1 => Field::file("memory.soft_limit_in_bytes", reservation),
            Version::V2 => Field::file("memory.low", number_or_max(reservation)),
        });
    }

    fn convert_kernel(&self, out: &mut Writes) {
        let fields = [
            ("linux.resources.memory.kernel", "memory.kmem.limit_in_bytes", self.kernel),
            ("linux.resources.memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", self.kernel_tcp),
        ];
        let hint =
            Some("kernels since 5.16 have no limit of its own for kernel memory; memory.limit counts it");
        for (key, file, value) in fields {
            let Some(value) = asked(value) else { continue };
            out.field(Controller::Memory, key, |version| match version {
                Version::V1 => Field::Special(file.into(), value.to_string(), IfAbsent::Fail, hint),
                Version::V2 if value == UNLIMITED => Field::Holds,
                Version::V2 => Field::Cannot(V1_ONLY),
            });
        }
    }

    fn convert_behaviour(&self, out: &mut Writes) {
        if let Some(swappiness) = self.swappiness.filter(|value| *value <= 100) {
            out.field(Controller::Memory, "linux.resources.memory.swappiness", |version| match version {
                Version::V1 => Field::file("memory.swappiness", swappiness),
                Version::V2 => Field::Cannot(V1_ONLY),
            });
        }
        if self.disable_oom_killer == Some(true) {
            out.field(
                Controller::Memory,
                "linux.resources.memory.disableOOMKiller",
                |version| match version {
                    Version::V1 => Field::file("memory.oom_control", 1),
                    Version::V2 => Field::Cannot(V1_ONLY),
                },
            );
        }
        if self.use_hierarchy == Some(false) {
            let what = "every kernel since 5.11 counts groups beneath against the limits of those above";
            out.cannot("linux.resources.memory.useHierarchy", what);
        }
    }
}

/// A zero asks for nothing; what is malformed was reported already.
fn asked(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0 && *value >= UNLIMITED)
}

fn number_or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}
