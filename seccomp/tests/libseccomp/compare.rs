//! The comparison at every call, and what differs by intent.

use crate::engines;
use crate::generate::{self, Call, FAMILIES, Random};
use crate::model;
use crate::oracle::{self, Builder, Missing, Oracle};
use seccomp::profile::Profile;
use seccomp::program::{self, Data};
use seccomp::{Action, Arch, Instruction, Support, call_number, compile};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Why an answer differs from that of runc with libseccomp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Explained {
    /// Rules with conditions hold together and disagree. The spec does not say which decides, and libseccomp's
    /// order is that of its tree of comparisons. Ours is the same in most cases.
    Ambiguous,
    /// `socketcall` and `ipc` select by a part of their first argument only. libseccomp compares all of it,
    /// so that bits which the kernel ignores lead around a rule.
    SelectorBits,
    /// A call which the profile names is not newer than the profile: runc does not count the numbers
    /// of calls that are also behind `socketcall` or `ipc`, and its ENOSYS comes before the rules.
    MultiplexedIsKnown,
    /// libseccomp 2.5.4, given a rule for a call that one of its architectures lacks, or has only behind
    /// `socketcall` or `ipc`, can leave out the load of the number and then compares whatever is loaded, and can
    /// lose other rules in its tree. Half of the profiles have no such rule.
    AbsentCall,
    /// libseccomp 2.5.4's comparisons are wrong for some calls about which several rules have conditions: it merges the
    /// high words of bounds on one argument and lets one bound go, and after a rule of several conditions
    /// failed it compares the next rule's value with the argument that was loaded last.
    SeveralRules,
    /// ARM's private numbers are far above all others. runc takes one for the newest call of the profile, and the
    /// ENOSYS is gone for all between.
    ArmPrivate,
}

/// What was compared.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) profiles: usize,
    pub(crate) refused_by_libseccomp: usize,
    pub(crate) endless_in_libseccomp: usize,
    pub(crate) calls: usize,
    pub(crate) calls_without_libseccomp: usize,
    pub(crate) ambiguous_but_equal: usize,
    pub(crate) explained: BTreeMap<Explained, usize>,
    pub(crate) seen: BTreeMap<String, usize>,
}

/// Compares a program of ours with the oracle and the model at the given calls.
pub(crate) fn compare(
    profile: &Profile,
    native: Arch,
    ours: &[Instruction],
    calls: &[Call],
    builder: &mut Builder,
    tally: &mut Tally,
) -> Result<(), String> {
    let oracle = match builder.build(profile, native) {
        Ok(oracle) => oracle,
        Err(missing) => {
            match missing {
                Missing::Refused => tally.refused_by_libseccomp += 1,
                Missing::Endless => tally.endless_in_libseccomp += 1,
            }
            return calls.iter().try_for_each(|call| {
                tally.calls_without_libseccomp += 1;
                against_the_rules(profile, native, call, answer_of(ours, native, call)?)
            });
        }
    };
    tally.profiles += 1;
    for call in calls {
        tally.calls += 1;
        let answer = answer_of(ours, native, call)?;
        let theirs = oracle.answer(call);
        let said = model::said(profile, call);
        against_the_rules(profile, native, call, answer)?;
        if answer == theirs {
            tally.ambiguous_but_equal += usize::from(said.is_ambiguous());
            continue;
        }
        let why = explain(profile, native, &oracle, call, &said);
        let Some(why) = why else {
            return Err(format!(
                "{call:x?} on {native:?}: ours {answer}, runc's {theirs}, the rules say {said:?}"
            ));
        };
        if why != Explained::Ambiguous && !agrees(profile, native, call, &said, answer) {
            return Err(format!(
                "{call:x?} on {native:?}: ours {answer}, {why:?}, but the rules say {said:?}"
            ));
        }
        *tally.explained.entry(why).or_default() += 1;
    }
    Ok(())
}

fn answer_of(ours: &[Instruction], native: Arch, call: &Call) -> Result<Action, String> {
    let data = Data { number: call.number, audit: call.arch.audit(), arguments: call.arguments };
    let answer = program::run(ours, native.endian(), &data);
    answer.map(Action::from_word).map_err(|place| format!("broken at {place}"))
}

/// An answer must be what the rules say, where they are about the call and say one thing.
fn against_the_rules(profile: &Profile, native: Arch, call: &Call, answer: Action) -> Result<(), String> {
    let said = model::said(profile, call);
    let clear = is_listed(profile, native, call.arch) && said.action().is_some() && !said.is_ambiguous();
    if clear && !agrees(profile, native, call, &said, answer) {
        return Err(format!("{call:x?} on {native:?}: ours {answer}, but the rules say {said:?}"));
    }
    Ok(())
}

