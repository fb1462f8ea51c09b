//! Why a call fails, as its caller gets it: one of gRPC's codes and a text.
//!
//! containerd maps the codes to its own errors; engines also match parts of the texts, so these are kept as they are
//! everywhere else.

use orlop::{Error, Kind};

/// The codes that the shim answers with (google.rpc.Code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Anything else.
    Unknown = 2,
    /// A request that cannot be read.
    InvalidArgument = 3,
    /// No such container or process.
    NotFound = 5,
    /// The id is taken.
    AlreadyExists = 6,
    /// A message that is too large.
    ResourceExhausted = 8,
    /// Not in this state.
    FailedPrecondition = 9,
    /// No such service or method; containerd then tries an older version.
    Unimplemented = 12,
}

impl Code {
    /// The code of a number that a helper reported.
    pub(crate) fn from_number(number: u32) -> Self {
        [
            Self::InvalidArgument,
            Self::NotFound,
            Self::AlreadyExists,
            Self::ResourceExhausted,
            Self::FailedPrecondition,
            Self::Unimplemented,
        ]
        .into_iter()
        .find(|code| *code as u32 == number)
        .unwrap_or(Self::Unknown)
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The class.
    pub(crate) code: Code,
    /// The text.
    pub(crate) text: String,
}

/// The result of what a call asks for.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure of class `code`.
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The code of most failures.
    pub(crate) fn unknown(text: impl Into<String>) -> Self {
        Self::new(Code::Unknown, text)
    }

    /// No such thing.
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(Code::NotFound, text)
    }

    /// Not in this state.
    pub(crate) fn precondition(text: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, text)
    }

    /// An error of the runtime during `phase`, in the words that engines know.
    pub(crate) fn of_runtime(phase: &str, error: &Error) -> Self {
        let code = match error.kind() {
            Kind::AlreadyExists => Code::AlreadyExists,
            _ => Code::Unknown,
        };
        Self::new(code, format!("OCI runtime {phase} failed: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::NotFound => Code::NotFound,
            Kind::AlreadyExists => Code::AlreadyExists,
            Kind::WrongState => Code::FailedPrecondition,
            Kind::Unsupported => Code::Unimplemented,
            _ => Code::Unknown,
        };
        Self::new(code, error.to_string())
    }
}
