//! The processes in a group and beneath it, and what to say about those that stay.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use sys::{Error, Kind, Result};

use crate::directory::{Directory, read_all};

/// How many processes a message names.
const NAMED: usize = 8;

/// The processes in `group` and in every group beneath it, as far as this pid namespace sees them.
///
/// A group that goes away meanwhile has none. A threaded group does not list processes; the group above it does.
pub(crate) fn in_tree(group: &Directory) -> Result<Vec<Pid>> {
    let mut pids = Vec::new();
    visit(group, &mut |group| {
        if let Ok(text) = group.read("cgroup.procs") {
            pids.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
        }
        Ok(())
    })?;
    pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
    pids.dedup();
    Ok(pids)
}

/// Calls `act` for `group` and for every group beneath it, parents first.
///
/// The list of groups still to visit is on the heap, since the container decides how deep they are nested.
pub(crate) fn visit(group: &Directory, act: &mut dyn FnMut(&Directory) -> Result<()>) -> Result<()> {
    act(group)?;
    let mut waiting = children(group)?;
    while let Some(group) = waiting.pop() {
        act(&group)?;
        waiting.extend(children(&group)?);
    }
    Ok(())
}

/// The groups directly beneath; none if `group` itself is gone.
fn children(group: &Directory) -> Result<Vec<Directory>> {
    let names = match group.children() {
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => Vec::new(),
        other => other?,
    };
    let mut found = Vec::new();
    for name in names {
        found.extend(group.find(&name)?);
    }
    Ok(found)
}

/// An error if there is a process in `group` or beneath it.
pub(crate) fn refuse_any(group: &Directory) -> Result<()> {
    let pids = in_tree(group)?;
    if pids.is_empty() {
        return Ok(());
    }
    let what =
        format!("container's cgroup is not empty: {} process(es) found in {}", pids.len(), group.path());
    Err(Error::new(Kind::AlreadyExists, what))
}

/// `12 (sleep, state D), 15 (sh, state Z)`, for a message about processes that will not go.
pub fn describe(pids: &[Pid]) -> String {
    let named = pids.iter().take(NAMED).map(|pid| describe_one(*pid));
    let mut text = named.collect::<Vec<_>>().join(", ");
    if pids.len() > NAMED {
        text.push_str(&format!(" and {} more", pids.len() - NAMED));
    }
    text
}

fn describe_one(pid: Pid) -> String {
    let number = pid.as_raw_nonzero();
    let stat = read_path(&format!("/proc/{number}/stat")).unwrap_or_default();
    match parse_stat(&stat) {
        Some((name, state)) => format!("{number} ({name}, state {state})"),
        None => number.to_string(),
    }
}

fn read_path(path: &str) -> rustix::io::Result<String> {
    read_all(&rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Name and state in /proc/pid/stat (proc_pid_stat(5)); the name may itself contain parentheses.
fn parse_stat(stat: &str) -> Option<(&str, &str)> {
    let (head, tail) = stat.rsplit_once(") ")?;
    Some((head.split_once('(')?.1, tail.split(' ').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_described_by_name_and_state() {
        assert_eq!(parse_stat("12 (a) (b) D 1 2"), Some(("a) (b", "D")));
        assert_eq!(parse_stat(""), None);
        let own = rustix::process::getpid();
        assert!(describe(&[own]).starts_with(&format!("{} (", own.as_raw_nonzero())));
        assert!(describe(&[own; 10]).ends_with(" and 2 more"));
    }
}
