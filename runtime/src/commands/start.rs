//! `start`.

use super::container;
use super::create::{PATIENCE, manager};
use crate::Result;
use crate::cli::args::{self, Globals};
use crate::launch::start;
use crate::notify::{Manager, Proxy};
use crate::state::{Directory, Init, State};

pub(super) fn start(globals: &Globals, options: &args::Start) -> Result<u8> {
    let directory = container(globals, &options.id)?;
    directory.lock()?;
    let (record, state) = directory.open_record()?;
    let proxy = manager().and_then(|manager| proxy(&directory, manager));
    start::start(&directory, &state, &record.page()?, options.timeout.unwrap_or(PATIENCE))?;
    // Other commands may change the container while this one waits.
    directory.unlock()?;
    if let (Some(proxy), Some(init)) = (proxy, state.init) {
        await_ready(&proxy, &state, init, options)?;
    }
    Ok(0)
}

/// The notification socket; without the mount that `create` makes for it there is none.
fn proxy(directory: &Directory, manager: Manager) -> Option<Proxy> {
    let proxy = Proxy::new(directory, manager);
    proxy.inspect_err(|error| tracing::warn!("{error}; was NOTIFY_SOCKET set for create?")).ok()
}

fn await_ready(proxy: &Proxy, state: &State, init: Init, options: &args::Start) -> Result<()> {
    match state.open_init()? {
        Some(pidfd) => super::create::await_ready(proxy, &pidfd, init.pid, options.timeout),
        None => Ok(()),
    }
}
