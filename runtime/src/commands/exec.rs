//! `exec`.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use super::container;
use super::create::PATIENCE;
use crate::bundle;
use crate::cli::args::{self, ExecArguments, ExecProcess, Globals, SubCgroups};
use crate::foreground::relay::Relay;
use crate::foreground::{Foreground, Orphans, exit_code};
use crate::launch::exec::{self, Attention, Changes, Options, Paused, Program, Whole};
use crate::{Error, Result, phase};

/// A paused container may stay so for ever, and who says --ignore-paused wants to wait.
const PATIENCE_WHEN_PAUSED: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub(super) fn exec(globals: &Globals, options: &args::Exec, descriptors: Vec<OwnedFd>) -> Result<u8> {
    // Before anything of the runtime's own could take the numbers of what the caller hands on.
    let directory = container(globals, &options.id)?;
    let patience = if options.ignore_paused { PATIENCE_WHEN_PAUSED } else { PATIENCE };
    let launch = Options {
        descriptors,
        console_socket: options.console_socket.clone(),
        pidfd_socket: options.pidfd_socket.clone(),
        pid_file: options.pid_file.clone(),
        cgroups: targets(&options.cgroups)?,
        paused: if options.ignore_paused { Paused::Joined } else { Paused::Refused },
        attention: if options.detach { Attention::Detached } else { Attention::Foreground },
        terminal_size: caller_size(),
        timeout: options.timeout.unwrap_or(patience),
        newlines: super::newlines(options.console_socket.as_deref()),
    };
    let foreground = match launch.attention {
        Attention::Detached => None,
        Attention::Foreground => Some(Foreground::begin(Orphans::Leave)?),
    };
    let executed = exec::exec(&directory, program(&options.process)?, &launch)?;
    executed.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    phase::begin!("program", "the program runs as process {}", executed.spawned.pid);
    let Some(foreground) = foreground else { return Ok(0) };
    let relay = executed.console.map(Relay::new).transpose()?;
    foreground.attend(&executed.spawned, relay, None).map(exit_code)
}

/// The size of the caller's terminal, so that the program's has it from the start.
fn caller_size() -> Option<(u16, u16)> {
    let size = [0, 1, 2].map(sys::fd::borrow).iter().find_map(|stream| tcgetwinsize(stream).ok())?;
    Some((size.ws_row, size.ws_col))
}

fn program(process: &ExecProcess) -> Result<Program> {
    Ok(match process {
        ExecProcess::File(path) => {
            let text = bundle::read_argument(path)?;
            Program::Whole(Box::new(Whole::parse(&text, &path.display().to_string())?))
        }
        ExecProcess::Arguments(arguments) => Program::Changed(Box::new(changes(arguments)?)),
    })
}

fn changes(arguments: &ExecArguments) -> Result<Changes> {
    let cwd = arguments.cwd.as_deref().map(|cwd| path(cwd, "--cwd")).transpose()?;
    Ok(Changes {
        args: texts(&arguments.args, "process.args")?,
        cwd,
        env: texts(&arguments.env, "--env")?,
        terminal: arguments.tty,
        uid: arguments.user.map(|user| user.uid),
        gid: arguments.user.and_then(|user| user.gid),
        additional_gids: arguments.additional_gids.clone(),
        capabilities: arguments.capabilities.clone(),
        no_new_privileges: arguments.no_new_privileges,
        apparmor_profile: arguments.apparmor.clone(),
        selinux_label: arguments.process_label.clone(),
    })
}

/// What goes into a `process` object is text, as in config.json.
fn texts(words: &[OsString], key: &'static str) -> Result<Vec<String>> {
    let text = |(index, word): (usize, &OsString)| {
        let text = word.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::invalid(format!("{key}[{index}]"), format!("{word:?} is not UTF-8")))
    };
    words.iter().enumerate().map(text).collect()
}

fn path(path: &Path, key: &'static str) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::invalid(key, format!("{} is not UTF-8", path.display())))
}

fn targets(cgroups: &SubCgroups) -> Result<Vec<String>> {
    match cgroups {
        SubCgroups::None => Ok(Vec::new()),
        SubCgroups::Unified(sub) => Ok(vec![path(sub, "--cgroup")?]),
        SubCgroups::Controllers(list) => {
            list.iter().map(|(name, sub)| Ok(format!("{name}:{}", path(sub, "--cgroup")?))).collect()
        }
    }
}
