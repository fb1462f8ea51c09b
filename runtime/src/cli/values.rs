//! Values of options that have an inner form: sizes, users, cgroup paths, addresses.
//!
//! Each function reads one and says in a sentence what is wrong with it; whether the value makes sense for
//! the container is for the configuration's rules. Durations and signals have files of their own.

use std::path::PathBuf;
use std::str::FromStr;

use super::args::{PageServer, SubCgroups, UserId};

/// A whole number of type `T`.
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no whole number in range"))
}

/// Bytes of memory: a number, with a fraction if it has a unit of 1024s (`64m`, `1.5g`, `1GiB`), or -1 for no
/// limit.
pub(super) fn bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    size(text).ok_or_else(|| format!("{text:?} is no size; write it as 67108864, 64m or 1.5g"))
}

fn size(text: &str) -> Option<i64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let power = power(unit.strip_prefix(' ').unwrap_or(unit))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole = whole.parse::<i64>().ok()?.checked_mul(1 << power)?;
    // Below a millionth of the unit, digits are cut off.
    let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let part = (digits.parse::<i64>().ok()? << power.min(40)) / 1_000_000;
    whole.checked_add(part.checked_shl(power.saturating_sub(40))?)
}

/// The power of two of a unit: the first letter counts, `i` and `b` behind it add nothing.
fn power(unit: &str) -> Option<u32> {
    let unit = unit.to_ascii_lowercase();
    let letter = unit.strip_suffix('b').unwrap_or(&unit);
    match letter.strip_suffix('i').filter(|letter| !letter.is_empty()).unwrap_or(letter) {
        "" => Some(0),
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        "p" => Some(50),
        _ => None,
    }
}

/// `UID[:GID]`.
pub(super) fn user(text: &str) -> Result<UserId, String> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    // The standard library takes a sign, which no other runtime does.
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => number(text),
        false => Err(format!("{text:?} is no whole number in range")),
    };
    let uid = number(uid).map_err(|reason| format!("bad uid: {reason}"))?;
    let gid = gid.map(number).transpose().map_err(|reason| format!("bad gid: {reason}"))?;
    Ok(UserId { uid, gid })
}

/// Every `--cgroup` of an exec: one path for cgroup v2, or `CONTROLLER[,CONTROLLER]:PATH` for v1, each
/// controller once.
pub(super) fn sub_cgroups<'a>(values: impl Iterator<Item = &'a str>) -> Result<SubCgroups, String> {
    let mut paths: Vec<(String, PathBuf)> = Vec::new();
    let mut unified = None;
    for value in values {
        let Some((controllers, path)) = value.split_once(':') else {
            if unified.replace(PathBuf::from(value)).is_some() {
                return Err(format!("invalid --cgroup argument: {value:?} (missing <controller>: prefix)"));
            }
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return Err(format!("invalid --cgroup argument: {value:?} (empty <controller> prefix)"));
            }
            if paths.iter().any(|(known, _)| known == controller) {
                return Err(format!(
                    "invalid --cgroup argument(s): controller {controller:?} specified multiple times"
                ));
            }
            paths.push((controller.to_owned(), PathBuf::from(path)));
        }
    }
    match unified {
        Some(path) if paths.is_empty() => Ok(SubCgroups::Unified(path)),
        Some(path) => Err(format!("invalid --cgroup argument: {path:?} (missing <controller>: prefix)")),
        None if paths.is_empty() => Ok(SubCgroups::None),
        None => Ok(SubCgroups::Controllers(paths)),
    }
}

/// `ADDRESS:PORT`, with brackets around an IPv6 address.
pub(super) fn page_server(text: &str) -> Result<PageServer, String> {
    let bad = || format!("{text:?} is not ADDRESS:PORT");
    let (address, port) = text.rsplit_once(':').ok_or_else(bad)?;
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
    if address.is_empty() || (bare.is_none() && address.contains(':')) {
        return Err(bad());
    }
    let port = port.parse().map_err(|_| bad())?;
    Ok(PageServer { address: bare.unwrap_or(address).to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        let table = [
            ("0", 0),
            ("67108864", 1 << 26),
            ("64m", 1 << 26),
            ("64M", 1 << 26),
            ("64MB", 1 << 26),
            ("64MiB", 1 << 26),
            ("64 mb", 1 << 26),
            ("1.5g", 3 << 29),
            ("0.5k", 512),
            ("1t", 1 << 40),
            ("2p", 2 << 50),
            ("1.5p", 3 << 49),
            ("100b", 100),
            ("-1", -1),
            ("9223372036854775807", i64::MAX),
            ("1.k", 1024),
        ];
        for (text, bytes_of_it) in table {
            assert_eq!(bytes(text), Ok(bytes_of_it), "{text}");
        }
        for text in [
            "",
            "-2",
            "m",
            "1x",
            "1mm",
            "1 2",
            "9223372036854775808",
            "8192p",
            "1.2.3k",
            ".5k",
            "64  m",
            "i",
            "ib",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_user_is_numbers() {
        assert_eq!(user("0"), Ok(UserId { uid: 0, gid: None }));
        assert_eq!(user("1000:4294967295"), Ok(UserId { uid: 1000, gid: Some(u32::MAX) }));
        assert!(user("root").unwrap_err().starts_with("bad uid"));
        assert!(user("1:wheel").unwrap_err().starts_with("bad gid"));
        for bad in
            ["-1", "+1", "", " 1", "1 ", "0x0", "1.0", ":", ":2", "1:", "1:2:3", "4294967296", "\u{ff11}"]
        {
            assert!(user(bad).unwrap_err().starts_with("bad "), "{bad:?}");
        }
    }

    #[test]
    fn sub_cgroups_are_one_path_or_one_per_controller() {
        let read = |values: &[&str]| sub_cgroups(values.iter().copied());
        let pair = |name: &str, path: &str| (name.to_owned(), PathBuf::from(path));
        assert_eq!(read(&[]), Ok(SubCgroups::None));
        assert_eq!(read(&["a/b"]), Ok(SubCgroups::Unified("a/b".into())));
        assert_eq!(
            read(&["cpu,cpuacct:x", "memory:y"]),
            Ok(SubCgroups::Controllers(vec![pair("cpu", "x"), pair("cpuacct", "x"), pair("memory", "y")]))
        );
        for bad in
            [&["a", "b"][..], &["cpu:a", "b"], &["b", "cpu:a"], &[":a"], &["cpu,:a"], &["cpu:a", "cpu:b"]]
        {
            assert!(read(bad).unwrap_err().starts_with("invalid --cgroup argument"), "{bad:?}");
        }
    }

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        let server = |address: &str, port| Ok(PageServer { address: address.to_owned(), port });
        assert_eq!(page_server("10.0.0.1:9000"), server("10.0.0.1", 9000));
        assert_eq!(page_server("[::1]:27"), server("::1", 27));
        for bad in ["", "host", ":1", "host:", "host:65536", "::1:27", "host:x"] {
            assert!(page_server(bad).is_err(), "{bad}");
        }
    }
}
