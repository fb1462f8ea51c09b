//! `list`.

use rustix::io::Errno;

use super::print;
use crate::cli::args::{self, Globals, ListFormat};
use crate::id::ContainerId;
use crate::launch::state_json::document;
use crate::state::{Root, State, Status};
use crate::{Error, Kind, Result};

pub(super) fn list(globals: &Globals, options: &args::List) -> Result<u8> {
    let root = match Root::open(&globals.root.path) {
        Err(error) if error.errno() == Some(Errno::NOENT) => None,
        other => Some(other?),
    };
    let ids = root.as_ref().map_or(Ok(Vec::new()), Root::ids)?;
    if options.quiet {
        ids.iter().try_for_each(|id| print(&format!("{id}\n")))?;
        return Ok(0);
    }
    let states: Vec<(State, Status)> =
        root.iter().flat_map(|root| ids.iter().filter_map(|id| read(root, id))).collect();
    match options.format {
        ListFormat::Json => json(&states)?,
        ListFormat::Table => table(&states)?,
    }
    Ok(0)
}

/// One container; a damaged record is warned of and never hides the others.
fn read(root: &Root, id: &ContainerId) -> Option<(State, Status)> {
    let read = root.container(id).and_then(|directory| {
        let (record, state) = directory.open_record()?;
        let status = state.status(&record.page()?)?;
        Ok((state, status))
    });
    match read {
        Ok(read) => Some(read),
        Err(error) if error.kind() == Kind::NotFound => None,
        Err(error) => {
            tracing::warn!("container {id}: {error}");
            None
        }
    }
}

fn json(states: &[(State, Status)]) -> Result<()> {
    if states.is_empty() {
        return print("null\n");
    }
    let documents: Vec<_> = states
        .iter()
        .map(|(state, status)| {
            let mut document = document(state, *status);
            document.owner = owner(state);
            document
        })
        .collect();
    let text =
        serde_json::to_string(&documents).map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    print(&format!("{text}\n"))
}

fn table(states: &[(State, Status)]) -> Result<()> {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(states.iter().map(|(state, status)| row(state, *status)));
    let mut widths = [12; 6];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count() + 1));
    }
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        print(&format!("{}\n", cells.concat().trim_end()))?;
    }
    Ok(())
}

fn row(state: &State, status: Status) -> [String; 6] {
    let document = document(state, status);
    [
        document.id.to_owned(),
        document.pid.to_string(),
        document.status.to_owned(),
        document.bundle.into_owned(),
        document.created.to_owned(),
        owner(state),
    ]
}

/// The name of the uid in the host's passwd file, or `#` and the number.
fn owner(state: &State) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = state.owner.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid));
    line.and_then(|line| line.split(':').next()).map_or(format!("#{uid}"), str::to_owned)
}
