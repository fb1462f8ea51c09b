//! Names and numbers of system calls. `numbers.rs` is written by `cargo xtask syscalls` and has one row per
//! name; here are the look-ups. Start at [`lookup`].
//!
//! A profile has some 400 names and each is looked up once at every start, so a name goes through a hash table
//! which the compiler builds.

mod multiplexed;
mod numbers;

use crate::arch::Arch;
pub(crate) use multiplexed::Multiplexer;
use multiplexed::SELECTED;
use numbers::ROWS;

/// No table has a number (less its base) from here on, but for ARM's private calls.
pub(crate) const DENSE: usize = 576;

const ABSENT: u16 = 0xffff;

/// ARM's private calls are held as this and more, and are called at [`ARM_PRIVATE_BASE`] and more.
const ARM_PRIVATE: u16 = 0xf000;

/// `__ARM_NR_BASE` of the kernel.
pub(crate) const ARM_PRIVATE_BASE: u32 = 0x000f_0000;

/// The place of a name among the rows.
#[derive(Clone, Copy)]
pub(crate) struct Row(u16);

const COLUMNS: usize = 18;

/// A number as the tables have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Number {
    /// A place below [`DENSE`], to which the architecture's base is added.
    Dense(u16),
    /// What is added to [`ARM_PRIVATE_BASE`].
    Private(u16),
}

impl Row {
    /// The number on an architecture that has the call.
    pub(crate) fn number(self, arch: Arch) -> Option<Number> {
        self.at(arch.column())
    }

    /// The number in a column, [`Arch::column`].
    #[inline]
    pub(crate) fn at(self, column: usize) -> Option<Number> {
        number_at(NUMBERS.get(usize::from(self.0))?, column)
    }

    /// The multiplexer of the call and the value that selects it there.
    #[inline]
    pub(crate) fn selector(self) -> Option<(Multiplexer, u64)> {
        let place = SELECTORS.get(usize::from(self.0)).copied().filter(|&place| place != NOT_SELECTED)?;
        SELECTED.get(usize::from(place)).map(|&(_, kind, value)| (kind, u64::from(value)))
    }
}

#[inline]
fn number_at(numbers: &[u16; COLUMNS], column: usize) -> Option<Number> {
    match numbers.get(column).copied() {
        None | Some(ABSENT) => None,
        Some(number) if number >= ARM_PRIVATE => Some(Number::Private(number - ARM_PRIVATE)),
        Some(number) => Some(Number::Dense(number)),
    }
}

impl Number {
    /// The number as the kernel sees it in `seccomp_data.nr`.
    pub(crate) const fn raw(self, arch: Arch) -> u32 {
        match self {
            Self::Dense(number) => arch.base() + number as u32,
            Self::Private(number) => ARM_PRIVATE_BASE + number as u32,
        }
    }
}

/// The row of a name, or nothing where no architecture has such a call.
#[inline]
pub(crate) fn lookup(name: &str) -> Option<Row> {
    let name = name.as_bytes();
    let key = Key::of(name);
    let mut slot = key.slot();
    loop {
        let row = INDEX.get(slot).copied().filter(|&row| row != EMPTY)?;
        let candidate = name_at(usize::from(row));
        if Key::of(candidate) == key && (name.len() <= 16 || candidate == name) {
            return Some(Row(row));
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The number that `seccomp_data.nr` has for a call, or nothing where the architecture lacks it.
#[must_use]
pub fn number(name: &str, arch: Arch) -> Option<u32> {
    lookup(name)?.number(arch).map(|number| number.raw(arch))
}

/// The name of a call of an architecture.
#[must_use]
pub fn name(raw: u32, arch: Arch) -> Option<&'static str> {
    let has = |numbers| number_at(numbers, arch.column()).is_some_and(|number| number.raw(arch) == raw);
    NUMBERS.iter().position(has).map(text)
}

/// Every name, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    (0..COUNT).map(text)
}

fn text(row: usize) -> &'static str {
    str::from_utf8(name_at(row)).unwrap_or_default()
}

#[inline]
fn name_at(row: usize) -> &'static [u8] {
    let Some(&(start, length)) = PLACES.get(row) else { return &[] };
    NAMES.get(usize::from(start)..usize::from(start) + usize::from(length)).unwrap_or_default()
}

const COUNT: usize = ROWS.len();

/// The numbers of each row.
static NUMBERS: [[u16; COLUMNS]; COUNT] = numbers();

/// All names without anything between them. Pointers to them would be relocated whenever the program starts, which
/// takes a copy of each page that holds some.
static NAMES: [u8; PLACES[COUNT - 1].0 as usize + PLACES[COUNT - 1].1 as usize] = letters();

/// Where in [`NAMES`] the name of each row is, and how long it is.
static PLACES: [(u16, u8); COUNT] = places();

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, where an index out of bounds is an error")]
const fn numbers() -> [[u16; COLUMNS]; COUNT] {
    let mut all = [[ABSENT; COLUMNS]; COUNT];
    let mut row = 0;
    while row < COUNT {
        all[row] = ROWS[row].1;
        row += 1;
    }
    all
}

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, where an index out of bounds is an error")]
const fn places() -> [(u16, u8); COUNT] {
    let mut all = [(0, 0); COUNT];
    let (mut row, mut start) = (0, 0);
    while row < COUNT {
        let length = ROWS[row].0.len();
        all[row] = (start, length as u8);
        start += length as u16;
        row += 1;
    }
    all
}

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, where an index out of bounds is an error")]
const fn letters<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut all = [0; LENGTH];
    let (mut row, mut place) = (0, 0);
    while row < COUNT {
        let mut name = ROWS[row].0.as_bytes();
        while let [letter, rest @ ..] = name {
            all[place] = *letter;
            place += 1;
            name = rest;
        }
        row += 1;
    }
    all
}

