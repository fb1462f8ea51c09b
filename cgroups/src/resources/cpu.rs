//! `linux.resources.cpu`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#cpu)).
//!
//! | key | version 1 | version 2 |
//! |---|---|---|
//! | shares | cpu.shares | cpu.weight, see [`weight_of_shares`] |
//! | quota, period | cpu.cfs_quota_us, cpu.cfs_period_us | cpu.max, both in one write |
//! | burst | cpu.cfs_burst_us | cpu.max.burst |
//! | idle | cpu.idle | cpu.idle |
//! | realtimeRuntime, realtimePeriod | cpu.rt_runtime_us, cpu.rt_period_us | unsupported |
//! | cpus, mems | cpuset.cpus, cpuset.mems | likewise |

use serde::{Deserialize, Serialize};

use super::write::{Field, IfAbsent, Writes};
use crate::controller::{Controller, Version};

/// CPU limits; times in microseconds, 0 asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cpu {
    /// Relative share, 2 to 262144; 1024 is usual.
    pub shares: Option<u64>,
    /// CPU time in a period; negative is unlimited.
    pub quota: Option<i64>,
    /// Unused time that a later period may use.
    pub burst: Option<u64>,
    /// Length of a period, 1000 to 1000000.
    pub period: Option<u64>,
    /// CPU time of real-time tasks in a period of their own.
    pub realtime_runtime: Option<i64>,
    /// Length of that period.
    pub realtime_period: Option<u64>,
    /// List of CPUs: `0-3,7`.
    pub cpus: Option<String>,
    /// List of memory nodes.
    pub mems: Option<String>,
    /// 1 runs the group only when nothing else does.
    pub idle: Option<i64>,
}

const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
const MAX_WEIGHT: u64 = 10_000;
const MIN_TIME_US: u64 = 1_000;
const MAX_PERIOD_US: u64 = 1_000_000;
const REALTIME_HINT: &str =
    "the group above must have real-time budget to give away, and the kernel RT_GROUP_SCHED";

impl Cpu {
    /// `in_force` is the quota of a group that exists.
    pub(super) fn convert(&self, in_force: Option<i64>, out: &mut Writes) {
        self.check(out);
        // An idle group takes no weight, so it stops being idle before and becomes idle after.
        if self.idle == Some(0) {
            self.convert_idle(out);
        }
        self.convert_shares(out);
        if self.idle != Some(0) {
            self.convert_idle(out);
        }
        self.convert_bandwidth(in_force, out);
        self.convert_realtime(out);
        self.convert_cpusets(out);
    }

    fn check(&self, out: &mut Writes) {
        if let Some(period) = self.period.filter(|p| *p != 0 && !(MIN_TIME_US..=MAX_PERIOD_US).contains(p)) {
            out.invalid(
                "linux.resources.cpu.period",
                format!("{period} us; period must be 1000 to 1000000 us"),
            );
        }
        if let Some(quota) = self.quota.filter(|quota| *quota > 0 && quota.unsigned_abs() < MIN_TIME_US) {
            out.invalid("linux.resources.cpu.quota", format!("{quota} us; quota must be at least 1000 us"));
        }
        if let (Some(burst), Some(quota)) = (self.burst, self.quota.filter(|quota| *quota > 0))
            && burst > quota.unsigned_abs()
        {
            out.invalid(
                "linux.resources.cpu.burst",
                format!("{burst} us is more than the quota of {quota} us"),
            );
        }
        if let Some(idle) = self.idle.filter(|idle| !(0..=1).contains(idle)) {
            out.invalid("linux.resources.cpu.idle", format!("{idle} is neither 0 nor 1"));
        }
        for (key, list) in
            [("linux.resources.cpu.cpus", &self.cpus), ("linux.resources.cpu.mems", &self.mems)]
        {
            if let Some(list) = list.as_deref().filter(|list| !is_list(list)) {
                out.invalid(key, format!("{list:?} is not a list such as \"0-3,7\""));
            }
        }
    }

    fn convert_shares(&self, out: &mut Writes) {
        let key = "linux.resources.cpu.shares";
        let Some(shares) = self.shares.filter(|shares| *shares != 0) else { return };
        let in_range = (MIN_SHARES..=MAX_SHARES).contains(&shares);
        if !in_range && out.homes().of(Controller::Cpu) == Some(Version::V1) {
            let (bound, limit) =
                if shares < MIN_SHARES { ("minimum", MIN_SHARES) } else { ("maximum", MAX_SHARES) };
            return out.invalid(key, format!("{shares}; the {bound} allowed cpu-shares is {limit}"));
        }
        let hint = Some("an idle group (cpu.idle) takes no weight");
        out.field(Controller::Cpu, key, |version| match version {
            Version::V1 => Field::Special("cpu.shares".into(), shares.to_string(), IfAbsent::Fail, hint),
            Version::V2 => {
                let weight = weight_of_shares(shares).to_string();
                Field::Special("cpu.weight".into(), weight, IfAbsent::Fail, hint)
            }
        });
    }

    fn convert_idle(&self, out: &mut Writes) {
        let Some(idle) = self.idle else { return };
        // Before 5.15 no group is idle, which is what 0 asks for.
        let if_absent = if idle == 0 { IfAbsent::Skip } else { IfAbsent::Fail };
        out.field(Controller::Cpu, "linux.resources.cpu.idle", |_| {
            Field::Special("cpu.idle".into(), idle.to_string(), if_absent, None)
        });
    }

