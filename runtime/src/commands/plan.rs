//! `plan` and `validate`.

use super::print;
use crate::bundle::{self, Bundle};
use crate::cli::args::{self, Globals};
use crate::config::keys::{self, Why};
use crate::config::{Config, Problems};
use crate::facts::Facts;
use crate::launch;
use crate::{Error, Result};

pub(super) fn plan(globals: &Globals, options: &args::Plan) -> Result<u8> {
    let bundle = Bundle::open(&options.bundle)?.with_config(options.config.as_deref());
    let lines = launch::describe(&bundle, super::create::driver(globals, &bundle)?)?;
    print(&format!("{}\n", lines.join("\n")))?;
    Ok(0)
}

/// Every violation and every key that this host would ignore, a line each; violations make the exit status 1.
pub(super) fn validate(_: &Globals, options: &args::Validate) -> Result<u8> {
    let bundle = Bundle::open(&options.bundle)?.with_config(options.config.as_deref());
    let spec = bundle.config()?;
    let mut problems = Problems::default();
    let facts = Facts::default();
    let config = Config::check(&spec, bundle.path(), &facts, &mut problems);
    launch::filter::of(&spec, &config, &facts, &mut problems);
    for error in &problems.errors {
        print(&format!("error: {}\n", line(error)))?;
    }
    for warning in &problems.warnings {
        print(&format!("warning: {}\n", line(warning)))?;
    }
    for ignored in ignored(&bundle)? {
        print(&format!("warning: {ignored}\n"))?;
    }
    Ok(u8::from(!problems.errors.is_empty()))
}

/// `--strict`: what would only be warned of is an error, before anything is made.
pub(super) fn refuse_warnings(bundle: &Bundle) -> Result<()> {
    let spec = bundle.config()?;
    let mut problems = Problems::default();
    let facts = Facts::default();
    let config = Config::check(&spec, bundle.path(), &facts, &mut problems);
    launch::filter::of(&spec, &config, &facts, &mut problems);
    let warnings = std::mem::take(&mut problems.warnings);
    problems.errors.extend(warnings);
    problems.finish().map(drop)
}

/// The JSON pointer of the key (RFC 6901), then what is wrong there.
fn line(error: &Error) -> String {
    match error.key() {
        Some(key) => {
            let text = error.to_string();
            let rest = text.strip_prefix(key).unwrap_or(&text);
            format!("{}{rest}", keys::pointer(key))
        }
        None => error.to_string(),
    }
}

/// Every key that has no effect, which is allowed, but its author may not know.
fn ignored(bundle: &Bundle) -> Result<Vec<String>> {
    let config: serde_json::Value = bundle::parse(&bundle.config_text()?, "config.json")?;
    let why = |why| match why {
        Why::Unknown => "unknown; ignored",
        Why::OtherPlatform => "for another platform; ignored",
    };
    let line = |ignored: keys::Ignored| format!("{}: {}", keys::pointer(&ignored.key), why(ignored.why));
    Ok(keys::ignored(&config).into_iter().map(line).collect())
}
