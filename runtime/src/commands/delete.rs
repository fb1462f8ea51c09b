//! `delete`.

use super::container;
use crate::cli::args::{self, Globals};
use crate::launch::delete::{self, Force};
use crate::{Kind, Result};

pub(super) fn delete(globals: &Globals, options: &args::Delete) -> Result<u8> {
    let force = if options.force { Force::Yes } else { Force::No };
    let done = container(globals, &options.id).and_then(|directory| {
        directory.lock()?;
        delete::delete(&directory, force)
    });
    match done {
        Ok(warning) => warning.iter().for_each(|warning| tracing::warn!("{warning}")),
        // Who forces wants the container gone, and it is.
        Err(error) if options.force && error.kind() == Kind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(0)
}
