//! `layout v1|v2|hybrid -- COMMAND...`: runs a command where the cgroup hierarchies are mounted that way.
//!
//! The mounts live in a private mount namespace and go with the command.

use integration_tests::layout::{Layout, enter};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, separator, program, rest @ ..] = arguments.as_slice() else { return usage() };
    let Some(layout) = Layout::from_name(name).filter(|_| separator == "--") else { return usage() };
    if let Err(error) = enter(layout) {
        eprintln!("layout {name}: {error}");
        return ExitCode::from(125);
    }
    #[allow(clippy::disallowed_methods, reason = "a wrapper that becomes its command")]
    let error = Command::new(program).args(rest).exec();
    eprintln!("layout: {program}: {error}");
    ExitCode::from(127)
}

fn usage() -> ExitCode {
    eprintln!("usage: layout v1|v2|hybrid -- COMMAND [ARGUMENT]...");
    ExitCode::from(2)
}
