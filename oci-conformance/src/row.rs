//! A row: one sentence of the specification that binds a runtime, and the test that it is kept.
//!
//! Rows are flat tables, one file for each chapter below `chapters`. A row says where its sentence stands, what it
//! demands in our words, how that is observed, and what a runtime would do that breaks it: the last is what the
//! self-test runs the row against. Start at [`Row`].

use crate::broken::Call;
use crate::config::Config;
use crate::lab::Lab;
use crate::seen::Seen;
use std::fmt;

/// How strongly the sentence binds (RFC 2119). A required property is a MUST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// MUST, SHALL, REQUIRED.
    Must,
    /// MUST NOT.
    MustNot,
    /// SHOULD, RECOMMENDED.
    Should,
    /// SHOULD NOT, NOT RECOMMENDED.
    ShouldNot,
    /// A sentence without a keyword; `create` must apply the property nonetheless.
    Plain,
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Level::Must => "MUST",
            Level::MustNot => "MUST NOT",
            Level::Should => "SHOULD",
            Level::ShouldNot => "SHOULD NOT",
            Level::Plain => "plain",
        })
    }
}

impl Level {
    /// Whether a failure makes the runtime non-compliant.
    pub(crate) fn binds(self) -> bool {
        !matches!(self, Level::Should | Level::ShouldNot)
    }
}

/// One demand of the specification.
pub(crate) struct Row {
    /// Stable name: chapter, section, subject.
    pub(crate) id: &'static str,
    /// How strongly it binds.
    pub(crate) level: Level,
    /// The lines of the chapter's file in version 1.3.0; one that has two keywords may stand here twice.
    pub(crate) at: &'static [u16],
    /// The demand in our words.
    pub(crate) says: &'static str,
    /// How it is observed.
    pub(crate) test: Test,
    /// A runtime that does not keep it.
    pub(crate) broken: Broken,
}

/// How a demand is observed.
pub(crate) enum Test {
    /// The container runs with a changed configuration, and the probe inside tells what it sees.
    Seen(fn(&mut Config), &'static [&'static str], fn(&Seen) -> Verdict),
    /// The operation `create` fails and leaves nothing, or where a property of `process` is concerned, `start` fails.
    Refused(Refusal, fn(&mut Config)),
    /// Everything else.
    Lab(fn(&mut Lab) -> Verdict),
    /// It cannot be observed, for this reason.
    Impossible(&'static str),
}

/// Which operation has to fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Only `create`.
    Create,
    /// Properties of `process` may be applied as late as `start`.
    CreateOrStart,
}

/// What a runtime does that does not keep the row.
pub(crate) enum Broken {
    /// It takes the suite's default configuration in place of the row's.
    Ignores,
    /// It changes the configuration.
    Config(fn(&mut Config)),
    /// It handles a command in its own way: the status to end with, or `None` to go on to the runtime.
    Command(fn(&mut Call) -> Option<i32>),
    /// Nothing can be shown, because the row has no test.
    Nothing,
}

/// Why a test did not pass.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The runtime does not keep the row.
    Fail(String),
    /// This host or runtime cannot show it.
    Skip(String),
}

/// What a test found.
pub(crate) type Verdict = Result<(), Stop>;

/// A failure with its reason.
pub(crate) fn fail<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fail(why.into()))
}

/// A test that this host cannot run.
pub(crate) fn skip<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skip(why.into()))
}

/// Fails unless a condition holds.
pub(crate) fn check(holds: impl Into<Option<()>>, why: impl FnOnce() -> String) -> Verdict {
    holds.into().ok_or_else(|| Stop::Fail(why()))
}

/// A row with the fields in the order of the tables.
pub(crate) const fn row(
    id: &'static str,
    level: Level,
    at: &'static [u16],
    says: &'static str,
    test: Test,
    broken: Broken,
) -> Row {
    Row { id, level, at, says, test, broken }
}

impl Row {
    /// The chapter: the file of the specification without its ending.
    pub(crate) fn chapter(&self) -> &'static str {
        self.id.split('.').next().unwrap_or(self.id)
    }
}

/// Whether a name matches a pattern in which `*` stands for any text.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(place, _)| place)
                .chain([rest.len()])
                .any(|place| matches(after, rest.get(place..).unwrap_or_default()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(
            matches("*", "config.root")
                && matches("config.*", "config.root")
                && matches("*root", "config.root")
        );
        assert!(
            matches("c*.r*t", "config.root")
                && !matches("config", "config.root")
                && !matches("*x", "config.root")
        );
    }
}
