//! `linux.seccomp` on this host: compiled for its kernel, and checked against what init itself must do under it.
//!
//! What the section means is in the `seccomp` crate; when the filter loads is in [`seccomp::order`].
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#seccomp>

use child::op::Listener;
use seccomp::order::{Hooks, Order, blocked};
use seccomp::{Arch, Fault, Violation};

use crate::config::{Config, Problems, Spec};
use crate::facts::Facts;
use crate::plan::{Filter, filter_order};
use crate::{Error, Kind, Result};

const KEY: &str = "linux.seccomp";

/// The filter of a configuration, if it has one.
pub(crate) fn of(spec: &Spec, config: &Config, facts: &Facts, problems: &mut Problems) -> Option<Filter> {
    let profile = spec.linux.as_ref()?.seccomp.as_ref().filter(|profile| !profile.is_unset())?;
    let native = native().map_err(|error| problems.errors.push(error)).ok()?;
    let compiled = seccomp::compile(profile, native, facts.seccomp());
    let compiled = compiled.map_err(|all| problems.errors.extend(all.into_iter().map(error))).ok()?;
    compiled.warnings.iter().for_each(|(key, what)| problems.warn(key.clone(), what.clone()));
    let order = config.process.as_ref().map_or(Order::Early, |process| filter_order(&process.capabilities));
    if config.process.is_some() {
        let hooks = if config.hooks.start_container.is_empty() { Hooks::None } else { Hooks::Run };
        let in_the_way = blocked(&compiled, native, order, hooks);
        in_the_way.iter().for_each(|blocked| problems.invalid(KEY, blocked.to_string()));
    }
    let listener = if compiled.listener.is_some() { Listener::Announce } else { Listener::None };
    let (program, flags) = (compiled.bytes(), compiled.flags);
    Some(Filter { program, flags, listener, agent: compiled.listener, order })
}

/// The filter that asks about every call, in the place of the configuration's.
pub(crate) fn asking(config: &Config, facts: &Facts, problems: &mut Problems) -> Option<Filter> {
    let process = config.process.as_ref()?;
    let native = native().map_err(|error| problems.errors.push(error)).ok()?;
    let compiled = seccomp::learn::asking(native, facts.seccomp());
    let (program, flags) = (compiled.bytes(), compiled.flags);
    let order = filter_order(&process.capabilities);
    Some(Filter { program, flags, listener: Listener::Announce, agent: None, order })
}

/// The architecture of this machine.
///
/// # Errors
/// `Unsupported` where there are no tables for it.
pub fn native() -> Result<Arch> {
    let text = "no filters are compiled for this architecture";
    Arch::native().ok_or_else(|| Error::new(Kind::Unsupported, text).with_key(KEY))
}

/// A violation as an error of this crate.
pub(crate) fn error(violation: Violation) -> Error {
    match violation.fault {
        Fault::Profile => Error::invalid(violation.key, violation.what),
        Fault::Host => Error::new(Kind::Unsupported, violation.what).with_key(violation.key),
    }
}
