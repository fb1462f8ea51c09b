//! Splits an argument vector the way Go programs and getopt read one, by the table of commands.
//!
//! Engines were written against runc, whose flags are Go's, and against crun, whose flags are getopt's. So
//! all of these mean the same: `--bundle x`, `--bundle=x`, `-bundle x`, `-bundle=x`, `-b x`, `-b=x`, `-bx`. A
//! switch may say `--all=false`, switches of one letter may stand together (`-dt`), and options may stand
//! between the arguments, except where what follows belongs to another program
//! ([`Mixed::UntilFirstArgument`]). `--` ends the options everywhere.
//!
//! What an option's value means is no concern here: that is [`args`](super::args). Start at [`split`].

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::table::{ALIASES, COMMANDS, Cmd, GLOBAL, HELP, Mixed, Opt, Takes, VERSION};
use crate::config::suggest;

/// What the words of a command line ask for.
#[derive(Debug)]
pub(crate) enum Line {
    /// The general help.
    Overview,
    /// The help of one command, or of the commands that begin with a word (`seccomp`).
    Help(&'static Cmd),
    /// The version.
    Version,
    /// A command, with the arguments that are no options.
    Command(&'static Cmd, Vec<OsString>),
}

/// What is wrong with a command line, and where to read how it is done right.
#[derive(Debug)]
pub(crate) struct Misuse {
    /// The command, once it is known.
    pub(crate) command: Option<&'static Cmd>,
    /// One sentence.
    pub(crate) text: String,
}

impl Misuse {
    pub(crate) fn new(command: Option<&'static Cmd>, text: impl Into<String>) -> Self {
        Self { command, text: text.into() }
    }
}

/// The options that were given, in order.
#[derive(Debug, Default)]
pub(crate) struct Given(Vec<(&'static Opt, Setting)>);

#[derive(Debug)]
enum Setting {
    On,
    Off,
    To(OsString),
}

/// Options are compared by their place in the table: commands have options of the same name that mean
/// different things.
impl Given {
    fn settings(&self, option: &'static Opt) -> impl DoubleEndedIterator<Item = &Setting> {
        self.0.iter().filter(move |(given, _)| std::ptr::eq(*given, option)).map(|(_, setting)| setting)
    }

    /// The setting that counts. A hundred places ask for it, so it is kept out of line.
    #[inline(never)]
    fn last(&self, option: &'static Opt) -> Option<&Setting> {
        self.settings(option).next_back()
    }

    /// Whether a switch was given at all, and how it was left.
    pub(crate) fn switch(&self, option: &'static Opt) -> Option<bool> {
        self.last(option).map(|setting| !matches!(setting, Setting::Off))
    }

    /// Whether a switch is on.
    pub(crate) fn on(&self, option: &'static Opt) -> bool {
        self.switch(option).unwrap_or(false)
    }

    /// The last value of an option. An empty one counts as none, as in runc.
    #[inline(never)]
    pub(crate) fn value(&self, option: &'static Opt) -> Option<&OsStr> {
        match self.last(option)? {
            Setting::To(value) if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    /// Whether an option was given, be it with an empty value.
    pub(crate) fn has(&self, option: &'static Opt) -> bool {
        self.last(option).is_some()
    }

    /// Every value of an option, in order.
    pub(crate) fn values(&self, option: &'static Opt) -> impl Iterator<Item = &OsStr> {
        self.settings(option).filter_map(|setting| match setting {
            Setting::To(value) => Some(value.as_os_str()),
            Setting::On | Setting::Off => None,
        })
    }

    /// The last value of an option as a path.
    #[inline(never)]
    pub(crate) fn path(&self, option: &'static Opt) -> Option<PathBuf> {
        self.value(option).map(PathBuf::from)
    }
}

/// Splits `words`, which are argv without the program's name. The options end up in `given`, also those
/// before a mistake, so that the mistake can be reported where `--log` says.
pub(crate) fn split(words: Vec<OsString>, given: &mut Given) -> Result<Line, Misuse> {
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match kind(&word) {
            Kind::End => {}
            Kind::Argument => return command(&word, words, given),
            Kind::Option => match option(&word, None, &mut words, given)? {
                Seen::Option => {}
                Seen::Help => return Ok(Line::Overview),
                Seen::Version => return Ok(Line::Version),
            },
        }
    }
    Ok(Line::Overview)
}

fn command(
    name: &OsStr,
    mut words: impl Iterator<Item = OsString>,
    given: &mut Given,
) -> Result<Line, Misuse> {
    let name = name.to_string_lossy();
    if let Some(command) = find(&name) {
        return arguments(command, words, given);
    }
    let family =
        || COMMANDS.iter().filter_map(|command| command.name.strip_prefix(&*name)?.strip_prefix(' '));
    let Some(first) = family().next() else {
        let names = COMMANDS.iter().map(|command| command.name);
        return Err(Misuse::new(None, suggest::unknown("command", &name, names)));
    };
    let choice = family().collect::<Vec<_>>().join(" or ");
    match words.next() {
        Some(word) if kind(&word) == Kind::Argument => {
            let word = word.to_string_lossy();
            match find(&format!("{name} {word}")) {
                Some(command) => arguments(command, words, given),
                None => {
                    let text = suggest::unknown(&format!("command {name}"), &word, family());
                    Err(Misuse::new(None, format!("{text} (there is {choice})")))
                }
            }
        }
        Some(word) if is_help(&word) => {
            find(&format!("{name} {first}")).map(Line::Help).ok_or_else(|| Misuse::new(None, choice))
        }
        _ => Err(Misuse::new(None, format!("{name} needs to be told what: {choice}"))),
    }
}

/// The command called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Cmd> {
    let alias = ALIASES.iter().find(|alias| alias.0 == name).map(|alias| alias.1);
    alias.or_else(|| COMMANDS.iter().find(|command| command.name == name).copied())
}

fn arguments(
    command: &'static Cmd,
    mut words: impl Iterator<Item = OsString>,
    given: &mut Given,
) -> Result<Line, Misuse> {
    let mut arguments = Vec::new();
    while let Some(word) = words.next() {
        match kind(&word) {
            Kind::End => {
                arguments.extend(words);
                break;
            }
            Kind::Option => match option(&word, Some(command), &mut words, given)? {
                Seen::Option => {}
                Seen::Help => return Ok(Line::Help(command)),
                Seen::Version => return Ok(Line::Version),
            },
            Kind::Argument => {
                arguments.push(word);
                if command.mixed == Mixed::UntilFirstArgument {
                    // runc drops a `--` between the id and the program, so callers may write one.
                    arguments.extend(
                        words.by_ref().enumerate().filter(|(n, word)| *n > 0 || word != "--").map(|w| w.1),
                    );
                }
            }
        }
    }
    check_count(command, arguments.len())?;
    Ok(Line::Command(command, arguments))
}

fn check_count(command: &'static Cmd, count: usize) -> Result<(), Misuse> {
    let (least, most) = command.count;
    let wanted = match (least, most) {
        _ if (least..=most).contains(&count) => return Ok(()),
        (least, most) if least == most => format!("exactly {least}"),
        (least, _) if count < least => format!("a minimum of {least}"),
        (_, most) => format!("a maximum of {most}"),
    };
    let shown = if command.arguments.is_empty() { String::new() } else { format!(": {}", command.arguments) };
    Err(Misuse::new(
        Some(command),
        format!("{:?} requires {wanted} argument(s), not {count}{shown}", command.name),
    ))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `--`
    End,
    /// `--name`, `-name`, `-n`, `-?`
    Option,
    /// Anything else. `-` alone is a file name, and `-9` is no option of anything.
    Argument,
}

fn kind(word: &OsStr) -> Kind {
    match word.as_bytes() {
        b"--" => Kind::End,
        [b'-', b'-', ..] => Kind::Option,
        [b'-', first, ..] if first.is_ascii_alphabetic() || *first == b'?' => Kind::Option,
        _ => Kind::Argument,
    }
}

fn is_help(word: &OsStr) -> bool {
    matches!(word.as_bytes(), b"--help" | b"-help" | b"-h" | b"-?" | b"--usage" | b"-usage")
}

fn is_version(word: &OsStr) -> bool {
    matches!(word.as_bytes(), b"--version" | b"-version" | b"-v" | b"-V")
}

enum Seen {
    Option,
    Help,
    Version,
}

fn option(
    word: &OsStr,
    command: Option<&'static Cmd>,
    words: &mut impl Iterator<Item = OsString>,
    given: &mut Given,
) -> Result<Seen, Misuse> {
    if is_help(word) {
        return Ok(Seen::Help);
    }
    if command.is_none() && is_version(word) {
        return Ok(Seen::Version);
    }
    let bytes = word.as_bytes();
    let (body, dashes) = match bytes.strip_prefix(b"--") {
        Some(body) => (body, 2),
        None => (bytes.strip_prefix(b"-").unwrap_or(bytes), 1),
    };
    let (name, value) = cut(body);
    if let Some(option) = known(command).find(|option| option.long.as_bytes() == name) {
        given.0.push((option, setting(option, command, value, words)?));
        return Ok(Seen::Option);
    }
    if dashes == 1 && letters(body, command, words, given)? {
        return Ok(Seen::Option);
    }
    Err(unknown(word, name, command))
}

/// The name before `=` and the value behind it.
fn cut(body: &[u8]) -> (&[u8], Option<&OsStr>) {
    match body.iter().position(|byte| *byte == b'=').and_then(|place| body.split_at_checked(place)) {
        Some((name, rest)) => (name, rest.get(1..).map(OsStr::from_bytes)),
        None => (body, None),
    }
}

/// The options that may stand here. A command's own come first: `spec --rootless` is not the global
/// `--rootless`.
fn known(command: Option<&'static Cmd>) -> impl Iterator<Item = &'static Opt> {
    command.into_iter().flat_map(Cmd::all_options).chain(GLOBAL.iter().copied())
}

fn setting(
    option: &'static Opt,
    command: Option<&'static Cmd>,
    value: Option<&OsStr>,
    words: &mut impl Iterator<Item = OsString>,
) -> Result<Setting, Misuse> {
    match (option.takes, value) {
        (Takes::Nothing | Takes::Maybe(_), None) => Ok(Setting::On),
        (Takes::Nothing, Some(value)) => switch(value).ok_or_else(|| {
            Misuse::new(command, format!("invalid boolean value {value:?} for --{}", option.long))
        }),
        (Takes::Maybe(_), Some(value)) => Ok(switch(value).unwrap_or_else(|| Setting::To(value.to_owned()))),
        (Takes::Value(_) | Takes::Each(_), Some(value)) => Ok(Setting::To(value.to_owned())),
        (Takes::Value(name) | Takes::Each(name), None) => {
            let value = words.next().map(Setting::To);
            // Podman asks whether an option exists by leaving out its value and looking for these words.
            value.ok_or_else(|| {
                Misuse::new(command, format!("flag needs an argument: --{} {name}", option.long))
            })
        }
    }
}

/// The words that Go's strconv.ParseBool knows; nothing after `=` means true.
fn switch(value: &OsStr) -> Option<Setting> {
    match value.as_bytes() {
        b"" | b"1" | b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(Setting::On),
        b"0" | b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(Setting::Off),
        _ => None,
    }
}

/// Reads `body` as letters: switches, and at the end an option with its value (`-dt`, `-b=x`, `-bx`, `-b x`).
/// Says false, and gives nothing, where a letter is unknown.
fn letters(
    body: &[u8],
    command: Option<&'static Cmd>,
    words: &mut impl Iterator<Item = OsString>,
    given: &mut Given,
) -> Result<bool, Misuse> {
    let mut found = Vec::new();
    let mut rest = body;
    while let [letter, after @ ..] = rest {
        let Some(option) = known(command).find(|option| option.short == Some(char::from(*letter))) else {
            return Ok(false);
        };
        rest = after;
        let takes_value = matches!(option.takes, Takes::Value(_) | Takes::Each(_));
        // `-bundel x` is a slip of `-bundle x`, not a bundle called `undel`.
        let wordy = !body.contains(&b'=') && after.first().is_some_and(u8::is_ascii_lowercase);
        if takes_value && wordy && slip(body, command).is_some() {
            return Ok(false);
        }
        if (takes_value || after.starts_with(b"=")) && !after.is_empty() {
            let value = OsStr::from_bytes(after.strip_prefix(b"=").unwrap_or(after));
            found.push((option, setting(option, command, Some(value), words)?));
            break;
        }
        found.push((option, setting(option, command, None, words)?));
    }
    given.0.extend(found);
    Ok(true)
}

fn unknown(word: &OsStr, name: &[u8], command: Option<&'static Cmd>) -> Misuse {
    let text = slip(name, command).unwrap_or_else(|| format!("unknown option {:?}", word.to_string_lossy()));
    Misuse::new(command, text)
}

/// What to say of an unknown option that is close to a known one.
fn slip(name: &[u8], command: Option<&'static Cmd>) -> Option<String> {
    let names: Vec<String> = known(command)
        .chain([&HELP])
        .chain(command.is_none().then_some(&VERSION))
        .map(|option| format!("--{}", option.long))
        .collect();
    let given = format!("--{}", String::from_utf8_lossy(name));
    let text = suggest::unknown("option", &given, names.iter().map(String::as_str));
    text.contains("did you mean").then_some(text)
}
