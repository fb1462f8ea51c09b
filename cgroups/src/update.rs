//! Changing the limits of a container that exists, all or nothing.
//!
//! Every value that is about to change is read first. When a write fails, what was written before it is put back in reverse
//! order, so each group passes through states that it was in already.

use sys::{Error, Kind, Result};

use crate::cgroup::Cgroup;
use crate::controller::{Controller, Controllers, Homes, Version};
use crate::directory::Directory;
use crate::record::Unit;
use crate::resources::devices::Policy;
use crate::resources::{self, InForce, Resources, Write};
use crate::{device_program, systemd, v1};

/// Above this a version 1 group says that it has no limit: the largest multiple of a page in 63 bits.
const V1_UNLIMITED: i64 = i64::MAX - 0xffff;

/// Changes what `asked` asks for in `cgroup` and leaves everything else as it is.
///
/// Device rules, where there are any, replace the whole policy.
pub(crate) fn update(cgroup: &Cgroup, asked: &Resources) -> Result<()> {
    let groups = Groups::new(cgroup)?;
    let in_force = groups.in_force(asked)?;
    let mut writes = resources::all(asked.changes(groups.homes, in_force))?;
    let policy = match asked.devices.as_deref() {
        None | Some([]) => None,
        Some(_) => Some(resources::all(asked.device_policy())?),
    };
    groups.check_usage(asked)?;
    groups.order(&mut writes)?;
    let mut changed = Vec::new();
    let unit = cgroup.record().unit.as_ref();
    let done = groups
        .deliver(&writes, &mut changed)
        .and_then(|()| tell_systemd(unit, groups.targets(&writes)?.into_iter()));
    done.map_err(|error| undo(&changed, error))?;
    groups.set_devices(policy.as_ref()).map_err(|error| {
        let told_back =
            tell_systemd(unit, changed.iter().map(|change| (change.file.as_str(), change.before.as_str())));
        told_back.err().into_iter().fold(undo(&changed, error), Error::and_also)
    })
}

/// Tells systemd what is in force, so that it does not undo it when it reloads.
fn tell_systemd<'a>(unit: Option<&Unit>, values: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
    unit.map_or(Ok(()), |unit| systemd::set_limits(unit, values))
}

/// A value that was changed.
struct Changed<'a> {
    group: &'a Directory,
    file: String,
    before: String,
}

