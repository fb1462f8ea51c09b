//! The architectures a profile may name, and the facts of each which a filter needs: the value the kernel puts
//! into `seccomp_data.arch`, the numbers of its calls, the width of its registers and their byte order.
//!
//! Not here: the numbers themselves (`tables`). Source of the values: `include/uapi/linux/audit.h` and
//! `elf-em.h` of the kernel.

/// An architecture, or one more way into the kernel of one (x32 of x86-64, n32 of MIPS64).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the spec's, without SCMP_ARCH_")]
pub enum Arch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Loongarch64,
    M68k,
    Mips,
    Mips64,
    Mips64N32,
    Mipsel,
    Mipsel64,
    Mipsel64N32,
    Parisc,
    Parisc64,
    Ppc,
    Ppc64,
    Ppc64le,
    Riscv64,
    S390,
    S390x,
    Sh,
    Sheb,
}

/// How wide the argument of a system call is for the filter. On a 32-bit architecture the upper half of
/// `seccomp_data.args` says nothing, so only the lower one is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    /// Only the low word is compared.
    Bits32,
    /// Both words are compared.
    Bits64,
}

/// Which word of a 64-bit argument is first in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endian {
    /// The low word is first.
    Little,
    /// The high word is first.
    Big,
}

/// The bit that marks a system call number as one of x32. Both share one `seccomp_data.arch`.
pub const X32_BIT: u32 = 0x4000_0000;

const BIT_64: u32 = 0x8000_0000;
const LITTLE: u32 = 0x4000_0000;
const N32: u32 = 0x2000_0000;

/// Everything about one architecture, in one row.
struct Facts {
    name: &'static str,
    audit: u32,
    column: usize,
    base: u32,
    width: Width,
}

const fn facts(name: &'static str, audit: u32, column: usize, base: u32, width: Width) -> Facts {
    Facts { name, audit, column, base, width }
}

impl Arch {
    /// Every architecture of the spec.
    pub const ALL: [Self; 23] = [
        Self::X86,
        Self::X86_64,
        Self::X32,
        Self::Arm,
        Self::Aarch64,
        Self::Loongarch64,
        Self::M68k,
        Self::Mips,
        Self::Mips64,
        Self::Mips64N32,
        Self::Mipsel,
        Self::Mipsel64,
        Self::Mipsel64N32,
        Self::Parisc,
        Self::Parisc64,
        Self::Ppc,
        Self::Ppc64,
        Self::Ppc64le,
        Self::Riscv64,
        Self::S390,
        Self::S390x,
        Self::Sh,
        Self::Sheb,
    ];

