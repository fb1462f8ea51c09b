//! `hostname` and `domainname`.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#hostname>

use std::ffi::CString;

use child::Op;

use super::namespaces::{Kind, Namespaces};
use super::text::{c_string, field};
use super::{Problems, Spec};
use crate::step::Step;

// ── Shape ── two strings of the top level; see `Spec`.

// ── Rules ──

/// The longest name that the kernel takes (__NEW_UTS_LEN, in bytes).
const LONGEST: usize = 64;

/// The names of the host, valid and ready.
#[derive(Debug, Default)]
pub struct Uts {
    hostname: Option<CString>,
    domainname: Option<CString>,
}

/// Checks both names: they need a UTS namespace, because without one they would rename the host.
pub fn check(spec: &Spec, namespaces: &Namespaces, problems: &mut Problems) -> Uts {
    Uts {
        hostname: name(spec.hostname.as_deref(), "hostname", namespaces, problems),
        domainname: name(spec.domainname.as_deref(), "domainname", namespaces, problems),
    }
}

fn name(
    name: Option<&str>,
    key: &'static str,
    namespaces: &Namespaces,
    problems: &mut Problems,
) -> Option<CString> {
    let name = name.filter(|name| !name.is_empty())?;
    if !namespaces.has(Kind::Uts) {
        problems.invalid(key, "needs a uts namespace; add {\"type\": \"uts\"} to linux.namespaces");
    }
    if name.len() > LONGEST {
        problems.invalid(key, format!("{} bytes long; the kernel takes {LONGEST}", name.len()));
    }
    Some(c_string(name, key, problems))
}

// ── Steps ──

impl Uts {
    /// sethostname and setdomainname, where asked.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let hostname =
            self.hostname.as_deref().map(|name| Step::new("hostname", Op::Hostname { name: field(name) }));
        let domainname = self
            .domainname
            .as_deref()
            .map(|name| Step::new("domainname", Op::Domainname { name: field(name) }));
        hostname.into_iter().chain(domainname)
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(hostname: &str, namespaces: &Namespaces) -> Vec<String> {
        let mut problems = Problems::default();
        let spec = Spec { hostname: Some(hostname.to_owned()), ..Spec::default() };
        check(&spec, namespaces, &mut problems);
        problems.errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_hostname_needs_a_uts_namespace() {
        assert_eq!(
            errors("h", &Namespaces::default()),
            ["hostname: needs a uts namespace; add {\"type\": \"uts\"} to linux.namespaces"]
        );
        assert!(errors("h", &Namespaces::all_new(&[Kind::Uts])).is_empty());
    }

    #[test]
    fn a_hostname_is_at_most_64_bytes() {
        assert_eq!(
            errors(&"h".repeat(65), &Namespaces::all_new(&[Kind::Uts])),
            ["hostname: 65 bytes long; the kernel takes 64"]
        );
    }
}
