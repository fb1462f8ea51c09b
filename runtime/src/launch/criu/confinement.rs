//! What restored processes may do, against the configuration, before the first of them runs.
//!
//! Capabilities, no_new_privs and the filter of each process come from the images, and images may come from anywhere
//! (CVE-2024-8676). A process with more than the configuration gives is refused.

use std::os::fd::OwnedFd;

use child::op::NoNewPrivs;
use sys::error::Context;

use crate::config::Config;
use crate::plan::Filter;
use crate::state::State;
use crate::{Error, Kind, Result, procfs};

/// Refuses processes that have more rights than the configuration gives. `criu` and its children are in the container's
/// group too and no part of the container; what is restored has another parent.
///
/// # Errors
/// `Unsupported` with the key; `Kernel`.
pub(super) fn check(config: &Config, filter: Option<&Filter>, state: &State, criu: i32) -> Result<()> {
    let Some(process) = &config.process else { return Ok(()) };
    let proc = procfs::open()?;
    let (bounding, sets) = (process.capabilities.bounding(), process.capabilities.sets());
    let limits = Limits {
        bounding,
        // An execve(2) by root may take the whole bounding set.
        held: bounding | sets.permitted,
        no_new_privs: process.capabilities.no_new_privileges() == NoNewPrivs::Set,
        filter: filter.is_some(),
    };
    let init = state.init.map_or(0, |init| init.pid);
    let others = state.cgroup.open()?.pids()?.into_iter().map(|pid| pid.as_raw_nonzero().get());
    for pid in others.chain([init]).filter(|pid| *pid != criu) {
        let status = status(&proc, pid)?;
        if field(&status, "PPid") != Some(&criu.to_string()) {
            limits.check(pid, &status)?;
        }
    }
    Ok(())
}

/// The most that a process may have.
struct Limits {
    bounding: u64,
    held: u64,
    no_new_privs: bool,
    filter: bool,
}

impl Limits {
    fn check(&self, pid: i32, status: &str) -> Result<()> {
        let capabilities = |name| {
            field(status, name).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(u64::MAX)
        };
        let beyond = [("CapBnd", self.bounding), ("CapPrm", self.held), ("CapEff", self.held)]
            .into_iter()
            .map(|(name, limit)| capabilities(name) & !limit)
            .find(|beyond| *beyond != 0);
        if let Some(beyond) = beyond {
            return Err(refused(pid, format!("has capabilities {beyond:#x}"), "process.capabilities"));
        }
        if self.no_new_privs && field(status, "NoNewPrivs") != Some("1") {
            return Err(refused(pid, "lacks no_new_privs".to_owned(), "process.noNewPrivileges"));
        }
        if self.filter && field(status, "Seccomp") != Some("2") {
            return Err(refused(pid, "has no filter".to_owned(), "linux.seccomp"));
        }
        Ok(())
    }
}

fn refused(pid: i32, what: String, key: &'static str) -> Error {
    let text = format!("process {pid} of the checkpoint {what}, against the configuration");
    Error::new(Kind::Unsupported, text).with_key(key)
}

fn status(proc: &OwnedFd, pid: i32) -> Result<String> {
    let path = format!("{pid}/status");
    procfs::read_file(proc, &path).context("read", || format!("read /proc/{path}"))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tsh\nCapPrm:\t0000000000000003\nCapEff:\t0000000000000001\nCapBnd:\t0000000000000003\n\
                          NoNewPrivs:\t1\nSeccomp:\t2\n";

    fn limits() -> Limits {
        Limits { bounding: 3, held: 3, no_new_privs: true, filter: true }
    }

    #[test]
    fn what_the_configuration_gives_may_be_had() {
        assert!(limits().check(7, STATUS).is_ok());
        let less = Limits { no_new_privs: false, filter: false, ..limits() };
        assert!(less.check(7, &STATUS.replace("Seccomp:\t2", "Seccomp:\t0")).is_ok());
    }

    #[test]
    fn more_than_the_configuration_gives_is_refused_by_its_key() {
        let table = [
            ("CapBnd:\t0000000000000003", "CapBnd:\t0000000000200003", "process.capabilities"),
            ("CapEff:\t0000000000000001", "CapEff:\t0000000000000005", "process.capabilities"),
            ("CapPrm:\t0000000000000003", "Cap:\t0", "process.capabilities"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "process.noNewPrivileges"),
            ("Seccomp:\t2", "Seccomp:\t0", "linux.seccomp"),
        ];
        for (from, to, key) in table {
            let error = limits().check(7, &STATUS.replace(from, to)).unwrap_err();
            assert_eq!(error.key(), Some(key), "{error}");
        }
    }
}
