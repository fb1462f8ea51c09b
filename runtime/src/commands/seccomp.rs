//! `seccomp explain` and `seccomp dump`: what the filter of a bundle answers, and the program itself.

use seccomp::{Profile, Violation, dump, explain};

use super::print;
use crate::bundle::Bundle;
use crate::cli::args::{SeccompDump, SeccompExplain};
use crate::config::Spec;
use crate::facts::Facts;
use crate::launch::filter::{error, native};
use crate::{Error, Kind, Result};

pub(super) fn explain(options: &SeccompExplain) -> Result<u8> {
    let spec = Bundle::open(&options.bundle)?.config()?;
    let SeccompExplain { syscall, arguments, .. } = options;
    let facts = Facts::default();
    let (profile, native) = (profile(&spec)?, native()?);
    let filter = seccomp::compile(profile, native, facts.seccomp()).map_err(refused)?;
    filter.warnings.iter().for_each(|(key, what)| tracing::warn!("{key}: {what}"));
    let explanations = explain::explain(profile, native, facts.seccomp(), syscall, arguments);
    for explanation in explanations.map_err(refused)? {
        print(&format!("{explanation}\n"))?;
    }
    Ok(0)
}

pub(super) fn dump(options: &SeccompDump) -> Result<u8> {
    let spec = Bundle::open(&options.bundle)?.config()?;
    let filter = seccomp::compile(profile(&spec)?, native()?, Facts::default().seccomp()).map_err(refused)?;
    print(&dump::text(&filter))?;
    Ok(0)
}

fn profile(spec: &Spec) -> Result<&Profile> {
    let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    profile.filter(|profile| !profile.is_unset()).ok_or_else(|| {
        Error::new(Kind::NotFound, "the configuration has no filter").with_key("linux.seccomp")
    })
}

/// All violations as one error, the first in front.
fn refused(violations: Vec<Violation>) -> Error {
    let all = violations.into_iter().map(error).reduce(Error::and_also);
    all.unwrap_or_else(|| Error::new(Kind::Internal, "a filter was refused without a reason"))
}
