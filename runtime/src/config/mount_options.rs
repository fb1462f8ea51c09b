//! The table of mount options that have a meaning of their own, and what a list of options adds up to.
//!
//! What is not in the table belongs to the file system. Which options a kind of mount can have is decided in
//! [`super::mounts`].
//!
//! <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md#configLinuxMountOptions>

use child::op::{Attributes, Depth};

// ── The table ──

/// Flags of mount(2) (linux/mount.h).
pub const MS_RDONLY: u32 = 1;
/// Ignores set-user-ID bits.
pub const MS_NOSUID: u32 = 1 << 1;
/// Opens no devices.
pub const MS_NODEV: u32 = 1 << 2;
/// Executes nothing.
pub const MS_NOEXEC: u32 = 1 << 3;
/// Writes reach the disk at once.
pub const MS_SYNCHRONOUS: u32 = 1 << 4;
/// Changes an existing mount.
pub const MS_REMOUNT: u32 = 1 << 5;
/// Mandatory locks; without effect from kernel 5.15.
pub const MS_MANDLOCK: u32 = 1 << 6;
/// Changes of directories reach the disk at once.
pub const MS_DIRSYNC: u32 = 1 << 7;
/// Follows no symbolic links.
pub const MS_NOSYMFOLLOW: u32 = 1 << 8;
/// Keeps no access times.
pub const MS_NOATIME: u32 = 1 << 10;
/// Keeps no access times of directories.
pub const MS_NODIRATIME: u32 = 1 << 11;
/// With submounts.
pub const MS_REC: u32 = 1 << 14;
/// Logs less.
pub const MS_SILENT: u32 = 1 << 15;
/// Propagation: none, and no bind.
pub const MS_UNBINDABLE: u32 = 1 << 17;
/// Propagation: none.
pub const MS_PRIVATE: u32 = 1 << 18;
/// Propagation: into this mount only.
pub const MS_SLAVE: u32 = 1 << 19;
/// Propagation: both ways.
pub const MS_SHARED: u32 = 1 << 20;
/// Access times relative to changes; the kernel's default.
pub const MS_RELATIME: u32 = 1 << 21;
/// Counts changes of inodes.
pub const MS_I_VERSION: u32 = 1 << 23;
/// Every access updates the access time.
pub const MS_STRICTATIME: u32 = 1 << 24;
/// Times are written late.
pub const MS_LAZYTIME: u32 = 1 << 25;

/// Attributes of mount_setattr(2) (linux/mount.h).
pub const MOUNT_ATTR_RDONLY: u64 = 1;
/// nosuid, nodev and noexec: what nothing of the kernel's own needs.
pub const HARDENED_ATTRIBUTES: u64 = 2 | 4 | 8;
/// The bits that hold the one setting of access times; RELATIME is 0 among them.
pub const MOUNT_ATTR_ATIME: u64 = 0x70;

/// A property of a mount that is one bit: in mount(2) and in mount_setattr(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bit {
    ms: u32,
    attribute: u64,
}

const RDONLY: Bit = Bit { ms: MS_RDONLY, attribute: MOUNT_ATTR_RDONLY };
const NOSUID: Bit = Bit { ms: MS_NOSUID, attribute: 2 };
const NODEV: Bit = Bit { ms: MS_NODEV, attribute: 4 };
const NOEXEC: Bit = Bit { ms: MS_NOEXEC, attribute: 8 };
const NODIRATIME: Bit = Bit { ms: MS_NODIRATIME, attribute: 0x80 };
const NOSYMFOLLOW: Bit = Bit { ms: MS_NOSYMFOLLOW, attribute: 0x20_0000 };

/// The settings of access times exclude each other. `atime`, `norelatime` and `nostrictatime` take one back, which
/// leaves the kernel's default: relatime.
const RELATIME: Bit = Bit { ms: MS_RELATIME, attribute: 0 };
const NOATIME: Bit = Bit { ms: MS_NOATIME, attribute: 0x10 };
const STRICTATIME: Bit = Bit { ms: MS_STRICTATIME, attribute: 0x20 };

