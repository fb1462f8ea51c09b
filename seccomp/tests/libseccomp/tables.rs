//! The tables against those of libseccomp 2.5.4.

use libseccomp::{ScmpArch, ScmpSyscall};
use seccomp::{Arch, call_names, call_number};

/// libseccomp's name of an architecture. It has no loongarch64, m68k and sh yet.
pub(crate) fn oracle_arch(arch: Arch) -> Option<ScmpArch> {
    Some(match arch {
        Arch::X86 => ScmpArch::X86,
        Arch::X86_64 => ScmpArch::X8664,
        Arch::X32 => ScmpArch::X32,
        Arch::Arm => ScmpArch::Arm,
        Arch::Aarch64 => ScmpArch::Aarch64,
        Arch::Mips => ScmpArch::Mips,
        Arch::Mips64 => ScmpArch::Mips64,
        Arch::Mips64N32 => ScmpArch::Mips64N32,
        Arch::Mipsel => ScmpArch::Mipsel,
        Arch::Mipsel64 => ScmpArch::Mipsel64,
        Arch::Mipsel64N32 => ScmpArch::Mipsel64N32,
        Arch::Parisc => ScmpArch::Parisc,
        Arch::Parisc64 => ScmpArch::Parisc64,
        Arch::Ppc => ScmpArch::Ppc,
        Arch::Ppc64 => ScmpArch::Ppc64,
        Arch::Ppc64le => ScmpArch::Ppc64Le,
        Arch::Riscv64 => ScmpArch::Riscv64,
        Arch::S390 => ScmpArch::S390,
        Arch::S390x => ScmpArch::S390X,
        Arch::Loongarch64 | Arch::M68k | Arch::Sh | Arch::Sheb => return None,
    })
}

/// The number libseccomp has for a call: negative where it is a stand-in for a call that the architecture lacks,
/// or for one that it also takes through `socketcall` or `ipc`.
pub(crate) fn oracle_number(name: &str, arch: Arch) -> Option<i32> {
    ScmpSyscall::from_name_by_arch(name, oracle_arch(arch)?).ok().map(ScmpSyscall::as_raw_syscall)
}

/// Whether a number is the stand-in for a call behind `socketcall` or `ipc`.
fn multiplexed(number: i32) -> bool {
    (-120..=-100).contains(&number) || (-224..=-200).contains(&number)
}

/// Why a difference is none of ours.
fn explained(name: &str, arch: Arch, ours: Option<u32>, theirs: Option<u32>) -> Option<&'static str> {
    let common = |number: u32| number - (arch_base(arch)) >= 457;
    match (name, arch, ours, theirs) {
        (_, _, Some(ours), None) if common(ours) => Some("newer than libseccomp 2.5.4 in Debian 12"),
        ("uretprobe" | "uprobe", Arch::X86_64 | Arch::X32, Some(_), None) => Some("Linux 6.11 and 6.18"),
        ("riscv_hwprobe", Arch::Riscv64, Some(_), None) => Some("Linux 6.4"),
        ("map_shadow_stack", Arch::X32, Some(_), None) => Some("the kernel's table has it for both ABIs"),
        ("_llseek", Arch::Parisc64, None, Some(_)) => Some("the kernel's table has it for 32 bits only"),
        _ => None,
    }
}

fn arch_base(arch: Arch) -> u32 {
    call_number("read", arch).unwrap_or(0) & !0xff
}

#[test]
fn the_tables_are_those_of_libseccomp_but_for_what_is_newer() {
    let mut compared = 0;
    for arch in Arch::ALL.into_iter().filter(|arch| oracle_arch(*arch).is_some()) {
        for name in call_names() {
            let ours = call_number(name, arch);
            let theirs = oracle_number(name, arch);
            if theirs.is_some_and(multiplexed) {
                continue;
            }
            let theirs = theirs.and_then(|number| u32::try_from(number).ok());
            compared += 1;
            if ours != theirs {
                let why = explained(name, arch, ours, theirs);
                assert!(why.is_some(), "{arch:?} {name}: ours {ours:?}, libseccomp's {theirs:?}");
            }
        }
    }
    println!("{compared} numbers compared");
}

#[test]
fn every_call_that_libseccomp_knows_is_in_the_tables() {
    for arch in Arch::ALL {
        let Some(oracle) = oracle_arch(arch) else { continue };
        let base = i32::try_from(arch_base(arch)).unwrap();
        // libseccomp takes the numbers of MIPS and x32 with their base.
        let numbers = (base..base + 1000).chain(0x000f_0000..0x000f_0010);
        let mut known = 0;
        for number in numbers {
            let Ok(name) = ScmpSyscall::from(number).get_name_by_arch(oracle) else { continue };
            known += 1;
            let ours = call_number(&name, arch);
            let same = ours == u32::try_from(number).ok();
            let theirs = u32::try_from(number).ok();
            assert!(
                same || explained(&name, arch, ours, theirs).is_some(),
                "{arch:?} {name} {number}: {ours:?}"
            );
        }
        assert!(known > 250, "{arch:?}: libseccomp names {known} numbers");
    }
}
