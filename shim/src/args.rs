//! The command line of a shim: Go flags before or after a word that says what to do.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the shim is asked to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the process that serves a container, and print its address.
    Start,
    /// Remove what a shim that died has left.
    Delete,
    /// Print the version: `-v`.
    Version,
    /// Print what the runtime can do: `-info`.
    Info,
    /// Nothing that this program knows.
    #[default]
    Unknown,
}

/// The command line, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    /// What to do.
    pub(crate) action: Action,
    /// The namespace of containerd.
    pub(crate) namespace: String,
    /// The id of the container.
    pub(crate) id: String,
    /// The address of containerd.
    pub(crate) address: String,
    /// The bundle; the working directory otherwise.
    pub(crate) bundle: Option<PathBuf>,
    /// Whether debug messages are written.
    pub(crate) debug: bool,
}

impl Args {
    /// Reads the arguments after the program's name. Flags that are not known are ignored, with a value if they have one
    /// after `=`: a newer containerd may add some.
    pub(crate) fn read(arguments: impl Iterator<Item = OsString>) -> Self {
        let mut args = Self::default();
        let mut arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
        while let Some(argument) = arguments.next() {
            let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                args.act(&argument);
                continue;
            };
            match flag.split_once('=') {
                Some((name, value)) => args.set(name, value.to_owned()),
                None if takes_value(flag) => args.set(flag, arguments.next().unwrap_or_default()),
                None => args.set(flag, "true".to_owned()),
            }
        }
        args
    }

    fn act(&mut self, word: &str) {
        if self.action == Action::Unknown {
            self.action = match word {
                "start" => Action::Start,
                "delete" => Action::Delete,
                _ => Action::Unknown,
            };
        }
    }

    fn set(&mut self, name: &str, value: String) {
        match name {
            "namespace" => self.namespace = value,
            "id" => self.id = value,
            "address" => self.address = value,
            "bundle" => self.bundle = Some(PathBuf::from(value)),
            "debug" => self.debug = value == "true",
            "v" | "version" => self.action = Action::Version,
            "info" => self.action = Action::Info,
            _ => {}
        }
    }
}

fn takes_value(flag: &str) -> bool {
    matches!(flag, "namespace" | "id" | "address" | "bundle" | "publish-binary" | "socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Args {
        Args::read(words.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_lines_of_containerd_are_read() {
        let args =
            read("-namespace k8s.io -address /a -publish-binary /usr/bin/containerd -id c1 -debug start");
        let expected = Args {
            action: Action::Start,
            namespace: "k8s.io".into(),
            id: "c1".into(),
            address: "/a".into(),
            bundle: None,
            debug: true,
        };
        assert_eq!(args, expected);
        for words in [
            "-namespace n -address a -publish-binary b -id c1 -bundle /b -debug delete",
            "-namespace n -address a -publish-binary b -id c1 -debug -bundle /b delete",
            "--namespace=n --address=a --id=c1 --bundle=/b --debug=true --new=1 delete",
        ] {
            let args = read(words);
            assert_eq!((args.action, args.id.as_str(), args.debug), (Action::Delete, "c1", true), "{words}");
            assert_eq!(args.bundle, Some("/b".into()));
        }
        assert_eq!(read("-v").action, Action::Version);
        assert_eq!(read("-info").action, Action::Info);
        assert_eq!(read("").action, Action::Unknown);
    }
}
