//! `linux.resources.unified`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#unified)): version 2 files by name, after
//! everything else, so that they have the last word.

use std::borrow::Cow;

use super::write::{IfAbsent, Write, Writes};
use crate::controller::{Controller, Controllers, Version};

/// Files that move, stop or end processes instead of limiting them.
const NOT_LIMITS: [&str; 6] = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.kill",
    "cgroup.freeze",
    "cgroup.type",
    "cgroup.subtree_control",
];

pub(super) fn convert<'a>(files: impl Iterator<Item = (&'a String, &'a String)>, out: &mut Writes) {
    for (file, value) in files {
        let key = format!("linux.resources.unified.{file}");
        match refusal(file) {
            Some(why) => out.invalid(key, why),
            None => convert_file(key, file, value, out),
        }
    }
}

fn refusal(file: &str) -> Option<String> {
    if file.contains('/') {
        return Some(format!("{file:?} contains a slash; a file of the container's own group is meant"));
    }
    if !file.contains('.') || file.starts_with('.') || file.contains(char::is_control) {
        return Some(format!("{file:?} is not the name of a control group file"));
    }
    NOT_LIMITS.contains(&file).then(|| format!("{file} is not a limit"))
}

/// A value may have several lines, for files that take one device at a time; the kernel wants each in its own write.
fn convert_file(key: String, file: &str, value: &str, out: &mut Writes) {
    let controller = controller_of(file);
    if out.homes().v2.is_none() {
        return out.cannot(key, "this host has no control groups version 2");
    }
    if let Some(controller) = controller
        && out.homes().of(controller) != Some(Version::V2)
    {
        let why = match out.homes().of(controller) {
            Some(_) => format!("the {} controller lives in version 1 on this host", controller.name()),
            None => format!("this host has no {} controller", controller.name_v2()),
        };
        return out.cannot(key, why);
    }
    // An empty value resets some files; a write of no bytes would do nothing.
    let lines = if value.is_empty() { "\n" } else { value };
    for line in lines.split_inclusive('\n') {
        out.push(Write {
            controller,
            version: Version::V2,
            file: Cow::Owned(file.to_owned()),
            value: line.strip_suffix('\n').filter(|line| !line.is_empty()).unwrap_or(line).to_owned(),
            key: Cow::Owned(key.clone()),
            if_absent: IfAbsent::Fail,
            hint: None,
        });
    }
}

fn controller_of(file: &str) -> Option<Controller> {
    let name = file.split_once('.')?.0;
    let all = [
        Controller::Blkio,
        Controller::Cpu,
        Controller::Cpuset,
        Controller::Hugetlb,
        Controller::Memory,
        Controller::Pids,
        Controller::Rdma,
    ];
    all.into_iter().find(|controller| Controllers::of_v2(name).contains(*controller))
}
