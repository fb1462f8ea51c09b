//! The programs stay small: the kernel checks, translates and emulates them at every start.

#[path = "common/engines.rs"]
mod engines;

use seccomp::{Arch, Support, compile, program};

#[test]
fn default_profiles_compile_to_few_instructions() {
    let cases = [
        ("docker", engines::docker_like(), Arch::X86_64, 400),
        ("podman", engines::podman_like(), Arch::X86_64, 600),
        ("containerd on arm64", engines::containerd_like(), Arch::Aarch64, 400),
    ];
    for (name, profile, native, limit) in cases {
        let names: usize = profile.syscalls.iter().map(|rule| rule.names.len()).sum();
        let filter = compile(&profile, native, &Support::default()).unwrap();
        let count = filter.instructions.len();
        println!("{name}: {} rules, {names} names, {count} instructions", profile.syscalls.len());
        assert_eq!(program::check(&filter.instructions), Ok(()));
        assert!(count <= limit, "{name}: {count} instructions");
    }
}
