//! Runs the programs of opencontainers/runtime-tools against a runtime and compares what they say with what is expected.
//!
//! The programs are built elsewhere; the user names the folder, which has `runtimetest` and `validation/*/*.t` in it. Each
//! writes TAP. A program that fails is run again, because several of them race with the container they look at. What a
//! program cannot pass through its own fault is in `upstream.expectations`, with the cause. Start at [`main`].

use crate::arguments::{Arguments, misused};
use crate::cgroup;
use crate::row::matches;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How often a failing program is run.
const TRIES: u32 = 3;

/// A program that takes longer is ended.
const DEADLINE: Duration = Duration::from_secs(60);

/// What is expected of programs that do not pass, and why.
const EXPECTATIONS: &str = include_str!("../upstream.expectations");

/// What one run of a program came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// Every line is `ok`, at least one of them not skipped.
    Passed(usize),
    /// Nothing was tested.
    Skipped,
    /// What failed: the descriptions of `not ok` lines, or how the program ended.
    Failed(Vec<String>),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Outcome::Passed(_) => "pass",
            Outcome::Skipped => "skip",
            Outcome::Failed(_) => "fail",
        }
    }
}

/// A program's expectation.
struct Expected {
    outcome: &'static str,
    cause: &'static str,
}

/// Runs as the command.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let arguments = match Arguments::read(words) {
        Ok(arguments) => arguments,
        Err(why) => return misused(&why),
    };
    let (Some(folder), [runtime]) = (&arguments.folder, arguments.runtimes.as_slice()) else {
        return misused("upstream takes --suite and one --runtime");
    };
    let layout = arguments.expect.clone().unwrap_or_else(layout);
    let expected = expectations(EXPECTATIONS, &layout);
    let programs = match programs(folder, arguments.pattern()) {
        Ok(programs) if !programs.is_empty() => programs,
        Ok(_) => return misused("the folder has no validation/*/*.t of such a name"),
        Err(error) => return misused(&format!("{}: {error}", folder.display())),
    };
    // The programs run in the suite's folder.
    let runtime =
        std::path::absolute(runtime).map_or_else(|_| runtime.clone(), |path| path.display().to_string());
    run_all(folder, &runtime, &layout, &programs, &expected)
}

fn run_all(
    folder: &Path,
    runtime: &str,
    layout: &str,
    programs: &[PathBuf],
    expected: &BTreeMap<&str, Expected>,
) -> ExitCode {
    println!("TAP version 13\n1..{}\n# cgroups: {layout}", programs.len());
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut surprises = 0;
    for (number, program) in (1..).zip(programs) {
        let name = program.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let outcome = persistent(folder, program, runtime);
        *counts.entry(outcome.word()).or_default() += 1;
        surprises += usize::from(!tell(number, &name, &outcome, expected.get(name.as_str())));
    }
    let count = |word: &str| counts.get(word).copied().unwrap_or_default();
    println!(
        "# {} passed, {} skipped, {} failed, {surprises} not as expected",
        count("pass"),
        count("skip"),
        count("fail")
    );
    ExitCode::from(u8::from(surprises > 0))
}

/// Writes one line and says whether the outcome is as expected. What passes beyond expectation is no surprise.
fn tell(number: usize, name: &str, outcome: &Outcome, expected: Option<&Expected>) -> bool {
    let word = outcome.word();
    match (outcome, expected) {
        (Outcome::Passed(count), _) => println!("ok {number} - {name}: {count} checks"),
        (_, Some(expected)) if expected.outcome == word => {
            println!("ok {number} - {name} # SKIP {word}: {}", expected.cause)
        }
        (Outcome::Skipped, _) => {
            println!("ok {number} - {name} # SKIP the program tests nothing here");
            return expected.is_none();
        }
        (Outcome::Failed(lines), _) => {
            println!("not ok {number} - {name}\n  ---");
            lines.iter().for_each(|line| println!("  {line}"));
            println!("  ...");
            return false;
        }
    }
    true
}

