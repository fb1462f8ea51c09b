//! What `--help` and `--version` print, made from the table of commands.

use std::fmt::Write as _;

use super::go_flags::Misuse;
use super::table::{COMMANDS, Cmd, GLOBAL, HELP, Opt, Show, Takes, VERSION};

/// The release.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The commit this was built from, as the build says.
const COMMIT: &str = match option_env!("ORLOP_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The newest version of the OCI runtime specification that is fully known.
pub const SPEC_VERSION: &str = "1.3.0";

/// The width of the column of options; a longer one gets a line of its own.
const COLUMN: usize = 32;

/// The width of the column of commands.
const NAMES: usize = 19;

/// `--version`: three lines, because old readers of it count them.
///
/// go-runc up to 2018 splits exactly three lines at `version ` and `: ` and reads all of them here. Later
/// go-runc and nerdctl look for `runc` as the first word and otherwise leave the version empty, which is no
/// error to them; moby reads the commit line and leaves the version empty.
pub fn version() -> String {
    format!("orlop version {RELEASE}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\n")
}

/// The general help.
pub fn overview() -> String {
    let mut text = String::from(
        "orlop runs containers as the OCI runtime specification describes them.\n\n\
         Usage: orlop [OPTIONS] COMMAND [...]\n\nCommands:\n",
    );
    for command in COMMANDS.iter().filter(|command| command.show == Show::Always) {
        row(&mut text, &format!("  {}", command.name), command.about, NAMES);
    }
    text.push_str("\nOptions, before the command or after it:\n");
    options(&mut text, GLOBAL.iter().copied().chain([&HELP, &VERSION]));
    text.push_str(
        "\nExample:\n  \
         # Make a bundle from a directory with a root file system, and run it:\n  \
         cd bundle && ls rootfs && orlop spec && orlop run test\n\n\
         'orlop COMMAND --help' says more about a command.\n",
    );
    text
}

/// The help of one command.
pub(super) fn command(command: &Cmd) -> String {
    let siblings = || {
        let family = command.name.split_once(' ').map(|(family, _)| family);
        COMMANDS.iter().filter(move |other| family.is_some() && other.name.split(' ').next() == family)
    };
    if siblings().next().is_some() {
        let pages: Vec<_> = siblings().map(|command| page(command)).collect();
        return pages.join("\n");
    }
    page(command)
}

fn page(command: &Cmd) -> String {
    let mut text = format!("{}.\n\nUsage: {}\n", command.about, usage(command));
    let mut shown = command.all_options().filter(|option| option.show == Show::Always).peekable();
    if shown.peek().is_some() {
        text.push_str("\nOptions:\n");
        options(&mut text, shown);
    }
    text.push_str("\nExample:\n");
    for (line, prefix) in command.example.lines().zip(["# ", ""].into_iter().chain(std::iter::repeat(""))) {
        let _ = writeln!(text, "  {prefix}{line}");
    }
    text.push_str("\n'orlop --help' lists the options that every command takes.\n");
    text
}

/// The usage line of a command, without the word in front.
pub(super) fn usage(command: &Cmd) -> String {
    let options =
        if command.all_options().any(|option| option.show == Show::Always) { " [OPTIONS]" } else { "" };
    let arguments = if command.arguments.is_empty() { "" } else { " " };
    format!("orlop {}{options}{arguments}{}", command.name, command.arguments)
}

fn options(text: &mut String, options: impl Iterator<Item = &'static Opt>) {
    for option in options.filter(|option| option.show == Show::Always) {
        let short = option.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let value = match option.takes {
            Takes::Nothing => String::new(),
            Takes::Value(name) => format!(" {name}"),
            Takes::Each(name) => format!(" {name}..."),
            Takes::Maybe(_) => String::new(),
        };
        row(text, &format!("  {short}--{}{value}", option.long), option.help, COLUMN);
    }
}

fn row(text: &mut String, left: &str, right: &str, column: usize) {
    let gap =
        if left.len() + 2 > column { format!("\n{:column$}", "") } else { " ".repeat(column - left.len()) };
    let _ = writeln!(text, "{left}{gap}{right}");
}

/// What a person reads after a mistake.
pub(super) fn misuse(misuse: &Misuse) -> String {
    match misuse.command {
        Some(command) => {
            format!("orlop {0}: {1}\nTry 'orlop {0} --help'.\n", command.name, misuse.text)
        }
        None => format!("orlop: {}\nTry 'orlop --help'.\n", misuse.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_has_the_three_lines_that_callers_read() {
        let text = version();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].split(' ').collect::<Vec<_>>()[..2], ["orlop", "version"]);
        assert!(lines[1].starts_with("commit: ") && lines[1].len() > "commit: ".len());
        assert_eq!(lines[2], "spec: 1.3.0");
    }

    #[test]
    fn every_command_has_a_page_with_usage_and_one_example() {
        for table in COMMANDS {
            let text = command(table);
            assert!(text.contains(&format!("Usage: orlop {}", table.name)), "{text}");
            assert_eq!(table.example.lines().count(), 2, "{}", table.name);
            assert!(
                table.example.lines().nth(1).unwrap().contains(&format!("orlop {}", table.name)),
                "{}",
                table.name
            );
            assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        }
    }

    #[test]
    fn hidden_options_and_commands_are_not_shown() {
        assert!(!overview().contains("--criu"));
        assert!(!overview().contains("\n  version"));
        assert!(!command(&super::super::table::KILL).contains("--all"));
        assert!(overview().lines().all(|line| line.len() <= 100), "{}", overview());
    }
}
