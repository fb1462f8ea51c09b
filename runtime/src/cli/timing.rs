//! `--timing FILE`: how long each phase of a command took and each step of the new process, as JSON for programs and as a
//! chart (SVG) for people. Both are made from the events of [`crate::phase`]; start at [`Timing::write`].

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Value, json};
use sys::error::Context;

use crate::{Result, phase};

/// What was measured so far.
#[derive(Debug)]
pub(super) struct Timing {
    path: PathBuf,
    began: u64,
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    phases: Vec<Mark>,
    steps: Vec<Mark>,
}

/// The beginning of a phase or a step.
#[derive(Clone, Debug)]
struct Mark {
    name: String,
    what: String,
    /// Nanoseconds since 1970.
    at: u64,
}

/// A phase or a step with its place on the axis, in microseconds.
#[derive(Clone, Debug, PartialEq)]
struct Bar {
    name: String,
    what: String,
    start: f64,
    length: f64,
}

/// The phase in which the container's program runs: it is as long as the program, so the chart leaves it out.
const PROGRAM: &str = "program";

impl Timing {
    /// Measures from now on.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, began: phase::now(), marks: Mutex::default() }
    }

    /// A phase begins.
    pub(super) fn phase(&self, name: &str, what: &str) {
        self.add(Mark { name: name.to_owned(), what: what.to_owned(), at: phase::now() }, |marks| {
            &mut marks.phases
        });
    }

    /// A step began at `at`, 0 if that is not known.
    pub(super) fn step(&self, number: &str, what: &str, at: u64) {
        if at > 0 {
            let mark = Mark { name: number.to_owned(), what: what.to_owned(), at };
            self.add(mark, |marks| &mut marks.steps);
        }
    }

    fn add(&self, mark: Mark, list: impl Fn(&mut Marks) -> &mut Vec<Mark>) {
        if let Ok(mut marks) = self.marks.lock() {
            list(&mut marks).push(mark);
        }
    }

    /// Writes FILE with the JSON text and, with the ending `.svg`, the chart; where FILE ends so, the JSON has `.json`.
    ///
    /// # Errors
    /// The files cannot be written.
    pub(super) fn write(&self) -> Result<()> {
        let end = phase::now();
        let Ok(marks) = self.marks.lock() else { return Ok(()) };
        let phases = bars(&marks.phases, self.began, end);
        let steps = steps(&marks, self.began, end);
        let svg = self.path.with_extension("svg");
        let json = if svg == self.path { self.path.with_extension("json") } else { self.path.clone() };
        write(&json, &text(&phases, &steps))?;
        write(&svg, &chart(&phases, &steps))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .context("open", || format!("write {}", path.display()))
        .map_err(|error| error.with_key("--timing"))
}

/// Each mark lasts until the next one.
fn bars(marks: &[Mark], began: u64, end: u64) -> Vec<Bar> {
    let ends = marks.iter().skip(1).map(|mark| mark.at).chain([end]);
    let bar = |(mark, end): (&Mark, u64)| Bar {
        name: mark.name.clone(),
        what: mark.what.clone(),
        start: microseconds(began, mark.at),
        length: microseconds(mark.at, end),
    };
    marks.iter().zip(ends).map(bar).collect()
}

/// The last step is the execve, which ends when the runtime hears of it: with the phase in which that happens.
fn steps(marks: &Marks, began: u64, end: u64) -> Vec<Bar> {
    let last = marks.steps.last().map_or(0, |step| step.at);
    let heard = marks.phases.iter().map(|phase| phase.at).find(|at| *at > last);
    bars(&marks.steps, began, heard.unwrap_or(end))
}

#[expect(clippy::cast_precision_loss, reason = "a time of years in nanoseconds is exact enough")]
fn microseconds(from: u64, to: u64) -> f64 {
    let tenths = to.saturating_sub(from) / 100;
    tenths as f64 / 10.0
}

fn text(phases: &[Bar], steps: &[Bar]) -> String {
    let object = |key: &str, bar: &Bar| json!({key: bar.name, "what": bar.what, "start_us": bar.start, "us": bar.length});
    let list = |key: &str, bars: &[Bar]| bars.iter().map(|bar| object(key, bar)).collect::<Vec<Value>>();
    let value = json!({
        "orlop": env!("CARGO_PKG_VERSION"),
        "command": std::env::args().collect::<Vec<_>>(),
        "total_us": total(phases),
        "phases": list("phase", phases),
        "steps": list("step", steps),
    });
    format!("{value:#}\n")
}

