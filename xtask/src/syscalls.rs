//! `cargo xtask syscalls FOLDER`: the system call numbers of every architecture a profile may name, read from
//! the kernel's own tables and written as one Rust table.
//!
//! FOLDER is a kernel source tree, or the few files of one that [`SOURCES`] lists. The inputs are facts about
//! the kernel's interface and are not kept in this tree; the table they give is.
//!
//! Since Linux 5.1 a new call has one number on every architecture. So an entry of `scripts/syscall.tbl` from
//! 424 on that is common to all is added to each table that has nothing at that number: a newer copy of that
//! one file brings all architectures up to date.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Where the table goes, from the root of the workspace.
const TARGET: &str = "seccomp/src/tables/numbers.rs";

/// The file that numbers new calls for every architecture, and the first number it is the authority for.
const GENERIC: &str = "scripts/syscall.tbl";
const FIRST_COMMON: u32 = 424;

/// What stands for "this architecture has no such call". No table comes near it.
const ABSENT: u32 = 0xffff;

/// ARM's private calls have numbers from 0x0f0000 on, which the 16-bit table holds as 0xf000 and up.
const ARM_PRIVATE: u32 = 0xf000;

/// One column of the table: its name, its file and the ABI names of that file which belong to it.
struct Source {
    column: &'static str,
    file: &'static str,
    abis: &'static [&'static str],
    /// Entries the file does not have: ARM's private calls, which the kernel defines in
    /// `arch/arm/include/uapi/asm/unistd.h`, and second names which the same header gives to a call.
    extra: &'static [(&'static str, u32)],
}

/// The columns in the order of `seccomp::arch::Table`. The ABI lists of the architectures without a table of
/// their own are those of `arch/*/kernel/Makefile.syscalls`.
const SOURCES: [Source; 18] = [
    own("x86", "arch/x86/entry/syscalls/syscall_32.tbl", &["i386"]),
    own("x86_64", "arch/x86/entry/syscalls/syscall_64.tbl", &["common", "64"]),
    own("x32", "arch/x86/entry/syscalls/syscall_64.tbl", &["common", "x32"]),
    Source {
        column: "arm",
        file: "arch/arm/tools/syscall.tbl",
        abis: &["common"],
        extra: &[
            ("arm_sync_file_range", 341),
            ("breakpoint", ARM_PRIVATE + 1),
            ("cacheflush", ARM_PRIVATE + 2),
            ("usr26", ARM_PRIVATE + 3),
            ("usr32", ARM_PRIVATE + 4),
            ("set_tls", ARM_PRIVATE + 5),
            ("get_tls", ARM_PRIVATE + 6),
        ],
    },
    own("aarch64", GENERIC, &["common", "64", "renameat", "rlimit", "memfd_secret"]),
    own("loongarch64", GENERIC, &["common", "64"]),
    own("m68k", "arch/m68k/kernel/syscalls/syscall.tbl", &["common"]),
    own("mips", "arch/mips/kernel/syscalls/syscall_o32.tbl", &["o32"]),
    own("mips64", "arch/mips/kernel/syscalls/syscall_n64.tbl", &["common", "n64"]),
    own("mips64n32", "arch/mips/kernel/syscalls/syscall_n32.tbl", &["n32"]),
    own("parisc", "arch/parisc/kernel/syscalls/syscall.tbl", &["common", "32"]),
    own("parisc64", "arch/parisc/kernel/syscalls/syscall.tbl", &["common", "64"]),
    own("ppc", "arch/powerpc/kernel/syscalls/syscall.tbl", &["common", "32", "nospu"]),
    own("ppc64", "arch/powerpc/kernel/syscalls/syscall.tbl", &["common", "64", "nospu"]),
    own("riscv64", GENERIC, &["common", "64", "riscv", "rlimit", "memfd_secret"]),
    own("s390", "arch/s390/kernel/syscalls/syscall.tbl", &["common", "32"]),
    own("s390x", "arch/s390/kernel/syscalls/syscall.tbl", &["common", "64"]),
    own("sh", "arch/sh/kernel/syscalls/syscall.tbl", &["common"]),
];

const fn own(column: &'static str, file: &'static str, abis: &'static [&'static str]) -> Source {
    Source { column, file, abis, extra: &[] }
}

/// One line of a kernel table.
struct Entry {
    number: u32,
    abi: String,
    name: String,
}

/// Name of a call to its number in each column.
type Rows = BTreeMap<String, [u32; SOURCES.len()]>;

