//! The result of a conversion: values for files.

use std::borrow::Cow;

use rustix::io::Errno;
use sys::{Error, Kind, Result};

use crate::controller::{Controller, Homes, Version};
use crate::directory::Directory;

/// One value for one file of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Whose file it is; `None` for a file that belongs to no controller we know.
    pub controller: Option<Controller>,
    /// Where that controller lives.
    pub version: Version,
    /// The name of the file.
    pub file: Cow<'static, str>,
    /// What is written, in one write.
    pub value: String,
    /// The configuration key that asks for it.
    pub key: Cow<'static, str>,
    /// What a kernel without the file means.
    pub if_absent: IfAbsent,
    /// What may help when the kernel refuses the value.
    pub hint: Option<&'static str>,
}

/// What to do where the group has no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfAbsent {
    /// The kernel cannot do what was asked.
    Fail,
    /// What was asked holds anyway.
    Skip,
    /// What was asked holds if the host has no swap.
    SkipWithoutSwap,
    /// Another file has the same meaning.
    Instead {
        /// Its name.
        file: &'static str,
        /// The value in its terms.
        value: String,
    },
}

impl Write {
    /// Writes the value into the file of `group`.
    pub(crate) fn deliver(&self, group: &Directory) -> Result<()> {
        let target = self.target(group)?;
        let Some((file, value)) = target else { return Ok(()) };
        group.write(file, value).map_err(|error| self.explain(group, error))
    }

    /// The file and the value that count in `group`; `None` if nothing has to be written there.
    pub(crate) fn target(&self, group: &Directory) -> Result<Option<(&str, &str)>> {
        let absent = || !group.has(&self.file);
        match &self.if_absent {
            IfAbsent::Fail => Ok(Some((&self.file, &self.value))),
            IfAbsent::Skip => Ok((!absent()).then_some((&self.file, &self.value))),
            IfAbsent::SkipWithoutSwap => {
                Ok((!absent() || host_has_swap()?).then_some((&self.file, &self.value)))
            }
            IfAbsent::Instead { file, value } if absent() => Ok(Some((file, value))),
            IfAbsent::Instead { .. } => Ok(Some((&self.file, &self.value))),
        }
    }

    /// Says which key the kernel's refusal is about and what may help.
    pub(crate) fn explain(&self, group: &Directory, error: Error) -> Error {
        let errno = error.errno();
        let error = error.with_key(self.key.clone());
        match (errno, self.hint) {
            (Some(Errno::NOENT), _) => {
                error.with_kind(Kind::Unsupported).with_hint("this kernel has no such file")
            }
            (Some(Errno::NODEV), _) => error.with_hint("there is no such device"),
            (Some(Errno::BUSY), _) if self.file.starts_with("memory.") => error.with_hint(usage_of(group)),
            (_, Some(hint)) => error.with_hint(hint),
            _ => error,
        }
    }

    /// The host lacks the controller.
    pub(crate) fn no_controller(&self) -> Error {
        no_controller(self.controller)
    }
}

fn no_controller(controller: Option<Controller>) -> Error {
    let name = controller.map_or("needed", Controller::name);
    Error::new(Kind::Unsupported, format!("this host has no {name} controller"))
}

/// Why a version 1 memory limit is refused as busy.
fn usage_of(group: &Directory) -> String {
    let value = |file| group.read(file).map_or("?".to_owned(), |text| text.trim().to_owned());
    let (usage, peak) = (value("memory.usage_in_bytes"), value("memory.max_usage_in_bytes"));
    format!("{usage} bytes are in use and cannot be reclaimed, {peak} were at most")
}

/// /proc/swaps has one line of header, and does not exist in a kernel without swap (proc_swaps(5)).
fn host_has_swap() -> Result<bool> {
    let text = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    Ok(text.lines().count() > 1)
}

/// Collects writes and errors of all sections.
#[derive(Debug)]
pub(super) struct Writes {
    homes: Homes,
    writes: Vec<Write>,
    errors: Vec<Error>,
}

/// What a version makes of one field.
pub(super) enum Field {
    /// A value for a file.
    File(Cow<'static, str>, String),
    /// The same, with more to say about it.
    Special(Cow<'static, str>, String, IfAbsent, Option<&'static str>),
    /// It holds without being written.
    Holds,
    /// This version cannot do it.
    Cannot(&'static str),
}

impl Field {
    pub(super) fn file(name: &'static str, value: impl ToString) -> Self {
        Self::File(Cow::Borrowed(name), value.to_string())
    }
}

impl Writes {
    pub(super) fn new(homes: Homes) -> Self {
        Self { homes, writes: Vec::new(), errors: Vec::new() }
    }

    pub(super) fn homes(&self) -> Homes {
        self.homes
    }

    pub(super) fn finish(self) -> std::result::Result<Vec<Write>, Vec<Error>> {
        if self.errors.is_empty() { Ok(self.writes) } else { Err(self.errors) }
    }

    /// A rule of `key` is broken.
    pub(super) fn invalid(&mut self, key: impl Into<Cow<'static, str>>, what: impl Into<Cow<'static, str>>) {
        self.errors.push(Error::invalid(key, what));
    }

    /// This host cannot do what `key` asks.
    pub(super) fn cannot(&mut self, key: impl Into<Cow<'static, str>>, what: impl Into<Cow<'static, str>>) {
        self.errors.push(Error::new(Kind::Unsupported, what).with_key(key));
    }

    /// A write that no version of a controller has to be asked for.
    pub(super) fn push(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// What `controller`, wherever it lives, makes of the field `key`.
    pub(super) fn field(
        &mut self,
        controller: Controller,
        key: impl Into<Cow<'static, str>>,
        convert: impl FnOnce(Version) -> Field,
    ) {
        let key = key.into();
        let Some(version) = self.homes.of(controller) else {
            self.errors.push(no_controller(Some(controller)).with_key(key));
            return;
        };
        let (file, value, if_absent, hint) = match convert(version) {
            Field::File(file, value) => (file, value, IfAbsent::Fail, None),
            Field::Special(file, value, if_absent, hint) => (file, value, if_absent, hint),
            Field::Holds => return,
            Field::Cannot(why) => return self.cannot(key, why),
        };
        self.push(Write { controller: Some(controller), version, file, value, key, if_absent, hint });
    }
}
