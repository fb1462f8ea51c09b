//! `linux.resources.devices`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#allowed-device-list)).
//!
//! Everything is denied, then the rules hold in order, and at the end stands what every container may use. Reading, writing
//! and mknod are decided each by the last rule that speaks of it, and what asks for several needs all of them. So an absent or empty list never allows anything beyond that.
//!
//! A [`Policy`] is what the drivers deliver: version 1 as lists (`V1State`), version 2 as a program
//! (`crate::device_program`). Both come from the same rules.

use std::fmt;

use serde::{Deserialize, Serialize};
use sys::{Error, Kind, Result};

/// One rule as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct DeviceRule {
    /// Whether the access is allowed.
    pub allow: bool,
    /// `a` (all, the default), `c` or `b`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Device number; absent or -1 for all.
    pub major: Option<i64>,
    /// Device number; absent or -1 for all.
    pub minor: Option<i64>,
    /// Some of `r`, `w` and `m` (mknod).
    pub access: Option<String>,
}

/// Allowed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Allow,
    Deny,
}

/// Which kind of device file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kinds {
    Block,
    Char,
    Both,
}

/// A set of mknod (1), read (2) and write (4), as linux/bpf.h numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Access(pub(crate) u8);

impl Access {
    pub(crate) const MKNOD: Self = Self(1);
    pub(crate) const READ: Self = Self(2);
    pub(crate) const WRITE: Self = Self(4);
    pub(crate) const ALL: Self = Self(7);

    const fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, bit) in [("r", Self::READ), ("w", Self::WRITE), ("m", Self::MKNOD)] {
            if self.meets(bit) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// One rule; an absent number stands for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) verdict: Verdict,
    pub(crate) kinds: Kinds,
    pub(crate) access: Access,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
}

const fn allow(kinds: Kinds, major: Option<u32>, minor: Option<u32>, access: Access) -> Rule {
    Rule { verdict: Verdict::Allow, kinds, access, major, minor }
}

/// What every container may use: mknod of anything, which gives no access, and the devices of a default /dev.
const ALWAYS: [Rule; 10] = [
    allow(Kinds::Char, None, None, Access::MKNOD),
    allow(Kinds::Block, None, None, Access::MKNOD),
    allow(Kinds::Char, Some(1), Some(3), Access::ALL), // null
    allow(Kinds::Char, Some(1), Some(5), Access::ALL), // zero
    allow(Kinds::Char, Some(1), Some(7), Access::ALL), // full
    allow(Kinds::Char, Some(1), Some(8), Access::ALL), // random
    allow(Kinds::Char, Some(1), Some(9), Access::ALL), // urandom
    allow(Kinds::Char, Some(5), Some(0), Access::ALL), // tty
    allow(Kinds::Char, Some(5), Some(2), Access::ALL), // ptmx
    allow(Kinds::Char, Some(136), None, Access::ALL),  // pts/*
];

impl Rule {
    fn new(index: usize, written: &DeviceRule) -> std::result::Result<Self, Error> {
        let invalid = |part: &str, what: String| {
            Error::invalid(format!("linux.resources.devices[{index}].{part}"), what)
        };
        let kinds = match written.kind.as_deref() {
            None | Some("" | "a") => Kinds::Both,
            Some("b") => Kinds::Block,
            Some("c") => Kinds::Char,
            Some(other) => return Err(invalid("type", format!("{other:?} is not one of a, b and c"))),
        };
        let number = |part: &str, value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(value) => u32::try_from(value)
                .map(Some)
                .map_err(|_| invalid(part, format!("{value} is not a device number"))),
        };
        let access = parse_access(written.access.as_deref().unwrap_or_default());
        let access = access.ok_or_else(|| {
            invalid(
                "access",
                format!("{:?} is not made of r, w and m", written.access.as_deref().unwrap_or_default()),
            )
        })?;
        let verdict = if written.allow { Verdict::Allow } else { Verdict::Deny };
        let (major, minor) = (number("major", written.major)?, number("minor", written.minor)?);
        Ok(Self { verdict, kinds, access, major, minor })
    }

    /// Whether everything that `other` matches is matched by this rule too.
    fn covers(&self, other: &Self) -> bool {
        (self.kinds == Kinds::Both || self.kinds == other.kinds)
            && self.access.contains(other.access)
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// Whether some access is matched by both.
    fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        (self.kinds == Kinds::Both || other.kinds == Kinds::Both || self.kinds == other.kinds)
            && self.access.meets(other.access)
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
    }

    fn is_for_everything(&self) -> bool {
        self.kinds == Kinds::Both
            && self.access == Access::ALL
            && self.major.is_none()
            && self.minor.is_none()
    }
}

