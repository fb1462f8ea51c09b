//! Changing the limits of a container that exists, and remembering what was changed.
//!
//! Either everything is changed or nothing: the cgroups, the resctrl class, and the file `resources` of the state
//! directory, which holds what all updates together ask for, as `linux.resources` has it. It is written before anything
//! is touched and gets its name afterwards, so a full disk is found out in time.

use std::os::fd::OwnedFd;

use cgroups::Resources;
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::{Errno, write};
use serde_json::Value;
use sys::error::Context;

use crate::state::{Directory, State};
use crate::{Error, Kind, Result, procfs, resctrl};

const NAME: &str = "resources";
const UNNAMED: &str = "resources.new";

/// Changes the limits that `asked` asks for, and the `lines` of the container's resctrl class.
///
/// # Errors
/// `InvalidConfig`, `Unsupported` and `Kernel` with the key; nothing is changed then.
pub fn update(directory: &Directory, state: &State, asked: &Resources, lines: &[String]) -> Result<()> {
    let broken = |error: serde_json::Error| Error::new(Kind::Internal, format!("encode the limits: {error}"));
    let mut all = changed(directory)?.unwrap_or_default();
    merge(&mut all, serde_json::to_value(asked).map_err(broken)?);
    note(directory.fd(), &all.to_string())?;
    let done = change(state, asked, lines);
    let (from, to) = (directory.fd(), directory.fd());
    match done {
        Ok(()) => renameat(from, UNNAMED, to, NAME).context("renameat", what),
        Err(error) => {
            let _ = unlinkat(from, UNNAMED, AtFlags::empty());
            Err(error)
        }
    }
}

fn change(state: &State, asked: &Resources, lines: &[String]) -> Result<()> {
    let before = match &state.resctrl_class {
        _ if lines.is_empty() => None,
        Some(class) => Some((class, resctrl::update(class, lines)?)),
        None => {
            let what = "the container has no resctrl class; linux.intelRdt gives it one when it is created";
            return Err(Error::new(Kind::Unsupported, what).with_key("linux.intelRdt"));
        }
    };
    state.cgroup.open()?.update(asked).map_err(|error| match before {
        Some((class, before)) => {
            resctrl::update(class, &before).err().into_iter().fold(error, Error::and_also)
        }
        None => error,
    })
}

/// What all updates together asked for; `None` where there was none.
///
/// # Errors
/// `Kernel`.
pub fn changed(directory: &Directory) -> Result<Option<Value>> {
    match procfs::read_file(directory.fd(), NAME) {
        Ok(text) => Ok(serde_json::from_slice(text.as_bytes()).ok()),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::kernel(what(), "read", errno)),
    }
}

fn what() -> String {
    "note the limits of the container".to_owned()
}

fn note(directory: &OwnedFd, text: &str) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, UNNAMED, flags, Mode::RUSR | Mode::WUSR).context("openat", what)?;
    match write(file, text.as_bytes()).context("write", what)? {
        written if written == text.len() => Ok(()),
        _ => Err(Error::new(Kind::Kernel, format!("{}: written in part; is the disk full?", what()))),
    }
}

/// Puts what `asked` asks for over `all`. A list, as of devices, replaces the former one.
fn merge(all: &mut Value, asked: Value) {
    match (all, asked) {
        (_, Value::Null) => {}
        (Value::Object(all), Value::Object(asked)) => {
            for (key, value) in asked.into_iter().filter(|(_, value)| !is_nothing(value)) {
                merge(all.entry(key).or_insert(Value::Null), value);
            }
        }
        (all @ Value::Null, Value::Object(asked)) => {
            *all = Value::Object(serde_json::Map::new());
            merge(all, Value::Object(asked));
        }
        (all, asked) => *all = asked,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_nothing),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn updates_add_up() {
        let mut all = Value::Null;
        for asked in [
            json!({"memory": {"limit": 1, "swap": null}, "pids": null, "cpu": {"shares": null}}),
            json!({"memory": {"limit": 2, "swap": 3}, "devices": [{"allow": true}, {"allow": false}]}),
            json!({"pids": {"limit": -1}, "devices": [{"allow": false}]}),
        ] {
            merge(&mut all, asked);
        }
        let expected =
            json!({"memory": {"limit": 2, "swap": 3}, "pids": {"limit": -1}, "devices": [{"allow": false}]});
        assert_eq!(all, expected);
        let resources: Resources = serde_json::from_value(all).unwrap();
        assert_eq!(resources.memory.unwrap().swap, Some(3));
    }
}
