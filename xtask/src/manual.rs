//! Man pages and completions of the command `orlop`, written when it is installed.
//!
//! Both come from the table that the command itself reads its options by, so neither can promise an option that is not
//! there. Start at [`write_pages`] and [`write_completions`].

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use orlop::cli::{completion, manual};

/// The section of the manual for commands of the administrator.
const SECTION: &str = "8";

/// A page: the name of its file and its text.
type Page = (String, String);

/// Writes `orlop.8` and a page for each command into `folder`.
pub(crate) fn write_pages(folder: &Path) -> Result<String, String> {
    let pages = pages(manual::command(), "orlop").map_err(|error| error.to_string())?;
    for (name, text) in &pages {
        write(&folder.join(name), text.as_bytes())?;
    }
    Ok(format!("{} man pages in {}", pages.len(), folder.display()))
}

/// Writes the script of every shell below `folder`, which is a `share` folder.
pub(crate) fn write_completions(folder: &Path) -> Result<String, String> {
    for shell in completion::SHELLS {
        let script = completion::script(shell).ok_or_else(|| format!("no script for {shell}"))?;
        write(&folder.join(place(shell)?), script.as_bytes())?;
    }
    Ok(format!("completions for {} below {}", completion::SHELLS.join(", "), folder.display()))
}

/// Where each shell looks for the completion of a command, below `share`.
fn place(shell: &str) -> Result<&'static str, String> {
    match shell {
        "bash" => Ok("bash-completion/completions/orlop"),
        "zsh" => Ok("zsh/site-functions/_orlop"),
        "fish" => Ok("fish/vendor_completions.d/orlop.fish"),
        _ => Err(format!("nobody said where {shell} looks for completions")),
    }
}

/// The page of a command and those of the commands below it. A page is named after the words of its command.
fn pages(command: Command, name: &str) -> io::Result<Vec<Page>> {
    let below: Vec<Command> =
        command.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let mut pages = vec![page(command, name)?];
    for command in below {
        let name = format!("{name}-{}", command.get_name());
        pages.append(&mut self::pages(command, &name)?);
    }
    Ok(pages)
}

fn page(command: Command, name: &str) -> io::Result<Page> {
    let example = command.get_after_help().map(ToString::to_string);
    let words = name.replace('-', " ");
    let has_commands = command.has_subcommands();
    let man = Man::new(command.display_name(name).bin_name(words)).section(SECTION);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_commands {
        man.render_subcommands_section(&mut text)?;
    }
    let mut text = String::from_utf8_lossy(&text).into_owned();
    text.extend(example.as_deref().and_then(self::example));
    Ok((man.get_filename(), text))
}

/// The example of a command: a sentence and below it the command line, which is not filled.
fn example(after_help: &str) -> Option<String> {
    let (sentence, command) = after_help.strip_prefix("Example:")?.trim().split_once('\n')?;
    let escaped = |text: &str| text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    Some(format!(".SH EXAMPLE\n{}\n.PP\n.nf\n{}\n.fi\n", escaped(sentence), escaped(command)))
}

fn write(path: &Path, text: &[u8]) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, text));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options_and_its_example() {
        let pages = pages(manual::command(), "orlop").unwrap();
        let text = |name: &str| &pages.iter().find(|page| page.0 == name).unwrap().1;
        assert!(text("orlop.8").contains("orlop\\-create(8)"));
        assert!(text("orlop-create.8").contains("console\\-socket"));
        assert!(
            text("orlop-seccomp-explain.8")
                .contains("\n.nf\norlop seccomp explain /srv/web socket 2 3 0\n.fi\n")
        );
    }

    #[test]
    fn every_shell_has_its_place() {
        for shell in completion::SHELLS {
            place(shell).unwrap();
        }
    }
}