/// Reads the kernel's tables below `folder` and writes [`TARGET`]. Says what was written.
///
/// # Errors
/// A file that cannot be read or written, or a line that is not an entry.
pub(crate) fn write_tables(folder: &Path) -> Result<String, String> {
    let generic = read(folder, GENERIC)?;
    let mut rows = Rows::new();
    for (column, source) in SOURCES.iter().enumerate() {
        for (name, number) in numbers_of(source, folder, &generic)? {
            if let Some(cell) = rows.entry(name).or_insert([ABSENT; SOURCES.len()]).get_mut(column) {
                *cell = number;
            }
        }
    }
    std::fs::write(TARGET, render(&rows)).map_err(|why| format!("write {TARGET}: {why}"))?;
    Ok(format!("{TARGET}: {} names, {} architectures", rows.len(), SOURCES.len()))
}

/// The calls of one column. A name the file has twice for one architecture is an error.
fn numbers_of(source: &Source, folder: &Path, generic: &[Entry]) -> Result<BTreeMap<String, u32>, String> {
    let own = read(folder, source.file)?;
    let mut found = BTreeMap::new();
    let mine = own.iter().filter(|entry| source.abis.contains(&entry.abi.as_str()));
    for entry in mine.filter(|entry| !is_gap(&entry.name)) {
        if found.insert(entry.name.clone(), entry.number).is_some() {
            return Err(format!("{}: {} is there twice", source.file, entry.name));
        }
    }
    let common = generic.iter().filter(|entry| entry.number >= FIRST_COMMON && entry.abi == "common");
    for entry in common {
        if !found.values().any(|&number| number == entry.number) {
            found.insert(entry.name.clone(), entry.number);
        }
    }
    found.extend(source.extra.iter().map(|&(name, number)| (name.to_owned(), number)));
    Ok(found)
}

fn read(folder: &Path, file: &str) -> Result<Vec<Entry>, String> {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).map_err(|why| format!("read {}: {why}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| parse(line).ok_or_else(|| format!("{}: not an entry: {line}", path.display()))).collect()
}

fn parse(line: &str) -> Option<Entry> {
    let mut words = line.split_whitespace();
    let number = words.next()?.parse().ok().filter(|&number| number < ARM_PRIVATE)?;
    Some(Entry { number, abi: words.next()?.to_owned(), name: words.next()?.to_owned() })
}

/// MIPS gives numbers without a call names such as `reserved82` and `unused18`.
fn is_gap(name: &str) -> bool {
    ["reserved", "unused"].iter().any(|gap| {
        name.strip_prefix(gap)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn render(rows: &Rows) -> String {
    let columns: Vec<&str> = SOURCES.iter().map(|source| source.column).collect();
    let mut text = format!(
        "//! Written by `cargo xtask syscalls` from the kernel's tables; change that, not this.\n\
         //!\n\
         //! Columns: {}.\n\n\
         const X: u16 = {ABSENT};\n\n\
         #[rustfmt::skip]\n\
         pub(super) static ROWS: [(&str, [u16; {}]); {}] = [\n",
        columns.join(", "),
        columns.len(),
        rows.len()
    );
    for (name, numbers) in rows {
        let cells: Vec<String> = numbers.iter().map(cell).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    (\"{name}\", [{}]),", cells.join(","));
    }
    text.push_str("];\n");
    text
}

fn cell(number: &u32) -> String {
    if *number == ABSENT { "X".to_owned() } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_number_abi_name() {
        let entry = parse("462\tcommon\tmseal\t\t\tsys_mseal").unwrap();
        assert_eq!((entry.number, entry.abi.as_str(), entry.name.as_str()), (462, "common", "mseal"));
        assert!(parse("common 462 mseal").is_none());
        assert!(parse("462 common").is_none());
    }

    #[test]
    fn new_common_calls_reach_every_architecture_but_replace_nothing() {
        let folder = std::env::temp_dir().join(format!("xtask-syscalls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("own.tbl"), "1 64 write\n424 64 own\n").unwrap();
        let source = own("test", "own.tbl", &["64"]);
        let entry = |number, abi: &str, name: &str| Entry { number, abi: abi.into(), name: name.into() };
        let generic = [
            entry(64, "common", "write"),
            entry(424, "common", "taken"),
            entry(425, "common", "new"),
            entry(447, "memfd_secret", "memfd_secret"),
        ];
        let found = numbers_of(&source, &folder, &generic).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let expected = [("new", 425), ("own", 424), ("write", 1)];
        assert_eq!(found.iter().map(|(name, nr)| (name.as_str(), *nr)).collect::<Vec<_>>(), expected);
    }
}