fn parse_access(text: &str) -> Option<Access> {
    let mut bits = 0;
    for letter in text.chars() {
        bits |= match letter {
            'm' => Access::MKNOD.0,
            'r' => Access::READ.0,
            'w' => Access::WRITE.0,
            // Configurations that were made for runc have it, where it means nothing.
            'a' => 0,
            _ => return None,
        };
    }
    (bits != 0).then_some(Access(bits))
}

/// Who may use which device: the last rule that matches decides, the default if none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) default: Verdict,
    pub(crate) rules: Vec<Rule>,
}

impl Policy {
    /// The policy of `written`, or every rule in it that is malformed.
    pub(crate) fn new(written: &[DeviceRule]) -> std::result::Result<Self, Vec<Error>> {
        let mut policy =
            Self { default: Verdict::Deny, rules: Vec::with_capacity(written.len() + ALWAYS.len()) };
        let mut errors = Vec::new();
        for (index, rule) in written.iter().enumerate() {
            match Rule::new(index, rule) {
                Ok(rule) => policy.add(rule),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        ALWAYS.into_iter().for_each(|rule| policy.add(rule));
        Ok(policy)
    }

    /// Adds `rule` behind the others and drops what can no longer decide anything.
    fn add(&mut self, rule: Rule) {
        let rule = self.join_kinds(rule);
        if rule.is_for_everything() {
            self.default = rule.verdict;
            return self.rules.clear();
        }
        if self.says_already(&rule) {
            return;
        }
        self.rules.retain(|older| !rule.covers(older));
        self.rules.push(rule);
    }

    /// A rule for block devices and the same rule for character devices are one for both.
    fn join_kinds(&self, rule: Rule) -> Rule {
        let other = match rule.kinds {
            Kinds::Block => Kinds::Char,
            Kinds::Char => Kinds::Block,
            Kinds::Both => return rule,
        };
        let twin = Rule { kinds: other, ..rule };
        if self.says_already(&twin) && self.rules.contains(&twin) {
            Rule { kinds: Kinds::Both, ..rule }
        } else {
            rule
        }
    }

    /// Whether all that `rule` speaks of has its verdict without it.
    fn says_already(&self, rule: &Rule) -> bool {
        let decided = self.rules.iter().rev().find_map(|older| match older.verdict == rule.verdict {
            true => older.covers(rule).then_some(true),
            false => older.overlaps(rule).then_some(false),
        });
        decided.unwrap_or(rule.verdict == self.default)
    }

    /// Whether every access to every device is allowed.
    pub(crate) fn allows_everything(&self) -> bool {
        self.default == Verdict::Allow && self.rules.is_empty()
    }

    /// What the policy says about one access: all that is asked for must be allowed, each part by the last rule that
    /// speaks of it.
    #[cfg(test)]
    pub(crate) fn decide(&self, kind: Kinds, major: u32, minor: u32, access: Access) -> Verdict {
        let parts =
            [Access::MKNOD, Access::READ, Access::WRITE].into_iter().filter(|part| access.contains(*part));
        let asked = |part| allow(kind, Some(major), Some(minor), part);
        let decided = parts.map(|part| {
            let rule = self.rules.iter().rev().find(|rule| rule.covers(&asked(part)));
            rule.map_or(self.default, |rule| rule.verdict)
        });
        decided.max().unwrap_or(Verdict::Allow)
    }
}

/// A version 1 device list: a default, and the exceptions from it by kind and numbers, in the order in which the rules
/// have them, which is the one that the kernel's list has then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct V1State {
    default: Verdict,
    exceptions: Vec<(Numbers, Access)>,
}

/// The kind and the numbers of an exception; no number is every number.
type Numbers = (char, Option<u32>, Option<u32>);

impl V1State {
    /// The list that means `policy`; an error if a list cannot express it.
    ///
    /// The kernel keeps exceptions from one default, so a hole in an exception cannot be written down.
    pub(crate) fn new(policy: &Policy) -> Result<Self> {
        let mut state = Self { default: policy.default, exceptions: Vec::new() };
        for rule in &policy.rules {
            for kind in rule.kinds.letters() {
                if rule.verdict == policy.default {
                    state.take_back(*kind, rule)?;
                } else {
                    state.except(*kind, rule);
                }
            }
        }
        Ok(state)
    }

