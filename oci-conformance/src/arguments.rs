//! The command line: options with one value each. Start at [`Arguments::read`].

use std::path::PathBuf;

/// What every command of the suite may be told.
#[derive(Default)]
pub(crate) struct Arguments {
    /// `--runtime`, any number of times.
    pub(crate) runtimes: Vec<String>,
    /// `--only`: which rows or programs.
    pub(crate) only: Option<String>,
    /// `--format`.
    pub(crate) format: Option<String>,
    /// `--list`.
    pub(crate) list: Option<()>,
    /// `--spec` or `--suite`: a folder.
    pub(crate) folder: Option<PathBuf>,
    /// `--expect`: a name of an environment.
    pub(crate) expect: Option<String>,
}

/// What the program says of itself.
pub(crate) const USAGE: &str = "\
usage: oci-conformance --runtime PATH... [--only GLOB] [--format tap|json|junit|html]
       oci-conformance --list [--only GLOB]
       oci-conformance self-test --runtime PATH [--only GLOB]
       oci-conformance coverage --spec FOLDER
       oci-conformance upstream --suite FOLDER --runtime PATH [--only GLOB] [--expect LAYOUT]

PATH may be NAME=PATH. Run it as root. The status is 0 if no MUST fails, 1 if one does, 2 for a wrong call.";

impl Arguments {
    /// Reads the words, or says which one is wrong.
    pub(crate) fn read(words: &[String]) -> Result<Arguments, String> {
        let mut all = Arguments::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (name, inline) =
                word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            if name == "--list" {
                all.list = Some(());
                continue;
            }
            let inline = inline.map(str::to_owned);
            let value =
                inline.or_else(|| words.next().cloned()).ok_or_else(|| format!("{name} needs a value"))?;
            match name {
                "--runtime" => all.runtimes.push(value),
                "--only" => all.only = Some(value),
                "--format" => all.format = Some(value),
                "--spec" | "--suite" => all.folder = Some(value.into()),
                "--expect" => all.expect = Some(value),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        Ok(all)
    }

    /// The pattern of `--only`.
    pub(crate) fn pattern(&self) -> &str {
        self.only.as_deref().unwrap_or("*")
    }
}

/// Says what is wrong with a call.
pub(crate) fn misused(why: &str) -> std::process::ExitCode {
    eprintln!("oci-conformance: {why}\n{USAGE}");
    std::process::ExitCode::from(2)
}
