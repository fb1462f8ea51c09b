//! Completion scripts for shells, made from the table of commands.
//!
//! They are printed by the program itself, so they cannot be older than it, and they complete the ids of
//! containers by asking `orlop list`. Start at [`script`].

use std::fmt::Write as _;

use super::table::{COMMANDS, Cmd, GLOBAL, HELP, Opt, Show, Takes, VERSION};

/// The shells that a script can be had for.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// The script for `shell`, or nothing for a shell that is not one of [`SHELLS`].
pub fn script(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => Some(zsh()),
        "fish" => Some(fish()),
        _ => None,
    }
}

fn commands() -> impl Iterator<Item = &'static Cmd> {
    COMMANDS.iter().copied().filter(|command| command.show == Show::Always)
}

/// The first words of the commands, each once.
fn first_words() -> Vec<(&'static str, &'static str)> {
    let mut words: Vec<(&str, &str)> = Vec::new();
    for command in commands() {
        let word = command.name.split(' ').next().unwrap_or_default();
        if !words.iter().any(|known| known.0 == word) {
            let about =
                if word == command.name { command.about } else { "Look at a bundle's seccomp filter" };
            words.push((word, about));
        }
    }
    words
}

/// The options to offer for the command that begins with `word`.
fn options_of(word: &str) -> Vec<&'static Opt> {
    let family = commands().filter(|command| command.name.split(' ').next() == Some(word));
    family.flat_map(Cmd::all_options).chain([&HELP]).filter(|option| option.show == Show::Always).collect()
}

fn global_options() -> impl Iterator<Item = &'static Opt> {
    GLOBAL.iter().copied().chain([&HELP, &VERSION]).filter(|option| option.show == Show::Always)
}

/// What the first argument of a command is: `ids`, the second words of a family, the shells, or files.
fn argument_of(word: &str) -> Argument {
    let second: Vec<_> =
        commands().filter_map(|command| command.name.strip_prefix(word)?.strip_prefix(' ')).collect();
    if !second.is_empty() {
        return Argument::Words(second);
    }
    match commands().find(|command| command.name == word).map(|command| command.arguments) {
        // A new container has a name that no other has.
        Some(arguments) if arguments.starts_with("ID") && !["run", "create", "restore"].contains(&word) => {
            Argument::Id
        }
        Some("SHELL") => Argument::Words(SHELLS.to_vec()),
        Some("[COMMAND]") => Argument::Words(first_words().into_iter().map(|word| word.0).collect()),
        _ => Argument::File,
    }
}

enum Argument {
    Id,
    Words(Vec<&'static str>),
    File,
}

fn takes_value(option: &Opt) -> bool {
    matches!(option.takes, Takes::Value(_) | Takes::Each(_))
}

fn dashed<'a>(options: impl Iterator<Item = &'a Opt>) -> String {
    options.map(|option| format!("--{}", option.long)).collect::<Vec<_>>().join(" ")
}

fn bash() -> String {
    let words: Vec<_> = first_words().into_iter().map(|word| word.0).collect();
    let valued = GLOBAL.iter().copied().filter(|option| takes_value(option));
    let mut text = format!(
        r#"# bash completion for orlop
_orlop() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} word command= at=0 i root=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case $word in
            --root) root=(--root "${{COMP_WORDS[i + 1]}}"); ((i++)) ;;
            {}) ((i++)) ;;
            -*) ;;
            *) command=$word at=$i; break ;;
        esac
    done
    local options='' arguments=''
    case $command in
        '') options='{}' arguments='{}' ;;
"#,
        dashed(valued).replace(' ', "|"),
        dashed(global_options()),
        words.join(" "),
    );
    for word in words {
        let arguments = match argument_of(word) {
            Argument::Id => "$(orlop \"${root[@]}\" list --quiet 2>/dev/null)".to_owned(),
            Argument::Words(words) => words.join(" "),
            Argument::File => String::new(),
        };
        let options = dashed(options_of(word).into_iter());
        let _ = writeln!(text, "        {word}) options='{options}' arguments=\"{arguments}\" ;;");
    }
    text.push_str(
        r#"    esac
    case $cur in
        -*) COMPREPLY=($(compgen -W "$options" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -W "$arguments" -- "$cur")) ;;
    esac
}
complete -o bashdefault -o default -F _orlop orlop
"#,
    );
    text
}

