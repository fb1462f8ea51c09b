//! A container in the foreground: signals go to it, its terminal is relayed, its exit status is the caller's.

use rustix::process::WaitIdStatus;

use crate::launch::Created;
use crate::launch::spawned::reap;
use crate::{Error, Kind, Result};

/// Stays until the first process ends; the value is its exit status, or 128 and the signal that killed it.
///
/// # Errors
/// `Kernel`.
pub fn attend(created: &Created) -> Result<u8> {
    let status = reap(&created.spawned.pidfd)?;
    let status = status.ok_or_else(|| Error::new(Kind::Internal, "somebody else reaped the container"))?;
    Ok(exit_code(&status))
}

fn exit_code(status: &WaitIdStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    };
    u8::try_from(code).unwrap_or(255)
}