    /// What the `devices.list` file says.
    ///
    /// `a *:* rwm` is all that the kernel tells of a group that allows by default; its exceptions are not shown.
    pub(crate) fn parse(list: &str) -> Option<Self> {
        let mut state = Self { default: Verdict::Deny, exceptions: Vec::new() };
        for line in list.lines() {
            let mut words = line.split(' ');
            let (kind, numbers, access) = (words.next()?, words.next()?, parse_access(words.next()?)?);
            if kind == "a" {
                state.default = Verdict::Allow;
                continue;
            }
            let (major, minor) = numbers.split_once(':')?;
            let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
            state.exceptions.push(((kind.chars().next()?, number(major)?, number(minor)?), access));
        }
        Some(state)
    }

    fn except(&mut self, kind: char, rule: &Rule) {
        let numbers = (kind, rule.major, rule.minor);
        match self.exceptions.iter_mut().find(|(own, _)| *own == numbers) {
            Some((_, access)) => access.0 |= rule.access.0,
            None => self.exceptions.push((numbers, rule.access)),
        }
    }

    fn take_back(&mut self, kind: char, rule: &Rule) -> Result<()> {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        for ((_, major, minor), access) in self.exceptions.iter_mut().filter(|(own, _)| own.0 == kind) {
            if !meet(*major, rule.major) || !meet(*minor, rule.minor) || !access.meets(rule.access) {
                continue;
            }
            let covered = (rule.major.is_none() || rule.major == *major)
                && (rule.minor.is_none() || rule.minor == *minor);
            if !covered {
                return Err(hole(kind, (rule.major, rule.minor), (*major, *minor)));
            }
            access.0 &= !rule.access.0;
        }
        self.exceptions.retain(|(_, access)| access.0 != 0);
        Ok(())
    }

    /// What to write into a group whose list is unknown: file and value.
    pub(crate) fn writes(&self) -> Vec<(&'static str, String)> {
        let (reset, except) = self.files();
        let exceptions = self.exceptions.iter().map(|(numbers, access)| (except, entry(*numbers, *access)));
        std::iter::once((reset, "a".to_owned())).chain(exceptions).collect()
    }

    /// What to write into a group whose list is `current`. New permissions come before the withdrawal of old ones, so
    /// nothing that is allowed before and after is denied in between.
    pub(crate) fn writes_from(&self, current: &Self) -> Vec<(&'static str, String)> {
        if self.default != Verdict::Deny || current.default != Verdict::Deny {
            return self.writes();
        }
        let mut writes = self.beyond(current, "devices.allow");
        writes.extend(current.beyond(self, "devices.deny"));
        writes
    }

    /// The exceptions that `other` lacks, as entries for `file`.
    fn beyond(&self, other: &Self, file: &'static str) -> Vec<(&'static str, String)> {
        let there = |numbers: Numbers| {
            other.exceptions.iter().find(|(own, _)| *own == numbers).map_or(0, |(_, access)| access.0)
        };
        let missing =
            self.exceptions.iter().map(|(numbers, access)| (*numbers, Access(access.0 & !there(*numbers))));
        missing
            .filter(|(_, access)| access.0 != 0)
            .map(|(numbers, access)| (file, entry(numbers, access)))
            .collect()
    }

