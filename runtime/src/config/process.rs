//! `process`: the program (`args`, `env`, `cwd`) and the sections that say what it runs with.
//!
//! The same rules serve config.json and the file of `exec --process`. Identity, capabilities, limits, scheduling, terminal
//! and labels have files of their own; [`check`] calls them all.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#process>

use std::ffi::{CStr, CString};

use child::op::{Enter, Placement};
use child::{List, Op};
use serde::{Deserialize, Serialize};

use super::Problems;
use super::capabilities::{self, Capabilities};
use super::idmappings::IdMappings;
use super::limits::{self, Limits};
use super::lsm::{self, Labels};
use super::namespaces::Namespaces;
use super::scheduling::{self, Scheduling};
use super::terminal::{self, Terminal};
use super::text::{Strings, c_string, check_variables, field, numbered, strings};
use super::user::{self, Groups, User};
use crate::facts::Facts;
use crate::json::{Integer, or_default};
use crate::step::Step;

// ── Shape ──

/// `process` as written. `commandLine` is a key of Windows.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shape {
    /// Whether the program gets a terminal.
    #[serde(deserialize_with = "or_default")]
    pub terminal: bool,
    /// The size of that terminal.
    pub console_size: Option<terminal::Size>,
    /// Who it runs as.
    #[serde(deserialize_with = "or_default")]
    pub user: user::Shape,
    /// argv; may be absent until the container is started.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// The environment, `NAME=value` each.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The working directory inside the container.
    #[serde(deserialize_with = "or_default")]
    pub cwd: String,
    /// The five capability sets; absent means none at all.
    #[serde(deserialize_with = "or_default")]
    pub capabilities: capabilities::Shape,
    /// Resource limits.
    #[serde(deserialize_with = "or_default")]
    pub rlimits: Vec<limits::Rlimit>,
    /// Whether execve(2) may never add privileges.
    #[serde(deserialize_with = "or_default")]
    pub no_new_privileges: bool,
    /// The AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// /proc/PID/oom_score_adj; absent leaves it alone.
    pub oom_score_adj: Option<Integer>,
    /// The scheduling policy.
    pub scheduler: Option<scheduling::Scheduler>,
    /// The SELinux label.
    pub selinux_label: Option<String>,
    /// The I/O scheduling class.
    #[serde(rename = "ioPriority")]
    pub io_priority: Option<scheduling::IoPriority>,
    /// Processors for a program of `exec`.
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<scheduling::ExecAffinity>,
}

// ── Rules ──

/// What the rules of `process` depend on outside of it.
#[derive(Debug)]
pub struct Context<'a> {
    /// The container's namespaces.
    pub namespaces: &'a Namespaces,
    /// The id maps of its user namespace.
    pub id_mappings: &'a IdMappings,
    /// This host.
    pub facts: &'a Facts,
    /// What becomes of the caller's supplementary groups.
    pub groups: Groups,
}

/// A program that can be run, valid and ready.
#[derive(Debug)]
pub struct Process {
    /// What is executed, where, with which environment.
    pub program: Program,
    /// Who it runs as.
    pub user: User,
    /// Its capability sets and no_new_privs.
    pub capabilities: Capabilities,
    /// Resource limits and the OOM score.
    pub limits: Limits,
    /// CPU and I/O scheduling.
    pub scheduling: Scheduling,
    /// Its terminal, if it gets one.
    pub terminal: Option<Terminal>,
    /// Its security labels.
    pub labels: Labels,
}

/// `args`, `env` and `cwd`, ready.
#[derive(Debug)]
pub struct Program {
    args: Strings,
    env: Strings,
    candidates: Strings,
    cwd: CString,
    /// Whether the environment has a HOME of its own.
    home: Home,
}

/// Where HOME comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// From `process.env`.
    Given,
    /// From the container's passwd file.
    Passwd,
}