/// The time of all phases but that of the program.
fn total(phases: &[Bar]) -> f64 {
    let sum: f64 = phases.iter().filter(|bar| bar.name != PROGRAM).map(|bar| bar.length).sum();
    (sum * 10.0).round() / 10.0
}

/// Pixels: a row, the text left of the bars, the bars.
const ROW: usize = 18;
const LEFT: f64 = 560.0;
const WIDTH: f64 = 620.0;

/// Bars on a time axis, one a row: the phases of the runtime, below them the steps of the new process.
fn chart(phases: &[Bar], steps: &[Bar]) -> String {
    let until = phases.iter().position(|bar| bar.name == PROGRAM).unwrap_or(phases.len());
    let phases = phases.get(..until).unwrap_or_default();
    let end = phases.iter().chain(steps).map(|bar| bar.start + bar.length).fold(1.0, f64::max);
    let rows: Vec<(&str, &Bar)> =
        phases.iter().map(|bar| ("#2b6cb0", bar)).chain(steps.iter().map(|bar| ("#dd6b20", bar))).collect();
    let height = (rows.len() + 4) * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"16\" font-weight=\"bold\">{end:.0} microseconds: phases of the runtime (blue), steps of the new process (orange)</text>\n",
        LEFT + WIDTH + 90.0
    );
    for tick in 0..=10_u8 {
        let (x, time) = (LEFT + WIDTH * f64::from(tick) / 10.0, end * f64::from(tick) / 10.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{time:.0}</text>",
            2 * ROW,
            height - ROW,
            2 * ROW - 4
        );
    }
    for (index, (colour, bar)) in rows.into_iter().enumerate() {
        let (y, x, width) = ((index + 2) * ROW, LEFT + WIDTH * bar.start / end, WIDTH * bar.length / end);
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{}\">{}</text><rect x=\"{x:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{}\" fill=\"#333\">{:.0}</text>",
            y + 13,
            label(bar),
            y + 3,
            width.max(1.0),
            ROW - 6,
            x + width.max(1.0) + 4.0,
            y + 13,
            bar.length
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The name and the beginning of what is done, as XML text.
fn label(bar: &Bar) -> String {
    const LONGEST: usize = 88;
    let full = format!("{} {}", bar.name, bar.what);
    let mut short: String = full.chars().take(LONGEST).filter(|letter| !letter.is_control()).collect();
    if full.chars().count() > LONGEST {
        short.push('\u{2026}');
    }
    short.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(name: &str, at: u64) -> Mark {
        Mark { name: name.to_owned(), what: "x < y".to_owned(), at }
    }

    #[test]
    fn a_phase_lasts_until_the_next_and_the_program_is_not_counted() {
        let marks =
            [mark("config", 1_000), mark("clone", 5_500), mark(PROGRAM, 9_000), mark("delete", 1_009_000)];
        let bars = bars(&marks, 0, 1_011_000);
        let times: Vec<_> = bars.iter().map(|bar| (bar.start, bar.length)).collect();
        assert_eq!(times, [(1.0, 4.5), (5.5, 3.5), (9.0, 1000.0), (1009.0, 2.0)]);
        assert!((total(&bars) - 10.0).abs() < 0.01);
    }

    #[test]
    fn the_last_step_ends_with_the_phase_that_saw_its_end() {
        let marks = Marks {
            phases: vec![mark("start", 1_000), mark(PROGRAM, 8_000)],
            steps: vec![mark("0", 2_000), mark("1", 5_000)],
        };
        let lengths: Vec<_> = steps(&marks, 0, 99_000).iter().map(|bar| bar.length).collect();
        assert_eq!(lengths, [3.0, 3.0]);
    }

    #[test]
    fn a_chart_is_well_formed_and_ends_with_the_start_of_the_program() {
        let bars = bars(&[mark("config", 0), mark(PROGRAM, 5_000), mark("delete", 90_000)], 0, 95_000);
        let chart = chart(&bars, &bars);
        assert!(chart.contains("x &lt; y") && !chart.contains("x < y"));
        assert_eq!(chart.matches("<text").count(), chart.matches("</text>").count());
        assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n"));
    }
}
