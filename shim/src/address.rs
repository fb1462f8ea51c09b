//! Where the socket of a shim is, and whether one listens there already.
//!
//! The name is a hash of containerd's address, the namespace and the group, so that the containers of a pod find the same
//! shim. Sockets are files with mode 0600 in a directory with mode 0700, never abstract: those have no permissions, and
//! a container with the host's network could connect (CVE-2020-15257).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use orlop::{Error, Kind, Result};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, fchmod, flock, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use sys::error::Context;

/// Where the sockets of all shims are.
pub(crate) const DIRECTORY: &str = "/run/containerd/s";

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// What is at an address.
#[derive(Debug)]
pub(crate) enum Found {
    /// A shim that serves it.
    Shim,
    /// Nothing; this socket listens there now.
    Free(OwnedFd),
}

/// The path of the socket of a group of containers.
pub(crate) fn path(directory: &Path, containerd: &str, namespace: &str, group: &str) -> PathBuf {
    let joined: PathBuf = [containerd, namespace, group].iter().collect();
    let hash = hmac_sha256::Hash::hash(joined.as_os_str().as_encoded_bytes());
    let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    directory.join(name)
}

/// The address as containerd wants it.
pub(crate) fn url(path: &Path) -> String {
    format!("unix://{}", path.display())
}

/// Listens at `path`, unless a shim already does. A socket without a listener is removed.
///
/// # Errors
/// `Kernel`.
pub(crate) fn claim(path: &Path) -> Result<Found> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let what = || format!("socket {}", path.display());
    make_directory(directory)?;
    // Two starts of one pod must not both find nothing. The lock ends with this function.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = openat(CWD, directory, flags, Mode::empty()).context("openat", what)?;
    flock(&lock, FlockOperation::LockExclusive).context("flock", what)?;
    if answers(path) {
        return Ok(Found::Shim);
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("unlink", what)?,
        _ => {}
    }
    let socket = stream().context("socket", what)?;
    // The mode of the new file is that of the socket.
    fchmod(&socket, Mode::from_raw_mode(0o600)).context("fchmod", what)?;
    let address = SocketAddrUnix::new(path).context("bind", what)?;
    bind(&socket, &address).context("bind", what)?;
    listen(&socket, BACKLOG).context("listen", what)?;
    Ok(Found::Free(socket))
}

/// Whether somebody listens at `path`.
pub(crate) fn answers(path: &Path) -> bool {
    open(path).is_ok()
}

/// Connects to the socket at `path`.
///
/// # Errors
/// ENOENT and ECONNREFUSED where nobody listens, EAGAIN where too many wait.
pub(crate) fn open(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let socket = stream()?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn stream() -> std::result::Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn make_directory(directory: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let what = || format!("directory {}", directory.display());
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::new(Kind::InvalidConfig, format!("{} is no directory", directory.display())))
        }
        Err(error) => Err(error).context("mkdir", what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_one_of_other_shims() {
        // printf /run/containerd/containerd.sock/default/c1 | sha256sum
        let path = path(Path::new(DIRECTORY), "/run/containerd/containerd.sock", "default", "c1");
        let expected = "/run/containerd/s/d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888";
        assert_eq!(path, Path::new(expected));
        assert!(path.as_os_str().len() < 107);
    }

    #[test]
    fn a_socket_is_found_and_a_dead_one_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("it-shim-address-{}", std::process::id()));
        let path = directory.join("s");
        let Found::Free(socket) = claim(&path).unwrap() else { panic!("nobody listens") };
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o700);
        assert!(matches!(claim(&path).unwrap(), Found::Shim));
        drop(socket);
        assert!(matches!(claim(&path).unwrap(), Found::Free(_)));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
