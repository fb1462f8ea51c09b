//! `delete`: what containerd runs when a shim is gone, and after every normal removal of a container.

use std::io::Write;
use std::path::Path;

use orlop::Result;
use prost::Message;
use sys::error::Context;

use crate::address;
use crate::args::Args;
use crate::options::Options;
use crate::proto::Timestamp;
use crate::proto::task::DeleteResponse;
use crate::runtime::{Target, delete_leftovers};
use crate::start::{bundle, group};

/// 128 and SIGKILL: what a container ended with whose shim is gone.
const KILLED: u32 = 137;

/// Removes what is left of a container and prints how it ended.
///
/// # Errors
/// Where there is no bundle, or nobody reads the answer. What cannot be removed is printed as a warning.
pub(crate) fn delete(args: &Args) -> Result<()> {
    let bundle = bundle(args)?;
    let target = Target {
        namespace: args.namespace.clone(),
        id: args.id.clone(),
        options: Options::saved(&bundle),
        bundle: bundle.clone(),
    };
    // The pid first: it is lost with the bundle.
    let pid = std::fs::read_to_string(bundle.join("init.pid")).ok();
    let pid = pid.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if let Err(text) = delete_leftovers(&target) {
        eprintln!("{}: {text}", args.id);
    }
    remove_dead_socket(&bundle, args);
    let response = DeleteResponse { pid, exit_status: KILLED, exited_at: Some(Timestamp::now()) };
    let mut output = std::io::stdout();
    let printed = output.write_all(&response.encode_to_vec()).and_then(|()| output.flush());
    printed.context("write", || "print the answer".to_owned())
}

/// The socket of a shim that is gone. One that answers serves other containers of the pod.
fn remove_dead_socket(bundle: &Path, args: &Args) {
    let named = std::fs::read_to_string(bundle.join("address")).ok();
    let named = named.and_then(|url| url.strip_prefix("unix://").map(|path| Path::new(path).to_owned()));
    let usual = Path::new(address::DIRECTORY);
    let path = named
        .unwrap_or_else(|| address::path(usual, &args.address, &args.namespace, &group(bundle, &args.id)));
    if !address::answers(&path) {
        let _ = std::fs::remove_file(path);
    }
}