/// The programs of a folder by name.
fn programs(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for directory in fs::read_dir(folder.join("validation"))?.flatten() {
        for entry in fs::read_dir(directory.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.extension().is_some_and(|end| end == "t") && matches(pattern, &name) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The outcome of the first run that does not fail, or of the last.
fn persistent(folder: &Path, program: &Path, runtime: &str) -> Outcome {
    let mut outcome = Outcome::Skipped;
    for _ in 0..TRIES {
        outcome =
            once(folder, program, runtime).unwrap_or_else(|error| Outcome::Failed(vec![error.to_string()]));
        if !matches!(outcome, Outcome::Failed(_)) {
            break;
        }
    }
    outcome
}

fn once(folder: &Path, program: &Path, runtime: &str) -> io::Result<Outcome> {
    let log = std::env::temp_dir().join(format!("it-oci-upstream-{}", std::process::id()));
    let mut child = Command::new(std::path::absolute(program)?)
        .current_dir(folder)
        .env("RUNTIME", runtime)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&log)?)
        .stderr(fs::File::options().append(true).open(&log)?)
        .spawn()?;
    let end = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status.to_string(),
            None if Instant::now() > end => {
                child.kill()?;
                child.wait()?;
                break "ended after a minute".to_owned();
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let text = fs::read(&log)?;
    fs::remove_file(&log)?;
    Ok(read_tap(&String::from_utf8_lossy(&text), &status))
}

/// What a program's output and its end come to.
fn read_tap(text: &str, status: &str) -> Outcome {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let failed: Vec<String> =
        lines.iter().filter(|line| line.starts_with("not ok")).map(|line| (*line).to_owned()).collect();
    if !failed.is_empty() {
        return Outcome::Failed(failed);
    }
    if !status.ends_with(": 0") {
        let last = lines.iter().rev().find(|line| !line.is_empty()).copied().unwrap_or_default();
        return Outcome::Failed(vec![format!("{status}: {last}")]);
    }
    match lines.iter().filter(|line| line.starts_with("ok ") && !line.contains("# SKIP")).count() {
        0 => Outcome::Skipped,
        count => Outcome::Passed(count),
    }
}

/// The layout of cgroups that this process sees.
fn layout() -> String {
    let name = match (cgroup::is_pure_v2(), cgroup::has_unified()) {
        (true, _) => "v2",
        (false, true) => "hybrid",
        (false, false) => "v1",
    };
    name.to_owned()
}

/// The lines `PROGRAM | LAYOUTS | OUTCOME | CAUSE` that are about a layout.
fn expectations(text: &'static str, layout: &str) -> BTreeMap<&'static str, Expected> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.filter_map(|line| {
        let mut cells = line.splitn(4, '|').map(str::trim);
        let (name, layouts, outcome, cause) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
        let about = layouts == "all" || layouts.split_whitespace().any(|one| one == layout);
        about.then_some((name, Expected { outcome, cause }))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tap_is_read() {
        let passed = "TAP version 13\nok 1 - a\nok 2 - b # SKIP not here\n1..2";
        assert_eq!(read_tap(passed, "exit status: 0"), Outcome::Passed(1));
        assert_eq!(read_tap("1..0", "exit status: 0"), Outcome::Skipped);
        assert_eq!(
            read_tap("ok 1\nnot ok 2 - b", "exit status: 0"),
            Outcome::Failed(vec!["not ok 2 - b".to_owned()])
        );
        assert_eq!(
            read_tap("ok 1\nno", "exit status: 1"),
            Outcome::Failed(vec!["exit status: 1: no".to_owned()])
        );
    }

    #[test]
    fn every_expectation_has_a_cause() {
        let lines: Vec<&str> =
            EXPECTATIONS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        for line in &lines {
            let cells: Vec<&str> = line.splitn(4, '|').map(str::trim).collect();
            assert!(
                cells.len() == 4 && cells[3].len() > 20 && ["fail", "skip"].contains(&cells[2]),
                "{line}"
            );
        }
        assert!(expectations(EXPECTATIONS, "v1").len() <= lines.len());
    }
}
