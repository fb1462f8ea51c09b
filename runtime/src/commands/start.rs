//! `start`.

use super::container;
use super::create::PATIENCE;
use crate::Result;
use crate::cli::args::{self, Globals};
use crate::launch::start;

pub(super) fn start(globals: &Globals, options: &args::Start) -> Result<u8> {
    let directory = container(globals, &options.id)?;
    directory.lock()?;
    let (record, state) = directory.open_record()?;
    start::start(&directory, &state, record.page()?, options.timeout.unwrap_or(PATIENCE))?;
    Ok(0)
}
