//! `hooks`: programs that run at six points of the lifecycle.
//!
//! Two kinds: the runtime runs prestart, createRuntime, poststart and poststop itself ([`Hook`], which the state record
//! keeps until the container is deleted), the new process runs createContainer and startContainer inside its namespaces
//! ([`InnerHook`]). A hook sees its own environment and nothing of the caller's.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#posix-platform-hooks>

use std::ffi::CString;
use std::time::Duration;

use child::op::HookHome;
use child::{Bytes, Fd, List, Op, op};
use serde::{Deserialize, Serialize};

use super::Problems;
use super::text::{Strings, c_string, check_variables, field, numbered, strings};
use crate::json::{Integer, or_default};
use crate::step::Step;

// ── Shape ──

/// `hooks` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shape {
    /// Deprecated: as createRuntime, and before it.
    #[serde(deserialize_with = "or_default")]
    pub prestart: Vec<HookShape>,
    /// During create, in the runtime's namespaces.
    #[serde(deserialize_with = "or_default")]
    pub create_runtime: Vec<HookShape>,
    /// During create, in the container's namespaces, before its root is entered.
    #[serde(deserialize_with = "or_default")]
    pub create_container: Vec<HookShape>,
    /// During start, in the container.
    #[serde(deserialize_with = "or_default")]
    pub start_container: Vec<HookShape>,
    /// After the program was executed, in the runtime's namespaces.
    #[serde(deserialize_with = "or_default")]
    pub poststart: Vec<HookShape>,
    /// After the container was deleted, in the runtime's namespaces.
    #[serde(deserialize_with = "or_default")]
    pub poststop: Vec<HookShape>,
}

/// One hook as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HookShape {
    /// The executable.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// argv; the path alone if absent.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// The whole environment; empty if absent.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Seconds until the hook is killed; without it the deadline of the phase counts.
    pub timeout: Option<Integer>,
}

// ── Rules ──

/// The names of the six kinds, in the order of the lifecycle.
pub const NAMES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The hooks of a container, valid.
#[derive(Debug, Default)]
pub struct Hooks {
    /// Run by the runtime, before `create_runtime`.
    pub prestart: Vec<Hook>,
    /// Run by the runtime.
    pub create_runtime: Vec<Hook>,
    /// Run by the new process before pivot_root(2).
    pub create_container: Vec<InnerHook>,
    /// Run by the new process before execve(2).
    pub start_container: Vec<InnerHook>,
    /// Run by the runtime after execve(2).
    pub poststart: Vec<Hook>,
    /// Run by the runtime after the container is gone.
    pub poststop: Vec<Hook>,
}

/// A hook that the runtime runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The key that an error names: `hooks.poststop[0]`.
    pub key: String,
    /// The executable, absolute.
    pub path: String,
    /// argv, the name included.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// Milliseconds until its process group is killed; `None` leaves it to the phase.
    pub timeout_ms: Option<u32>,
}

/// A hook that the new process runs.
#[derive(Debug)]
pub struct InnerHook {
    key: String,
    path: CString,
    args: Strings,
    env: Strings,
    timeout_ms: Option<u32>,
}

/// What every hook inside the container is given.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The state's JSON text up to the number of the pid.
    pub state_head: &'a [u8],
    /// The state's JSON text after the pid.
    pub state_tail: &'a [u8],
    /// Milliseconds for a hook without a timeout of its own.
    pub timeout_ms: u32,
    /// The file that collects what hooks print.
    pub output: Fd,
    /// The program's environment, for hooks that have none of their own: runc gives it to startContainer hooks.
    pub program_env: Option<List<'a>>,
}

/// Checks all hooks.
pub fn check(shape: &Shape, problems: &mut Problems) -> Hooks {
    Hooks {
        prestart: outer(&shape.prestart, "prestart", problems),
        create_runtime: outer(&shape.create_runtime, "createRuntime", problems),
        create_container: inner(&shape.create_container, "createContainer", problems),
        start_container: inner(&shape.start_container, "startContainer", problems),
        poststart: outer(&shape.poststart, "poststart", problems),
        poststop: outer(&shape.poststop, "poststop", problems),
    }
}

