//! What a failure of the child means: the texts that engines match, and hints where an errno misleads.

use child::Op;
use child::page::Report;
use rustix::io::Errno;

use crate::step::Step;
use crate::{Error, Kind};

/// Adds to `error` what its step and errno say together.
pub fn failure(error: Error, report: &Report, step: Option<&Step<'_>>, _pid: i32) -> Error {
    let Some(step) = step else { return error };
    match &step.op {
        Op::Hook { .. } => error.with_kind(Kind::Hook).with_hint(format!("exit status {}", report.value)),
        Op::FindExecutable { candidates } => executable(step, report.errno(), candidates.count(), candidates),
        _ => error,
    }
}

fn executable(step: &Step<'_>, errno: Errno, count: usize, candidates: &child::List<'_>) -> Error {
    let first = candidates.iter().next().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let name = first.rsplit('/').next().unwrap_or_default().to_owned();
    let (text, kind) = match (errno, count) {
        (Errno::NOENT, 1) => (format!("exec: {first:?}: stat {first}: no such file or directory"), Kind::NotFound),
        (Errno::NOENT, _) => (format!("exec: {name:?}: executable file not found in $PATH"), Kind::NotFound),
        (Errno::ISDIR, _) => (format!("exec: {first:?}: is a directory: permission denied"), Kind::Kernel),
        (Errno::ACCESS, _) => (format!("exec: {first:?}: permission denied"), Kind::Kernel),
        (errno, _) => return Error::kernel(format!("exec: {first:?}"), "stat", errno).with_key(step.key.clone().into_owned()),
    };
    Error::new(kind, text).with_key(step.key.clone().into_owned())
}
