//! Values of `org.systemd.property.*` annotations, which are written as GVariant text.
//!
//! Read are the forms that engines and manuals use: booleans, numbers (`uint64 5`; one without a type is an int32, as in
//! all GVariant text, and systemd refuses another), strings in either quotes, and arrays of strings. A property whose name ends in `Sec` is a time in seconds, as in unit files, where the bus
//! wants microseconds under a name that ends in `USec`.

use sys::{Error, Result};

use super::message::Value;

/// The property that the annotation `name` with `text` asks for.
pub(super) fn property(name: &str, text: &str) -> Result<(String, Value)> {
    let key = format!("annotations.org.systemd.property.{name}");
    let legal = name.chars().next().is_some_and(|c| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    if !legal {
        return Err(Error::invalid(key, format!("{name:?} is not the name of a property")));
    }
    let unreadable =
        || Error::invalid(key.clone(), format!("{text:?} is not GVariant text that is understood"));
    if let Some(stem) = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
        let seconds: f64 = untyped(text).parse().map_err(|_| unreadable())?;
        let microseconds = seconds * 1e6;
        if !(0.0..1e18).contains(&microseconds) {
            return Err(unreadable());
        }
        return Ok((format!("{stem}USec"), Value::Number(microseconds as u64)));
    }
    Ok((name.to_owned(), value(text).ok_or_else(unreadable)?))
}

fn untyped(text: &str) -> &str {
    let text = text.trim();
    ["uint64 ", "uint32 ", "int64 ", "int32 ", "@t ", "@u "]
        .iter()
        .find_map(|kind| text.strip_prefix(kind))
        .unwrap_or(text)
        .trim()
}

fn value(text: &str) -> Option<Value> {
    let text = text.trim();
    match text {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let parts = inner.split(',').map(str::trim).filter(|part| !part.is_empty());
        return parts.map(quoted).collect::<Option<Vec<_>>>().map(Value::Texts);
    }
    match quoted(text) {
        Some(text) => Some(Value::Text(text)),
        None => number(text),
    }
}

fn number(text: &str) -> Option<Value> {
    let Some((kind, digits)) = text.split_once(' ') else { return text.parse().ok().map(Value::Int32) };
    let digits = digits.trim();
    match kind {
        "int32" | "@i" => digits.parse().ok().map(Value::Int32),
        "uint32" | "@u" => digits.parse().ok().map(Value::Uint32),
        "int64" | "@x" => digits.parse().ok().map(Value::Int64),
        "uint64" | "@t" => digits.parse().ok().map(Value::Number),
        _ => None,
    }
}

fn quoted(text: &str) -> Option<String> {
    let inner = ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))?;
    let plain = !inner.contains(['\'', '"', '\\']);
    plain.then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_properties() {
        for (name, text, expected_name, expected) in [
            (
                "CollectMode",
                "'inactive-or-failed'",
                "CollectMode",
                Value::Text("inactive-or-failed".to_owned()),
            ),
            ("TimeoutStopSec", "uint64 30", "TimeoutStopUSec", Value::Number(30_000_000)),
            ("TimeoutStopSec", "1.5", "TimeoutStopUSec", Value::Number(1_500_000)),
            ("TimeoutStopUSec", "uint64 30", "TimeoutStopUSec", Value::Number(30)),
            // Podman writes these two.
            ("KillSignal", "15", "KillSignal", Value::Int32(15)),
            ("TimeoutStopUSec", "@t 10000000", "TimeoutStopUSec", Value::Number(10_000_000)),
            ("IOSchedulingClass", "int64 -2", "IOSchedulingClass", Value::Int64(-2)),
            ("CPUSchedulingPriority", "uint32 2", "CPUSchedulingPriority", Value::Uint32(2)),
            ("DefaultDependencies", "true", "DefaultDependencies", Value::Bool(true)),
            (
                "After",
                "['a.service', \"b.service\"]",
                "After",
                Value::Texts(vec!["a.service".to_owned(), "b.service".to_owned()]),
            ),
        ] {
            assert_eq!(property(name, text).unwrap(), (expected_name.to_owned(), expected), "{name}");
        }
        for (name, text) in
            [("x", "true"), ("A.b", "true"), ("", "1"), ("X", "what"), ("XSec", "-1"), ("X", "'a")]
        {
            assert!(property(name, text).is_err(), "{name}={text}");
        }
    }
}
