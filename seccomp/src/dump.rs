//! A program for people to read. Start at [`text`].

use crate::arch::{Arch, Endian, X32_BIT};
use crate::compile::Filter;
use crate::ir::Action;
use crate::program::{ARCH, Instruction, NUMBER, high, low, op};
use crate::tables;
use std::fmt::Write as _;

/// One line per instruction: its place, what it does with the places it jumps to, and what its operand means.
#[must_use]
pub fn text(filter: &Filter) -> String {
    let sections = sections(&filter.instructions);
    let endian = sections.first().map_or(Endian::Little, |(_, arch)| arch.endian());
    let mut text = String::new();
    let mut loaded = None;
    for (place, instruction) in filter.instructions.iter().enumerate() {
        if instruction.code == op::LOAD {
            loaded = Some(instruction.k);
        }
        let section = sections.iter().filter(|(start, _)| *start <= place).max_by_key(|(start, _)| start);
        let meaning = meaning(instruction, loaded, section.map(|(_, arch)| *arch));
        let line = format!("{place:4}  {}", operation(place, instruction, endian));
        // Writing to a String cannot fail.
        let _ = if meaning.is_empty() {
            writeln!(text, "{line}")
        } else {
            writeln!(text, "{line:<48}; {meaning}")
        };
    }
    text
}

/// Where the code of each architecture begins: behind the comparisons with the architecture.
fn sections(program: &[Instruction]) -> Vec<(usize, Arch)> {
    let mut found = Vec::new();
    for (place, instruction) in program.iter().enumerate().skip(1) {
        if instruction.code == op::LOAD {
            break;
        }
        let target = place + 1 + usize::from(instruction.jt);
        let target = match program.get(target) {
            Some(Instruction { code: op::JUMP, k, .. }) => target + 1 + *k as usize,
            _ => target,
        };
        let arch = Arch::ALL.into_iter().find(|arch| arch.audit() == instruction.k);
        if let (op::EQUAL, Some(arch)) = (instruction.code, arch) {
            found.push((target, arch));
        }
    }
    found
}

fn operation(place: usize, instruction: &Instruction, endian: Endian) -> String {
    let k = instruction.k;
    let to = |skip: u8| place + 1 + usize::from(skip);
    let compare =
        |sign| format!("if A {sign} {k:#x} goto {} else {}", to(instruction.jt), to(instruction.jf));
    match instruction.code {
        op::LOAD => format!("A = {}", field(k, endian)),
        op::AND => format!("A &= {k:#x}"),
        op::JUMP => format!("goto {}", place + 1 + k as usize),
        op::EQUAL => compare("=="),
        op::GREATER => compare(">"),
        op::AT_LEAST => compare(">="),
        op::ANY_BIT => compare("&"),
        op::RETURN => format!("return {k:#x}"),
        code => format!("{code:#x} {k:#x}"),
    }
}

fn field(offset: u32, endian: Endian) -> String {
    match offset {
        NUMBER => "number".to_owned(),
        ARCH => "arch".to_owned(),
        _ => (0..6)
            .find_map(|argument| match offset {
                _ if offset == low(argument, endian) => Some(format!("arg{argument}.low")),
                _ if offset == high(argument, endian) => Some(format!("arg{argument}.high")),
                _ => None,
            })
            .unwrap_or_else(|| format!("[{offset}]")),
    }
}

/// The name of the answer, the architecture or the call that an operand stands for.
fn meaning(instruction: &Instruction, loaded: Option<u32>, section: Option<Arch>) -> String {
    let compares = matches!(instruction.code, op::EQUAL | op::AT_LEAST | op::GREATER);
    match (instruction.code, loaded) {
        (op::RETURN, _) => Action::from_word(instruction.k).to_string(),
        (_, Some(ARCH)) if compares => {
            let arch = Arch::ALL.into_iter().find(|arch| arch.audit() == instruction.k);
            arch.map_or_else(String::new, |arch| arch.name().to_owned())
        }
        (op::AT_LEAST, Some(NUMBER)) if instruction.k == X32_BIT => "x32".to_owned(),
        (_, Some(NUMBER)) if compares => {
            let arch = match section {
                Some(Arch::X86_64) if instruction.k & X32_BIT != 0 => Some(Arch::X32),
                section => section,
            };
            arch.and_then(|arch| tables::name(instruction.k, arch)).unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Profile, Support};

    #[test]
    fn a_program_reads_as_what_it_does() {
        let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["kill"], "action": "SCMP_ACT_TRAP", "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}]}"#;
        let profile: Profile = serde_json::from_str(json).unwrap();
        let filter = crate::compile(&profile, Arch::X86_64, &Support::default()).unwrap();
        let expected = "
   0  A = arch
   1  if A == 0xc000003e goto 2 else 6          ; SCMP_ARCH_X86_64
   2  A = number
   3  if A >= 0x40000000 goto 5 else 4          ; x32
   4  if A == 0x3e goto 7 else 11               ; kill
   5  if A >= 0xffffffff goto 11 else 6
   6  return 0x0                                ; SCMP_ACT_KILL_THREAD
   7  A = arg1.high
   8  if A == 0x0 goto 9 else 11
   9  A = arg1.low
  10  if A == 0x9 goto 12 else 11
  11  return 0x7fff0000                         ; SCMP_ACT_ALLOW
  12  return 0x30000                            ; SCMP_ACT_TRAP
";
        assert_eq!(format!("\n{}", text(&filter)), expected);
    }
}