fn undo(changed: &[Changed<'_>], error: Error) -> Error {
    changed.iter().rev().fold(error, |error, change| match change.group.write(&change.file, &change.before) {
        Ok(()) => error,
        Err(other) => error.and_also(other),
    })
}

/// The groups that an update can touch, opened once.
struct Groups {
    homes: Homes,
    groups: Vec<(Version, Controllers, Directory)>,
}

impl Groups {
    fn new(cgroup: &Cgroup) -> Result<Self> {
        let mut homes = Homes::default();
        let mut groups = Vec::new();
        for (version, names, group) in cgroup.groups()? {
            let controllers = match version {
                Version::V1 => Controllers::of_v1(names),
                Version::V2 => Controllers::of_v2(&group.read("cgroup.controllers")?),
            };
            match version {
                Version::V1 => homes.v1 = homes.v1.union(controllers),
                Version::V2 => homes.v2 = Some(controllers),
            }
            groups.push((version, controllers, group));
        }
        Ok(Self { homes, groups })
    }

    /// The group that drives `controller`, or the version 2 one for a file of no controller.
    fn home(&self, controller: Option<Controller>, version: Version) -> Option<&Directory> {
        let drives = |controllers: &Controllers| {
            version == Version::V2 || controller.is_some_and(|controller| controllers.contains(controller))
        };
        let found = self.groups.iter().find(|(v, controllers, _)| *v == version && drives(controllers));
        found.map(|(_, _, group)| group)
    }

    fn of(&self, controller: Controller) -> Option<(Version, &Directory)> {
        let version = self.homes.of(controller)?;
        Some((version, self.home(Some(controller), version)?))
    }

    /// The limits that complete what `asked` says of memory and CPU, read only where they are needed.
    fn in_force(&self, asked: &Resources) -> Result<InForce> {
        let mut in_force = InForce::default();
        let set = |value: Option<i64>| value.is_some_and(|value| value != 0);
        if let Some(memory) = &asked.memory
            && set(memory.swap)
            && !set(memory.limit)
            && let Some((version, group)) = self.of(Controller::Memory)
        {
            let file = if version == Version::V1 { "memory.limit_in_bytes" } else { "memory.max" };
            in_force.memory_limit = number(&group.read(file)?).filter(|limit| *limit < V1_UNLIMITED);
        }
        if let Some(cpu) = &asked.cpu
            && cpu.period.is_some()
            && !set(cpu.quota)
            && let Some((Version::V2, group)) = self.of(Controller::Cpu)
        {
            in_force.cpu_quota = number(&group.read("cpu.max")?);
        }
        Ok(in_force)
    }

    /// `checkBeforeUpdate`: version 1 refuses a limit below the usage itself, version 2 would kill for it.
    fn check_usage(&self, asked: &Resources) -> Result<()> {
        let Some(memory) = asked.memory.as_ref().filter(|memory| memory.check_before_update == Some(true))
        else {
            return Ok(());
        };
        let (Some(limit), Some((version, group))) =
            (memory.limit.filter(|limit| *limit > 0), self.of(Controller::Memory))
        else {
            return Ok(());
        };
        let file = if version == Version::V1 { "memory.usage_in_bytes" } else { "memory.current" };
        let usage = number(&group.read(file)?).unwrap_or(0);
        if usage <= limit {
            return Ok(());
        }
        let what = format!("the limit of {limit} bytes is below the {usage} bytes in use");
        Err(Error::new(Kind::WrongState, what).with_key("linux.resources.memory.limit"))
    }

    /// Orders pairs of values that the kernel checks against each other, so that no state in between is refused.
    fn order(&self, writes: &mut [Write]) -> Result<()> {
        // Memory alone is never more than memory and swap together: the second is raised first.
        self.swap_if(
            writes,
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            |limit, _, _, memsw| limit > memsw,
        )?;
        // Quota per period is limited by the group above: a shorter period comes after the quota.
        let shorter = |period: i64, before: i64, _: i64, _: i64| period < before;
        self.swap_if(writes, "cpu.cfs_period_us", "cpu.cfs_quota_us", shorter)?;
        self.swap_if(writes, "cpu.rt_period_us", "cpu.rt_runtime_us", shorter)?;
        // Burst is never more than quota: a smaller one comes first.
        let smaller = |_: i64, _: i64, burst: i64, before: i64| burst < before;
        self.swap_if(writes, "cpu.cfs_quota_us", "cpu.cfs_burst_us", smaller)?;
        self.swap_if(writes, "cpu.max", "cpu.max.burst", smaller)
    }

    /// Swaps the writes of `first` and `second` if `condition` holds of the new and old value of the first and the new and
    /// old value of the second.
    fn swap_if(
        &self,
        writes: &mut [Write],
        first: &str,
        second: &str,
        condition: impl Fn(i64, i64, i64, i64) -> bool,
    ) -> Result<()> {
        let position = |file: &str| writes.iter().position(|write| write.file == file);
        let (Some(a), Some(b)) = (position(first), position(second)) else { return Ok(()) };
        let (Some(first), Some(second)) = (writes.get(a), writes.get(b)) else { return Ok(()) };
        let (old_a, old_b) = (self.current(first)?, self.current(second)?);
        if a < b && condition(unsigned(&first.value), old_a, unsigned(&second.value), old_b) {
            writes.swap(a, b);
        }
        Ok(())
    }

    fn current(&self, write: &Write) -> Result<i64> {
        let text = match self.home(write.controller, write.version) {
            Some(group) => group.read_if_there(&write.file)?,
            None => None,
        };
        Ok(text.map_or(0, |text| unsigned(&text)))
    }

    /// The files that count here, and what they get.
    fn targets<'a>(&self, writes: &'a [Write]) -> Result<Vec<(&'a str, &'a str)>> {
        let homes =
            writes.iter().filter_map(|write| Some((write, self.home(write.controller, write.version)?)));
        let targets = homes.map(|(write, group)| write.target(group)).collect::<Result<Vec<_>>>()?;
        Ok(targets.into_iter().flatten().collect())
    }

    fn deliver<'a>(&'a self, writes: &[Write], changed: &mut Vec<Changed<'a>>) -> Result<()> {
        for write in writes {
            let group = self.home(write.controller, write.version);
            let group = group.ok_or_else(|| write.no_controller().with_key(write.key.clone()))?;
            let Some((file, value)) = write.target(group)? else { continue };
            let text = group.read_if_there(file)?;
            group.write(file, value).map_err(|error| write.explain(group, error))?;
            let before = text.and_then(|text| before(file, value, &text));
            changed.extend(before.map(|before| Changed { group, file: file.to_owned(), before }));
        }
        Ok(())
    }

    fn set_devices(&self, policy: Option<&Policy>) -> Result<()> {
        let Some(policy) = policy else { return Ok(()) };
        match self.of(Controller::Devices) {
            Some((Version::V1, group)) => v1::change_devices(group, policy),
            Some((Version::V2, group)) => device_program::replace(group, policy),
            None => Ok(()),
        }
    }
}

