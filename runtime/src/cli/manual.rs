//! The commands as a `clap::Command`, for the tool that writes man pages at build time.
//!
//! It is not how orlop reads its command line. On a line of containerd's, with the commands built on demand, clap took
//! 80 us beyond an empty program (54 with one command alone) and 230 KB; [`go_flags`](super::go_flags), which has to
//! know every option in any case, takes 16 us with everything that follows it. So the shipped program is built without
//! the feature `clap`.

use clap::{Arg, ArgAction, Command};

use super::help;
use super::table::{COMMANDS, Cmd, GLOBAL, Opt, Show, Takes};

/// orlop's command line for clap_mangen.
pub fn command() -> Command {
    let root = Command::new("orlop")
        .about("Run containers as the OCI runtime specification describes them")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .args(GLOBAL.iter().map(|option| argument(option)));
    let plain = COMMANDS
        .iter()
        .filter(|command| !command.name.contains(' '))
        .map(|command| page(command, command.name));
    root.subcommands(plain).subcommands(families())
}

/// `seccomp explain` and `seccomp dump` as two commands below one.
fn families() -> impl Iterator<Item = Command> {
    let mut families: Vec<Command> = Vec::new();
    for (table, family, name) in COMMANDS.iter().filter_map(|table| {
        let (family, name) = table.name.split_once(' ')?;
        Some((*table, family, name))
    }) {
        let known = families.iter().position(|command| command.get_name() == family);
        let command = match known {
            Some(place) => families.remove(place),
            None => {
                Command::new(family).about("Look at the seccomp filter of a bundle").subcommand_required(true)
            }
        };
        families.push(command.subcommand(page(table, name)));
    }
    families.into_iter()
}

fn page(table: &'static Cmd, name: &'static str) -> Command {
    Command::new(name)
        .about(table.about)
        .override_usage(help::usage(table))
        .hide(table.show == Show::Never)
        .args(table.all_options().map(argument))
        .after_help(format!("Example:\n\n{}", table.example))
}

fn argument(option: &'static Opt) -> Arg {
    let argument = Arg::new(option.long).long(option.long).help(option.help).hide(option.show == Show::Never);
    let argument = match option.short {
        Some(letter) => argument.short(letter),
        None => argument,
    };
    match option.takes {
        Takes::Nothing => argument.action(ArgAction::SetTrue),
        Takes::Maybe(name) => argument.value_name(name).num_args(0..=1).require_equals(true),
        Takes::Value(name) => argument.value_name(name).action(ArgAction::Set),
        Takes::Each(name) => argument.value_name(name).action(ArgAction::Append),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_no_fault_with_the_commands() {
        command().debug_assert();
    }
}