fn outer(shapes: &[HookShape], kind: &str, problems: &mut Problems) -> Vec<Hook> {
    inner(shapes, kind, problems)
        .into_iter()
        .zip(shapes)
        .map(|(hook, shape)| Hook {
            key: hook.key,
            path: shape.path.clone(),
            args: arguments(shape),
            env: shape.env.clone(),
            timeout_ms: hook.timeout_ms,
        })
        .collect()
}

fn inner(shapes: &[HookShape], kind: &str, problems: &mut Problems) -> Vec<InnerHook> {
    let hook = |(index, shape)| hook(shape, format!("hooks.{kind}[{index}]"), problems);
    shapes.iter().enumerate().map(hook).collect()
}

fn hook(shape: &HookShape, key: String, problems: &mut Problems) -> InnerHook {
    if !shape.path.starts_with('/') {
        problems.invalid(format!("{key}.path"), format!("{:?} is not absolute", shape.path));
    }
    check_variables(&shape.env, &format!("{key}.env"), problems);
    InnerHook {
        path: c_string(&shape.path, &format!("{key}.path"), problems),
        args: strings(numbered(&arguments(shape)), &format!("{key}.args"), problems),
        env: strings(numbered(&shape.env), &format!("{key}.env"), problems),
        timeout_ms: shape.timeout.and_then(|seconds| timeout_ms(seconds, &key, problems)),
        key,
    }
}

fn arguments(shape: &HookShape) -> Vec<String> {
    if shape.args.is_empty() { vec![shape.path.clone()] } else { shape.args.clone() }
}

/// Seconds as milliseconds; longer than 49 days, the longest that fits, is as good as that.
fn timeout_ms(seconds: Integer, key: &str, problems: &mut Problems) -> Option<u32> {
    if seconds.0 <= 0 {
        problems.invalid(format!("{key}.timeout"), format!("{seconds} is not greater than zero"));
        return None;
    }
    Some(u32::try_from(seconds.0.saturating_mul(1000)).unwrap_or(u32::MAX))
}

// ── Steps ──

impl Hooks {
    /// The hooks before the container's root is entered.
    pub fn create_container_steps<'a>(&'a self, around: Surroundings<'a>) -> impl Iterator<Item = Step<'a>> {
        self.create_container.iter().map(move |hook| hook.step(around))
    }

    /// The hooks before the program is executed.
    pub fn start_container_steps<'a>(&'a self, around: Surroundings<'a>) -> impl Iterator<Item = Step<'a>> {
        self.start_container.iter().map(move |hook| hook.step(around))
    }

    /// Whether the runtime runs any hook before the container is ready.
    pub fn run_outside_before_start(&self) -> bool {
        !self.prestart.is_empty() || !self.create_runtime.is_empty()
    }

    /// What the timeouts of the createContainer hooks sum up to: the phase may take so much longer.
    pub fn create_container_patience(&self) -> Duration {
        patience(&self.create_container)
    }

    /// What the timeouts of the startContainer hooks sum up to.
    pub fn start_container_patience(&self) -> Duration {
        patience(&self.start_container)
    }

    /// Whether the new process runs any hook.
    pub fn run_inside(&self) -> bool {
        !self.create_container.is_empty() || !self.start_container.is_empty()
    }
}

fn patience(hooks: &[InnerHook]) -> Duration {
    let timeouts = hooks.iter().filter_map(|hook| hook.timeout_ms);
    timeouts.map(|ms| Duration::from_millis(ms.into())).sum()
}

