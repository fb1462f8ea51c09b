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

    /// The strings as a field of a step.
    pub fn list(&self) -> List<'_> {
        List::new(&self.0).unwrap_or_default()
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
