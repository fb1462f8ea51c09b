//! `linux.resources.hugepageLimits`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#huge-page-limits)).
//!
//! A limit holds for reservations, which is where an allocation fails instead of killing the process later, and for usage.

use serde::{Deserialize, Serialize};

use super::write::{Field, IfAbsent, Writes};
use crate::controller::{Controller, Version};

/// The limit for one page size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HugepageLimit {
    /// `2MB`, `1GB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

pub(super) fn convert(limits: &[HugepageLimit], out: &mut Writes) {
    for (index, limit) in limits.iter().enumerate() {
        limit.convert(index, out);
    }
}

impl HugepageLimit {
    fn convert(&self, index: usize, out: &mut Writes) {
        let key = format!("linux.resources.hugepageLimits[{index}]");
        let size = &self.page_size;
        if !is_page_size(size) {
            return out.invalid(format!("{key}.pageSize"), format!("{size:?} is not a size such as \"2MB\""));
        }
        for (part, if_absent) in [("", IfAbsent::Fail), ("rsvd.", IfAbsent::Skip)] {
            out.field(Controller::Hugetlb, key.clone(), |version| {
                let file = match version {
                    Version::V1 => format!("hugetlb.{size}.{part}limit_in_bytes"),
                    Version::V2 => format!("hugetlb.{size}.{part}max"),
                };
                let hint = Some("this machine must have huge pages of that size");
                Field::Special(file.into(), self.limit.to_string(), if_absent, hint)
            });
        }
    }
}

/// The spec's pattern: `^[1-9][0-9]*[KMGTPE]B$`.
fn is_page_size(text: &str) -> bool {
    let Some(number) =
        text.strip_suffix('B').and_then(|text| text.strip_suffix(['K', 'M', 'G', 'T', 'P', 'E']))
    else {
        return false;
    };
    !number.starts_with('0') && !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_follow_the_pattern_of_the_spec() {
        for good in ["2MB", "1GB", "64KB", "16GB"] {
            assert!(is_page_size(good), "{good}");
        }
        for bad in ["", "MB", "0MB", "2mb", "2M", "../x", "2.5MB", "-1GB", "2MB\n", "é"] {
            assert!(!is_page_size(bad), "{bad}");
        }
    }
}
