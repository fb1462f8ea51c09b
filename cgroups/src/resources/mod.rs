//! `linux.resources`
//! ([spec](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups)): from what is written
//! to what the kernel gets.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sys::{Error, Kind, Result};

use crate::controller::{Controller, Homes, Version};
use crate::directory::Directory;

/// `linux.resources` as written; the default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Resources {}

impl Resources {
    /// Everything that is to be written, or every rule that is broken.
    pub(crate) fn writes(&self, _homes: Homes) -> std::result::Result<Vec<Write>, Vec<Error>> {
        Ok(Vec::new())
    }
}

/// One value for one file of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Whose file it is.
    pub controller: Controller,
    /// Where that controller lives.
    pub version: Version,
    /// The name of the file.
    pub file: Cow<'static, str>,
    /// What is written, in one write.
    pub value: String,
    /// The configuration key that asks for it.
    pub key: Cow<'static, str>,
}

impl Write {
    pub(crate) fn deliver(&self, group: &Directory) -> Result<()> {
        group.write(&self.file, &self.value).map_err(|error| error.with_key(self.key.clone()))
    }

    /// The host lacks the controller.
    pub(crate) fn no_controller(&self) -> Error {
        let what = format!("this host has no {} controller", self.controller.name());
        Error::new(Kind::Unsupported, what)
    }
}
