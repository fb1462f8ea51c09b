//! What runc with libseccomp makes of a profile: libseccomp's program, and the ENOSYS that runc puts in front of it.
//!
//! The rules of that ENOSYS, as far as they can be seen from outside: it is not there when the default is ALLOW, LOG
//! or TRACE; per architecture, every number above the highest that one of the profile's names has there gets it;
//! a highest number of 0 counts as none; names behind socketcall and ipc have no number; where only x86-64 is
//! listed, numbers with the bit of x32 are left to the program, and otherwise compared with x32's highest;
//! on s390 and s390x number 0 gets it too.

use crate::generate::Call;
use crate::tables::{oracle_arch, oracle_number};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use seccomp::arch::{Endian, X32_BIT};
use seccomp::profile::{Argument, Profile, Syscall};
use seccomp::program::{Data, run};
use seccomp::{Action, Arch, Instruction, ir};
use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

pub(crate) struct Oracle {
    program: Vec<Instruction>,
    /// The highest number per architecture, where there is one.
    highest: Vec<(Arch, u32)>,
    native: Arch,
    enosys: bool,
    /// Whether a rule is for a call that one of the architectures does not have as a call of its own.
    pub(crate) absent: bool,
}

/// A thread that builds oracles. libseccomp 2.5.4 never returns from some profiles; the thread is then left to itself,
/// and another one takes its place.
pub(crate) struct Builder {
    wishes: Sender<(Profile, Arch)>,
    oracles: Receiver<Result<Oracle, String>>,
}

/// Why there is no oracle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// libseccomp refused a rule.
    Refused,
    /// libseccomp was still adding rules after [`PATIENCE`].
    Endless,
}

const PATIENCE: Duration = Duration::from_secs(5);

impl Builder {
    pub(crate) fn new() -> Self {
        let (wishes, wished) = channel::<(Profile, Arch)>();
        let (ready, oracles) = channel();
        std::thread::spawn(move || {
            while let Ok((profile, native)) = wished.recv() {
                if ready.send(build(&profile, native)).is_err() {
                    return;
                }
            }
        });
        Self { wishes, oracles }
    }

    pub(crate) fn build(&mut self, profile: &Profile, native: Arch) -> Result<Oracle, Missing> {
        self.wishes.send((profile.clone(), native)).expect("the thread waits");
        match self.oracles.recv_timeout(PATIENCE) {
            Ok(oracle) => oracle.map_err(|_| Missing::Refused),
            Err(_) => {
                *self = Self::new();
                Err(Missing::Endless)
            }
        }
    }
}

/// What runc would load, or libseccomp's refusal of a rule.
fn build(profile: &Profile, native: Arch) -> Result<Oracle, String> {
    let lets_through = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"];
    let enosys = !lets_through.contains(&profile.default_action.as_str());
    let mut architectures: Vec<Arch> =
        profile.architectures.iter().filter_map(|it| Arch::from_name(it)).collect();
    architectures.push(native);
    let program = program(profile, native).map_err(|error| error.to_string())?;
    let names = || profile.syscalls.iter().flat_map(|rule| &rule.names);
    let absent = architectures.iter().any(|arch| names().any(|name| !is_on(name, *arch)));
    let highest = architectures.iter().filter_map(|arch| Some((*arch, highest(profile, *arch)?))).collect();
    Ok(Oracle { program, highest, native, enosys, absent })
}

/// Whether libseccomp has a number of its own for a call on an architecture.
pub(crate) fn is_on(name: &str, arch: Arch) -> bool {
    oracle_number(name, arch).is_some_and(|number| number >= 0)
}

fn highest(profile: &Profile, arch: Arch) -> Option<u32> {
    let names = profile.syscalls.iter().flat_map(|rule| &rule.names);
    let numbers = names.filter_map(|name| u32::try_from(oracle_number(name, arch)?).ok());
    numbers.max().filter(|highest| *highest != 0)
}

impl Oracle {
    pub(crate) fn highest(&self, arch: Arch) -> Option<u32> {
        self.highest.iter().find(|(known, _)| *known == arch).map(|(_, number)| *number)
    }

    pub(crate) fn answer(&self, call: &Call) -> Action {
        if self.enosys && self.is_newer(call) {
            return Action::Errno(ir::enosys(self.native));
        }
        let data = Data { number: call.number, audit: call.arch.audit(), arguments: call.arguments };
        Action::from_word(run(&self.program, self.native.endian(), &data).expect("libseccomp's program runs"))
    }

