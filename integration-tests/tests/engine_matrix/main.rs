//! Engines: Docker, containerd's `ctr`, Podman as root and as an ordinary user, and Buildah start real containers
//! through the runtime, Docker and containerd through orlop's shim as well.
//!
//! It is a table: `rows.rs` has a line for each feature, `engine.rs` a column for each engine. A feature that fails is
//! tried with runc under the same engine: where runc fails alike it is the engine's or the machine's, and recorded as
//! that; else it is a defect of orlop's. Without arguments the rows of every run are tried, with `--include-ignored` all;
//! with `ENGINE_TABLE=FILE` runc is asked everything and the result is written there as Markdown.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

mod building;
mod cell;
mod engine;
mod host;
mod image;
mod known;
mod lifecycle;
mod network;
mod process;
mod resources;
mod row;
mod rows;
mod security;
mod storage;
mod table;

use cell::Cell;
use engine::{Engine, KINDS, Kind, Runtime};
use integration_tests::harness::{Skipped, caught};
use integration_tests::world::{prepare_run, remove_run};
use libtest_mimic::Arguments;
use row::{Pace, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;
use table::{End, Ends, Results};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let rows = rows::rows();
    let wanted: Vec<(Kind, &Row)> = wanted(&rows, &arguments);
    if arguments.list {
        wanted.iter().for_each(|(kind, row)| println!("{}: test", name(*kind, row)));
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        println!("\n{} tests skipped: they need root", wanted.len());
        return ExitCode::SUCCESS;
    }
    prepare_run();
    let run = Run {
        wanted,
        references: std::env::var_os("ENGINE_TABLE").is_some(),
        results: Mutex::default(),
        versions: Mutex::default(),
    };
    run.all(arguments.test_threads.unwrap_or(2));
    remove_run();
    let (results, versions) = (run.results.into_inner().unwrap(), run.versions.into_inner().unwrap());
    if let Some(path) = std::env::var_os("ENGINE_TABLE") {
        std::fs::write(path, table::markdown(&rows, &results, &versions)).expect("table");
    }
    conclude(&results)
}

/// The name of a test: `docker: bind mount, read-only`.
fn name(kind: Kind, row: &Row) -> String {
    format!("{}: {}", kind.word(), row.feature)
}

fn wanted<'a>(rows: &'a [Row], arguments: &Arguments) -> Vec<(Kind, &'a Row)> {
    let all = KINDS.into_iter().flat_map(|kind| rows.iter().map(move |row| (kind, row)));
    let paced = all.filter(|(_, row)| arguments.include_ignored || row.pace == Pace::Always);
    let filtered = paced.filter(|(kind, row)| {
        let name = name(*kind, row);
        let matches = arguments.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
        matches && !arguments.skip.iter().any(|skip| name.contains(skip.as_str()))
    });
    filtered.collect()
}

/// A run of some rows under some engines.
struct Run<'a> {
    wanted: Vec<(Kind, &'a Row)>,
    /// Whether runc is asked everything, and not only what failed.
    references: bool,
    results: Mutex<Results>,
    versions: Mutex<BTreeMap<Kind, String>>,
}