/// In single quotes. The texts of the table have no backslash, so zsh and fish read this alike.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn zsh() -> String {
    let mut text = String::from(
        r#"#compdef orlop
# zsh completion for orlop
_orlop_ids() {
    local -a ids
    ids=(${(f)"$(orlop ${opt_args[--root]:+--root} ${opt_args[--root]} list --quiet 2>/dev/null)"})
    compadd -a ids
}
_orlop() {
    local context state line
    local -A opt_args
    _arguments -C \
"#,
    );
    zsh_options(&mut text, global_options(), "        ");
    text.push_str(
        r#"        '1: :->command' '*:: :->arguments'
    case $state in
    command)
        local -a commands
        commands=(
"#,
    );
    for (word, about) in first_words() {
        let _ = writeln!(text, "            {}", quoted(&format!("{word}:{about}")));
    }
    text.push_str(
        "        )\n        _describe command commands ;;\n    arguments)\n        case $line[1] in\n",
    );
    for (word, _) in first_words() {
        let _ = writeln!(text, "        {word}) _arguments \\");
        zsh_options(&mut text, options_of(word).into_iter(), "            ");
        let argument = match argument_of(word) {
            Argument::Id => "'1:id:_orlop_ids' '*::argument:_default'".to_owned(),
            Argument::Words(words) => format!("'1: :({})' '*:file:_files'", words.join(" ")),
            Argument::File => "'*:file:_files'".to_owned(),
        };
        let _ = writeln!(text, "            {argument} ;;");
    }
    text.push_str("        esac ;;\n    esac\n}\n");
    // Sourced, the script registers its function; found in $fpath, it is the body of that function itself.
    text.push_str("if [[ $funcstack[1] == _orlop ]]; then _orlop \"$@\"; else compdef _orlop orlop; fi\n");
    text
}

fn zsh_options<'a>(text: &mut String, options: impl Iterator<Item = &'a Opt>, indent: &str) {
    for option in options {
        let help = option.help.replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
        let (equals, value) = match option.takes {
            Takes::Value(name) | Takes::Each(name) => {
                ("=", format!(":{}:_files", name.replace([':', '[', ']'], " ")))
            }
            Takes::Nothing | Takes::Maybe(_) => ("", String::new()),
        };
        let star = if matches!(option.takes, Takes::Each(_)) { "*" } else { "" };
        let _ = writeln!(
            text,
            "{indent}{} \\",
            quoted(&format!("{star}--{}{equals}[{help}]{value}", option.long))
        );
    }
}

fn fish() -> String {
    let words: Vec<_> = first_words();
    let names: Vec<_> = words.iter().map(|word| word.0).collect();
    let mut text = format!(
        "# fish completion for orlop\nset -l commands {}\n\
         set -l none 'not __fish_seen_subcommand_from '(string join ' ' $commands)\n",
        names.join(" ")
    );
    for option in global_options() {
        fish_option(&mut text, "$none", option);
    }
    for (word, about) in &words {
        let _ = writeln!(text, "complete -c orlop -f -n $none -a {word} -d {}", quoted(about));
    }
    for (word, _) in &words {
        let seen = format!("'__fish_seen_subcommand_from {word}'");
        for option in options_of(word) {
            fish_option(&mut text, &seen, option);
        }
        match argument_of(word) {
            Argument::Id => {
                let _ =
                    writeln!(text, "complete -c orlop -f -n {seen} -a '(orlop list --quiet 2>/dev/null)'");
            }
            Argument::Words(words) => {
                let _ = writeln!(text, "complete -c orlop -f -n {seen} -a {}", quoted(&words.join(" ")));
            }
            Argument::File => {}
        }
    }
    text
}

fn fish_option(text: &mut String, condition: &str, option: &Opt) {
    let short = option.short.map_or_else(String::new, |letter| format!(" -s {letter}"));
    let value = if takes_value(option) { " -r" } else { "" };
    let _ = writeln!(
        text,
        "complete -c orlop -n {condition} -l {}{short}{value} -d {}",
        option.long,
        quoted(option.help)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shown_command_and_option_is_in_every_script() {
        for shell in SHELLS {
            let text = script(shell).unwrap();
            for command in commands() {
                let word = command.name.split(' ').next().unwrap();
                assert!(text.contains(word), "{shell}: {word}");
                for option in command.all_options().filter(|option| option.show == Show::Always) {
                    assert!(text.contains(option.long), "{shell}: {word} --{}", option.long);
                }
            }
        }
        assert_eq!(script("tcsh"), None);
    }
}
