//! A runtime that does not keep one row: a wrapper of a real one, for the self-test.
//!
//! `oci-conformance broken ROW --runtime PATH -- ARGUMENTS` reads what the row's [`Broken`] says, changes the bundle or
//! the command accordingly, and hands the rest to the real runtime. It is no runtime anyone should use. Start at [`main`].

use crate::chapters;
use crate::config::Config;
use crate::row::Broken;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// One call of the wrapper.
pub(crate) struct Call {
    runtime: Vec<String>,
    arguments: Vec<String>,
}

/// Runs as the wrapper.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let [row, flag, rest @ ..] = words else { return usage() };
    let split = rest.iter().position(|word| word == "--");
    let Some((runtime, [_, arguments @ ..])) = split.and_then(|at| rest.split_at_checked(at)) else {
        return usage();
    };
    let Some(row) = chapters::all().find(|known| known.id == row).filter(|_| flag == "--runtime") else {
        return usage();
    };
    let mut call = Call { runtime: runtime.to_vec(), arguments: arguments.to_vec() };
    let early = match row.broken {
        Broken::Ignores => call.before_create(ignore),
        Broken::Config(change) => call.before_create(|path, _| edit(path, change)),
        Broken::Command(handle) => handle(&mut call),
        Broken::Nothing => None,
    };
    let status = early.unwrap_or_else(|| call.run());
    ExitCode::from(u8::try_from(status).unwrap_or(255))
}

fn usage() -> ExitCode {
    eprintln!("usage: oci-conformance broken ROW --runtime PATH -- ARGUMENTS...");
    ExitCode::from(2)
}

/// Puts the default configuration, which lies beside the bundle, in place of the row's.
fn ignore(config: &Path, bundle: &Path) {
    let base = bundle.parent().map(|dir| dir.join("base.json")).unwrap_or_default();
    drop(fs::copy(base, config));
}

/// Changes a config.json; one that is no JSON becomes the change alone.
fn edit(path: &Path, change: fn(&mut Config)) {
    let text = fs::read(path).unwrap_or_default();
    let mut config = Config(serde_json::from_slice(&text).unwrap_or(Value::Null));
    change(&mut config);
    drop(fs::write(path, config.0.to_string()));
}

impl Call {
    /// The command: the first word that is no option of the runtime itself.
    pub(crate) fn command(&self) -> &str {
        let mut words = self.arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--root" | "--log" | "--log-format" => drop(words.next()),
                word if word.starts_with('-') => {}
                word => return word,
            }
        }
        ""
    }

    /// The last word: for most commands the container's id.
    pub(crate) fn last(&self) -> &str {
        self.arguments.last().map(String::as_str).unwrap_or_default()
    }

    /// The word after an option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let at = self.arguments.iter().position(|word| word == name)?;
        self.arguments.get(at + 1).map(String::as_str)
    }

    /// Whether a word is among the arguments.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.arguments.iter().any(|known| known == word)
    }

    /// The id in `kill ID SIGNAL`.
    pub(crate) fn id_of_kill(&self) -> String {
        let at = self.arguments.iter().position(|word| word == "kill").unwrap_or_default();
        self.arguments.get(at + 1).cloned().unwrap_or_default()
    }

    /// Creates with one descriptor more than the program should get.
    pub(crate) fn with_open_descriptor(&self) -> i32 {
        // The copy has no close-on-exec, and number 3 if nothing else is open.
        let Ok(_open) = rustix::io::dup(std::io::stderr()) else { return 125 };
        let mut words = self.arguments.clone();
        let at = words.iter().position(|word| word == "create").map_or(words.len(), |at| at + 1);
        words.splice(at..at, ["--preserve-fds".to_owned(), "1".to_owned()]);
        self.run_as(&words)
    }

    /// The directory given with `--bundle`.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.option("--bundle").map(PathBuf::from).unwrap_or_default()
    }

    /// The test's own directory, which has the bundle and the runtime's state in it.
    pub(crate) fn place(&self) -> PathBuf {
        let root = self.option("--root").map(PathBuf::from).unwrap_or_default();
        root.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Replaces a word of the arguments.
    pub(crate) fn replace(&mut self, from: &str, to: &str) {
        self.arguments.iter_mut().filter(|word| *word == from).for_each(|word| to.clone_into(word));
    }

    /// Runs the real runtime with the same standard streams.
    pub(crate) fn run(&self) -> i32 {
        self.run_as(&self.arguments)
    }

    /// Runs another command of the real runtime: the same options, then these words.
    pub(crate) fn also(&self, words: &[&str]) -> i32 {
        let root = self.option("--root").unwrap_or_default();
        let words: Vec<String> =
            ["--root", root].iter().chain(words).map(|word| (*word).to_owned()).collect();
        self.run_as(&words)
    }

    fn run_as(&self, arguments: &[String]) -> i32 {
        let mut words = self.runtime.iter();
        let Some(program) = words.next() else { return 125 };
        let status = Command::new(program).args(words).args(arguments).status();
        status.ok().and_then(|status| status.code()).unwrap_or(125)
    }

    /// Runs the real runtime and writes its output after a change.
    pub(crate) fn run_changed(&self, change: impl FnOnce(&mut Config)) -> i32 {
        let mut words = self.runtime.iter();
        let Some(program) = words.next() else { return 125 };
        let output =
            Command::new(program).args(words).args(&self.arguments).stderr(Stdio::inherit()).output();
        let Ok(output) = output else { return 125 };
        let mut config = Config(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
        change(&mut config);
        println!("{}", config.0);
        output.status.code().unwrap_or(125)
    }

    /// Changes the bundle if this call creates.
    pub(crate) fn before_create(&self, change: impl FnOnce(&Path, &Path)) -> Option<i32> {
        if self.command() == "create" {
            let bundle = self.bundle();
            change(&bundle.join("config.json"), &bundle);
        }
        None
    }

    /// Changes the configuration if this call creates.
    pub(crate) fn edit(&self, change: fn(&mut Config)) {
        self.before_create(|path, _| edit(path, change));
    }

    /// Does nothing and reports success where the runtime would do the command.
    pub(crate) fn forgets(&self, command: &str) -> Option<i32> {
        (self.command() == command).then_some(0)
    }

    /// Reports success whatever the command comes to.
    pub(crate) fn forgives(&self, command: &str) -> Option<i32> {
        (self.command() == command).then(|| self.run()).map(|_| 0)
    }

    /// Does the command and reports failure.
    pub(crate) fn blames(&self, command: &str) -> Option<i32> {
        (self.command() == command).then(|| self.run()).map(|_| 1)
    }

    /// Fails without doing the command.
    pub(crate) fn refuses(&self, command: &str) -> Option<i32> {
        (self.command() == command).then_some(1)
    }

    /// Changes what `state` or `features` writes.
    pub(crate) fn lies(&self, command: &str, change: fn(&mut Config)) -> Option<i32> {
        (self.command() == command).then(|| self.run_changed(change))
    }
}