/// The number at the start of a file; `None` for `max` and -1.
fn number(text: &str) -> Option<i64> {
    text.split_ascii_whitespace().next()?.parse().ok().filter(|number| *number >= 0)
}

/// The number at the start of a file with unlimited as the largest.
fn unsigned(text: &str) -> i64 {
    number(text).unwrap_or(i64::MAX)
}

/// What to write to `file` to get back the part of `text` that `value` replaced; `None` if nothing can be put back.
fn before(file: &str, value: &str, text: &str) -> Option<String> {
    let device = value.split_once(' ').map(|(device, _)| device).filter(|_| is_keyed(file, value));
    if let Some(device) = device {
        let line = text.lines().find(|line| line.split(' ').next() == Some(device));
        return Some(line.map_or_else(|| format!("{device} {}", nothing_of(file)), str::to_owned));
    }
    match file {
        "memory.oom_control" => {
            text.lines().find_map(|line| line.strip_prefix("oom_kill_disable ")).map(str::to_owned)
        }
        _ if number(text).is_some_and(|limit| limit >= V1_UNLIMITED) => Some("-1".to_owned()),
        // An empty list is written as a line of its own; no bytes at all would not be a write.
        _ if text.trim().is_empty() => Some("\n".to_owned()),
        _ => text.lines().next().map(str::to_owned),
    }
}

/// Whether a value of `file` is about one device or interface.
fn is_keyed(file: &str, value: &str) -> bool {
    let by_device = ["io.max", "rdma.max", "net_prio.ifpriomap", "io.latency", "io.cost.qos", "misc.max"];
    by_device.contains(&file)
        || file.starts_with("blkio.throttle.")
        || file.ends_with("weight_device")
        || (matches!(file, "io.weight" | "io.bfq.weight") && value.contains(':'))
}

/// What a device without a limit of its own has.
fn nothing_of(file: &str) -> &'static str {
    match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "rdma.max" => "hca_handle=max hca_object=max",
        "io.weight" | "io.bfq.weight" => "default",
        "misc.max" => "max",
        _ => "0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_can_be_written_back() {
        for (file, value, text, expected) in [
            ("memory.max", "4096", "max\n", Some("max")),
            ("memory.limit_in_bytes", "4096", "9223372036854771712\n", Some("-1")),
            ("cpu.max", "50000 100000", "max 100000\n", Some("max 100000")),
            ("cpuset.cpus", "0", "\n", Some("\n")),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", Some("0")),
            (
                "io.max",
                "8:0 rbps=1",
                "8:16 rbps=2 wbps=max riops=max wiops=max\n",
                Some("8:0 rbps=max wbps=max riops=max wiops=max"),
            ),
            (
                "io.max",
                "8:0 rbps=1",
                "8:0 rbps=2 wbps=max riops=max wiops=max\n",
                Some("8:0 rbps=2 wbps=max riops=max wiops=max"),
            ),
            ("io.weight", "8:0 7", "default 100\n8:0 50\n", Some("8:0 50")),
            ("io.weight", "8:0 7", "default 100\n", Some("8:0 default")),
            ("io.weight", "200", "default 100\n8:0 50\n", Some("default 100")),
            ("blkio.throttle.read_bps_device", "8:0 7", "", Some("8:0 0")),
            ("net_prio.ifpriomap", "lo 7", "lo 0\neth0 1\n", Some("lo 0")),
        ] {
            assert_eq!(before(file, value, text).as_deref(), expected, "{file}={value}");
        }
    }
}
