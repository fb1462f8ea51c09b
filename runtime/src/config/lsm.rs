//! `process.apparmorProfile` and `process.selinuxLabel`.
//!
//! A profile that this host cannot apply is an error and never skipped: a container without its policy is not the
//! container that was asked for. `linux.mountLabel` belongs to the mounts.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#linux-process>

use std::ffi::{CStr, CString};

use child::Op;

use super::text::{c_string, field};
use super::{Problems, process};
use crate::facts::Facts;
use crate::step::Step;

// ── Shape ── two strings of `process::Shape`.

// ── Rules ──

/// The profile that stands for none.
const UNCONFINED: &str = "unconfined";

/// Where AppArmor and SELinux read the label of the next execve(2), below /proc/thread-self.
const APPARMOR_EXEC: &CStr = c"attr/apparmor/exec";
const SELINUX_EXEC: &CStr = c"attr/exec";

/// The labels of a program, valid on this host.
#[derive(Debug, Default)]
pub struct Labels {
    /// `exec PROFILE`, the command of AppArmor's file.
    apparmor: Option<CString>,
    selinux: Option<CString>,
}

/// Checks that the host has the module that a label is for.
pub fn check(process: &process::Shape, facts: &Facts, problems: &mut Problems) -> Labels {
    Labels {
        apparmor: apparmor(process.apparmor_profile.as_deref(), facts, problems),
        selinux: selinux(process.selinux_label.as_deref(), facts, problems),
    }
}

fn apparmor(profile: Option<&str>, facts: &Facts, problems: &mut Problems) -> Option<CString> {
    const KEY: &str = "process.apparmorProfile";
    let profile = profile.filter(|profile| !profile.is_empty())?;
    if !facts.apparmor() {
        // Without AppArmor every program is unconfined, so that one wish is already granted.
        if profile != UNCONFINED {
            problems.unsupported(KEY, format!("profile {profile:?}: AppArmor is not enabled on this host"));
        }
        return None;
    }
    Some(c_string(&format!("exec {profile}"), KEY, problems))
}

fn selinux(label: Option<&str>, facts: &Facts, problems: &mut Problems) -> Option<CString> {
    const KEY: &str = "process.selinuxLabel";
    let label = label.filter(|label| !label.is_empty())?;
    if !facts.selinux() {
        problems.unsupported(
            KEY,
            format!("label {label:?}: selinux label is specified in config, but selinux is disabled or not supported"),
        );
    }
    Some(c_string(label, KEY, problems))
}

// ── Steps ──

impl Labels {
    /// The label of the program itself, at most one for each module.
    pub fn exec_steps(&self) -> impl Iterator<Item = Step<'_>> {
        let step =
            |key, file, label| Step::new(key, Op::ExecLabel { file: field(file), label: field(label) });
        let apparmor =
            self.apparmor.as_deref().map(|label| step("process.apparmorProfile", APPARMOR_EXEC, label));
        let selinux = self.selinux.as_deref().map(|label| step("process.selinuxLabel", SELINUX_EXEC, label));
        apparmor.into_iter().chain(selinux)
    }

    /// The label of the session keyring; comes before the keyring is made.
    pub fn key_step(&self) -> Option<Step<'_>> {
        let label = self.selinux.as_deref()?;
        Some(Step::new("process.selinuxLabel", Op::KeyLabel { label: field(label) }))
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(profile: &str, label: &str, facts: &Facts) -> (Labels, Vec<String>) {
        let mut problems = Problems::default();
        let process = process::Shape {
            apparmor_profile: Some(profile.to_owned()),
            selinux_label: Some(label.to_owned()),
            ..process::Shape::default()
        };
        let labels = check(&process, facts, &mut problems);
        (labels, problems.errors.iter().map(ToString::to_string).collect())
    }

    fn host(apparmor: bool, selinux: bool) -> Facts {
        Facts { apparmor: apparmor.into(), selinux: selinux.into(), ..Facts::default() }
    }

    #[test]
    fn a_label_without_its_module_is_refused() {
        let (_, errors) = labels("confined", "u:r:t:s0", &host(false, false));
        assert_eq!(
            errors,
            [
                "process.apparmorProfile: profile \"confined\": AppArmor is not enabled on this host",
                "process.selinuxLabel: label \"u:r:t:s0\": selinux label is specified in config, but selinux is \
                 disabled or not supported"
            ]
        );
    }

    #[test]
    fn no_policy_needs_no_module() {
        for profile in ["", "unconfined"] {
            let (labels, errors) = labels(profile, "", &host(false, false));
            assert!(errors.is_empty());
            assert_eq!((labels.exec_steps().count(), labels.key_step()), (0, None));
        }
    }

    #[test]
    fn each_module_gets_its_text_in_its_file() {
        let (labels, errors) = labels("confined", "u:r:t:s0", &host(true, true));
        assert!(errors.is_empty());
        assert_eq!(
            labels.exec_steps().map(|step| step.op).collect::<Vec<_>>(),
            [
                Op::ExecLabel { file: field(c"attr/apparmor/exec"), label: field(c"exec confined") },
                Op::ExecLabel { file: field(c"attr/exec"), label: field(c"u:r:t:s0") },
            ]
        );
        assert_eq!(labels.key_step().unwrap().op, Op::KeyLabel { label: field(c"u:r:t:s0") });
    }

    #[test]
    fn unconfined_is_written_where_apparmor_is_on() {
        let (labels, _) = labels("unconfined", "", &host(true, false));
        assert_eq!(labels.exec_steps().count(), 1);
    }
}
