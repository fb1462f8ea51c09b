//! One table: the version 2 file that a limit is written to, and the property that tells systemd the same.
//!
//! systemd writes its properties again on every reload, so what it does not know of, it may undo. What it has no property for
//! is written to the file alone, which the unit's Delegate leaves to us.

use super::message::Value;

const UNLIMITED: u64 = u64::MAX;

type Convert = fn(&str, &'static str) -> Option<Vec<(&'static str, Value)>>;

const TABLE: &[(&str, &str, Convert)] = &[
    ("memory.max", "MemoryMax", number),
    ("memory.high", "MemoryHigh", number),
    ("memory.low", "MemoryLow", number),
    ("memory.min", "MemoryMin", number),
    ("memory.swap.max", "MemorySwapMax", number),
    ("pids.max", "TasksMax", tasks),
    ("cpu.weight", "CPUWeight", number),
    ("cpu.max", "CPUQuotaPerSecUSec", cpu_max),
    ("cpuset.cpus", "AllowedCPUs", bits),
    ("cpuset.mems", "AllowedMemoryNodes", bits),
    ("io.weight", "IOWeight", io_weight),
    ("io.bfq.weight", "IOWeight", bfq_weight),
];

/// The properties that mean `value` in `file`; empty if there are none.
pub(super) fn of(file: &str, value: &str) -> Vec<(&'static str, Value)> {
    let row = TABLE.iter().find(|row| row.0 == file);
    row.and_then(|(_, property, convert)| convert(value, property)).unwrap_or_default()
}

fn limit(value: &str) -> Option<u64> {
    if value == "max" { Some(UNLIMITED) } else { value.parse().ok() }
}

fn number(value: &str, property: &'static str) -> Option<Vec<(&'static str, Value)>> {
    Some(vec![(property, Value::Number(limit(value)?))])
}

/// systemd refuses 0; 1 means the same once the first process is there.
fn tasks(value: &str, property: &'static str) -> Option<Vec<(&'static str, Value)>> {
    Some(vec![(property, Value::Number(limit(value)?.max(1)))])
}

/// `quota period` as time in a second, and the period; a quota alone goes with the kernel's default period.
fn cpu_max(value: &str, property: &'static str) -> Option<Vec<(&'static str, Value)>> {
    let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
    let (quota, period) = (limit(quota)?, period.parse::<u64>().ok().filter(|period| *period > 0)?);
    let per_second = match quota {
        UNLIMITED => UNLIMITED,
        quota => quota.checked_mul(1_000_000)?.div_ceil(period),
    };
    Some(vec![(property, Value::Number(per_second)), ("CPUQuotaPeriodUSec", Value::Number(period))])
}

/// The group's own weight; those of single devices stay with the file.
fn io_weight(value: &str, property: &'static str) -> Option<Vec<(&'static str, Value)>> {
    number(value.strip_prefix("default ").unwrap_or(value), property)
}

/// systemd derives the file from its property: 1 to 100 as they are, above that 900 steps for 9900 (CGroup settings of
/// systemd.resource-control(5)). This is the way back, so that a reload writes what is there.
fn bfq_weight(value: &str, property: &'static str) -> Option<Vec<(&'static str, Value)>> {
    let weight: u64 = value.parse().ok()?;
    Some(vec![(property, Value::Number(weight + weight.saturating_sub(100) * 10))])
}

/// `0-2,5` as a mask, the lowest bit of the first byte first.
fn bits(value: &str, property: &'static str) -> Option<Vec<(&'static str, Value)>> {
    let mut mask = Vec::new();
    for part in value.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if last >= 1 << 16 {
            return None;
        }
        for bit in first..=last {
            mask.resize(mask.len().max(bit / 8 + 1), 0);
            *mask.get_mut(bit / 8)? |= 1_u8 << (bit % 8);
        }
    }
    Some(vec![(property, Value::Bytes(mask))])
}

/// The same as text, for the table of every field: `MemoryMax=4096`, unlimited as `max`, masks byte by byte.
#[cfg(test)]
pub(crate) fn show(file: &str, value: &str) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Number(UNLIMITED) => "max".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bytes(bytes) => format!("{bytes:x?}"),
        other => format!("{other:?}"),
    };
    of(file, value).iter().map(|(name, value)| format!("{name}={}", text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_properties() {
        let number = |name, value| vec![(name, Value::Number(value))];
        for (file, value, expected) in [
            ("memory.max", "4096", number("MemoryMax", 4096)),
            ("memory.swap.max", "max", number("MemorySwapMax", u64::MAX)),
            ("pids.max", "0", number("TasksMax", 1)),
            ("cpu.weight", "100", number("CPUWeight", 100)),
            (
                "cpu.max",
                "50000 200000",
                vec![
                    ("CPUQuotaPerSecUSec", Value::Number(250_000)),
                    ("CPUQuotaPeriodUSec", Value::Number(200_000)),
                ],
            ),
            (
                "cpu.max",
                "max",
                vec![
                    ("CPUQuotaPerSecUSec", Value::Number(u64::MAX)),
                    ("CPUQuotaPeriodUSec", Value::Number(100_000)),
                ],
            ),
            ("cpuset.cpus", "0-2,9", vec![("AllowedCPUs", Value::Bytes(vec![0b111, 0b10]))]),
            ("cpuset.cpus", "0-99999999", vec![]),
            ("io.weight", "8:0 100", vec![]),
            ("io.weight", "default 200", number("IOWeight", 200)),
            ("io.bfq.weight", "10", number("IOWeight", 10)),
            ("io.bfq.weight", "500", number("IOWeight", 4_500)),
            ("io.bfq.weight", "1000", number("IOWeight", 10_000)),
            ("io.bfq.weight", "8:0 100", vec![]),
            ("hugetlb.2MB.max", "0", vec![]),
        ] {
            assert_eq!(of(file, value), expected, "{file}={value}");
        }
    }
}
