//! Strings of the configuration made ready for the kernel.

use std::ffi::{CStr, CString};

use child::{List, Text};

use super::Problems;

/// `text` with its terminator; a NUL inside is reported at `key` and gives an empty string.
pub fn c_string(text: &str, key: &str, problems: &mut Problems) -> CString {
    CString::new(text).unwrap_or_else(|_| {
        problems.invalid(key.to_owned(), "contains NUL");
        CString::default()
    })
}

/// Strings in one run of bytes, each with its terminator: argv, env, candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings(Vec<u8>);

impl Strings {
    /// Appends `text`.
    pub fn push(&mut self, text: &CStr) {
        self.0.extend_from_slice(text.to_bytes_with_nul());
    }

    /// Appends `text` with a terminator, unless it contains NUL.
    ///
    /// # Errors
    /// `text` contains NUL; nothing was appended.
    pub fn push_str(&mut self, text: &str) -> Result<(), NulError> {
        if text.as_bytes().contains(&0) {
            return Err(NulError);
        }
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        Ok(())
    }

    /// The strings as a field of a step.
    pub fn list(&self) -> List<'_> {
        List::new(&self.0).unwrap_or_default()
    }
}

/// A text contains NUL, so it cannot be given to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NulError;

/// The texts with terminators; each one with NUL inside is reported at `key[n]`, n being the number given with it.
pub fn strings<'a>(
    texts: impl IntoIterator<Item = (usize, &'a str)>,
    key: &str,
    problems: &mut Problems,
) -> Strings {
    let mut strings = Strings::default();
    for (index, text) in texts {
        if strings.push_str(text).is_err() {
            problems.invalid(format!("{key}[{index}]"), "contains NUL");
        }
    }
    strings
}

/// The texts with their numbers, as [`strings`] takes them.
pub fn numbered(texts: &[String]) -> impl Iterator<Item = (usize, &str)> {
    texts.iter().map(String::as_str).enumerate()
}

/// Variables of an environment: reports at `key[n]` each one without a name or without `=`.
pub fn check_variables(variables: &[String], key: &str, problems: &mut Problems) {
    for (index, variable) in variables.iter().enumerate() {
        match variable.find('=') {
            None => problems.invalid(format!("{key}[{index}]"), "invalid environment variable: missing '='"),
            Some(0) => problems
                .invalid(format!("{key}[{index}]"), "invalid environment variable: name cannot be empty"),
            Some(_) => {}
        }
    }
}

impl<T: AsRef<CStr>> FromIterator<T> for Strings {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut strings = Self::default();
        texts.into_iter().for_each(|text| strings.push(text.as_ref()));
        strings
    }
}

/// The field of a step for `text`.
pub fn field(text: &CStr) -> Text<'_> {
    Text(text)
}
