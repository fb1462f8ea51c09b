//! What the probe saw from inside a container, with the few readings that more than one test needs.
//!
//! It is the probe's JSON and nothing else: every other value is read by its key, `report["hostname"]`.

use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::Index;

/// The JSON object that the probe printed.
#[derive(Debug, Clone)]
pub struct Report(pub Value);

impl Index<&str> for Report {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        &self.0[key]
    }
}

impl Report {
    /// The value of a key of /proc/self/status, such as `CapEff`.
    pub fn status(&self, key: &str) -> &str {
        self.0["status"][key].as_str().unwrap_or_default()
    }

    /// A capability set (`CapInh`, `CapPrm`, `CapEff`, `CapBnd`, `CapAmb`) as numbers.
    pub fn capabilities(&self, set: &str) -> BTreeSet<u32> {
        let bits = u64::from_str_radix(self.status(set), 16).expect("a capability mask");
        (0..64).filter(|bit| bits >> bit & 1 == 1).collect()
    }

    /// Real, effective, saved and filesystem id of `Uid` or `Gid`.
    pub fn ids(&self, key: &str) -> Vec<u32> {
        self.status(key).split_whitespace().map(|id| id.parse().expect("an id")).collect()
    }

    /// The supplementary groups.
    pub fn groups(&self) -> BTreeSet<u32> {
        self.status("Groups").split_whitespace().map(|id| id.parse().expect("a group")).collect()
    }

    /// The topmost mount at `target`.
    pub fn mount(&self, target: &str) -> Option<&Value> {
        let mounts = self.0["mounts"].as_array()?;
        mounts.iter().rfind(|mount| mount["target"] == target)
    }

    /// The mount options at `target`: those of the mount and those of the filesystem.
    #[track_caller]
    pub fn mount_options(&self, target: &str) -> BTreeSet<String> {
        let mount = self
            .mount(target)
            .unwrap_or_else(|| panic!("nothing is mounted on {target}: {}", self.0["mounts"]));
        let both = [&mount["options"], &mount["data"]];
        both.iter()
            .filter_map(|list| list.as_str())
            .flat_map(|list| list.split(','))
            .map(str::to_owned)
            .collect()
    }

    /// The options of the mount itself at `target`, without the filesystem's.
    #[track_caller]
    pub fn mount_flags(&self, target: &str) -> BTreeSet<String> {
        let mount = self.mount(target).unwrap_or_else(|| panic!("nothing is mounted on {target}"));
        mount["options"].as_str().unwrap_or_default().split(',').map(str::to_owned).collect()
    }

    /// The value of an environment variable; the last one where there are two.
    pub fn env(&self, name: &str) -> Option<&str> {
        let entries = self.0["env"].as_array()?.iter().filter_map(Value::as_str);
        entries
            .filter_map(|entry| entry.split_once('='))
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value)
            .next_back()
    }

    /// The open descriptors, without the one that the probe itself had open on /proc/self/fd.
    pub fn descriptors(&self) -> BTreeSet<u32> {
        let table = self.0["fds"].as_object().expect("descriptors");
        table.keys().map(|name| name.parse().expect("a number")).collect()
    }

    /// What the probe answered to an argument such as `stat:/dev/null`.
    #[track_caller]
    pub fn asked(&self, argument: &str) -> &Value {
        let answer = &self.0["asked"][argument];
        assert!(!answer.is_null(), "the probe was not asked {argument}");
        answer
    }
}
