//! All that is wrong with a configuration, collected, because a person who fixes five mistakes wants to read of five.

use std::borrow::Cow;

use crate::{Error, Kind, Result};

/// Violations and warnings, in the order in which they were found.
#[derive(Debug, Default)]
pub struct Problems {
    /// What makes the configuration invalid or impossible on this host.
    pub errors: Vec<Error>,
    /// What will be ignored or weakened where the specification demands leniency.
    pub warnings: Vec<Error>,
}

impl Problems {
    /// The warnings, or all errors as one.
    ///
    /// # Errors
    /// The single violation as it is; several in one error of the class of the first.
    pub fn finish(self) -> Result<Vec<Error>> {
        match self.errors.as_slice() {
            [] => Ok(self.warnings),
            [only] => Err(only.clone()),
            [first, ..] => {
                let texts: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
                let text = format!("{} problems in the configuration: {}", texts.len(), texts.join("; "));
                Err(Error::new(first.kind(), text))
            }
        }
    }

    /// The value at `key` is invalid.
    pub fn invalid(&mut self, key: impl Into<Cow<'static, str>>, what: impl Into<Cow<'static, str>>) {
        self.errors.push(Error::invalid(key, what));
    }

    /// This host cannot do what `key` asks.
    pub fn unsupported(&mut self, key: impl Into<Cow<'static, str>>, what: impl Into<Cow<'static, str>>) {
        self.errors.push(Error::new(Kind::Unsupported, what).with_key(key));
    }

    /// What `key` asks will not happen, and the specification allows that.
    pub fn warn(&mut self, key: impl Into<Cow<'static, str>>, what: impl Into<Cow<'static, str>>) {
        self.warnings.push(Error::new(Kind::Unsupported, what).with_key(key));
    }
}