    /// The file that sets the default, and the file that adds an exception.
    fn files(&self) -> (&'static str, &'static str) {
        match self.default {
            Verdict::Deny => ("devices.deny", "devices.allow"),
            Verdict::Allow => ("devices.allow", "devices.deny"),
        }
    }
}

impl Kinds {
    fn letters(self) -> &'static [char] {
        match self {
            Self::Block => &['b'],
            Self::Char => &['c'],
            Self::Both => &['b', 'c'],
        }
    }
}

fn numbers(major: Option<u32>, minor: Option<u32>) -> String {
    let text = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    format!("{}:{}", text(major), text(minor))
}

fn entry((kind, major, minor): Numbers, access: Access) -> String {
    format!("{kind} {} {access}", numbers(major, minor))
}

fn hole(kind: char, rule: (Option<u32>, Option<u32>), exception: (Option<u32>, Option<u32>)) -> Error {
    let (rule, exception) = (numbers(rule.0, rule.1), numbers(exception.0, exception.1));
    let what = format!("the rule for {kind} {rule} is a hole in the rule for {kind} {exception}");
    Error::new(Kind::Unsupported, what)
        .with_key("linux.resources.devices")
        .with_hint("control groups version 1 cannot express that; version 2 can")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> DeviceRule {
        let text = |text: &str| Some(text.to_owned());
        DeviceRule { allow, kind: text(kind), major: Some(major), minor: Some(minor), access: text(access) }
    }

    fn deny_all() -> DeviceRule {
        DeviceRule { access: Some("rwm".to_owned()), ..DeviceRule::default() }
    }

    #[test]
    fn without_rules_only_the_default_devices_are_allowed() {
        for policy in [Policy::new(&[]).unwrap(), Policy::new(&[deny_all()]).unwrap()] {
            assert_eq!(policy.rules.len(), ALWAYS.len() - 1, "mknod is one rule for both kinds");
            assert_eq!(policy.decide(Kinds::Char, 1, 3, Access::ALL), Verdict::Allow);
            assert_eq!(policy.decide(Kinds::Char, 136, 77, Access::WRITE), Verdict::Allow);
            assert_eq!(policy.decide(Kinds::Block, 254, 0, Access::MKNOD), Verdict::Allow);
            for (kind, major, minor) in
                [(Kinds::Char, 1, 1), (Kinds::Char, 1, 11), (Kinds::Block, 254, 0), (Kinds::Char, 10, 237)]
            {
                assert_eq!(policy.decide(kind, major, minor, Access::READ), Verdict::Deny, "{major}:{minor}");
            }
        }
    }

    #[test]
    fn the_defaults_stay_even_when_they_are_denied() {
        let policy = Policy::new(&[
            rule(true, "a", -1, -1, "rwm"),
            rule(false, "c", 1, 3, "rwm"),
            rule(false, "c", 1, 1, "rwm"),
        ])
        .unwrap();
        assert_eq!(policy.decide(Kinds::Char, 1, 3, Access::ALL), Verdict::Allow);
        assert_eq!(policy.decide(Kinds::Char, 1, 1, Access::READ), Verdict::Deny);
        assert_eq!(policy.decide(Kinds::Char, 1, 1, Access::MKNOD), Verdict::Allow);
        assert_eq!(policy.decide(Kinds::Block, 8, 0, Access::ALL), Verdict::Allow);
    }

    #[test]
    fn rules_that_decide_nothing_are_dropped() {
        let privileged = Policy::new(&[deny_all(), rule(true, "a", -1, -1, "rwm")]).unwrap();
        assert!(privileged.allows_everything());
        let mut doubled =
            Policy::new(&[deny_all(), rule(true, "c", 1, 3, "rw"), rule(true, "c", 1, 3, "rwm")]).unwrap();
        let mut usual = Policy::new(&[]).unwrap();
        doubled.rules.sort_unstable();
        usual.rules.sort_unstable();
        assert_eq!(doubled, usual);
        let in_two_rules =
            Policy::new(&[rule(true, "b", -1, -1, "rwm"), rule(true, "c", -1, -1, "rwm")]).unwrap();
        assert!(in_two_rules.allows_everything());
        let within_another =
            Policy::new(&[rule(true, "c", 9, -1, "rwm"), rule(true, "c", 9, 1, "rw")]).unwrap();
        assert_eq!(within_another.rules.iter().filter(|rule| rule.major == Some(9)).count(), 1);
        let denied_anyway = Policy::new(&[rule(false, "b", 8, 0, "rwm")]).unwrap();
        assert_eq!(denied_anyway, Policy::new(&[]).unwrap());
    }

    #[test]
    fn malformed_rules_are_all_named() {
        let rules = [
            rule(true, "p", 1, 1, "r"),
            rule(true, "c", -2, 1, "r"),
            rule(true, "c", 1, 1 << 33, "r"),
            rule(true, "c", 1, 1, "x"),
            DeviceRule { allow: true, ..DeviceRule::default() },
        ];
        let errors = Policy::new(&rules).unwrap_err();
        let keys: Vec<_> = errors.iter().map(|error| error.key().unwrap().to_owned()).collect();
        let parts = ["type", "major", "minor", "access", "access"];
        let expected: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(i, part)| format!("linux.resources.devices[{i}].{part}"))
            .collect();
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_list_has_the_default_first() {
        let state = V1State::new(&Policy::new(&[rule(true, "b", 8, -1, "r")]).unwrap()).unwrap();
        let writes = state.writes();
        assert_eq!(writes[0], ("devices.deny", "a".to_owned()));
        // Those of the configuration stand before those of every container.
        assert_eq!(writes[1], ("devices.allow", "b 8:* r".to_owned()));
        assert!(writes.contains(&("devices.allow", "c 1:3 rwm".to_owned())));
        assert_eq!(writes.len(), 2 + ALWAYS.len());
        let open = V1State::new(
            &Policy::new(&[rule(true, "a", -1, -1, "rwm"), rule(false, "c", 1, 1, "rw")]).unwrap(),
        );
        let expected = [("devices.allow", "a".to_owned()), ("devices.deny", "c 1:1 rw".to_owned())];
        assert_eq!(open.unwrap().writes(), expected);
    }

    #[test]
    fn a_hole_in_an_exception_is_refused_on_version_1() {
        let policy = Policy::new(&[rule(true, "c", 4, -1, "rw"), rule(false, "c", 4, 1, "w")]).unwrap();
        assert_eq!(policy.decide(Kinds::Char, 4, 1, Access::WRITE), Verdict::Deny);
        assert_eq!(policy.decide(Kinds::Char, 4, 2, Access::WRITE), Verdict::Allow);
        let error = V1State::new(&policy).unwrap_err();
        assert!(error.to_string().contains("c 4:1 is a hole in the rule for c 4:*"), "{error}");
    }

    #[test]
    fn a_change_allows_before_it_denies() {
        let before =
            V1State::new(&Policy::new(&[rule(true, "b", 8, 0, "rw"), rule(true, "c", 4, 1, "r")]).unwrap());
        let after =
            V1State::new(&Policy::new(&[rule(true, "b", 8, 0, "r"), rule(true, "c", 9, 9, "w")]).unwrap());
        let expected = [
            ("devices.allow", "c 9:9 w".to_owned()),
            ("devices.deny", "b 8:0 w".to_owned()),
            ("devices.deny", "c 4:1 r".to_owned()),
        ];
        assert_eq!(after.unwrap().writes_from(&before.unwrap()), expected);
    }

    #[test]
    fn the_list_of_the_kernel_is_read_back() {
        let state = V1State::parse("c *:* m\nc 136:* rwm\nb 8:0 r\n").unwrap();
        assert_eq!(state.default, Verdict::Deny);
        assert_eq!(state.exceptions.len(), 3);
        assert!(state.exceptions.contains(&(('b', Some(8), Some(0)), Access::READ)));
        assert_eq!(V1State::parse("a *:* rwm\n").unwrap().default, Verdict::Allow);
        for bad in ["c", "c 1 r", "c 1:x r", "c 1:1 q"] {
            assert_eq!(V1State::parse(bad), None, "{bad}");
        }
    }
}
