//! The two facts about an ELF file that explain a failed execve: the machine it is for and the loader it names. elf(5).

use rustix::io::Errno;

/// What every ELF file begins with.
pub(super) const MAGIC: &[u8] = b"\x7fELF";

/// As many bytes as the header and a usual number of program headers take.
pub(super) const HEADER_MAX: usize = 4096;

/// More program headers than a program that can run has (64 KiB of 56 bytes each).
const PROGRAM_HEADERS_MAX: usize = 1170;

/// PATH_MAX: the longest path of a loader.
const LOADER_MAX: u64 = 4096;

const PT_INTERP: u64 = 3;
const ET_EXEC: u64 = 2;
const ET_DYN: u64 = 3;

/// e_machine with the names of Linux.
const MACHINES: [(u64, &str); 10] = [
    (3, "i386"),
    (8, "mips"),
    (20, "ppc"),
    (21, "ppc64"),
    (22, "s390"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv"),
    (258, "loongarch"),
];

/// The header of a file, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    word: Word,
    order: Order,
    kind: u64,
    machine: u64,
    table: u64,
    entry: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Bits32,
    Bits64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

/// A number of `size` bytes at `at`.
fn number(bytes: &[u8], at: usize, size: usize, order: Order) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    Some(match order {
        Order::Little => bytes.iter().rev().fold(0, add),
        Order::Big => bytes.iter().fold(0, add),
    })
}

impl Header {
    /// Reads the header; `None` where it is not whole.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let word = match head.get(4)? {
            1 => Word::Bits32,
            2 => Word::Bits64,
            _ => return None,
        };
        let order = match head.get(5)? {
            1 => Order::Little,
            2 => Order::Big,
            _ => return None,
        };
        // e_phoff, e_phentsize, e_phnum.
        let (table, entry, count) = match word {
            Word::Bits32 => (number(head, 28, 4, order)?, 42, 44),
            Word::Bits64 => (number(head, 32, 8, order)?, 54, 56),
        };
        Some(Self {
            word,
            order,
            kind: number(head, 16, 2, order)?,
            machine: number(head, 18, 2, order)?,
            table,
            entry: usize::try_from(number(head, entry, 2, order)?).ok()?,
            count: usize::try_from(number(head, count, 2, order)?).ok()?,
        })
    }

    /// Why the file is not a program for this machine, as the end of a sentence.
    pub(super) fn foreign(&self, errno: Errno) -> Option<String> {
        let native = machine_name(native_machine());
        let own = self.machine_text();
        if self.machine == native_machine() && self.order == Order::Little {
            let runs = matches!(self.kind, ET_EXEC | ET_DYN);
            return (!runs).then(|| "is an ELF file but not a program (an object or a core file)".to_owned());
        }
        // A kernel may run 32-bit programs of its family; where it does, something else is wrong.
        let family = matches!((native_machine(), self.machine), (62, 3) | (183, 40));
        if family && errno != Errno::NOEXEC {
            return None;
        }
        Some(format!("is a program for {own}; this machine is {native}"))
    }

    fn machine_text(&self) -> String {
        let name = machine_name(self.machine);
        let bits = if self.word == Word::Bits64 { "" } else { ", 32 bits" };
        let order = if self.order == Order::Little { "" } else { ", big-endian" };
        format!("{name}{bits}{order}")
    }

    /// The dynamic loader that the program names, if it names one. `read` gives at most as many bytes as asked for.
    pub(super) fn interpreter(&self, read: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let table = read(self.table, self.entry.checked_mul(self.count.min(PROGRAM_HEADERS_MAX))?)?;
        let mut entries = table.chunks_exact(self.entry.max(1));
        let entry = entries.find(|entry| number(entry, 0, 4, self.order) == Some(PT_INTERP))?;
        // p_offset and p_filesz.
        let (offset, len) = match self.word {
            Word::Bits32 => (number(entry, 4, 4, self.order)?, number(entry, 16, 4, self.order)?),
            Word::Bits64 => (number(entry, 8, 8, self.order)?, number(entry, 32, 8, self.order)?),
        };
        let mut path = read(offset, usize::try_from(len.min(LOADER_MAX)).ok()?)?;
        let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
        path.truncate(end);
        (!path.is_empty()).then_some(path)
    }
}

fn machine_name(machine: u64) -> String {
    let known = MACHINES.iter().find(|(number, _)| *number == machine);
    known.map_or_else(|| format!("machine {machine}"), |(_, name)| (*name).to_owned())
}

/// The number of the machine this was built for.
fn native_machine() -> u64 {
    let name = match std::env::consts::ARCH {
        "x86" => "i386",
        "riscv64" => "riscv",
        "powerpc64" => "ppc64",
        "s390x" => "s390",
        "loongarch64" => "loongarch",
        name => name,
    };
    MACHINES.iter().find(|(_, known)| *known == name).map_or(0, |(number, _)| *number)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A 64-bit little-endian program header table with a loader, behind a header.
    pub(crate) fn program(machine: u16, loader: &str) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..18].copy_from_slice(&3u16.to_le_bytes());
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&1u16.to_le_bytes());
        file[64..68].copy_from_slice(&3u32.to_le_bytes());
        file[72..80].copy_from_slice(&120u64.to_le_bytes());
        file[96..104].copy_from_slice(&(loader.len() as u64 + 1).to_le_bytes());
        file.extend(loader.as_bytes());
        file.push(0);
        file
    }

    fn read(file: &[u8]) -> impl Fn(u64, usize) -> Option<Vec<u8>> + '_ {
        |offset, len| {
            let rest = file.get(usize::try_from(offset).ok()?..)?;
            Some(rest[..len.min(rest.len())].to_vec())
        }
    }

    #[test]
    fn the_loader_is_found() {
        let file = program(native_machine() as u16, "/lib/ld-x.so.1");
        let header = Header::parse(&file).unwrap();
        assert_eq!(header.foreign(Errno::NOENT), None);
        assert_eq!(header.interpreter(read(&file)).unwrap(), b"/lib/ld-x.so.1");
        let own = std::fs::read("/bin/bash").unwrap();
        let loader = Header::parse(&own).unwrap().interpreter(read(&own)).unwrap();
        assert!(loader.starts_with(b"/lib"), "{loader:?}");
    }

    #[test]
    fn another_machine_is_named() {
        let header = Header::parse(&program(8, "")).unwrap();
        let text = header.foreign(Errno::NOEXEC).unwrap();
        assert!(text.starts_with("is a program for mips; this machine is "), "{text}");
        let header = Header::parse(&program(4711, "")).unwrap();
        assert!(header.foreign(Errno::NOEXEC).unwrap().contains("machine 4711"));
    }

    #[test]
    fn every_cut_of_a_file_is_read_without_a_panic() {
        let file = program(62, "/lib64/ld-linux-x86-64.so.2");
        for len in 0..file.len() {
            let cut = &file[..len];
            let loader = Header::parse(cut).and_then(|header| header.interpreter(read(cut)));
            assert!(loader.is_none_or(|loader| file.windows(loader.len()).any(|part| part == loader)));
        }
    }

    #[test]
    fn every_changed_byte_is_read_without_a_panic() {
        let file = program(62, "/lib64/ld-linux-x86-64.so.2");
        for (index, value) in (0..120).flat_map(|index| [0, 1, 0x7f, 0xff].map(|value| (index, value))) {
            let mut changed = file.clone();
            changed[index] = value;
            if let Some(header) = Header::parse(&changed) {
                let _ = header.foreign(Errno::NOEXEC);
                let _ = header.interpreter(read(&changed));
            }
        }
    }
}