/// Whether an answer is what the rules say, where they say one thing.
fn agrees(profile: &Profile, native: Arch, call: &Call, said: &model::Said, answer: Action) -> bool {
    let expected = said.action().cloned().unwrap_or_else(|| model::default(profile));
    let number = match answer {
        Action::Errno(number) | Action::Trace(number) => Some(u32::from(number)),
        _ => None,
    };
    let newer = said.action().is_none() && answer == Action::Errno(seccomp::ir::enosys(native));
    let known =
        newest(profile, call.arch).max(multiplexer(profile, call.arch)).is_some_and(|it| call.number > it);
    let unknown_on_s390 = call.number == 0 && matches!(call.arch, Arch::S390 | Arch::S390x);
    (answer.name(), number) == (expected.0.as_str(), expected.1) || newer && (known || unknown_on_s390)
}

/// The newest call that a profile names, whatever its entry.
fn newest(profile: &Profile, arch: Arch) -> Option<u32> {
    let names = profile.syscalls.iter().flat_map(|rule| &rule.names);
    names
        .filter_map(|name| call_number(name, arch))
        .filter(|number| *number < 0x000f_0000 || *number > 0x000f_ffff)
        .max()
}

/// The number of `socketcall` or `ipc` where a profile names a call behind it.
fn multiplexer(profile: &Profile, arch: Arch) -> Option<u32> {
    let names = profile.syscalls.iter().flat_map(|rule| &rule.names);
    names.filter_map(|name| call_number(model::multiplexer(name)?, arch)).max()
}

fn is_listed(profile: &Profile, native: Arch, arch: Arch) -> bool {
    arch == native || profile.architectures.iter().any(|name| name == arch.name())
}

fn explain(
    profile: &Profile,
    native: Arch,
    oracle: &Oracle,
    call: &Call,
    said: &model::Said,
) -> Option<Explained> {
    let highest = oracle.highest(call.arch).unwrap_or(0);
    let through = multiplexer(profile, call.arch);
    if !is_listed(profile, native, call.arch) {
        None
    } else if said.is_ambiguous() {
        Some(Explained::Ambiguous)
    } else if model::conditional_rules(profile, call) > 1 {
        Some(Explained::SeveralRules)
    } else if model::selects_with_more_bits(call) {
        Some(Explained::SelectorBits)
    } else if through.is_some() && newest(profile, call.arch).max(through) > Some(highest) {
        Some(Explained::MultiplexedIsKnown)
    } else if call.arch == Arch::Arm && highest > 0x000f_0000 {
        Some(Explained::ArmPrivate)
    } else if oracle.absent {
        Some(Explained::AbsentCall)
    } else {
        None
    }
}

/// The random profiles, from `ORLOP_SECCOMP_SEED` on.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let first = variable("ORLOP_SECCOMP_SEED").unwrap_or(0);
    first..first + variable("ORLOP_SECCOMP_PROFILES").unwrap_or(2000)
}

