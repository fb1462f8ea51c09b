//! The one error of orlop: what was asked, of which object, which system call said no, and what may help.
//!
//! An error is built where the object is known and returned with `?` from there on; it is never logged where it is
//! returned. Callers match [`Kind`], never text.

use std::borrow::Cow;
use std::fmt;

use rustix::io::Errno;

use crate::errno;

/// The result of every fallible operation of orlop.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in the few classes that a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The bundle, a configuration value or an argument is invalid; nothing was changed.
    InvalidConfig,
    /// The container, process or file that was named does not exist.
    NotFound,
    /// The container id is taken.
    AlreadyExists,
    /// The container is not in a state that allows the operation.
    WrongState,
    /// This host cannot do what was asked, and skipping it would be silent.
    Unsupported,
    /// The kernel refused a system call.
    Kernel,
    /// A hook failed or could not be run.
    Hook,
    /// A phase did not end before its deadline; everything was rolled back.
    Timeout,
    /// A broken promise of orlop itself.
    Internal,
}

impl Kind {
    /// The name used in the `kind` key of JSON log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidConfig => "invalid_config",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::WrongState => "wrong_state",
            Self::Unsupported => "unsupported",
            Self::Kernel => "kernel",
            Self::Hook => "hook",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

/// An error that names four things: the config key, the object, the system call and the errno, and a hint where the
/// errno misleads.
///
/// ```text
/// mounts[3]: attach /srv/data at /data: move_mount: EACCES (permission denied); is the source readable?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    kind: Kind,
    key: Option<Cow<'static, str>>,
    what: Cow<'static, str>,
    call: Option<Cow<'static, str>>,
    errno: Option<Errno>,
    hint: Option<Cow<'static, str>>,
    also: Vec<Error>,
}

impl Error {
    /// An error of class `kind` about `what`, which names the object.
    pub fn new(kind: Kind, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            kind,
            key: None,
            what: what.into(),
            call: None,
            errno: None,
            hint: None,
            also: Vec::new(),
        }))
    }

    /// An invalid value at the configuration key `key` (as written in config.json: `mounts[3].options[1]`).
    pub fn invalid(key: impl Into<Cow<'static, str>>, what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::InvalidConfig, what).with_key(key)
    }

    /// The system call `call` failed with `errno` while orlop was busy with `what`.
    pub fn kernel(
        what: impl Into<Cow<'static, str>>,
        call: impl Into<Cow<'static, str>>,
        errno: impl Into<Errno>,
    ) -> Self {
        let mut error = Self::new(Kind::Kernel, what);
        error.0.call = Some(call.into());
        error.0.errno = Some(errno.into());
        error
    }

    /// Names the configuration key, unless one closer to the cause is named already.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Cow<'static, str>>) -> Self {
        if self.0.key.is_none() {
            self.0.key = Some(key.into());
        }
        self
    }

    /// Changes the class, for a caller that knows better what an errno means here.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Says what may help.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a failure of the clean-up that followed; the first cause stays in front.
    #[must_use]
    pub fn and_also(mut self, other: Self) -> Self {
        self.0.also.push(other);
        self
    }

    /// The class, for `match`.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The configuration key, if the cause has one.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// The object and what was being done to it.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// The system call that failed.
    pub fn call(&self) -> Option<&str> {
        self.0.call.as_deref()
    }

    /// The errno of that call.
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }
}

/// Adds what the raw errno of a system call lacks.
pub trait Context<T> {
    /// Turns an errno into an [`Error`] that names the object and the call.
    fn context(self, call: &'static str, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, Errno> {
    fn context(self, call: &'static str, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::kernel(what(), call, errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, call: &'static str, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => Error::kernel(what(), call, errno),
            None => Error::new(Kind::Kernel, format!("{}: {call}: {error}", what())),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { key, what, call, errno: number, hint, also, .. } = &*self.0;
        if let Some(key) = key {
            write!(f, "{key}: ")?;
        }
        f.write_str(what)?;
        if let Some(call) = call {
            write!(f, ": {call}")?;
        }
        if let Some(number) = number {
            write!(f, ": {} ({})", errno::name(*number), errno::text(*number))?;
        }
        if let Some(hint) = hint {
            write!(f, "; {hint}")?;
        }
        for other in also {
            write!(f, "; then {other}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_key_object_call_and_errno() {
        let error =
            Error::kernel("attach /srv/data at /data", "move_mount", Errno::ACCESS).with_key("mounts[3]");
        assert_eq!(
            error.to_string(),
            "mounts[3]: attach /srv/data at /data: move_mount: EACCES (permission denied)"
        );
    }

    #[test]
    fn a_failed_clean_up_is_added_and_never_replaces_the_cause() {
        let error = Error::new(Kind::Timeout, "create: no answer in 30 s").and_also(Error::kernel(
            "remove /x",
            "rmdir",
            Errno::BUSY,
        ));
        assert_eq!(
            error.to_string(),
            "create: no answer in 30 s; then remove /x: rmdir: EBUSY (device or resource busy)"
        );
        assert_eq!(error.kind(), Kind::Timeout);
    }

    #[test]
    fn the_key_closest_to_the_cause_wins() {
        let error = Error::invalid("mounts[0].options[2]", "unknown").with_key("mounts");
        assert_eq!(error.key(), Some("mounts[0].options[2]"));
    }
}
