//! What `explain` says is what the program does, and the name of the decider is that of a rule with that action.

#[path = "common/engines.rs"]
mod engines;

use seccomp::explain::{By, Outcome, explain};
use seccomp::{Arch, Support, call_names, compile};

#[test]
fn explanations_are_the_programs_answers() {
    let cases = [
        (engines::docker_like(), Arch::X86_64),
        (engines::podman_like(), Arch::X86_64),
        (engines::containerd_like(), Arch::Aarch64),
    ];
    let arguments =
        [[0; 6], [16, 0, 9, 0, 0, 0], [40, 1, 2, 3, 4, 5], [0x7e02_0000, 0, 0, 0, 0, 0], [u64::MAX; 6]];
    let mut explained = 0;
    for (profile, native) in cases {
        let filter = compile(&profile, native, &Support::default()).unwrap();
        for call in call_names() {
            for arguments in arguments {
                let all = explain(&profile, native, &Support::default(), call, &arguments).unwrap();
                for one in all.iter().filter(|one| one.entry == call) {
                    let Some(number) = one.number else { continue };
                    let [Outcome { when, answer, by }] = one.outcomes.as_slice() else {
                        panic!("all arguments are known: {one}")
                    };
                    assert!(when.is_empty());
                    assert_eq!(*answer, filter.answer(one.arch, number, arguments), "{one}");
                    if let By::Rule(rule) = by {
                        assert!(profile.syscalls[*rule].names.iter().any(|name| name == call), "{one}");
                        assert!(answer.name().starts_with(&profile.syscalls[*rule].action), "{one}");
                    }
                    explained += 1;
                }
            }
        }
    }
    assert!(explained > 10_000, "{explained}");
}