/// What one option means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Sets a bit of the mount, or of every mount of the tree.
    Set(Bit, Depth),
    /// Clears it.
    Clear(Bit, Depth),
    /// Chooses the setting of access times.
    AccessTimes(Bit, Depth),
    /// Sets a flag of the file system, which a bind mount shares with its source.
    Filesystem(u32),
    /// Clears it.
    NotFilesystem(u32),
    /// Sets the propagation.
    Propagation(u32, Depth),
    /// Makes it a bind mount.
    Bind(Depth),
    /// Changes a mount that exists.
    Remount,
    /// Maps ids.
    IdMap(Depth),
    /// A tmpfs starts with a copy of its target.
    CopyUp,
    /// Nothing (`defaults`).
    Nothing,
}

use Depth::{One, Tree};
use Meaning::{
    AccessTimes, Bind, Clear, CopyUp, Filesystem, IdMap, NotFilesystem, Nothing, Propagation, Remount, Set,
};

/// Every option, sorted by name.
pub const OPTIONS: [(&str, Meaning); 62] = [
    ("async", NotFilesystem(MS_SYNCHRONOUS)),
    ("atime", AccessTimes(RELATIME, One)),
    ("bind", Bind(One)),
    ("defaults", Nothing),
    ("dev", Clear(NODEV, One)),
    ("diratime", Clear(NODIRATIME, One)),
    ("dirsync", Filesystem(MS_DIRSYNC)),
    ("exec", Clear(NOEXEC, One)),
    ("idmap", IdMap(One)),
    ("iversion", Filesystem(MS_I_VERSION)),
    ("lazytime", Filesystem(MS_LAZYTIME)),
    ("loud", NotFilesystem(MS_SILENT)),
    ("mand", Filesystem(MS_MANDLOCK)),
    ("noatime", AccessTimes(NOATIME, One)),
    ("nodev", Set(NODEV, One)),
    ("nodiratime", Set(NODIRATIME, One)),
    ("noexec", Set(NOEXEC, One)),
    ("noiversion", NotFilesystem(MS_I_VERSION)),
    ("nolazytime", NotFilesystem(MS_LAZYTIME)),
    ("nomand", NotFilesystem(MS_MANDLOCK)),
    ("norelatime", AccessTimes(RELATIME, One)),
    ("nostrictatime", AccessTimes(RELATIME, One)),
    ("nosuid", Set(NOSUID, One)),
    ("nosymfollow", Set(NOSYMFOLLOW, One)),
    ("private", Propagation(MS_PRIVATE, One)),
    ("ratime", AccessTimes(RELATIME, Tree)),
    ("rbind", Bind(Tree)),
    ("rdev", Clear(NODEV, Tree)),
    ("rdiratime", Clear(NODIRATIME, Tree)),
    ("relatime", AccessTimes(RELATIME, One)),
    ("remount", Remount),
    ("rexec", Clear(NOEXEC, Tree)),
    ("ridmap", IdMap(Tree)),
    ("rnoatime", AccessTimes(NOATIME, Tree)),
    ("rnodev", Set(NODEV, Tree)),
    ("rnodiratime", Set(NODIRATIME, Tree)),
    ("rnoexec", Set(NOEXEC, Tree)),
    ("rnorelatime", AccessTimes(RELATIME, Tree)),
    ("rnostrictatime", AccessTimes(RELATIME, Tree)),
    ("rnosuid", Set(NOSUID, Tree)),
    ("rnosymfollow", Set(NOSYMFOLLOW, Tree)),
    ("ro", Set(RDONLY, One)),
    ("rprivate", Propagation(MS_PRIVATE, Tree)),
    ("rrelatime", AccessTimes(RELATIME, Tree)),
    ("rro", Set(RDONLY, Tree)),
    ("rrw", Clear(RDONLY, Tree)),
    ("rshared", Propagation(MS_SHARED, Tree)),
    ("rslave", Propagation(MS_SLAVE, Tree)),
    ("rstrictatime", AccessTimes(STRICTATIME, Tree)),
    ("rsuid", Clear(NOSUID, Tree)),
    ("rsymfollow", Clear(NOSYMFOLLOW, Tree)),
    ("runbindable", Propagation(MS_UNBINDABLE, Tree)),
    ("rw", Clear(RDONLY, One)),
    ("shared", Propagation(MS_SHARED, One)),
    ("silent", Filesystem(MS_SILENT)),
    ("slave", Propagation(MS_SLAVE, One)),
    ("strictatime", AccessTimes(STRICTATIME, One)),
    ("suid", Clear(NOSUID, One)),
    ("symfollow", Clear(NOSYMFOLLOW, One)),
    ("sync", Filesystem(MS_SYNCHRONOUS)),
    ("tmpcopyup", CopyUp),
    ("unbindable", Propagation(MS_UNBINDABLE, One)),
];

