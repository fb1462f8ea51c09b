//! "Did you mean": the known name that is closest to an unknown one.

/// `unknown NOUN "GIVEN"` with the closest of `known`, if one is close enough to be a slip.
pub fn unknown<'a>(noun: &str, given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match closest(given, known) {
        Some(name) => format!("unknown {noun} {given:?}; did you mean {name:?}?"),
        None => format!("unknown {noun} {given:?}"),
    }
}

/// A name of more bytes than this is no slip of a known name; comparing it would cost the square of its length.
const LONGEST: usize = 64;

fn closest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.is_empty() || given.len() > LONGEST {
        return None;
    }
    known
        .into_iter()
        .map(|name| (distance(given.as_bytes(), name.as_bytes()), name))
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters differ, where a beginning or an ending of `name` (`net`, `CHOWN`) is one difference away.
fn distance(given: &[u8], name: &[u8]) -> usize {
    if given.eq_ignore_ascii_case(name) {
        return 0;
    }
    let lower = |text: &[u8]| text.to_ascii_lowercase();
    let (given, name) = (lower(given), lower(name));
    if given.len() > 2 && (name.starts_with(&given) || name.ends_with(&given)) {
        return 1;
    }
    levenshtein(&given, &name)
}

fn levenshtein(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (done, letter) in from.iter().enumerate() {
        let mut diagonal = done;
        let mut left = done + 1;
        let mut next = vec![left];
        for (other, above) in to.iter().zip(row.iter().skip(1)) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(letter != other));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_gets_the_name_that_was_meant() {
        let namespaces = ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"];
        let table = [
            ("net", "unknown type \"net\"; did you mean \"network\"?"),
            ("netowrk", "unknown type \"netowrk\"; did you mean \"network\"?"),
            ("PID", "unknown type \"PID\"; did you mean \"pid\"?"),
            ("xyzzy", "unknown type \"xyzzy\""),
            ("", "unknown type \"\""),
        ];
        for (given, text) in table {
            assert_eq!(unknown("type", given, namespaces), text);
        }
        assert_eq!(levenshtein(b"kitten", b"sitting"), 3);
    }
}