/// Where a name without a slash is looked for when the environment has no PATH: what confstr(_CS_PATH) says, as
/// execvp(3) does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Checks `process` and every section in it.
pub fn check(shape: &Shape, context: &Context<'_>, problems: &mut Problems) -> Process {
    Process {
        program: program(shape, problems),
        user: user::check(&shape.user, context, problems),
        capabilities: capabilities::check(shape, context, problems),
        limits: limits::check(shape, context.facts, problems),
        scheduling: scheduling::check(shape, problems),
        terminal: terminal::check(shape, problems),
        labels: lsm::check(shape, context.facts, problems),
    }
}

fn program(shape: &Shape, problems: &mut Problems) -> Program {
    check_variables(&shape.env, "process.env", problems);
    let mut env = last_of_each(&shape.env);
    let home = match value_of(&env, "HOME") {
        None | Some("") => Home::Passwd,
        Some(_) => Home::Given,
    };
    if home == Home::Passwd {
        env.retain(|(_, variable)| !variable.starts_with("HOME="));
    }
    let path = value_of(&env, "PATH").unwrap_or(DEFAULT_PATH);
    Program {
        candidates: candidates(shape, path),
        args: args(&shape.args, problems),
        env: strings(env.iter().copied(), "process.env", problems),
        cwd: cwd(&shape.cwd, problems),
        home,
    }
}

/// The variables with their numbers, without those that a later one of the same name replaces. Sorting keeps 100 000
/// variables fast without a hash table, whose seed would cost every start a system call.
fn last_of_each(env: &[String]) -> Vec<(usize, &str)> {
    let mut by_name: Vec<(&str, usize)> =
        numbered(env).map(|(index, variable)| (name_of(variable), index)).collect();
    by_name.sort_unstable();
    let mut replaced = vec![false; env.len()];
    for pair in by_name.windows(2) {
        if let [(name, index), (next, _)] = pair
            && name == next
            && let Some(replaced) = replaced.get_mut(*index)
        {
            *replaced = true;
        }
    }
    numbered(env).zip(replaced).filter(|(_, replaced)| !replaced).map(|(variable, _)| variable).collect()
}

fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

fn value_of<'a>(env: &[(usize, &'a str)], name: &str) -> Option<&'a str> {
    env.iter()
        .filter_map(|(_, variable)| variable.split_once('='))
        .find(|found| found.0 == name)
        .map(|found| found.1)
}

fn args(args: &[String], problems: &mut Problems) -> Strings {
    match args.first().map(String::as_str) {
        None => problems.invalid("process.args", "args must not be empty"),
        Some("") => problems.invalid("process.args[0]", "the name of the program is empty"),
        Some(_) => {}
    }
    strings(numbered(args), "process.args", problems)
}

/// Where the program may be: a name with a slash is a path, any other is looked for in the directories of `path`. An
/// empty or relative directory is one below `cwd`, as in execvp(3).
fn candidates(shape: &Shape, path: &str) -> Strings {
    let name = shape.args.first().map_or("", String::as_str);
    if name.contains('/') {
        return candidate_list(&[name.to_owned()]);
    }
    let candidate = |directory: &str| match directory {
        "" => format!("{}/{name}", shape.cwd),
        directory if directory.starts_with('/') => format!("{directory}/{name}"),
        directory => format!("{}/{directory}/{name}", shape.cwd),
    };
    let candidates: Vec<String> = path.split(':').map(candidate).collect();
    candidate_list(&candidates)
}

/// A candidate with NUL is left out: the name or the PATH that it came from is reported as such.
fn candidate_list(candidates: &[String]) -> Strings {
    strings(numbered(candidates), "", &mut Problems::default())
}

fn cwd(cwd: &str, problems: &mut Problems) -> CString {
    if cwd.is_empty() {
        problems.invalid("process.cwd", "Cwd property must not be empty");
    } else if !cwd.starts_with('/') {
        problems.invalid("process.cwd", format!("Cwd must be an absolute path, not {cwd:?}"));
    }
    c_string(cwd, "process.cwd", problems)
}

// ── Steps ──

