//! `ps`: the processes of a container.
//!
//! The table is that of the host's ps(1), of which every line about another process is left out, so that all its options
//! work. The list as JSON needs no ps.

use std::time::Duration;

use rustix::io::Errno;

use super::{container, print};
use crate::cli::args::{self, Globals, ListFormat};
use crate::launch::process::output_of;
use crate::{Error, Kind, Result};

/// How long ps(1) may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn ps(globals: &Globals, options: &args::Ps) -> Result<u8> {
    let (_, state) = container(globals, &options.id)?.open_record()?;
    let pids: Vec<i32> = state.cgroup.open()?.pids()?.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    let text = match options.format {
        ListFormat::Json => json(&pids),
        ListFormat::Table => table(&options.arguments, &pids)?,
    };
    print(&text)?;
    Ok(0)
}

fn json(pids: &[i32]) -> String {
    let numbers: Vec<String> = pids.iter().map(i32::to_string).collect();
    format!("[{}]\n", numbers.join(","))
}

fn table(arguments: &[std::ffi::OsString], pids: &[i32]) -> Result<String> {
    let output = output_of("ps", arguments, PATIENCE).map_err(|error| match error.errno() {
        Some(Errno::NOENT) => {
            error.with_hint("install ps (package procps), or use --format json, which needs none")
        }
        _ => error,
    })?;
    of(&output, pids).ok_or_else(|| Error::new(Kind::Kernel, "ps printed no column PID: add pid to its -o"))
}

/// The heading of a table and its lines about one of `pids`; `None` without a column PID.
fn of(output: &str, pids: &[i32]) -> Option<String> {
    let mut lines = output.lines();
    let heading = lines.next()?;
    let column = heading.split_whitespace().position(|title| title == "PID")?;
    let is_one = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    Some(std::iter::once(heading).chain(lines.filter(is_one)).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_an_array_of_numbers() {
        assert_eq!((json(&[]), json(&[1, 23])), ("[]\n".to_owned(), "[1,23]\n".to_owned()));
    }

    #[test]
    fn only_lines_of_the_container_stay() {
        let output = "UID   PID PPID CMD\n0      1    0 init\n0     12    1 sh 7\n0      7    1 x\n";
        assert_eq!(
            of(output, &[7, 12]).unwrap(),
            "UID   PID PPID CMD\n0     12    1 sh 7\n0      7    1 x\n"
        );
        assert_eq!(of(output, &[]).unwrap(), "UID   PID PPID CMD\n");
        assert_eq!(of("USER CMD\nroot x\n", &[1]), None);
        assert_eq!(of("", &[1]), None);
    }
}