const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;

static INDEX: [u16; SLOTS] = index();

/// The hash table over [`ROWS`], with open addressing. A quarter of the slots is taken.
#[expect(clippy::indexing_slicing, reason = "runs in the compiler, where an index out of bounds is an error")]
const fn index() -> [u16; SLOTS] {
    let mut index = [EMPTY; SLOTS];
    let mut row = 0;
    while row < COUNT {
        let mut slot = Key::of(ROWS[row].0.as_bytes()).slot();
        while index[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = row as u16;
        row += 1;
    }
    index
}

const NOT_SELECTED: u8 = u8::MAX;

/// For each row the place in [`SELECTED`].
static SELECTORS: [u8; COUNT] = selectors();

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, where an index out of bounds is an error")]
const fn selectors() -> [u8; COUNT] {
    let mut places = [NOT_SELECTED; COUNT];
    let mut row = 0;
    while row < COUNT {
        let mut place = 0;
        while place < SELECTED.len() {
            if same(ROWS[row].0.as_bytes(), SELECTED[place].0.as_bytes()) {
                places[row] = place as u8;
            }
            place += 1;
        }
        row += 1;
    }
    places
}

const fn same(mut a: &[u8], mut b: &[u8]) -> bool {
    while let ([first_a, rest_a @ ..], [first_b, rest_b @ ..]) = (a, b) {
        if *first_a != *first_b {
            return false;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.is_empty() && b.is_empty()
}

/// A name by its length, its first and its last bytes, which are all of it up to a length of 16.
#[derive(PartialEq, Eq)]
struct Key {
    length: usize,
    first: u64,
    last: u64,
}

impl Key {
    #[inline]
    const fn of(name: &[u8]) -> Self {
        let length = name.len();
        if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            return Self { length, first: u64::from_le_bytes(*first), last: u64::from_le_bytes(*last) };
        }
        if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            return Self {
                length,
                first: u32::from_le_bytes(*first) as u64,
                last: u32::from_le_bytes(*last) as u64,
            };
        }
        let (mut rest, mut first) = (name, 0);
        while let [byte, after @ ..] = rest {
            first = first << 8 | *byte as u64;
            rest = after;
        }
        Self { length, first, last: 0 }
    }

    /// Where to look for the name in [`INDEX`].
    #[inline]
    const fn slot(&self) -> usize {
        let mixed = self.first ^ self.last.rotate_left(29) ^ self.length as u64;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_at_its_row() {
        for (name, numbers) in &ROWS {
            assert_eq!(lookup(name).map(|row| NUMBERS[usize::from(row.0)]), Some(*numbers), "{name}");
        }
        assert!(names().eq(ROWS.iter().map(|(name, _)| *name)));
        let absent = ["", "x", "futex_", "no_such_call_at_all", "Read", "sched_rr_get_INTERval_time64"];
        for absent in absent {
            assert!(lookup(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn numbers_are_below_the_bound_and_have_one_name() {
        for arch in Arch::ALL {
            let numbers: Vec<(u32, &str)> =
                names().filter_map(|name| Some((number(name, arch)?, name))).collect();
            assert!(numbers.len() > 250, "{arch:?} has {} calls", numbers.len());
            for name in names() {
                if let Some(Number::Dense(number)) = lookup(name).unwrap().number(arch) {
                    assert!(usize::from(number) < DENSE, "{name} on {arch:?}");
                }
            }
            for (raw, call) in numbers {
                assert_eq!(number(name(raw, arch).unwrap(), arch), Some(raw), "{call} on {arch:?}");
            }
        }
    }

    #[test]
    fn every_multiplexed_call_is_selected() {
        for (name, kind, value) in SELECTED {
            assert_eq!(lookup(name).unwrap().selector(), Some((kind, u64::from(value))), "{name}");
        }
        assert_eq!(names().filter(|name| lookup(name).unwrap().selector().is_some()).count(), SELECTED.len());
    }

    #[test]
    fn known_numbers() {
        let known = [
            ("read", Arch::X86_64, 0),
            ("read", Arch::X86, 3),
            ("read", Arch::X32, 0x4000_0000),
            ("ioctl", Arch::X32, 0x4000_0000 + 514),
            ("openat", Arch::Aarch64, 56),
            ("riscv_flush_icache", Arch::Riscv64, 259),
            ("read", Arch::Mips, 4003),
            ("read", Arch::Mips64, 5000),
            ("read", Arch::Mips64N32, 6000),
            ("set_tls", Arch::Arm, 0x000f_0005),
            ("clone3", Arch::S390x, 435),
            ("socketcall", Arch::Ppc64le, 102),
        ];
        for (name, arch, expected) in known {
            assert_eq!(number(name, arch), Some(expected), "{name} on {arch:?}");
        }
        assert_eq!(number("open", Arch::Aarch64), None);
        assert_eq!(name(0x4000_0000 + 520, Arch::X32), Some("execve"));
    }
}