impl Process {
    /// Reads the identity back after everything that changes it.
    pub fn verify_step(&self) -> Step<'_> {
        Step::new(
            "process",
            Op::VerifyIdentity {
                uid: self.user.uid(),
                gid: self.user.gid(),
                groups: self.user.groups(),
                sets: self.capabilities.sets(),
                no_new_privileges: self.capabilities.no_new_privileges(),
            },
        )
    }

    /// HOME from the container's passwd file, where the environment has none.
    pub fn home_step(&self) -> Option<Step<'_>> {
        (self.program.home == Home::Passwd)
            .then(|| Step::new("process.env", Op::FindHome { uid: self.user.uid() }))
    }

    /// Gives the standard streams to the user.
    pub fn stdio_step(&self) -> Step<'_> {
        Step::new("process.user.uid", Op::StdioOwner { uid: self.user.uid() })
    }

    /// Makes the terminal, if there is one.
    pub fn console_step(&self, bind: Placement) -> Option<Step<'_>> {
        self.terminal.map(|terminal| terminal.step(self.user.uid(), bind))
    }
}

impl Program {
    /// Adds variables of the runtime's own (`NAME=value`), in place of those of the same name. One with NUL is left out.
    pub fn add_environment(&mut self, variables: &[String]) {
        let replaced = |variable: &CStr| {
            let name = variable.to_bytes().split(|byte| *byte == b'=').next();
            variables.iter().any(|added| Some(name_of(added).as_bytes()) == name)
        };
        let mut env: Strings = self.env.list().iter().filter(|variable| !replaced(variable)).collect();
        for variable in variables {
            let _ = env.push_str(variable);
        }
        self.env = env;
    }