    /// Whether the part in front answers.
    fn is_newer(&self, call: &Call) -> bool {
        let above = |arch| self.highest(arch).is_some_and(|highest| call.number > highest);
        match call.arch {
            Arch::X86_64 | Arch::X32 if call.number & X32_BIT == 0 => above(Arch::X86_64),
            Arch::X86_64 | Arch::X32 => above(Arch::X32),
            Arch::S390 | Arch::S390x if call.number == 0 => self.highest(call.arch).is_some(),
            arch => above(arch),
        }
    }
}

fn program(profile: &Profile, native: Arch) -> Result<Vec<Instruction>, libseccomp::error::SeccompError> {
    let default = action(&profile.default_action, profile.default_errno_ret);
    let mut context = ScmpFilterContext::new(default)?;
    let big = native.endian() == Endian::Big;
    let native = oracle_arch(native).expect("an architecture libseccomp knows");
    if native != ScmpArch::X8664 {
        context.remove_arch(ScmpArch::X8664)?;
        context.add_arch(native)?;
    }
    for name in &profile.architectures {
        context.add_arch(oracle_arch(Arch::from_name(name).expect("known")).expect("known to libseccomp"))?;
    }
    // runc asks for a tree above 32 rules.
    if profile.syscalls.iter().map(|rule| rule.names.len()).sum::<usize>() > 32 {
        context.set_ctl_optimize(2)?;
    }
    for rule in &profile.syscalls {
        for name in &rule.names {
            add(&mut context, rule, name, default)?;
        }
    }
    Ok(export(&context, big))
}

fn add(
    context: &mut ScmpFilterContext,
    rule: &Syscall,
    name: &str,
    default: ScmpAction,
) -> Result<(), libseccomp::error::SeccompError> {
    let action = action(&rule.action, rule.errno_ret);
    let Ok(call) = ScmpSyscall::from_name(name) else { return Ok(()) };
    if action == default {
        return Ok(());
    }
    let conditions: Vec<ScmpArgCompare> = rule.args.iter().map(condition).collect();
    let mut seen = [0; 6];
    rule.args.iter().for_each(|argument| seen[argument.index as usize] += 1);
    if seen.iter().any(|count| *count > 1) {
        for condition in conditions {
            context.add_rule_conditional(action, call, &[condition])?;
        }
    } else if conditions.is_empty() {
        context.add_rule(action, call)?;
    } else {
        context.add_rule_conditional(action, call, &conditions)?;
    }
    Ok(())
}

fn action(name: &str, number: Option<u32>) -> ScmpAction {
    let number = number.unwrap_or(1);
    match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => ScmpAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => ScmpAction::KillProcess,
        "SCMP_ACT_TRAP" => ScmpAction::Trap,
        "SCMP_ACT_ERRNO" => ScmpAction::Errno(number as i32),
        "SCMP_ACT_TRACE" => ScmpAction::Trace(number as u16),
        "SCMP_ACT_ALLOW" => ScmpAction::Allow,
        "SCMP_ACT_LOG" => ScmpAction::Log,
        "SCMP_ACT_NOTIFY" => ScmpAction::Notify,
        other => panic!("{other}"),
    }
}

fn condition(argument: &Argument) -> ScmpArgCompare {
    let (operator, value) = match argument.op.as_str() {
        "SCMP_CMP_NE" => (ScmpCompareOp::NotEqual, argument.value),
        "SCMP_CMP_LT" => (ScmpCompareOp::Less, argument.value),
        "SCMP_CMP_LE" => (ScmpCompareOp::LessOrEqual, argument.value),
        "SCMP_CMP_EQ" => (ScmpCompareOp::Equal, argument.value),
        "SCMP_CMP_GE" => (ScmpCompareOp::GreaterEqual, argument.value),
        "SCMP_CMP_GT" => (ScmpCompareOp::Greater, argument.value),
        "SCMP_CMP_MASKED_EQ" => (ScmpCompareOp::MaskedEqual(argument.value), argument.value_two),
        other => panic!("{other}"),
    };
    ScmpArgCompare::new(argument.index, operator, value)
}

fn export(context: &ScmpFilterContext, big: bool) -> Vec<Instruction> {
    // The largest program, 4,096 instructions of 8 bytes, fits into a pipe.
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    context.export_bpf(&writer).expect("libseccomp exports");
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("the pipe is read");
    // libseccomp writes the program in the byte order of its architectures.
    bytes.chunks_exact(8).map(|raw| decode(raw, big)).collect()
}

fn decode(raw: &[u8], big: bool) -> Instruction {
    let code = [raw[0], raw[1]];
    let k = [raw[4], raw[5], raw[6], raw[7]];
    Instruction {
        code: if big { u16::from_be_bytes(code) } else { u16::from_le_bytes(code) },
        jt: raw[2],
        jf: raw[3],
        k: if big { u32::from_be_bytes(k) } else { u32::from_le_bytes(k) },
    }
}
