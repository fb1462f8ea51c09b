//! What a row of the table is: a feature, and how it is tried in each of the three command languages.

use crate::cell::Cell;
use crate::engine::Kind;
use integration_tests::{Outcome, skip};

/// Whether a row is in the part that every `make test` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// In every run.
    Always,
    /// In the full matrix only.
    Full,
}

/// How a feature is tried in one command language.
#[derive(Clone, Copy)]
pub(crate) enum Check {
    /// `sh -c SCRIPT` in a container with these options prints this text.
    Prints(&'static [&'static str], &'static str, &'static str),
    /// A function, for what takes more than one command.
    Test(fn(&Cell) -> Outcome),
    /// The language has no word for it, and why.
    Absent(&'static str),
}

/// A feature.
pub(crate) struct Row {
    pub(crate) theme: &'static str,
    pub(crate) feature: &'static str,
    pub(crate) pace: Pace,
    pub(crate) docker: Check,
    pub(crate) ctr: Check,
    pub(crate) buildah: Check,
}

impl Row {
    /// Tries the feature in the language of the cell's engine.
    pub(crate) fn run(&self, cell: &Cell) -> Outcome {
        match self.check(cell.engine.kind) {
            Check::Prints(options, script, expected) => {
                let ran = cell.run(options, &["/bin/sh", "-c", script]).ok();
                // A terminal ends lines with a carriage return.
                assert_eq!(ran.out.replace('\r', "").trim(), expected, "{ran}");
                Ok(())
            }
            Check::Test(test) => test(cell),
            Check::Absent(reason) => skip(reason),
        }
    }

    fn check(&self, kind: Kind) -> Check {
        match kind.family() {
            Kind::Containerd => self.ctr,
            Kind::Buildah => self.buildah,
            _ => self.docker,
        }
    }
}
