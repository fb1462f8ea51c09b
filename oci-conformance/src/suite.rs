//! Runs rows against runtimes, and against their broken wrappers for the self-test.
//!
//! Start at [`run`], which judges one row.

use crate::arguments::{Arguments, misused};
use crate::chapters;
use crate::lab::{self, Lab};
use crate::report::{self, Result as Judged};
use crate::row::{Broken, Refusal, Row, Stop, Test, Verdict, matches, skip};
use crate::runtime::Runtime;
use std::process::ExitCode;

/// Judges one row.
pub(crate) fn run(row: &Row, runtime: &Runtime) -> Verdict {
    if let Test::Impossible(reason) = row.test {
        return skip(reason);
    }
    let mut lab = Lab::new(runtime)?;
    match row.test {
        Test::Seen(given, questions, then) => {
            given(&mut lab.config);
            then(&lab.see(questions)?)
        }
        Test::Refused(refusal, given) => {
            given(&mut lab.config);
            match refusal {
                Refusal::Create => lab.refuses(),
                Refusal::CreateOrStart => lab.refuses_to_run(),
            }
        }
        Test::Lab(test) => test(&mut lab),
        Test::Impossible(_) => Ok(()),
    }
}

/// The suite itself: every chosen row against every runtime.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let arguments = match Arguments::read(words) {
        Ok(arguments) => arguments,
        Err(why) => return misused(&why),
    };
    let rows: Vec<&Row> = chapters::all().filter(|row| matches(arguments.pattern(), row.id)).collect();
    if arguments.list.is_some() {
        rows.iter().for_each(|row| println!("{}\t{}\t{}", row.id, row.level, row.says));
        return ExitCode::SUCCESS;
    }
    if arguments.runtimes.is_empty() || rows.is_empty() {
        return misused(if rows.is_empty() { "no row has such a name" } else { "--runtime is missing" });
    }
    let Some(format) = report::Format::from_name(arguments.format.as_deref().unwrap_or("tap")) else {
        return misused("--format is tap, json, junit or html");
    };
    let runtimes: Vec<Runtime> = arguments.runtimes.iter().map(|argument| Runtime::new(argument)).collect();
    let results = judge(&rows, &runtimes, format);
    lab::remove_probe();
    report::write(format, &runtimes, &results);
    let broken =
        results.iter().any(|result| result.row.level.binds() && matches!(result.verdict, Err(Stop::Fail(_))));
    ExitCode::from(u8::from(broken))
}

fn judge<'a>(rows: &[&'a Row], runtimes: &[Runtime], format: report::Format) -> Vec<Judged<'a>> {
    let mut results = Vec::new();
    report::begin(format, rows.len() * runtimes.len());
    for (column, runtime) in runtimes.iter().enumerate() {
        for row in rows {
            let result = Judged { row, column, verdict: run(row, runtime) };
            report::line(format, results.len() + 1, &result, runtime);
            results.push(result);
        }
    }
    results
}

/// Runs each row against the wrapper that breaks it. A row that still passes cannot fail, which is a fault of the suite.
pub(crate) fn self_test(words: &[String]) -> ExitCode {
    let arguments = match Arguments::read(words) {
        Ok(arguments) => arguments,
        Err(why) => return misused(&why),
    };
    let [runtime] = arguments.runtimes.as_slice() else { return misused("self-test takes one --runtime") };
    let runtime = Runtime::new(runtime);
    let Ok(program) = std::env::current_exe() else { return misused("this program's own path is unknown") };
    let rows = chapters::all().filter(|row| matches(arguments.pattern(), row.id));
    lab::be_impatient(1000);
    let (mut found, mut skipped, mut missed) = (0, 0, 0);
    for row in rows.filter(|row| !matches!(row.broken, Broken::Nothing)) {
        match run(row, &runtime.broken(row.id, &program)) {
            Err(Stop::Fail(why)) if !why.starts_with("the suite itself") => {
                found += 1;
                println!("ok - {}: {}", row.id, why.lines().next().unwrap_or_default());
            }
            Err(Stop::Skip(why)) => {
                skipped += 1;
                println!("ok - {} # SKIP {why}", row.id);
            }
            outcome => {
                missed += 1;
                println!("not ok - {}: not found broken: {outcome:?}", row.id);
            }
        }
    }
    lab::remove_probe();
    println!(
        "# {found} rows find fault with a runtime that breaks them, {skipped} cannot be shown here, {missed} do not"
    );
    ExitCode::from(u8::from(missed > 0))
}