impl InnerHook {
    fn step<'a>(&'a self, around: Surroundings<'a>) -> Step<'a> {
        let (env, home) = match around.program_env.filter(|_| self.env.list().count() == 0) {
            Some(env) => (env, HookHome::OfProgram),
            None => (self.env.list(), HookHome::OfHook),
        };
        let hook = op::Hook {
            path: field(&self.path),
            args: self.args.list(),
            env,
            home,
            state_head: Bytes(around.state_head),
            state_tail: Bytes(around.state_tail),
            timeout_ms: self.timeout_ms.unwrap_or(around.timeout_ms),
            output: around.output,
        };
        Step::new(self.key.as_str(), Op::Hook { hook })
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> (Hooks, Vec<String>) {
        let mut problems = Problems::default();
        let hooks = check(&serde_json::from_str(json).unwrap(), &mut problems);
        (hooks, problems.errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_violation_of_every_hook_is_named() {
        let (_, errors) = checked(
            r#"{"prestart": [{"path": "/ok"}, {"path": "relative", "timeout": 0}],
                "createContainer": [{"path": "/a\u0000b", "args": ["a", "\u0000"], "env": ["X", "=1", "A=\u0000"]}],
                "poststop": [{"timeout": -1}]}"#,
        );
        assert_eq!(
            errors,
            [
                "hooks.prestart[1].path: \"relative\" is not absolute",
                "hooks.prestart[1].timeout: 0 is not greater than zero",
                "hooks.createContainer[0].env[0]: invalid environment variable: missing '='",
                "hooks.createContainer[0].env[1]: invalid environment variable: name cannot be empty",
                "hooks.createContainer[0].path: contains NUL",
                "hooks.createContainer[0].args[1]: contains NUL",
                "hooks.createContainer[0].env[2]: contains NUL",
                "hooks.poststop[0].path: \"\" is not absolute",
                "hooks.poststop[0].timeout: -1 is not greater than zero",
            ]
        );
    }

    #[test]
    fn a_hook_gets_its_path_as_its_name_and_an_empty_environment() {
        let (hooks, errors) = checked(r#"{"poststart": [{"path": "/bin/h", "args": null, "timeout": 5}]}"#);
        assert!(errors.is_empty());
        let hook = Hook {
            key: "hooks.poststart[0]".into(),
            path: "/bin/h".into(),
            args: vec!["/bin/h".into()],
            env: vec![],
            timeout_ms: Some(5000),
        };
        assert_eq!(hooks.poststart.first(), Some(&hook));
        let stored = postcard::to_allocvec(&hook).unwrap();
        assert_eq!(postcard::from_bytes::<Hook>(&stored).unwrap(), hook);
    }

    #[test]
    fn hooks_inside_the_container_run_in_the_listed_order() {
        let (hooks, _) = checked(
            r#"{"createContainer": [{"path": "/1"}, {"path": "/2", "timeout": 1}], "startContainer": [{"path": "/3"}]}"#,
        );
        let around = Surroundings {
            state_head: b"{\"pid\":",
            state_tail: b"}",
            timeout_ms: 30_000,
            output: Fd(9),
            program_env: None,
        };
        let run = |step: Step<'_>| match step.op {
            Op::Hook { hook } => (step.key.into_owned(), hook.path.to_string(), hook.timeout_ms),
            other => panic!("{other}"),
        };
        assert_eq!(
            hooks.create_container_steps(around).map(run).collect::<Vec<_>>(),
            [
                ("hooks.createContainer[0]".into(), "/1".into(), 30_000),
                ("hooks.createContainer[1]".into(), "/2".into(), 1000),
            ]
        );
        assert_eq!(hooks.start_container_steps(around).count(), 1);
    }

    #[test]
    fn a_timeout_of_years_is_the_longest_there_is() {
        let (hooks, _) = checked(r#"{"poststop": [{"path": "/h", "timeout": 18446744073709551615}]}"#);
        assert_eq!(hooks.poststop.first().unwrap().timeout_ms, Some(u32::MAX));
    }
}
