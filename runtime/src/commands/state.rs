//! `state`.

use super::{container, print};
use crate::cli::args::Globals;
use crate::id::ContainerId;
use crate::launch::state_json::document;
use crate::{Error, Kind, Result};

pub(super) fn state(globals: &Globals, id: &ContainerId) -> Result<u8> {
    let (record, state) = container(globals, id)?.open_record()?;
    let status = state.status(&record.page()?)?;
    let text = serde_json::to_string_pretty(&document(&state, status));
    let text = text.map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    print(&format!("{text}\n"))?;
    Ok(0)
}
