//! The results as a table in Markdown: one line a feature, one column an engine, and under it what did not work and why.

use crate::engine::{KINDS, Kind};
use crate::row::Row;
use integration_tests::layout::{self, Layout};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

/// How a feature ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// It does what it should.
    Works,
    /// It cannot be asked for here, and why.
    Absent(String),
    /// It does not, and what the engine said.
    Failed(String),
}

/// How it ended with orlop, and with the reference where that was asked.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    pub(crate) orlop: End,
    pub(crate) runc: Option<End>,
    /// Why it works with neither, where that is known.
    pub(crate) known: Option<&'static str>,
}

impl Ends {
    /// Whether it fails where runc works, or for a reason that nobody knows.
    pub(crate) fn is_defect(&self) -> bool {
        let shared = matches!(self.runc, Some(End::Failed(_))) && self.known.is_some();
        matches!(self.orlop, End::Failed(_)) && !shared
    }
}

/// All results, by column and feature.
pub(crate) type Results = BTreeMap<(Kind, &'static str), Ends>;

/// What stands in one place of the table, without its note.
fn word(ends: &Ends) -> &'static str {
    match (&ends.orlop, &ends.runc) {
        (End::Works, _) => "works",
        (End::Absent(_), _) => "–",
        (End::Failed(_), Some(End::Failed(_))) => "as runc",
        (End::Failed(_), _) => "**fails**",
    }
}

/// The note of one place: the reason, and the reference's result where it differs or explains.
fn note(ends: &Ends) -> Option<String> {
    match (&ends.orlop, &ends.runc) {
        (End::Works, Some(End::Failed(text))) => Some(format!("runc fails: `{}`", brief(text))),
        (End::Works, _) => None,
        (End::Absent(reason), _) => Some(reason.clone()),
        (End::Failed(_), Some(End::Failed(text))) => {
            Some(format!("{}; runc fails alike: `{}`", ends.known.unwrap_or("unexplained"), brief(text)))
        }
        (End::Failed(text), _) => Some(format!("fails, where runc works: `{}`", brief(text))),
    }
}

/// The line of an engine's message that says most: the last one of its standard error, else of its output, or the first
/// of the panic. Paths of the run say nothing to a reader.
pub(crate) fn brief(text: &str) -> String {
    let last = |stream: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix(stream));
        lines.rfind(|line| !line.trim().is_empty())
    };
    let first = text.lines().nth(1).or_else(|| text.lines().next()).unwrap_or_default();
    let line = last("2| ").or_else(|| last("1| ")).unwrap_or(first).replace('`', "'");
    let words = line.split(' ').filter(|word| !word.contains("/tmp/it-"));
    words.collect::<Vec<_>>().join(" ").chars().take(240).collect()
}

/// The table of all rows.
pub(crate) fn markdown(rows: &[Row], results: &Results, versions: &BTreeMap<Kind, String>) -> String {
    let columns: Vec<Kind> = KINDS.into_iter().filter(|kind| versions.contains_key(kind)).collect();
    let mut notes = Vec::new();
    let mut text = format!("{}\n", machine());
    let titles = columns.iter().map(|kind| format!("{} {}{}", kind.title(), versions[kind], kind.variant()));
    let header =
        format!("| | {} |\n|---|{}\n", titles.collect::<Vec<_>>().join(" | "), "---|".repeat(columns.len()));
    let mut theme = "";
    for row in rows {
        if row.theme != theme {
            theme = row.theme;
            let _ = write!(text, "\n**{theme}**\n\n{header}");
        }
        let places = columns.iter().map(|kind| place(results.get(&(*kind, row.feature)), &mut notes));
        let _ = writeln!(text, "| {} | {} |", row.feature, places.collect::<Vec<_>>().join(" | "));
    }
    text.push('\n');
    for (number, note) in notes.iter().enumerate() {
        let _ = writeln!(text, "{}. {note}", number + 1);
    }
    text
}

fn place(ends: Option<&Ends>, notes: &mut Vec<String>) -> String {
    let Some(ends) = ends else { return "not run".to_owned() };
    let Some(note) = note(ends) else { return word(ends).to_owned() };
    let number = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
        notes.push(note);
        notes.len() - 1
    });
    format!("{} ({})", word(ends), number + 1)
}

/// The machine in one line.
fn machine() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("unknown")
        .trim_matches('"');
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel: String =
        kernel.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect();
    let layout = match layout::current() {
        Some(Layout::V1) => "v1",
        Some(Layout::V2) => "v2",
        Some(Layout::Hybrid) => "hybrid",
        None => "no",
    };
    format!("{name}, Linux {kernel}, {layout} cgroups.")
}
