//! `plan` and `validate`.

use super::print;
use crate::Result;
use crate::bundle::Bundle;
use crate::cli::args::{self, Globals};
use crate::config::{Config, Problems};
use crate::facts::Facts;
use crate::launch;

pub(super) fn plan(globals: &Globals, options: &args::Plan) -> Result<u8> {
    let bundle = Bundle::open(&options.bundle)?;
    let lines = launch::describe(&bundle, super::create::driver(globals))?;
    print(&format!("{}\n", lines.join("\n")))?;
    Ok(0)
}

/// Every violation and every key that this host would ignore, a line each; violations make the exit status 1.
pub(super) fn validate(_: &Globals, options: &args::Validate) -> Result<u8> {
    let bundle = Bundle::open(&options.bundle)?;
    let spec = bundle.config()?;
    let mut problems = Problems::default();
    let config = Config::check(&spec, bundle.path(), &Facts::default(), &mut problems);
    launch::filter(&spec, &config, &mut problems);
    for error in &problems.errors {
        print(&format!("error: {error}\n"))?;
    }
    for warning in &problems.warnings {
        print(&format!("warning: {warning}\n"))?;
    }
    Ok(u8::from(!problems.errors.is_empty()))
}
