//! `linux.personality`.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#personality>

use child::Op;
use serde::Deserialize;

use super::{Problems, Spec, suggest};
use crate::json::or_default;
use crate::step::Step;

// ── Shape ──

/// `linux.personality` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// The execution domain.
    #[serde(deserialize_with = "or_default")]
    pub domain: String,
    /// Flags, of which the specification supports none.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
}

// ── Rules ──

/// The execution domains of personality(2) (linux/personality.h).
const DOMAINS: [(&str, u32); 2] = [("LINUX", 0x0000), ("LINUX32", 0x0008)];

/// The execution domain of a container, if it has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Personality(Option<u32>);

/// Checks the domain. A flag is refused: dropping it would change what the program sees.
pub fn check(spec: &Spec, problems: &mut Problems) -> Personality {
    let Some(shape) = spec.linux.as_ref().and_then(|linux| linux.personality.as_ref()) else {
        return Personality::default();
    };
    for (index, flag) in shape.flags.iter().enumerate() {
        let key = format!("linux.personality.flags[{index}]");
        problems.invalid(key, format!("{flag:?}: the specification supports no flags"));
    }
    let domain = DOMAINS.iter().find(|entry| entry.0 == shape.domain).map(|entry| entry.1);
    if domain.is_none() {
        let names = DOMAINS.iter().map(|entry| entry.0);
        problems.invalid("linux.personality.domain", suggest::unknown("domain", &shape.domain, names));
    }
    Personality(domain)
}

// ── Steps ──

impl Personality {
    /// Takes the domain.
    pub fn step(self) -> Option<Step<'static>> {
        self.0.map(|domain| Step::new("linux.personality", Op::Personality { domain }))
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(linux: &str) -> (Personality, Vec<String>) {
        let spec = serde_json::from_str(&format!(r#"{{"linux": {linux}}}"#)).unwrap();
        let mut problems = Problems::default();
        let personality = check(&spec, &mut problems);
        (personality, problems.errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_domain_is_one_of_two() {
        for (linux, domain) in [
            (r#"{}"#, None),
            (r#"{"personality": {"domain": "LINUX"}}"#, Some(0)),
            (r#"{"personality": {"domain": "LINUX32", "flags": null}}"#, Some(8)),
        ] {
            assert_eq!(checked(linux), (Personality(domain), vec![]));
        }
    }

    #[test]
    fn unknown_values_are_refused() {
        let (_, errors) =
            checked(r#"{"personality": {"domain": "linux32", "flags": ["ADDR_NO_RANDOMIZE"]}}"#);
        assert_eq!(
            errors,
            [
                "linux.personality.flags[0]: \"ADDR_NO_RANDOMIZE\": the specification supports no flags",
                "linux.personality.domain: unknown domain \"linux32\"; did you mean \"LINUX32\"?",
            ]
        );
    }
}
