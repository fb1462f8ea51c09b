//! `spec`.

use crate::Result;
use crate::bundle::Bundle;
use crate::cli::args;
use crate::template::{Cgroups, Template};

pub(super) fn spec(options: &args::Spec) -> Result<u8> {
    let template = if options.rootless { rootless() } else { Template::Root };
    template.write(cgroups()?, Bundle::open(&options.bundle)?.directory())?;
    Ok(0)
}

fn rootless() -> Template {
    Template::Rootless { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

fn cgroups() -> Result<Cgroups> {
    let layout = cgroups::Layout::detect()?;
    Ok(if layout.is_pure_v2() { Cgroups::Unified } else { Cgroups::Other })
}