/// The meaning of an option, or `None` if it belongs to the file system.
pub fn meaning(option: &str) -> Option<Meaning> {
    let index = OPTIONS.binary_search_by_key(&option, |entry| entry.0).ok()?;
    OPTIONS.get(index).map(|entry| entry.1)
}

// ── What a list adds up to ──

/// A list of options, added up: where two contradict each other, the later one wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The flags for mount(2) of a new file system. Those of `whole` are in it: a new file system has no submounts.
    pub flags: u32,
    /// What changes on the mount itself: for a bind mount, where what is not named stays as the source has it.
    pub attributes: Attributes,
    /// What changes on every mount of the tree (`rro` and its like).
    pub whole: Attributes,
    /// The propagations with their depth, in order: `slave` then `shared` is a state of its own.
    pub propagation: Vec<(u32, Depth)>,
    /// `bind` or `rbind`.
    pub bind: Option<Depth>,
    /// `remount`.
    pub remount: bool,
    /// `idmap` or `ridmap`.
    pub idmap: Option<Depth>,
    /// The index of `tmpcopyup`.
    pub copy_up: Option<usize>,
    /// The indexes of options that belong to the file system, whether known here or not.
    pub filesystem: Vec<usize>,
    /// Unknown options with their indexes: data for the file system.
    pub data: Vec<(usize, String)>,
}

/// Adds up a list.
pub fn add_up(list: &[String]) -> Options {
    let mut options = Options::default();
    for (index, option) in list.iter().enumerate() {
        match meaning(option) {
            Some(meaning) => options.apply(meaning, index),
            None if option.is_empty() => {}
            None => options.data.push((index, option.clone())),
        }
    }
    options
}

impl Options {
    fn apply(&mut self, meaning: Meaning, index: usize) {
        match meaning {
            Set(bit, depth) => {
                self.flags |= bit.ms;
                let attributes = self.at(depth);
                attributes.set |= bit.attribute;
                attributes.clear &= !bit.attribute;
            }
            Clear(bit, depth) => {
                self.flags &= !bit.ms;
                let attributes = self.at(depth);
                attributes.set &= !bit.attribute;
                attributes.clear |= bit.attribute;
            }
            AccessTimes(bit, depth) => {
                self.flags = self.flags & !(MS_NOATIME | MS_RELATIME | MS_STRICTATIME) | bit.ms;
                let attributes = self.at(depth);
                attributes.set = attributes.set & !MOUNT_ATTR_ATIME | bit.attribute;
                // The settings are one number and not bits, so the kernel demands the whole field here.
                attributes.clear |= MOUNT_ATTR_ATIME;
            }
            Filesystem(flag) => {
                self.flags |= flag;
                self.filesystem.push(index);
            }
            NotFilesystem(flag) => self.flags &= !flag,
            Propagation(flag, depth) => self.propagation.push((flag, depth)),
            Bind(depth) => self.bind = Some(depth),
            Remount => self.remount = true,
            IdMap(depth) => self.idmap = Some(depth),
            CopyUp => self.copy_up = Some(index),
            Nothing => {}
        }
    }