impl<'a> Run<'a> {
    /// Runs the families beside each other; the columns of one come one after the other.
    fn all(&self, threads: usize) {
        let families = [Kind::Docker, Kind::Podman, Kind::Containerd, Kind::PodmanRootless, Kind::Buildah];
        let next = Mutex::new(families.into_iter());
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let family = next.lock().unwrap().next();
                        let Some(family) = family else { return };
                        self.family(family);
                    }
                });
            }
        });
    }

    fn family(&self, family: Kind) {
        let mut columns: Vec<Column> = Vec::new();
        for kind in KINDS.into_iter().filter(|kind| kind.family() == family) {
            let rows: Vec<&Row> =
                self.wanted.iter().filter(|(own, _)| *own == kind).map(|(_, row)| *row).collect();
            if !rows.is_empty() {
                columns.push(self.column(kind, Runtime::Orlop, &rows));
            }
        }
        let asked: Vec<&Row> = self
            .wanted
            .iter()
            .filter(|(kind, row)| {
                kind.family() == family
                    && columns.iter().any(|column| column.kind == *kind && self.asks_runc(column, row))
            })
            .map(|(_, row)| *row)
            .collect();
        let reference = self.reference(family, asked);
        for column in columns {
            self.record(column, &reference);
        }
    }

    fn asks_runc(&self, column: &Column, row: &Row) -> bool {
        self.references || matches!(column.ends.get(row.feature), Some(End::Failed(_)))
    }

    fn reference(&self, family: Kind, mut rows: Vec<&Row>) -> BTreeMap<&'static str, End> {
        let mut seen = BTreeSet::new();
        rows.retain(|row| seen.insert(row.feature));
        if rows.is_empty() { BTreeMap::new() } else { self.column(family, Runtime::Runc, &rows).ends }
    }

    /// Tries rows under one engine.
    fn column(&self, kind: Kind, runtime: Runtime, rows: &[&'a Row]) -> Column {
        let began = Instant::now();
        let mut ends = BTreeMap::new();
        match caught(|| Engine::start(kind, runtime)) {
            Err(message) => ends.extend(rows.iter().map(|row| (row.feature, End::Failed(message.clone())))),
            Ok(Err(Skipped(reason))) => {
                ends.extend(rows.iter().map(|row| (row.feature, End::Absent(reason.clone()))))
            }
            Ok(Ok(engine)) => {
                self.versions.lock().unwrap().insert(kind, engine.release.clone());
                for row in rows {
                    let end = persistent(&engine, row);
                    if runtime == Runtime::Orlop && !matches!(end, End::Failed(_)) {
                        print_end(kind, row.feature, &end);
                    }
                    ends.insert(row.feature, end);
                }
                let world = engine.world.dir.clone();
                drop(engine);
                let _ = std::fs::remove_dir_all(world);
            }
        }
        let word = if runtime == Runtime::Runc { " with runc" } else { "" };
        println!("{}{word}: {} features in {:.0} s", kind.word(), rows.len(), began.elapsed().as_secs_f64());
        Column { kind, ends }
    }

    /// Keeps the results of a column and prints the failures, which now have their reference.
    fn record(&self, column: Column, reference: &BTreeMap<&'static str, End>) {
        for (feature, end) in column.ends {
            let known = known::reason(column.kind, feature);
            let ends = Ends { orlop: end, runc: reference.get(feature).cloned(), known };
            if matches!(ends.orlop, End::Failed(_)) {
                print_failure(column.kind, feature, &ends);
            }
            self.results.lock().unwrap().insert((column.kind, feature), ends);
        }
    }
}

/// What rows did under one engine.
struct Column {
    kind: Kind,
    ends: BTreeMap<&'static str, End>,
}

/// The end of the first try that does not fail, or of the last. Clients lose the output of a program that ends before they
/// have opened their end of a pipe: on a machine with three times the load that it has processors, `ctr exec` lost 12 of
/// 300 lines with orlop, none where the program lived a third of a second longer, and the runtime alone none of 600.
fn persistent(engine: &Engine, row: &Row) -> End {
    let mut end = attempt(engine, row);
    for _ in 1..TRIES {
        let End::Failed(text) = &end else { break };
        let again = attempt(engine, row);
        if !matches!(again, End::Failed(_)) {
            println!("{}: tried again after: {}", name(engine.kind, row), table::brief(text));
        }
        end = again;
    }
    end
}

/// How often a row is tried that fails.
const TRIES: u32 = 3;

fn attempt(engine: &Engine, row: &Row) -> End {
    let cell = Cell::new(engine, row.feature);
    let began = Instant::now();
    let ended = caught(|| row.run(&cell));
    let transcript = cell.world.transcript();
    let _ = caught(|| cell.finish());
    let left = cell.world.clean_up();
    if std::env::var_os("ENGINE_TIMES").is_some() {
        println!("{:6.1} s {}", began.elapsed().as_secs_f64(), name(engine.kind, row));
    }
    if let (Err(message), true) = (&ended, std::env::var_os("ENGINE_TIMES").is_some()) {
        println!("failing {}: {message}\n{transcript}\n--", name(engine.kind, row));
    }
    match ended {
        Err(message) => End::Failed(format!("{message}\n{transcript}{left}")),
        Ok(_) if !left.is_empty() => End::Failed(format!("left behind:\n{left}{transcript}")),
        Ok(Err(Skipped(reason))) => End::Absent(reason),
        Ok(Ok(())) => End::Works,
    }
}

fn print_end(kind: Kind, feature: &str, end: &End) {
    match end {
        End::Absent(reason) => println!("test {}: {feature} ... ignored, {reason}", kind.word()),
        _ => println!("test {}: {feature} ... ok", kind.word()),
    }
}

fn print_failure(kind: Kind, feature: &str, ends: &Ends) {
    let text = |end: &End| if let End::Failed(text) = end { text.clone() } else { format!("{end:?}") };
    if !ends.is_defect() {
        println!("test {}: {feature} ... ignored, as runc: {}", kind.word(), ends.known.unwrap_or_default());
        return;
    }
    let reference = ends.runc.as_ref().map_or_else(|| "not asked".to_owned(), text);
    println!(
        "test {}: {feature} ... FAILED\n{}\n-- with runc:\n{reference}\n",
        kind.word(),
        text(&ends.orlop)
    );
}

/// The lines that every test program ends with.
fn conclude(results: &Results) -> ExitCode {
    let failed = results.values().filter(|ends| ends.is_defect()).count();
    let passed = results.values().filter(|ends| ends.orlop == End::Works).count();
    let ignored = results.len() - failed - passed;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
