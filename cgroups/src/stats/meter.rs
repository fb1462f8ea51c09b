//! The statistics files of one container, held open.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::io::Errno;
use sys::{Error, Kind, Result};

use super::{Stats, v1, v2};
use crate::cgroup::Cgroup;
use crate::controller::Version;
use crate::directory::{Directory, read_again};

/// Opens the files of one container once, and reads them whenever it is asked.
#[derive(Debug)]
pub struct Meter {
    shape: Version,
    files: Files,
}

/// The open files by name.
#[derive(Debug, Default)]
pub(super) struct Files {
    open: Vec<(String, OwnedFd)>,
    /// The page sizes that huge page files exist for: `2MB`.
    pub(super) page_sizes: Vec<String>,
}

impl Meter {
    /// Opens what `cgroup` has; a file that the kernel or the group lacks counts nothing.
    pub fn new(cgroup: &Cgroup) -> Result<Self> {
        let groups = cgroup.groups()?;
        if groups.is_empty() {
            return Err(Error::new(Kind::NotFound, "the container has no control group"));
        }
        let shape = match groups.iter().any(|(version, ..)| *version == Version::V1) {
            true => Version::V1,
            false => Version::V2,
        };
        let mut files = Files::default();
        for (version, _, group) in &groups {
            files.open_all(*version, group)?;
        }
        Ok(Self { shape, files })
    }

    /// Reads all files.
    pub fn read(&self) -> Result<Stats> {
        Ok(match self.shape {
            Version::V1 => Stats::V1(v1::read(&self.files)?),
            Version::V2 => Stats::V2(v2::read(&self.files)?),
        })
    }
}

impl Files {
    fn open_all(&mut self, version: Version, group: &Directory) -> Result<()> {
        let known = match version {
            Version::V1 => v1::FILES,
            Version::V2 => v2::FILES,
        };
        for name in group.files()? {
            let wanted = known.contains(&name.as_str()) || name.starts_with("hugetlb.");
            if !wanted {
                continue;
            }
            if let Some(size) = page_size(&name) {
                self.page_sizes.push(size.to_owned());
            }
            // A few files are write-only or closed to the caller; they count nothing.
            if let Ok(file) = group.file(&name, OFlags::RDONLY) {
                self.open.push((name, file));
            }
        }
        Ok(())
    }

    /// The text of `name`, `None` if there is no such file.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        let Some((_, file)) = self.open.iter().find(|(open, _)| open == name) else { return Ok(None) };
        match read_again(file) {
            Ok(text) => Ok(Some(text)),
            // Swap and pressure files exist where the kernel was told not to count.
            Err(Errno::OPNOTSUPP) => Ok(None),
            Err(Errno::NODEV) => Err(Error::new(Kind::NotFound, "the container's control group is gone")),
            Err(errno) => Err(Error::kernel(format!("read {name}"), "pread", errno)),
        }
    }

    /// The text of `name`, empty if there is no such file.
    pub(super) fn text_or_empty(&self, name: &str) -> Result<String> {
        Ok(self.text(name)?.unwrap_or_default())
    }

    /// The number in `name`, 0 if there is no such file.
    pub(super) fn number(&self, name: &str) -> Result<u64> {
        Ok(self.text(name)?.map_or(0, |text| super::parse::number(&text)))
    }
}

/// The size in a name such as `hugetlb.2MB.current`, once for each size.
fn page_size(name: &str) -> Option<&str> {
    let (size, rest) = name.strip_prefix("hugetlb.")?.split_once('.')?;
    matches!(rest, "current" | "usage_in_bytes").then_some(size)
}