/// The names to draw from, per family: all, and those that each architecture of the family has.
pub(crate) type Names = Vec<[Vec<&'static str>; 2]>;

pub(crate) fn names() -> Names {
    let both = |family: &(Arch, &[Arch])| {
        let all = generate::common_names(*family);
        let mut everywhere = all.clone();
        everywhere.retain(|name| {
            oracle::is_on(name, family.0) && family.1.iter().all(|arch| oracle::is_on(name, *arch))
        });
        [all, everywhere]
    };
    FAMILIES.iter().map(both).collect()
}

/// The profile of a seed, its native architecture and the calls to look at.
pub(crate) fn case(seed: u64, names: &Names) -> (Profile, Arch, Vec<Call>) {
    let mut random = Random(seed);
    // Every other profile is for x86-64, which has the most to go wrong.
    let family = if seed.is_multiple_of(2) { 0 } else { random.below(FAMILIES.len()) };
    let profile = generate::profile(&mut random, FAMILIES[family], &names[family][seed as usize / 2 % 2]);
    let native = FAMILIES[family].0;
    let calls = generate::calls(&mut random, &profile, native);
    (profile, native, calls)
}

fn count(profile: &Profile, native: Arch, tally: &mut Tally) {
    let mut note = |what: String| *tally.seen.entry(what).or_default() += 1;
    note(format!("native {native:?}"));
    note(format!("default {}", profile.default_action));
    profile.architectures.iter().for_each(|name| note(name.clone()));
    for rule in &profile.syscalls {
        note(rule.action.clone());
        rule.args.iter().for_each(|argument| note(argument.op.clone()));
        if rule.args.len() > 1 {
            note("several conditions".to_owned());
        }
        let mut indices: Vec<u32> = rule.args.iter().map(|argument| argument.index).collect();
        indices.sort_unstable();
        if indices.windows(2).any(|pair| pair[0] == pair[1]) {
            note("several conditions on one argument".to_owned());
        }
        if rule.names.len() > 30 {
            note("a long rule".to_owned());
        }
    }
}

/// The profile without every rule and condition that the failure does not need.
fn shrink(profile: &Profile, fails: impl Fn(&Profile) -> bool) -> Profile {
    let mut small = profile.clone();
    loop {
        let mut candidates = Vec::new();
        for rule in 0..small.syscalls.len() {
            let mut candidate = small.clone();
            candidate.syscalls.remove(rule);
            candidates.push(candidate);
            for name in 0..small.syscalls[rule].names.len() {
                let mut candidate = small.clone();
                candidate.syscalls[rule].names.remove(name);
                candidates.push(candidate);
            }
            for argument in 0..small.syscalls[rule].args.len() {
                let mut candidate = small.clone();
                candidate.syscalls[rule].args.remove(argument);
                candidates.push(candidate);
            }
        }
        match candidates.into_iter().find(|candidate| fails(candidate)) {
            Some(smaller) => small = smaller,
            None => return small,
        }
    }
}

/// What kind of failure a text is, so that a smaller profile fails in the same way.
fn kind(failure: &str) -> (bool, bool) {
    (failure.contains("but the rules say"), failure.contains("Violation"))
}

#[test]
fn random_profiles_answer_as_with_runc() {
    let names = names();
    let mut tally = Tally::default();
    let builder = RefCell::new(Builder::new());
    for seed in seeds() {
        let (profile, native, calls) = case(seed, &names);
        let check = |profile: &Profile, tally: &mut Tally| {
            let filter = compile(profile, native, &Support::default())
                .map_err(|violations| format!("{violations:?}"))?;
            program::check(&filter.instructions)?;
            compare(profile, native, &filter.instructions, &calls, &mut builder.borrow_mut(), tally)
        };
        count(&profile, native, &mut tally);
        if let Err(difference) = check(&profile, &mut tally) {
            let fails = |candidate: &Profile| matches!(check(candidate, &mut Tally::default()), Err(why) if kind(&why) == kind(&difference));
            let small = shrink(&profile, fails);
            let now = check(&small, &mut Tally::default());
            panic!("seed {seed}: {difference}\nsmallest: {small:#?}\n{now:?}");
        }
    }
    println!("{tally:#?}");
    let required = seccomp::profile::ACTIONS.iter().chain(&seccomp::profile::OPERATORS);
    let more = ["several conditions", "several conditions on one argument", "a long rule", "SCMP_ARCH_X32"];
    for what in required.copied().chain(more) {
        assert!(tally.seen.contains_key(what) || seeds().count() < 1000, "the profiles never had {what}");
    }
}

#[test]
fn profiles_of_the_engines_shape_answer_as_with_runc() {
    let cases = [
        (engines::docker_like(), Arch::X86_64),
        (engines::podman_like(), Arch::X86_64),
        (engines::containerd_like(), Arch::Aarch64),
    ];
    for (profile, native) in cases {
        let filter = compile(&profile, native, &Support::default()).unwrap();
        let mut random = Random(1);
        let mut calls = Vec::new();
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm, Arch::S390x] {
            let base = call_number("read", arch).unwrap() & !0xff;
            for number in (base..base + 700).chain([0x000f_0002, 0x000f_0005, 0x4000_0000, u32::MAX]) {
                let values = [0, 8, 16, 40, 9, 0x1_0000_0000, 0x7e02_0000, 0x2_0008, 0xffff_ffff];
                for _ in 0..10 {
                    let arguments = std::array::from_fn(|_| random.pick(&values));
                    calls.push(Call { arch, number, arguments });
                }
            }
        }
        let mut tally = Tally::default();
        let outcome =
            compare(&profile, native, &filter.instructions, &calls, &mut Builder::new(), &mut tally);
        assert_eq!(outcome, Ok(()));
        assert_eq!(tally.refused_by_libseccomp, 0);
        println!("{native:?}: {} calls, explained {:?}", tally.calls, tally.explained);
    }
}
