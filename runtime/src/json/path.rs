//! Which key of a JSON text a position belongs to, for errors of the file's form.
//!
//! The parser that reads configurations says line and column only. Asking it for the path as well would mean a second
//! copy of it, compiled for every type of the configuration; reading the text once more after a failure costs nothing.

use std::fmt::Write;

/// The key that is being read after `offset` bytes of `text`, as a person would write it: `linux.namespaces[2].type`.
/// Empty at the top. The text before `offset` is well-formed, because a parser has been there.
pub fn at(text: &[u8], offset: usize) -> String {
    let mut scan = Scan { open: Vec::new() };
    let mut rest = text.get(..offset).unwrap_or(text);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'"' {
            let end = string_end(rest);
            scan.string(rest.get(..end).unwrap_or_default());
            rest = rest.get(end + 1..).unwrap_or_default();
        } else {
            scan.token(*byte);
        }
    }
    scan.path()
}

/// The offset of a line and a column as serde_json counts them: lines from 1, columns in bytes that were read.
pub fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum::<usize>() + column
}

/// The deepest nesting of objects and arrays in `text`.
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = rest.get(string_end(rest) + 1..).unwrap_or_default(),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Where the string that begins `text` ends: the offset of its closing quote.
fn string_end(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

struct Scan<'a> {
    open: Vec<Open<'a>>,
}

/// An object or array whose end has not come yet.
enum Open<'a> {
    /// The key comes next, or the object ends.
    BeforeKey,
    /// The value of this key is being read.
    Key(&'a [u8]),
    /// The element with this number is being read.
    Index(usize),
}

impl<'a> Scan<'a> {
    fn string(&mut self, text: &'a [u8]) {
        if let Some(open @ Open::BeforeKey) = self.open.last_mut() {
            *open = Open::Key(text);
        }
    }

    fn token(&mut self, byte: u8) {
        match (byte, self.open.last_mut()) {
            (b'{', _) => self.open.push(Open::BeforeKey),
            (b'[', _) => self.open.push(Open::Index(0)),
            (b'}' | b']', _) => drop(self.open.pop()),
            (b',', Some(Open::Index(index))) => *index += 1,
            (b',', Some(open)) => *open = Open::BeforeKey,
            _ => {}
        }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::BeforeKey => {}
                Open::Key(key) => push_key(&mut path, &String::from_utf8_lossy(key)),
                Open::Index(index) => drop(write!(path, "[{index}]")),
            }
        }
        path
    }
}

/// Appends `.key`, or `["key"]` where a dot or blank in the key would mislead.
pub fn push_key(path: &mut String, key: &str) {
    let plain =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !plain {
        let _ = write!(path, "[{:?}]", key.chars().take(64).collect::<String>());
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_names_its_key() {
        let text = r#"{"a": [1, {"b": "x,]}\"", "c.d": true}], "e": {}}"#;
        let table = [
            ("{", ""),
            (r#""a""#, "a"),
            ("[1", "a[0]"),
            ("1,", "a[1]"),
            (r#"{"b""#, "a[1].b"),
            (r#"}\"""#, "a[1].b"),
            (r#""c.d": tr"#, "a[1][\"c.d\"]"),
            ("true}", "a[1]"),
            ("}]", "a"),
            ("], ", ""),
            (r#""e": {}"#, "e"),
            ("{}}", ""),
        ];
        for (up_to, path) in table {
            let end = text.find(up_to).unwrap() + up_to.len();
            assert_eq!(at(text.as_bytes(), end), path, "{up_to}");
        }
        assert_eq!(at(text.as_bytes(), 1000), "");
    }

    #[test]
    fn lines_and_columns_are_bytes() {
        let text = b"{\n  \"a\":\n 1x";
        assert_eq!(offset(text, 1, 1), 1);
        assert_eq!(offset(text, 3, 2), text.len() - 1);
        assert_eq!(offset(text, 9, 0), text.len());
    }

    #[test]
    fn depth_ignores_brackets_in_strings() {
        assert_eq!(depth(br#"{"[[[\"[[": [[{}], 1]}"#), 4);
        assert_eq!(depth(b"]]]["), 1);
        assert_eq!(depth(b"\"unterminated \\"), 0);
    }
}
