//! `-v` and `-info`: what this program and the runtime behind it are.

use std::io::{Read, Write};
use std::path::PathBuf;

use orlop::Result;
use orlop::features::features;
use prost::Message;
use sys::error::Context;

use crate::bootstrap::LONGEST;
use crate::options::Options;
use crate::proto::Any;
use crate::proto::bootstrap::{RuntimeInfo, RuntimeVersion};
use crate::runtime::Target;

/// The type of what `features` prints.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Prints the version.
///
/// # Errors
/// Where nobody reads it.
pub(crate) fn version() -> Result<()> {
    let name = env!("CARGO_PKG_NAME");
    let text =
        format!("{name}:\n  Version:  {}\n  Revision: \n  Go version: none\n\n", env!("CARGO_PKG_VERSION"));
    print(text.as_bytes())
}

/// Prints what the runtime can do, with the options on standard input.
///
/// # Errors
/// Where nobody reads it.
pub(crate) fn info() -> Result<()> {
    let mut input = Vec::new();
    std::io::stdin()
        .lock()
        .take(LONGEST)
        .read_to_end(&mut input)
        .context("read", || "standard input".to_owned())?;
    let any = Any::decode(input.as_slice()).ok().filter(|any| !any.type_url.is_empty());
    let options = Options::read(any.as_ref()).unwrap_or_default();
    let target = Target {
        namespace: "default".to_owned(),
        id: String::new(),
        bundle: PathBuf::from("/nonexistent"),
        options,
    };
    let features = match target.binary() {
        Some(binary) => binary.features().unwrap_or_default(),
        None => features().text().into_bytes(),
    };
    let info = RuntimeInfo {
        name: "io.containerd.orlop.v2".to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: String::new(),
        }),
        options: any,
        features: (!features.is_empty()).then(|| Any { type_url: FEATURES.to_owned(), value: features }),
    };
    print(&info.encode_to_vec())
}

fn print(bytes: &[u8]) -> Result<()> {
    let mut output = std::io::stdout();
    output.write_all(bytes).and_then(|()| output.flush()).context("write", || "print".to_owned())
}