    /// The architecture this program was built for, or nothing where the spec has no name for it.
    #[must_use]
    pub const fn native() -> Option<Self> {
        Some(if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
            Self::X86_64
        } else if cfg!(target_arch = "x86_64") {
            Self::X32
        } else if cfg!(target_arch = "x86") {
            Self::X86
        } else if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else if cfg!(target_arch = "arm") {
            Self::Arm
        } else if cfg!(target_arch = "riscv64") {
            Self::Riscv64
        } else if cfg!(target_arch = "loongarch64") {
            Self::Loongarch64
        } else if cfg!(target_arch = "s390x") {
            Self::S390x
        } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
            Self::Ppc64le
        } else if cfg!(target_arch = "powerpc64") {
            Self::Ppc64
        } else {
            return None;
        })
    }

    /// The architectures whose programs a machine of this one may run, itself first.
    #[must_use]
    pub const fn family(self) -> &'static [Self] {
        match self {
            Self::X86 => &[Self::X86],
            Self::X86_64 => &[Self::X86_64, Self::X86, Self::X32],
            Self::X32 => &[Self::X32, Self::X86_64, Self::X86],
            Self::Arm => &[Self::Arm],
            Self::Aarch64 => &[Self::Aarch64, Self::Arm],
            Self::Loongarch64 => &[Self::Loongarch64],
            Self::M68k => &[Self::M68k],
            Self::Mips => &[Self::Mips],
            Self::Mips64 => &[Self::Mips64, Self::Mips, Self::Mips64N32],
            Self::Mips64N32 => &[Self::Mips64N32, Self::Mips64, Self::Mips],
            Self::Mipsel => &[Self::Mipsel],
            Self::Mipsel64 => &[Self::Mipsel64, Self::Mipsel, Self::Mipsel64N32],
            Self::Mipsel64N32 => &[Self::Mipsel64N32, Self::Mipsel64, Self::Mipsel],
            Self::Parisc => &[Self::Parisc],
            Self::Parisc64 => &[Self::Parisc64, Self::Parisc],
            Self::Ppc => &[Self::Ppc],
            Self::Ppc64 => &[Self::Ppc64, Self::Ppc],
            Self::Ppc64le => &[Self::Ppc64le],
            Self::Riscv64 => &[Self::Riscv64],
            Self::S390 => &[Self::S390],
            Self::S390x => &[Self::S390x, Self::S390],
            Self::Sh => &[Self::Sh],
            Self::Sheb => &[Self::Sheb],
        }
    }

    /// The facts. The column is the place in the rows of `tables`, the base what is added to a number there:
    /// the three MIPS ABIs and x32 count from a base of their own.
    const fn facts(self) -> Facts {
        use Width::{Bits32, Bits64};
        match self {
            Self::X86 => facts("SCMP_ARCH_X86", LITTLE | 3, 0, 0, Bits32),
            Self::X86_64 => facts("SCMP_ARCH_X86_64", BIT_64 | LITTLE | 62, 1, 0, Bits64),
            Self::X32 => facts("SCMP_ARCH_X32", BIT_64 | LITTLE | 62, 2, X32_BIT, Bits32),
            Self::Arm => facts("SCMP_ARCH_ARM", LITTLE | 40, 3, 0, Bits32),
            Self::Aarch64 => facts("SCMP_ARCH_AARCH64", BIT_64 | LITTLE | 183, 4, 0, Bits64),
            Self::Loongarch64 => facts("SCMP_ARCH_LOONGARCH64", BIT_64 | LITTLE | 258, 5, 0, Bits64),
            Self::M68k => facts("SCMP_ARCH_M68K", 4, 6, 0, Bits32),
            Self::Mips => facts("SCMP_ARCH_MIPS", 8, 7, 4000, Bits32),
            Self::Mips64 => facts("SCMP_ARCH_MIPS64", BIT_64 | 8, 8, 5000, Bits64),
            Self::Mips64N32 => facts("SCMP_ARCH_MIPS64N32", BIT_64 | N32 | 8, 9, 6000, Bits32),
            Self::Mipsel => facts("SCMP_ARCH_MIPSEL", LITTLE | 8, 7, 4000, Bits32),
            Self::Mipsel64 => facts("SCMP_ARCH_MIPSEL64", BIT_64 | LITTLE | 8, 8, 5000, Bits64),
            Self::Mipsel64N32 => facts("SCMP_ARCH_MIPSEL64N32", BIT_64 | LITTLE | N32 | 8, 9, 6000, Bits32),
            Self::Parisc => facts("SCMP_ARCH_PARISC", 15, 10, 0, Bits32),
            Self::Parisc64 => facts("SCMP_ARCH_PARISC64", BIT_64 | 15, 11, 0, Bits64),
            Self::Ppc => facts("SCMP_ARCH_PPC", 20, 12, 0, Bits32),
            Self::Ppc64 => facts("SCMP_ARCH_PPC64", BIT_64 | 21, 13, 0, Bits64),
            Self::Ppc64le => facts("SCMP_ARCH_PPC64LE", BIT_64 | LITTLE | 21, 13, 0, Bits64),
            Self::Riscv64 => facts("SCMP_ARCH_RISCV64", BIT_64 | LITTLE | 243, 14, 0, Bits64),
            Self::S390 => facts("SCMP_ARCH_S390", 22, 15, 0, Bits32),
            Self::S390x => facts("SCMP_ARCH_S390X", BIT_64 | 22, 16, 0, Bits64),
            Self::Sh => facts("SCMP_ARCH_SH", LITTLE | 42, 17, 0, Bits32),
            Self::Sheb => facts("SCMP_ARCH_SHEB", 42, 17, 0, Bits32),
        }
    }

    /// The spec's name, such as `SCMP_ARCH_X86_64`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The architecture of that name of the spec.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.name() == name)
    }

    /// `AUDIT_ARCH_*`: what the kernel puts into `seccomp_data.arch`.
    #[must_use]
    pub const fn audit(self) -> u32 {
        self.facts().audit
    }

    /// How much of an argument is compared.
    #[must_use]
    pub const fn width(self) -> Width {
        self.facts().width
    }

    /// The byte order, which is the one of `seccomp_data`.
    #[must_use]
    pub const fn endian(self) -> Endian {
        if self.facts().audit & LITTLE == 0 { Endian::Big } else { Endian::Little }
    }

    /// The place of this architecture in a row of the tables.
    pub(crate) const fn column(self) -> usize {
        self.facts().column
    }

    /// What the kernel adds to a number of the tables.
    pub(crate) const fn base(self) -> u32 {
        self.facts().base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_distinct_but_for_x32() {
        for (place, arch) in Arch::ALL.into_iter().enumerate() {
            assert_eq!(Arch::from_name(arch.name()), Some(arch));
            for other in &Arch::ALL[place + 1..] {
                assert_ne!(arch.name(), other.name());
                let shared = arch == Arch::X86_64 && *other == Arch::X32;
                assert_eq!(arch.audit() == other.audit(), shared, "{arch:?} {other:?}");
            }
        }
        assert_eq!(Arch::from_name("SCMP_ARCH_NATIVE"), None);
    }
}
