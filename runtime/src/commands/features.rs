//! `features`.

use super::print;
use crate::Result;

pub(super) fn features() -> Result<u8> {
    print(&crate::features::features().text())?;
    Ok(0)
}
