//! The few formats of statistics files.

use super::{Psi, PsiData, RdmaEntry};

/// `key value` lines.
pub(super) fn flat(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// The value of `key` among `key value` lines, 0 where the kernel does not know it.
pub(crate) fn value(text: &str, key: &str) -> u64 {
    flat(text).find(|(name, _)| *name == key).map_or(0, |(_, value)| value)
}

/// One number; `max` and everything unlimited is the largest.
pub(super) fn number(text: &str) -> u64 {
    let text = text.trim();
    if text == "max" { u64::MAX } else { text.parse().unwrap_or(0) }
}

/// Numbers between blanks.
pub(super) fn numbers(text: &str) -> Vec<u64> {
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// `key=value` words.
pub(super) fn words(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split_ascii_whitespace().filter_map(|word| word.split_once('='))
}

/// `8:16` as two numbers.
pub(super) fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A pressure file.
pub(crate) fn psi(text: &str) -> Psi {
    let mut psi = Psi::default();
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("some", rest)) => psi.some = psi_line(rest),
            Some(("full", rest)) => psi.full = psi_line(rest),
            _ => {}
        }
    }
    psi
}

fn psi_line(line: &str) -> PsiData {
    let mut data = PsiData::default();
    for (key, value) in words(line) {
        match key {
            "avg10" => data.avg10 = value.parse().unwrap_or(0.0),
            "avg60" => data.avg60 = value.parse().unwrap_or(0.0),
            "avg300" => data.avg300 = value.parse().unwrap_or(0.0),
            "total" => data.total = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    data
}

/// `rdma.current` and `rdma.max`.
pub(super) fn rdma(text: &str) -> Vec<RdmaEntry> {
    let count = |value: &str| value.parse().unwrap_or(u32::MAX);
    text.lines()
        .filter_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            let mut entry = RdmaEntry { device: device.to_owned(), ..RdmaEntry::default() };
            for (key, value) in words(rest) {
                match key {
                    "hca_handle" => entry.hca_handles = count(value),
                    "hca_object" => entry.hca_objects = count(value),
                    _ => {}
                }
            }
            Some(entry)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_has_two_lines() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=7\n";
        let psi = psi(text);
        assert_eq!(psi.some, PsiData { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 12_345 });
        assert_eq!((psi.full.avg10, psi.full.total), (0.1, 7));
    }

    #[test]
    fn numbers_and_devices_are_read() {
        assert_eq!(number("max\n"), u64::MAX);
        assert_eq!(number("12\n"), 12);
        assert_eq!(value("anon 1\nanon_thp 2\n", "anon_thp"), 2);
        assert_eq!(device("8:16"), Some((8, 16)));
        assert_eq!(device("Total"), None);
        let entry = RdmaEntry { device: "mlx4_0".to_owned(), hca_handles: 2, hca_objects: u32::MAX };
        assert_eq!(rdma("mlx4_0 hca_handle=2 hca_object=max\n"), [entry]);
    }
}
