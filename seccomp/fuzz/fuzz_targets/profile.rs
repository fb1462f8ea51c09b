//! Arbitrary profiles, as JSON and as values: `cargo +nightly fuzz run profile` in `seccomp/`.
//!
//! Whatever the profile, there is no panic. What is accepted is a program that the kernel's checks pass, it answers every
//! call that it is asked about, and the answer is the explained one.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use seccomp::explain::explain;
use seccomp::profile::{ACTIONS, Argument, FLAGS, OPERATORS, Profile, Syscall};
use seccomp::program::{self, Data};
use seccomp::{Arch, Support, call_names, compile, dump, order};

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let _ = one(&mut input);
});

fn one(input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let native = *input.choose(&Arch::ALL)?;
    let number = u32::arbitrary(input)?;
    let arguments = <[u64; 6]>::arbitrary(input)?;
    let profile = if bool::arbitrary(input)? {
        let text = input.bytes(input.len())?;
        match serde_json::from_slice(text) {
            Ok(profile) => profile,
            Err(_) => return Ok(()),
        }
    } else {
        profile(input)?
    };
    let Ok(filter) = compile(&profile, native, &Support::default()) else { return Ok(()) };
    assert_eq!(program::check(&filter.instructions), Ok(()));
    assert_eq!(dump::text(&filter).lines().count(), filter.instructions.len());
    let _ = order::blocked(&filter, native, order::Order::Late, order::Hooks::Run);
    let data = Data { number, audit: native.audit(), arguments };
    let answer = program::run(&filter.instructions, native.endian(), &data).expect("a program that was checked");
    let words = program::possible(&filter.instructions, native.audit(), number);
    assert!(words.contains(&answer));
    let explained = explain(&profile, native, &Support::default(), &number.to_string(), &arguments).unwrap();
    assert_eq!(explained[0].outcomes[0].answer, filter.answer(native, number, arguments), "{}", explained[0]);
    Ok(())
}

fn profile(input: &mut Unstructured<'_>) -> arbitrary::Result<Profile> {
    let default = input.choose(&ACTIONS)?;
    let flags = if bool::arbitrary(input)? { Some(vec![input.choose(&FLAGS)?.0.to_owned()]) } else { None };
    let architectures = (0..input.int_in_range(0..=4)?)
        .map(|_| Ok(input.choose(&Arch::ALL)?.name().to_owned()))
        .collect::<arbitrary::Result<_>>()?;
    let syscalls = (0..input.int_in_range(0..=60)?).map(|_| rule(input)).collect::<arbitrary::Result<_>>()?;
    Ok(Profile {
        default_action: (*default).to_owned(),
        default_errno_ret: number(input)?,
        architectures,
        flags,
        listener_path: String::arbitrary(input)?,
        listener_metadata: String::arbitrary(input)?,
        syscalls,
    })
}

fn number(input: &mut Unstructured<'_>) -> arbitrary::Result<Option<u32>> {
    Ok(if bool::arbitrary(input)? { Some(u32::from(u16::arbitrary(input)?)) } else { None })
}

fn rule(input: &mut Unstructured<'_>) -> arbitrary::Result<Syscall> {
    let all: Vec<&str> = call_names().collect();
    let names = (0..input.int_in_range(1..=40)?)
        .map(|_| Ok((*input.choose(&all)?).to_owned()))
        .collect::<arbitrary::Result<_>>()?;
    let args = (0..input.int_in_range(0..=6)?).map(|_| argument(input)).collect::<arbitrary::Result<_>>()?;
    let action = (*input.choose(&ACTIONS)?).to_owned();
    Ok(Syscall { names, action, errno_ret: number(input)?, args })
}

fn argument(input: &mut Unstructured<'_>) -> arbitrary::Result<Argument> {
    Ok(Argument {
        index: input.int_in_range(0..=6)?,
        value: u64::arbitrary(input)?,
        value_two: u64::arbitrary(input)?,
        op: (*input.choose(&OPERATORS)?).to_owned(),
    })
}
