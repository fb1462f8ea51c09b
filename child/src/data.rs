//! The field types of [`crate::Op`]: text, lists and numbers that are read in place.
//!
//! They borrow from the plan's bytes, so the child reads a plan without allocating. All lists are one run of bytes.

use core::ffi::CStr;
use core::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A NUL-terminated string, ready for a system call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(pub &'a CStr);

/// NUL-terminated strings, one after the other, as execve(2) copies them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct List<'a>(&'a [u8]);

/// 32-bit numbers in the byte order of the machine: descriptors, group ids.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Words<'a>(&'a [u8]);

/// Bytes without a meaning of their own: a filter program, a node mask.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Bytes<'a>(pub &'a [u8]);

/// The number of a descriptor that the child inherits. The number is chosen before the clone and is the same in both
/// processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fd(pub i32);

impl<'a> List<'a> {
    /// A list of the strings in `bytes`; every string ends with NUL. `None` if the last one does not.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        matches!(bytes.last(), None | Some(0)).then_some(Self(bytes))
    }

    /// The strings in order.
    pub fn iter(self) -> impl Iterator<Item = &'a CStr> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let text = CStr::from_bytes_until_nul(rest).ok()?;
            rest = rest.get(text.count_bytes() + 1..)?;
            Some(text)
        })
    }

    /// The number of strings; walks the list.
    pub fn count(self) -> usize {
        self.0.iter().filter(|byte| **byte == 0).count()
    }

    /// The strings with their terminators.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Words<'a> {
    /// The numbers whose bytes are `bytes`; a rest of fewer than four bytes is ignored.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The numbers in order.
    pub fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.0.chunks_exact(4).map(|chunk| u32::from_ne_bytes(chunk.try_into().unwrap_or_default()))
    }

    /// How many numbers there are.
    pub fn count(self) -> usize {
        self.0.len() / 4
    }
}

macro_rules! borrowed_bytes {
    ($name:ident, $expecting:literal, |$value:ident| $bytes:expr, |$read:ident| $parse:expr) => {
        impl Serialize for $name<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $value = self;
                serializer.serialize_bytes($bytes)
            }
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Borrow;
                impl<'de> Visitor<'de> for Borrow {
                    type Value = $name<'de>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_borrowed_bytes<E: Error>(self, $read: &'de [u8]) -> Result<Self::Value, E> {
                        ($parse).ok_or_else(|| E::custom($expecting))
                    }
                }
                deserializer.deserialize_bytes(Borrow)
            }
        }
    };
}

borrowed_bytes!(Text, "a string that ends with NUL", |text| text.0.to_bytes_with_nul(), |bytes| {
    CStr::from_bytes_with_nul(bytes).ok().map(Text)
});
borrowed_bytes!(List, "strings that end with NUL", |list| list.0, |bytes| List::new(bytes));
borrowed_bytes!(Words, "32-bit numbers", |words| words.0, |bytes| Some(Words(bytes)));
borrowed_bytes!(Bytes, "bytes", |value| value.0, |bytes| Some(Bytes(bytes)));

impl fmt::Display for Text<'_> {
    /// Prints valid UTF-8 as it is and every other byte, and control characters, escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.to_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Text)).finish()
    }
}

impl fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "descriptor {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_its_strings_back() {
        let list = List::new(b"a\0\0bc\0").unwrap();
        assert!(list.iter().eq([c"a", c"", c"bc"]));
        assert_eq!(list.count(), 3);
        assert_eq!(List::new(b"a"), None);
    }

    #[test]
    fn text_prints_hostile_bytes_escaped() {
        extern crate std;
        assert_eq!(std::format!("{}", Text(c"a\n\xff\x1b[0m\xc3\xa4")), "a\\n\\xff\\u{1b}[0mä");
    }
}
