//! `spec`.

use crate::Result;
use crate::bundle::Bundle;
use crate::cli::args;
use crate::template::Template;

pub(super) fn spec(options: &args::Spec) -> Result<u8> {
    let template = if options.rootless { rootless() } else { Template::Root };
    template.write(Bundle::open(&options.bundle)?.directory())?;
    Ok(0)
}

fn rootless() -> Template {
    Template::Rootless { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}
