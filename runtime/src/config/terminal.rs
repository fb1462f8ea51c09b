//! `process.terminal` and `process.consoleSize`.
//!
//! Who keeps the other end of the terminal is a matter of the command line, not of the configuration.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#process>

use child::Op;
use child::op::{Newlines, Placement};
use serde::{Deserialize, Serialize};

use super::{Problems, process};
use crate::json::Integer;
use crate::step::Step;

// ── Shape ──

/// `process.consoleSize` as written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Size {
    /// Lines.
    pub height: Option<Integer>,
    /// Characters in a line.
    pub width: Option<Integer>,
}

// ── Rules ──

/// A terminal; 0 rows and columns leave the size unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    rows: u16,
    columns: u16,
    newlines: Newlines,
}

/// Checks the size; without a terminal it is ignored, as the specification demands.
pub fn check(process: &process::Shape, problems: &mut Problems) -> Option<Terminal> {
    let size = process.console_size.unwrap_or(Size { height: Some(Integer(0)), width: Some(Integer(0)) });
    process.terminal.then(|| Terminal {
        rows: count(size.height, "process.consoleSize.height", problems),
        columns: count(size.width, "process.consoleSize.width", problems),
        newlines: Newlines::Translated,
    })
}

fn count(number: Option<Integer>, key: &'static str, problems: &mut Problems) -> u16 {
    let Some(number) = number else {
        problems.invalid(key, "missing");
        return 0;
    };
    u16::try_from(number.0).unwrap_or_else(|_| {
        problems.invalid(key, format!("{number} is outside 0 to {}", u16::MAX));
        0
    })
}

// ── Steps ──

impl Terminal {
    /// Makes the terminal for `uid`.
    pub fn step(self, uid: u32, bind: Placement) -> Step<'static> {
        let Self { rows, columns, newlines } = self;
        Step::new("process.terminal", Op::Console { rows, columns, uid, bind, newlines })
    }

    /// Says what becomes of newlines.
    pub fn set_newlines(&mut self, newlines: Newlines) {
        self.newlines = newlines;
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> (Option<Terminal>, Vec<String>) {
        let mut problems = Problems::default();
        let terminal = check(&serde_json::from_str(json).unwrap(), &mut problems);
        (terminal, problems.errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_size_counts_only_with_a_terminal() {
        let size = r#""consoleSize": {"height": 25, "width": 80}"#;
        assert_eq!(
            checked(&format!(r#"{{"terminal": true, {size}}}"#)).0,
            Some(Terminal { rows: 25, columns: 80, newlines: Newlines::Translated })
        );
        assert_eq!(checked(&format!("{{{size}}}")).0, None);
        assert_eq!(checked(r#"{"terminal": true}"#).0, Some(Terminal::default()));
        assert_eq!(checked(r#"{"terminal": false, "consoleSize": {"height": -1}}"#), (None, vec![]));
    }

    #[test]
    fn a_size_that_no_terminal_has_is_refused() {
        let (_, errors) = checked(r#"{"terminal": true, "consoleSize": {"height": 65536}}"#);
        assert_eq!(
            errors,
            ["process.consoleSize.height: 65536 is outside 0 to 65535", "process.consoleSize.width: missing"]
        );
    }
}
