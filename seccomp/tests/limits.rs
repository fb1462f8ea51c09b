//! What happens at the ends: programs too long for the kernel, jumps over any distance, and the worst a profile can be.

#[path = "common/engines.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod engines;

use engines::{profile, rule};
use seccomp::profile::Profile;
use seccomp::{Action, Arch, Support, call_names, call_number, compile, program};

const X86: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];

/// Every `every`-th call has its own conditions and its own errno.
fn dense(every: usize, conditions: usize) -> Profile {
    let ops = ["SCMP_CMP_GT", "SCMP_CMP_NE", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_LT", "SCMP_CMP_GE"];
    let names: Vec<&str> =
        call_names().step_by(every).filter(|name| *name != "socketcall" && *name != "ipc").collect();
    let rules = (0u64..).zip(&names).map(|(place, name)| {
        let args: Vec<_> = (0u32..)
            .zip(ops)
            .take(conditions)
            .map(|(index, op)| (index, op, place << 31 | place, 0))
            .collect();
        let mut rule = rule(&[name], "SCMP_ACT_ERRNO", &args);
        rule.errno_ret = Some(100 + place as u32);
        rule
    });
    profile("SCMP_ACT_ALLOW", None, &X86, rules.collect())
}

#[test]
fn a_program_the_kernel_would_not_take_is_a_violation() {
    let violations = compile(&dense(1, 6), Arch::X86_64, &Support::default()).unwrap_err();
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].key, "linux.seccomp.syscalls");
    assert!(violations[0].what.ends_with("instructions; the kernel takes 4096"), "{violations:?}");
}

#[test]
fn long_programs_jump_to_the_right_places() {
    for (every, conditions) in [(2, 1), (5, 3), (10, 6), (4, 2)] {
        let profile = dense(every, conditions);
        let filter = compile(&profile, Arch::X86_64, &Support::default()).unwrap();
        assert_eq!(program::check(&filter.instructions), Ok(()));
        assert!(filter.instructions.len() > 1000, "{} instructions", filter.instructions.len());
        for rule in &profile.syscalls {
            for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
                let Some(number) = call_number(&rule.names[0], arch) else { continue };
                let mut arguments = [0; 6];
                for argument in &rule.args {
                    let step = match argument.op.as_str() {
                        "SCMP_CMP_GT" | "SCMP_CMP_NE" => 1,
                        "SCMP_CMP_LT" => u64::MAX,
                        _ => 0,
                    };
                    arguments[argument.index as usize] = argument.value.wrapping_add(step);
                }
                // Nothing is below 0, so there the rule cannot hold.
                if rule.args.iter().any(|it| it.op == "SCMP_CMP_LT" && it.value == 0) {
                    continue;
                }
                let expected = Action::Errno(rule.errno_ret.unwrap() as u16);
                assert_eq!(filter.answer(arch, number, arguments), expected, "{arch:?} {}", rule.names[0]);
                arguments[0] = rule.args[0].value;
                assert_eq!(
                    filter.answer(arch, number, arguments),
                    Action::Allow,
                    "{arch:?} {}",
                    rule.names[0]
                );
            }
        }
    }
}

#[test]
fn no_rule_at_all() {
    for native in Arch::ALL {
        let filter =
            compile(&profile("SCMP_ACT_TRAP", None, &[], Vec::new()), native, &Support::default()).unwrap();
        assert_eq!(program::check(&filter.instructions), Ok(()));
        let number = call_number("read", native).unwrap();
        assert_eq!(filter.answer(native, number, [0; 6]), Action::Trap, "{native:?}");
        let other = if native == Arch::Aarch64 { Arch::Riscv64 } else { Arch::Aarch64 };
        assert_eq!(filter.answer(other, number, [0; 6]), Action::KillThread, "{native:?}");
    }
}

#[test]
fn every_architecture_of_a_byte_order_in_one_profile() {
    for native in [Arch::X86_64, Arch::Aarch64, Arch::S390x, Arch::Mips64] {
        let alike: Vec<&str> =
            Arch::ALL.into_iter().filter(|arch| arch.endian() == native.endian()).map(Arch::name).collect();
        let rules = vec![rule(&["getpid", "socket", "clone3"], "SCMP_ACT_ALLOW", &[])];
        let filter =
            compile(&profile("SCMP_ACT_ERRNO", None, &alike, rules), native, &Support::default()).unwrap();
        assert_eq!(program::check(&filter.instructions), Ok(()));
        for arch in Arch::ALL.into_iter().filter(|arch| arch.endian() == native.endian()) {
            let answer = |name: &str| filter.answer(arch, call_number(name, arch).unwrap(), [0; 6]);
            assert_eq!(answer("getpid"), Action::Allow, "{arch:?}");
            assert_eq!(answer("exit"), Action::Errno(1), "{arch:?}");
        }
    }
}
