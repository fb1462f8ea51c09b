//! A classic BPF program, and what the kernel does with it. Only the part of the language that `seccomp(2)` takes
//! and this crate emits.
//!
//! Source: `include/uapi/linux/filter.h`, `bpf_common.h` and `seccomp_check_filter` of the kernel.

use crate::arch::Endian;

/// One instruction: `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// What to do, one of [`op`].
    pub code: u16,
    /// How many instructions to skip when a comparison holds.
    pub jt: u8,
    /// How many to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// The instructions used.
pub mod op {
    /// A = the word at `k` of `seccomp_data`.
    pub const LOAD: u16 = 0x20;
    /// A = A & k.
    pub const AND: u16 = 0x54;
    /// Skip `k` instructions.
    pub const JUMP: u16 = 0x05;
    /// A == k.
    pub const EQUAL: u16 = 0x15;
    /// A > k.
    pub const GREATER: u16 = 0x25;
    /// A >= k.
    pub const AT_LEAST: u16 = 0x35;
    /// A & k != 0.
    pub const ANY_BIT: u16 = 0x45;
    /// Answer `k`.
    pub const RETURN: u16 = 0x06;
}

/// The most instructions the kernel takes: `BPF_MAXINSNS`.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Where `seccomp_data` has the number of the call.
pub const NUMBER: u32 = 0;

/// Where it has the architecture.
pub const ARCH: u32 = 4;

/// Where it has the low word of an argument.
#[must_use]
pub const fn low(argument: u8, endian: Endian) -> u32 {
    match endian {
        Endian::Little => 16 + 8 * argument as u32,
        Endian::Big => 20 + 8 * argument as u32,
    }
}

/// Where it has the high word.
#[must_use]
pub const fn high(argument: u8, endian: Endian) -> u32 {
    low(argument, endian) ^ 4
}

/// One call, as the kernel describes it to a program: `struct seccomp_data`. The instruction pointer is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    /// The number.
    pub number: u32,
    /// `AUDIT_ARCH_*`.
    pub audit: u32,
    /// The arguments.
    pub arguments: [u64; 6],
}

impl Data {
    /// The word at an offset, or nothing where the kernel would not have taken the program.
    fn word(&self, offset: u32, endian: Endian) -> Option<u32> {
        match offset {
            NUMBER => Some(self.number),
            ARCH => Some(self.audit),
            8 | 12 => Some(0),
            _ => {
                let argument = u8::try_from(offset.checked_sub(16)? / 8).ok()?;
                let value = *self.arguments.get(usize::from(argument))?;
                let high = offset == high(argument, endian);
                (high || offset == low(argument, endian))
                    .then_some((value >> if high { 32 } else { 0 }) as u32)
            }
        }
    }
}

/// Executes a program as the kernel does.
///
/// # Errors
/// The place of an instruction that `seccomp(2)` would have refused. [`crate::compile()`] emits none.
pub fn run(program: &[Instruction], endian: Endian, data: &Data) -> Result<u32, usize> {
    let mut accumulator = 0u32;
    let mut place = 0usize;
    loop {
        let instruction = program.get(place).ok_or(place)?;
        let k = instruction.k;
        let skip = |holds: bool| usize::from(if holds { instruction.jt } else { instruction.jf });
        place += 1 + match instruction.code {
            op::LOAD => {
                accumulator = data.word(k, endian).ok_or(place)?;
                0
            }
            op::AND => {
                accumulator &= k;
                0
            }
            op::JUMP => k as usize,
            op::EQUAL => skip(accumulator == k),
            op::GREATER => skip(accumulator > k),
            op::AT_LEAST => skip(accumulator >= k),
            op::ANY_BIT => skip(accumulator & k != 0),
            op::RETURN => return Ok(k),
            _ => return Err(place),
        };
    }
}

/// Every word that a program can answer to a call, over all arguments: both ways are followed where a comparison
/// depends on one.
#[must_use]
pub fn possible(program: &[Instruction], audit: u32, number: u32) -> Vec<u32> {
    let mut words = Vec::new();
    let mut seen = vec![false; program.len()];
    let mut paths = vec![(0usize, None)];
    while let Some((place, accumulator)) = paths.pop() {
        let Some(instruction) = program.get(place) else { continue };
        // With an unknown word loaded, whatever follows was followed the first time.
        if let (None, Some(seen)) = (accumulator, seen.get_mut(place))
            && std::mem::replace(seen, true)
        {
            continue;
        }
        let k = instruction.k;
        let mut branch = |holds: Option<bool>| {
            let skips = [(true, instruction.jt), (false, instruction.jf)];
            let taken = skips.into_iter().filter(|(way, _)| holds.is_none_or(|holds| holds == *way));
            paths.extend(taken.map(|(_, skip)| (place + 1 + usize::from(skip), accumulator)));
        };
        match instruction.code {
            op::LOAD if k == NUMBER => paths.push((place + 1, Some(number))),
            op::LOAD if k == ARCH => paths.push((place + 1, Some(audit))),
            op::LOAD => paths.push((place + 1, None)),
            op::AND => paths.push((place + 1, accumulator.map(|word: u32| word & k))),
            op::JUMP => paths.push((place + 1 + k as usize, accumulator)),
            op::EQUAL => branch(accumulator.map(|word| word == k)),
            op::GREATER => branch(accumulator.map(|word| word > k)),
            op::AT_LEAST => branch(accumulator.map(|word| word >= k)),
            op::ANY_BIT => branch(accumulator.map(|word| word & k != 0)),
            _ => {
                if let Err(place) = words.binary_search(&k) {
                    words.insert(place, k);
                }
            }
        }
    }
    words
}

/// Whether the kernel takes a program: `seccomp_check_filter` and `bpf_check_classic`, for the instructions used here.
///
/// # Errors
/// What it would refuse.
pub fn check(program: &[Instruction]) -> Result<(), String> {
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
        return Err(format!(
            "{} instructions, where the kernel takes 1 to {MAX_INSTRUCTIONS}",
            program.len()
        ));
    }
    for (place, instruction) in program.iter().enumerate() {
        let inside = |skip: usize| place + 1 + skip < program.len();
        let fine = match instruction.code {
            op::LOAD => instruction.k < 64 && instruction.k % 4 == 0 && inside(0),
            op::AND => inside(0),
            op::JUMP => inside(instruction.k as usize),
            op::EQUAL | op::GREATER | op::AT_LEAST | op::ANY_BIT => {
                inside(usize::from(instruction.jt)) && inside(usize::from(instruction.jf))
            }
            op::RETURN => true,
            _ => false,
        };
        if !fine {
            return Err(format!("instruction {place} is {instruction:?}"));
        }
    }
    match program.last() {
        Some(Instruction { code: op::RETURN, .. }) => Ok(()),
        _ => Err("the last instruction does not return".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_argument_follow_the_byte_order() {
        let data = Data { number: 7, audit: 9, arguments: [1, 2, 3, 4, 5, 0x1111_1111_2222_2222] };
        for endian in [Endian::Little, Endian::Big] {
            assert_eq!(data.word(high(5, endian), endian), Some(0x1111_1111));
            assert_eq!(data.word(low(5, endian), endian), Some(0x2222_2222));
            assert_eq!(data.word(64, endian), None);
            assert_eq!(data.word(17, endian), None);
        }
        assert_eq!((low(5, Endian::Little), low(5, Endian::Big)), (56, 60));
    }
}