    fn convert_bandwidth(&self, in_force: Option<i64>, out: &mut Writes) {
        let quota = self.quota.filter(|quota| *quota != 0);
        let period = self.period.filter(|period| *period != 0);
        match out.homes().of(Controller::Cpu) {
            Some(Version::V2) => convert_cpu_max(quota, period, in_force, out),
            _ => convert_cfs(quota, period, out),
        }
        if let Some(burst) = self.burst {
            // Before 5.14 there is no burst, which is what 0 asks for.
            let if_absent = if burst == 0 { IfAbsent::Skip } else { IfAbsent::Fail };
            let hint = Some("burst must not be more than quota");
            out.field(Controller::Cpu, "linux.resources.cpu.burst", |version| {
                let file = match version {
                    Version::V1 => "cpu.cfs_burst_us",
                    Version::V2 => "cpu.max.burst",
                };
                Field::Special(file.into(), burst.to_string(), if_absent, hint)
            });
        }
    }

    fn convert_realtime(&self, out: &mut Writes) {
        let fields = [
            (
                "linux.resources.cpu.realtimePeriod",
                "cpu.rt_period_us",
                self.realtime_period.filter(|us| *us != 0).map(|us| us.to_string()),
            ),
            (
                "linux.resources.cpu.realtimeRuntime",
                "cpu.rt_runtime_us",
                self.realtime_runtime.filter(|us| *us != 0).map(|us| us.to_string()),
            ),
        ];
        for (key, file, value) in fields {
            let Some(value) = value else { continue };
            out.field(Controller::Cpu, key, |version| match version {
                Version::V1 => Field::Special(file.into(), value, IfAbsent::Fail, Some(REALTIME_HINT)),
                Version::V2 => Field::Cannot("control groups version 2 do not share out real-time budget"),
            });
        }
    }

    fn convert_cpusets(&self, out: &mut Writes) {
        let hint = Some("the group above must have these, and they must be online");
        let fields = [
            ("linux.resources.cpu.cpus", "cpuset.cpus", &self.cpus),
            ("linux.resources.cpu.mems", "cpuset.mems", &self.mems),
        ];
        for (key, file, list) in fields {
            let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
            out.field(Controller::Cpuset, key, |_| {
                Field::Special(file.into(), list.to_owned(), IfAbsent::Fail, hint)
            });
        }
    }
}

fn convert_cfs(quota: Option<i64>, period: Option<u64>, out: &mut Writes) {
    if let Some(period) = period {
        let hint =
            Some("period must be 1000 to 1000000 us, and quota per period no more than in the group above");
        out.field(Controller::Cpu, "linux.resources.cpu.period", |_| {
            Field::Special("cpu.cfs_period_us".into(), period.to_string(), IfAbsent::Fail, hint)
        });
    }
    if let Some(quota) = quota {
        let hint = Some("quota must be at least 1000 us and per period no more than in the group above");
        out.field(Controller::Cpu, "linux.resources.cpu.quota", |_| {
            Field::Special("cpu.cfs_quota_us".into(), quota.max(-1).to_string(), IfAbsent::Fail, hint)
        });
    }
}

/// `cpu.max` takes `quota` or `quota period`, never the period alone, which therefore goes with the quota in force.
fn convert_cpu_max(quota: Option<i64>, period: Option<u64>, in_force: Option<i64>, out: &mut Writes) {
    let key = match (quota, period) {
        (None, None) => return,
        (Some(_), _) => "linux.resources.cpu.quota",
        (None, Some(_)) => "linux.resources.cpu.period",
    };
    let quota = quota.or(in_force).filter(|quota| *quota > 0);
    let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
    let value = period.map_or_else(|| quota.clone(), |period| format!("{quota} {period}"));
    let hint = Some("period must be 1000 to 1000000 us, quota at least 1000 us");
    out.field(Controller::Cpu, key, |_| Field::Special("cpu.max".into(), value, IfAbsent::Fail, hint));
}

/// The version 2 weight (1 to 10000) for version 1 shares (2 to 262144).
///
/// A parabola in the logarithms through the two minima, the two maxima and the two defaults (1024 is 100), which is what the
/// other runtimes and Kubernetes agreed on; a linear map would make the default 39.
pub fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=MIN_SHARES => 1,
        MAX_SHARES.. => MAX_WEIGHT,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // The last bits of a power differ between C libraries and must not lift 100 to 101.
            (10_f64.powf(exponent) - 1e-9).ceil() as u64
        }
    }
}

/// The characters of a list of numbers as the kernel parses it, strides included: `0-31:2/8`.
fn is_list(list: &str) -> bool {
    list.chars().all(|c| c.is_ascii_digit() || ",-:/ ".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_meet_minimum_default_and_maximum() {
        let table = [
            (0, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (102, 17),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_143, 10_000),
            (u64::MAX, 10_000),
        ];
        for (shares, weight) in table {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        let weights: Vec<u64> = (2..3_000).map(weight_of_shares).collect();
        assert!(weights.is_sorted(), "more shares are never less weight");
    }
}
