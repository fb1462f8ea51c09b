//! The file that tells the caller the pid: whole or not there.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sys::error::Context;

use crate::Result;

/// Writes `pid` in decimal without a newline under another name and renames it, so that a reader never sees a part.
///
/// # Errors
/// `Kernel`.
pub fn write(path: &Path, pid: i32) -> Result<()> {
    let what = || format!("write the pid file {}", path.display());
    let temporary = hidden(path);
    let mut file = create(&temporary).context("open", what).map_err(|error| error.with_key("--pid-file"))?;
    file.write_all(pid.to_string().as_bytes()).context("write", what)?;
    std::fs::rename(&temporary, path).context("rename", what)
}

fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}"))
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(libc_nofollow())
        .open(path)
}

/// O_NOFOLLOW: a link with the temporary name is not ours.
fn libc_nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}