    /// The environment, but for a HOME that is looked up in the container.
    pub fn environment(&self) -> List<'_> {
        self.env.list()
    }

    /// Enters `cwd`.
    pub fn cwd_step(&self, how: Enter) -> Step<'_> {
        Step::new("process.cwd", Op::WorkingDirectory { path: field(&self.cwd), how })
    }

    /// Chooses among the places where `args[0]` may be.
    pub fn find_step(&self) -> Step<'_> {
        Step::new("process.args[0]", Op::FindExecutable { candidates: self.candidates.list() })
    }

    /// Executes the program.
    pub fn execute_step(&self) -> Step<'_> {
        Step::new("process.args[0]", Op::Execute { args: self.args.list(), env: self.env.list() })
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use child::op::NoNewPrivs;

    use super::*;

    fn checked(json: &str) -> (Process, Vec<String>) {
        let context = Context {
            namespaces: &Namespaces::default(),
            id_mappings: &IdMappings::default(),
            facts: &Facts::default(),
            groups: Groups::Replace,
        };
        let mut problems = Problems::default();
        let process = check(&serde_json::from_str(json).unwrap(), &context, &mut problems);
        (process, problems.errors.iter().map(|error| error.to_string().replace("process.", "")).collect())
    }

    fn texts(strings: &Strings) -> Vec<String> {
        strings.list().iter().map(|text| text.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_violation_is_named() {
        let table: [(&str, &[&str]); 6] = [
            (r#"{"cwd": "/", "args": ["a"]}"#, &[]),
            (r#"{"args": null}"#, &["args: args must not be empty", "cwd: Cwd property must not be empty"]),
            (r#"{"cwd": "x", "args": ["a"]}"#, &["cwd: Cwd must be an absolute path, not \"x\""]),
            (
                r#"{"cwd": "/\u0000", "args": ["", "\u0000"]}"#,
                &["args[0]: the name of the program is empty", "args[1]: contains NUL", "cwd: contains NUL"],
            ),
            (
                r#"{"cwd": "/", "args": ["a"], "env": ["A=1", "B", "=C", "D=\u0000"]}"#,
                &[
                    "env[1]: invalid environment variable: missing '='",
                    "env[2]: invalid environment variable: name cannot be empty",
                    "env[3]: contains NUL",
                ],
            ),
            (r#"{"cwd": "/", "args": ["a\u0000b"]}"#, &["args[0]: contains NUL"]),
        ];
        for (json, expected) in table {
            assert_eq!(checked(json).1, expected, "{json}");
        }
    }

    #[test]
    fn the_last_of_several_variables_counts_in_its_place() {
        let (process, errors) = checked(
            r#"{"cwd": "/", "args": ["a"], "env": ["A=1", "HOME=/h", "A=2", "B=", "A=3=4", "AB=5"]}"#,
        );
        assert!(errors.is_empty());
        assert_eq!(texts(&process.program.env), ["HOME=/h", "B=", "A=3=4", "AB=5"]);
        assert_eq!(process.home_step(), None);
    }

    #[test]
    fn variables_of_the_runtime_replace_those_of_the_same_name() {
        let (mut process, _) =
            checked(r#"{"cwd": "/", "args": ["a"], "env": ["A=1", "AB=2", "C=3", "HOME=/"]}"#);
        process.program.add_environment(&["A=x=y".into(), "D=".into(), "E=\0".into()]);
        assert_eq!(texts(&process.program.env), ["AB=2", "C=3", "HOME=/", "A=x=y", "D="]);
    }

    #[test]
    fn home_is_looked_up_where_it_is_absent_or_empty() {
        for env in [r#"[]"#, r#"["HOME=/h", "HOME="]"#] {
            let (process, _) =
                checked(&format!(r#"{{"cwd": "/", "args": ["a"], "user": {{"uid": 7}}, "env": {env}}}"#));
            assert_eq!(process.home_step().unwrap().op, Op::FindHome { uid: 7 });
            assert!(texts(&process.program.env).is_empty());
        }
    }

    #[test]
    fn a_name_is_looked_for_in_the_path_of_the_container() {
        let candidates = |name: &str, env: &str| {
            let (process, _) = checked(&format!(r#"{{"cwd": "/w", "args": ["{name}"], "env": [{env}]}}"#));
            texts(&process.program.candidates)
        };
        assert_eq!(candidates("sh", ""), ["/bin/sh", "/usr/bin/sh"]);
        assert_eq!(candidates("sh", r#""PATH=/x", "PATH=/a:/b""#), ["/a/sh", "/b/sh"]);
        assert_eq!(candidates("sh", r#""PATH=:rel""#), ["/w/sh", "/w/rel/sh"]);
        assert_eq!(candidates("./sh", r#""PATH=/a""#), ["./sh"]);
        assert_eq!(candidates("/bin/sh", ""), ["/bin/sh"]);
    }

    #[test]
    fn a_hundred_thousand_variables_take_no_time() {
        let env: Vec<String> = (0..100_000).map(|number| format!("\"V{}=x\"", number % 60_000)).collect();
        let json = format!(r#"{{"cwd": "/", "args": ["a"], "env": [{}]}}"#, env.join(","));
        let start = Instant::now();
        let (process, errors) = checked(&json);
        assert!(errors.is_empty());
        assert_eq!(process.program.env.list().count(), 60_000);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn the_identity_that_is_verified_is_the_one_that_is_set() {
        let (process, _) = checked(
            r#"{"cwd": "/", "args": ["a"], "user": {"uid": 3, "gid": 4, "additionalGids": [5]}, "noNewPrivileges": true}"#,
        );
        match process.verify_step().op {
            Op::VerifyIdentity {
                uid: 3,
                gid: 4,
                groups: Some(groups),
                no_new_privileges: NoNewPrivs::Set,
                ..
            } => {
                assert!(groups.iter().eq([5]));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn null_means_absent_as_go_writes_it() {
        let json = r#"{"cwd": "/", "args": ["a"], "env": null, "rlimits": null, "capabilities": null, "user": null,
            "consoleSize": null, "terminal": null, "scheduler": null, "apparmorProfile": null}"#;
        assert!(checked(json).1.is_empty());
    }
}
