//! What this host can do, asked of the kernel once and only when a configuration needs to know.
//!
//! Every fact is a plain value behind a cell: asking costs system calls, and a start that needs no fact pays for none.
//! Tests fill the cells instead of asking.

use std::cell::OnceCell;

/// The host, as far as the configuration depends on it.
#[derive(Debug, Default)]
pub struct Facts {
    /// The effective uid of the caller in its user namespace.
    pub(crate) euid: OnceCell<u32>,
}

impl Facts {
    /// The effective uid of the caller in its user namespace.
    pub fn euid(&self) -> u32 {
        *self.euid.get_or_init(|| rustix::process::geteuid().as_raw())
    }
}
