//! What a failure of the child means: the texts that engines match, and hints where an errno misleads.

use child::Op;
use child::page::{Page, Report};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::state::State;
use crate::step::Step;
use crate::{Error, Kind};

/// The steps that follow start, as texts: another process than the one that made the plan explains their failures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LateSteps {
    /// The index of the first of them in the plan.
    first: u32,
    /// Key and object of each.
    texts: Vec<(String, String)>,
    /// The name of the program, `args[0]`.
    program: String,
}

impl LateSteps {
    /// The steps of a plan after the one that waits for start.
    pub fn of(steps: &[Step<'_>]) -> Self {
        let wait =
            steps.iter().position(|step| matches!(step.op, Op::AwaitStart { .. })).unwrap_or(steps.len());
        let late = steps.get(wait + 1..).unwrap_or_default();
        let program = late.iter().rev().find_map(|step| match step.op {
            Op::Execute { args, .. } => args.iter().next().map(|name| name.to_string_lossy().into_owned()),
            _ => None,
        });
        Self {
            first: u32::try_from(wait + 1).unwrap_or(u32::MAX),
            texts: late.iter().map(|step| (step.key.to_string(), step.op.to_string())).collect(),
            program: program.unwrap_or_default(),
        }
    }
}

/// What failed before Ready.
pub fn failure(report: &Report, step: Option<&Step<'_>>) -> Error {
    let Some(step) = step else {
        return Error::kernel("set up the container", report.call().to_owned(), report.errno());
    };
    let error = match &step.op {
        Op::FindExecutable { candidates } => executable(report.errno(), *candidates),
        Op::Mount { data, .. } => mount(step, report, *data),
        _ => Error::kernel(step.op.to_string(), report.call().to_owned(), report.errno()),
    };
    let error = if matches!(step.op, Op::Hook { .. }) { hook(error, report) } else { error };
    if step.key.is_empty() { error } else { error.with_key(step.key.clone().into_owned()) }
}

/// mount(2) does not say which option it refuses; the child asked option by option afterwards.
fn mount(step: &Step<'_>, report: &Report, data: child::Text<'_>) -> Error {
    let error = Error::kernel(step.op.to_string(), report.call().to_owned(), report.errno());
    let data = data.0.to_string_lossy();
    let option = report.value.checked_sub(1).and_then(|index| data.split(',').nth(index as usize));
    match option {
        Some(option) => error.with_hint(format!("the file system refuses the option {option:?}")),
        None => error,
    }
}

fn hook(error: Error, report: &Report) -> Error {
    let error = error.with_kind(Kind::Hook);
    if report.value == 0 { error } else { error.with_hint(format!("exit status {}", report.value)) }
}

/// The texts for an executable that is not there, in the words that engines look for.
fn executable(errno: Errno, candidates: child::List<'_>) -> Error {
    let first = candidates.iter().next().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let name = first.rsplit('/').next().unwrap_or_default().to_owned();
    match (errno, candidates.count()) {
        (Errno::NOENT, 1) => {
            Error::new(Kind::NotFound, format!("exec: {first:?}: stat {first}: no such file or directory"))
        }
        (Errno::NOENT, _) => {
            Error::new(Kind::NotFound, format!("exec: {name:?}: executable file not found in $PATH"))
        }
        (Errno::ISDIR, _) => {
            Error::new(Kind::Kernel, format!("exec: {first:?}: is a directory: permission denied"))
        }
        (Errno::ACCESS, _) => Error::new(Kind::Kernel, format!("exec: {first:?}: permission denied")),
        (Errno::NOTDIR, _) => Error::new(Kind::Kernel, format!("exec: {first:?}: not a directory")),
        (errno, _) => Error::kernel(format!("exec: {first:?}"), "stat", errno),
    }
}

/// What failed after start, from the page and the record.
pub fn start_failure(page: Page, state: &State) -> Error {
    let Some(report) = page.failure() else {
        return Error::new(Kind::Internal, "init failed without a reason");
    };
    let late = &state.late;
    let text = report.step.checked_sub(late.first).and_then(|index| late.texts.get(index as usize));
    let Some((key, what)) = text else {
        return Error::kernel("start the program", report.call().to_owned(), report.errno());
    };
    let error = match report.call() {
        "execve" => Error::kernel(format!("exec {:?}", late.program), "execve", report.errno()),
        call => Error::kernel(what.clone(), call.to_owned(), report.errno()),
    };
    let error = if what.starts_with("run hook") { hook(error, &report) } else { error };
    if key.is_empty() { error } else { error.with_key(key.clone()) }
}
