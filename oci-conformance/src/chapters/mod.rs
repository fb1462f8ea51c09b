//! The chapters of the specification as tables of rows, in its order. Start at [`all`].

mod bundle;
mod config;
mod config_linux;
mod features;
mod runtime;
mod runtime_linux;

use crate::row::Row;

/// Every row.
pub(crate) fn all() -> impl Iterator<Item = &'static Row> {
    let chapters =
        [bundle::ROWS, config::ROWS, config_linux::ROWS, runtime::ROWS, runtime_linux::ROWS, features::ROWS];
    chapters.into_iter().flatten().copied().flatten()
}
