//! As much of Rust as the style tests read: code without its comments and literals, and where functions begin and end.
//!
//! It is no parser. It knows what can hide a brace or a keyword (comments, strings, characters) and counts brackets in
//! the rest. Start at [`Source`].

use std::ops::Range;

/// A file of Rust.
pub(crate) struct Source {
    /// The code; every byte of a comment or of a literal is a space, but line ends are kept.
    pub(crate) code: String,
    tests: Vec<Range<usize>>,
}

/// A function with a body.
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// Its first line, from 1.
    pub(crate) line: usize,
    /// From the line of `fn` to that of the last brace.
    pub(crate) lines: usize,
}

impl Source {
    /// Reads a file.
    pub(crate) fn new(text: &str) -> Self {
        let code = without_literals(text);
        let tests = test_modules(&code);
        Self { code, tests }
    }

    /// The functions outside of `#[cfg(test)]`.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let starts = words(&self.code, "fn").filter(|start| !self.is_test(*start));
        starts.filter_map(|start| function(&self.code, start)).collect()
    }

    /// How often a word stands in the code.
    pub(crate) fn count(&self, word: &str) -> usize {
        words(&self.code, word).count()
    }

    fn is_test(&self, place: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&place))
    }
}

/// The places of a whole word.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    let is_edge = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    code.match_indices(word).map(|found| found.0).filter(move |start| {
        is_edge(start.checked_sub(1).and_then(|before| bytes.get(before)))
            && is_edge(bytes.get(start + word.len()))
    })
}

fn function(code: &str, start: usize) -> Option<Function> {
    let rest = code[start + 2..].trim_start();
    let name: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    // `fn(u8)` is a type, `fn $name` the pattern of a macro.
    let body = if name.is_empty() { None } else { body(code, start) }?;
    let line_of = |place: usize| code[..place].matches('\n').count() + 1;
    let (line, last) = (line_of(start), line_of(body.end));
    Some(Function { name, line, lines: last - line + 1 })
}

/// The braces that belong to the item at `start`; nothing for an item that ends with a semicolon.
fn body(code: &str, start: usize) -> Option<Range<usize>> {
    let mut depth = 0_usize;
    for (place, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(place..closing_brace(code, place)),
            _ => {}
        }
    }
    None
}

fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (place, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return place,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn test_modules(code: &str) -> Vec<Range<usize>> {
    let starts = code.match_indices("#[cfg(test)]").map(|found| found.0);
    starts.filter_map(|start| body(code, start).map(|body| start..body.end)).collect()
}

/// What the lexer is in the middle of.
#[derive(Clone, Copy)]
enum Inside {
    Code,
    Line,
    /// Comments in comments, counted.
    Block(usize),
    Text,
    /// With as many `#` at its end.
    Raw(usize),
}

fn without_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut inside = Inside::Code;
    while code.len() < bytes.len() {
        let rest = &bytes[code.len()..];
        let (len, next) = match inside {
            Inside::Code => match opening(bytes, code.len()) {
                Some(opening) => opening,
                None => {
                    code.push(rest[0]);
                    continue;
                }
            },
            Inside::Line if rest[0] == b'\n' => (1, Inside::Code),
            Inside::Block(1) if rest.starts_with(b"*/") => (2, Inside::Code),
            Inside::Block(depth) if rest.starts_with(b"*/") => (2, Inside::Block(depth - 1)),
            Inside::Block(depth) if rest.starts_with(b"/*") => (2, Inside::Block(depth + 1)),
            Inside::Text if rest[0] == b'\\' => (2, Inside::Text),
            Inside::Text if rest[0] == b'"' => (1, Inside::Code),
            Inside::Raw(hashes) if ends_raw(rest, hashes) => (1 + hashes, Inside::Code),
            other => (1, other),
        };
        let hidden = rest.iter().take(len).map(|byte| if *byte == b'\n' { b'\n' } else { b' ' });
        code.extend(hidden);
        inside = next;
    }
    String::from_utf8(code).unwrap()
}

/// What is no longer code from `place` on: how many bytes open it, and what it is.
fn opening(bytes: &[u8], place: usize) -> Option<(usize, Inside)> {
    let rest = &bytes[place..];
    match rest[0] {
        b'/' if rest.starts_with(b"//") => Some((2, Inside::Line)),
        b'/' if rest.starts_with(b"/*") => Some((2, Inside::Block(1))),
        b'"' => Some((1, Inside::Text)),
        b'r' if !continues_a_name(bytes, place) => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            (rest.get(1 + hashes) == Some(&b'"')).then_some((2 + hashes, Inside::Raw(hashes)))
        }
        b'\'' => character(rest).map(|len| (len, Inside::Code)),
        // A byte of a longer character, which no code has.
        128.. => Some((1, Inside::Code)),
        _ => None,
    }
}

/// Whether the letter is not the first of its word; `br` and `cr` begin a raw string as `r` does.
fn continues_a_name(bytes: &[u8], place: usize) -> bool {
    let before = |steps: usize| place.checked_sub(steps).map_or(b' ', |place| bytes[place]);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_prefix = matches!(before(1), b'b' | b'c') && !is_name(before(2));
    is_name(before(1)) && !is_prefix
}

/// The length of a character with its quotes; nothing for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|byte| *byte == b'\'')?;
        return Some(end + 4);
    }
    let end = rest.iter().skip(1).take(5).position(|byte| *byte == b'\'')? + 1;
    let is_one = std::str::from_utf8(&rest[1..end]).is_ok_and(|text| text.chars().count() == 1);
    is_one.then_some(end + 1)
}

fn ends_raw(rest: &[u8], hashes: usize) -> bool {
    rest[0] == b'"' && rest[1..].iter().take_while(|byte| **byte == b'#').count() >= hashes
}