    fn at(&mut self, depth: Depth) -> &mut Attributes {
        match depth {
            One => &mut self.attributes,
            Tree => &mut self.whole,
        }
    }
}

// ── Tests ──

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[&str]) -> Options {
        add_up(&list.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_table_is_sorted_for_the_search() {
        assert!(OPTIONS.is_sorted_by(|a, b| a.0 < b.0));
        for (name, expected) in OPTIONS {
            assert_eq!(meaning(name), Some(expected), "{name}");
        }
    }

    /// The table of the specification, config.md, "Linux mount options".
    #[test]
    fn every_option_of_the_specification_is_known() {
        let specification = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand \
            noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid \
            nosymfollow private ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodiratime rnoexec \
            rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave \
            rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync \
            tmpcopyup unbindable idmap ridmap";
        for option in specification.split_whitespace() {
            assert!(meaning(option).is_some(), "{option}");
        }
        assert_eq!(meaning("size=1m"), None);
    }

    #[test]
    fn flags_of_a_new_file_system() {
        let table: [(&[&str], u32); 12] = [
            (&["ro", "nosuid", "nodev", "noexec"], 15),
            (&["ro", "rw"], 0),
            (&["rw", "ro"], 1),
            (&["noatime", "strictatime"], MS_STRICTATIME),
            (&["strictatime", "nostrictatime"], MS_RELATIME),
            (&["noatime", "atime"], MS_RELATIME),
            (&["nodiratime", "relatime"], MS_NODIRATIME | MS_RELATIME),
            (&["sync", "dirsync", "mand"], MS_SYNCHRONOUS | MS_DIRSYNC | MS_MANDLOCK),
            (&["sync", "async", "lazytime", "nolazytime", "iversion", "noiversion"], 0),
            (&["silent", "nosymfollow"], MS_SILENT | MS_NOSYMFOLLOW),
            (&["rro", "rnosuid"], 3),
            (&["defaults", "rbind", "shared"], 0),
        ];
        for (list, flags) in table {
            assert_eq!(options(list).flags, flags, "{list:?}");
        }
    }

    #[test]
    fn attributes_of_a_bind_mount_say_what_to_set_and_what_to_clear() {
        let table: [(&[&str], u64, u64); 9] = [
            (&["ro", "nosuid"], 3, 0),
            (&["rw", "suid", "dev", "exec"], 0, 15),
            (&["rw", "ro"], 1, 0),
            (&["noatime"], 0x10, 0x70),
            (&["strictatime"], 0x20, 0x70),
            (&["relatime"], 0, 0x70),
            (&["atime"], 0, 0x70),
            (&["noatime", "nodiratime"], 0x90, 0x70),
            (&["diratime", "symfollow"], 0, 0x20_0080),
        ];
        for (list, set, clear) in table {
            let expected = Attributes { set, clear, propagation: 0 };
            assert_eq!(options(list).attributes, expected, "{list:?}");
            let recursive: Vec<String> = list.iter().map(|option| format!("r{option}")).collect();
            let sum = add_up(&recursive);
            assert_eq!(sum.whole, expected, "{recursive:?}");
            assert_eq!(sum.attributes, Attributes::default());
        }
    }

    #[test]
    fn what_is_unknown_is_data_and_keeps_its_place() {
        let sum = options(&["mode=755", "ro", "", "size=1m", "tmpcopyup"]);
        assert_eq!(sum.data, [(0, "mode=755".to_owned()), (3, "size=1m".to_owned())]);
        assert_eq!(sum.copy_up, Some(4));
    }

    #[test]
    fn propagations_stay_in_order() {
        assert_eq!(options(&["rslave", "shared"]).propagation, [(MS_SLAVE, Tree), (MS_SHARED, One)]);
        assert_eq!(options(&["bind", "rbind"]).bind, Some(Tree));
    }
}
