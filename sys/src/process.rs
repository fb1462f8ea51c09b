//! What std's process type lacks.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::fd::{CLOSE_RANGE_CLOEXEC, close_range};

/// Lets the new program inherit nothing but 0, 1 and 2, whatever the calling process left without close-on-exec.
pub fn close_extra_descriptors(command: &mut Command) {
    let close = || {
        crate::signal::set_mask(0, None);
        close_range(3, u32::MAX, CLOSE_RANGE_CLOEXEC).map_err(Into::into)
    };
    // SAFETY: the closure runs between fork and exec; it makes two system calls on numbers and touches no memory.
    unsafe { command.pre_exec(close) };
}
