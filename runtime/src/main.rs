//! The command `orlop`: reads the command line, does what it says, and prints what went wrong, once.

use std::process::ExitCode;

use orlop::cli::{args, log};
use orlop::commands;

#[global_allocator]
static ALLOCATOR: sys::bump::Bump = sys::bump::Bump::new();

fn main() -> ExitCode {
    // A caller that ignores SIGCHLD would leave nothing to wait for.
    sys::signal::default_disposition(sys::signal::CHILD);
    let invocation = match args::parse(std::env::args_os().collect()) {
        Ok(invocation) => invocation,
        Err(exit) => return log::report_exit(&exit).into(),
    };
    let inherited = commands::inherited(&invocation.command);
    let is_exec = matches!(invocation.command, args::Command::Exec(_));
    let log = match log::install(&invocation.globals.log, invocation.globals.timing.as_deref()) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("orlop: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ran = inherited.and_then(|inherited| commands::run(invocation, inherited));
    let timed = log.write_timing();
    match ran.and_then(|code| timed.map(|()| code)) {
        Ok(code) => code.into(),
        Err(error) => {
            log.fail(&error);
            if is_exec { args::EXEC_FAILED.into() } else { ExitCode::FAILURE }
        }
    }
}
