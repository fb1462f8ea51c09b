//! File systems that a program serves: types `fuse.NAME` and `fuse3.NAME`, mounted by mount.fuse(8).

use std::path::Path;
use std::process::{Command, Stdio};

use orlop::{Error, Kind, Result};

/// The program that mounts a file system of type `kind`, and the name of that file system's own program.
pub(super) fn program(kind: &str) -> Option<(&'static str, &str)> {
    match kind.split_once('.')? {
        ("fuse", name) => Some(("mount.fuse", name)),
        ("fuse3", name) => Some(("mount.fuse3", name)),
        _ => None,
    }
}

/// Mounts `source` at `target`. The program that serves it becomes a child of the shim and ends with the mount.
///
/// # Errors
/// `Unsupported` where the program is missing, `Kernel` with what it says where it fails.
#[expect(
    clippy::disallowed_methods,
    reason = "it is a forked helper, and the kernel alone cannot mount these"
)]
pub(super) fn mount(kind: &str, source: &str, target: &Path, options: &[String]) -> Result<()> {
    let Some((program, name)) = program(kind) else {
        return Err(Error::new(Kind::Unsupported, format!("rootfs mount of type {kind:?}")));
    };
    let mut command = Command::new(program);
    command.arg(source).arg(target).args(["-t", name]);
    if !options.is_empty() {
        command.arg("-o").arg(options.join(","));
    }
    // The server would hold a pipe open for as long as it lives, so what it says goes to a file.
    let said = rustix::fs::memfd_create("said", rustix::fs::MemfdFlags::CLOEXEC).map(std::fs::File::from);
    let failed =
        |why: String| Error::new(Kind::Unsupported, format!("mount {kind} {source}: {program}: {why}"));
    let said = said.map_err(|errno| failed(errno.to_string()))?;
    let copy = said.try_clone().map_err(|error| failed(error.to_string()))?;
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(copy).status();
    let status = status.map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let mut said = said;
    let mut text = String::new();
    let _ = std::io::Seek::rewind(&mut said);
    let _ = std::io::Read::read_to_string(&mut said, &mut text);
    Err(failed(format!("{status}: {}", text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_names_both_programs() {
        assert_eq!(program("fuse3.fuse-overlayfs"), Some(("mount.fuse3", "fuse-overlayfs")));
        assert_eq!(program("fuse.sshfs"), Some(("mount.fuse", "sshfs")));
        assert_eq!(program("overlay"), None);
        assert_eq!(program("ext4.x"), None);
    }
}
