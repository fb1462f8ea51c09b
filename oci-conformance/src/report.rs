//! What the suite found, as TAP, JSON, JUnit's XML or a page of HTML that compares runtimes side by side.
//!
//! TAP is written while the rows run, the others at the end. Start at [`write`].

use crate::row::{Row, Stop, Verdict};
use crate::runtime::Runtime;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

/// How the report is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Test Anything Protocol, version 13.
    Tap,
    /// One object.
    Json,
    /// XML as JUnit writes it.
    Junit,
    /// One page without any other file.
    Html,
}

/// What one row came to with one runtime.
pub(crate) struct Result<'a> {
    /// The row.
    pub(crate) row: &'a Row,
    /// The place of the runtime on the command line.
    pub(crate) column: usize,
    /// What was found.
    pub(crate) verdict: Verdict,
}

impl Result<'_> {
    fn word(&self) -> &'static str {
        match self.verdict {
            Ok(()) => "pass",
            Err(Stop::Fail(_)) => "fail",
            Err(Stop::Skip(_)) => "skip",
        }
    }

    fn why(&self) -> &str {
        match &self.verdict {
            Ok(()) => "",
            Err(Stop::Fail(why) | Stop::Skip(why)) => why,
        }
    }
}

impl Format {
    /// The format of that name.
    pub(crate) fn from_name(name: &str) -> Option<Format> {
        match name {
            "tap" => Some(Format::Tap),
            "json" => Some(Format::Json),
            "junit" => Some(Format::Junit),
            "html" => Some(Format::Html),
            _ => None,
        }
    }
}

/// Begins the report.
pub(crate) fn begin(format: Format, count: usize) {
    if format == Format::Tap {
        println!("TAP version 13\n1..{count}");
    }
}

/// Writes what can be written at once.
pub(crate) fn line(format: Format, number: usize, result: &Result<'_>, runtime: &Runtime) {
    if format != Format::Tap {
        return;
    }
    let row = result.row;
    let about = format!("{number} - {}: {} {} {}", runtime.name, row.id, row.level, row.says);
    match &result.verdict {
        Ok(()) => println!("ok {about}"),
        Err(Stop::Skip(why)) => println!("ok {about} # SKIP {why}"),
        Err(Stop::Fail(why)) => {
            // A SHOULD that is not kept is no breach, so it does not fail the run.
            let todo = if row.level.binds() { "" } else { " # TODO not kept" };
            println!("not ok {about}{todo}\n  ---\n  {}\n  ...", why.replace('\n', "\n  "));
        }
    }
}

/// Writes the report.
pub(crate) fn write(format: Format, runtimes: &[Runtime], results: &[Result<'_>]) {
    let text = match format {
        Format::Tap => tap_summary(runtimes, results),
        Format::Json => json_text(runtimes, results),
        Format::Junit => junit(runtimes, results),
        Format::Html => html(runtimes, results),
    };
    drop(std::io::stdout().write_all(text.as_bytes()));
}

/// How many of a runtime's results have a word: all, and those that bind.
fn count(results: &[Result<'_>], column: usize, word: &str) -> (usize, usize) {
    let of = |result: &&Result<'_>| result.column == column && result.word() == word;
    let all = results.iter().filter(of);
    (all.clone().count(), all.filter(|result| result.row.level.binds()).count())
}

fn tap_summary(runtimes: &[Runtime], results: &[Result<'_>]) -> String {
    let mut text = String::new();
    for (column, runtime) in runtimes.iter().enumerate() {
        let [passed, failed, skipped] = ["pass", "fail", "skip"].map(|word| count(results, column, word));
        let _ = writeln!(
            text,
            "# {}: {} passed, {} failed ({} of them bind), {} skipped",
            runtime.name, passed.0, failed.0, failed.1, skipped.0
        );
    }
    text
}

fn json_text(runtimes: &[Runtime], results: &[Result<'_>]) -> String {
    let row = |result: &Result<'_>| {
        json!({"id": result.row.id, "chapter": result.row.chapter(), "level": result.row.level.to_string(),
            "says": result.row.says, "lines": result.row.at, "result": result.word(), "why": result.why()})
    };
    let of =
        |column: usize| results.iter().filter(|result| result.column == column).map(row).collect::<Value>();
    let entry = |(column, runtime): (usize, &Runtime)| {
        let [passed, failed, skipped] = ["pass", "fail", "skip"].map(|word| count(results, column, word).0);
        json!({"runtime": runtime.name, "path": runtime.path(), "passed": passed, "failed": failed, "skipped": skipped,
            "rows": of(column)})
    };
    let runtimes: Value = runtimes.iter().enumerate().map(entry).collect();
    format!("{:#}\n", json!({"specification": "1.3.0", "runtimes": runtimes}))
}

/// Text as the contents of XML and HTML.
fn escaped(text: &str) -> String {
    let plain = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    plain.chars().filter(|letter| !letter.is_control() || *letter == '\n').collect()
}

fn junit(runtimes: &[Runtime], results: &[Result<'_>]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for (column, runtime) in runtimes.iter().enumerate() {
        let [passed, failed, skipped] = ["pass", "fail", "skip"].map(|word| count(results, column, word).0);
        let (name, total) = (escaped(&runtime.name), passed + failed + skipped);
        let _ = writeln!(
            text,
            "<testsuite name=\"{name}\" tests=\"{total}\" failures=\"{failed}\" skipped=\"{skipped}\">"
        );
        results
            .iter()
            .filter(|result| result.column == column)
            .for_each(|result| text += &junit_case(result));
        text += "</testsuite>\n";
    }
    text + "</testsuites>\n"
}

fn junit_case(result: &Result<'_>) -> String {
    let why = escaped(result.why());
    let inner = match result.word() {
        "fail" => format!("<failure message=\"{}\">{why}</failure>", result.row.level),
        "skip" => format!("<skipped message=\"{why}\"/>"),
        _ => String::new(),
    };
    let row = result.row;
    format!("<testcase classname=\"{}\" name=\"{}\">{inner}</testcase>\n", row.chapter(), escaped(row.id))
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em}\
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.35em .6em;text-align:left;vertical-align:top}\
th{position:sticky;top:0;background:#fff}code{font-size:.9em}.pass{color:#176b2c}.fail{color:#a11;font-weight:600}\
.skip{color:#777}.why{display:block;font-weight:400;font-size:.82em;color:#444;max-width:26em;overflow-wrap:anywhere}\
h2{margin-top:2em}@media(prefers-color-scheme:dark){body,th{background:#161616;color:#ddd}.pass{color:#6fd08a}\
.fail{color:#ff8080}.skip,.why{color:#999}td,th{border-color:#444}}";

fn html(runtimes: &[Runtime], results: &[Result<'_>]) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>OCI runtime conformance</title>\
         <style>{STYLE}</style>\n<h1>OCI runtime conformance</h1>\n<p>Every sentence of runtime-spec 1.3.0 that binds a \
         runtime on Linux, and what was seen of it from inside a container and from the host.</p>\n"
    );
    text += &html_totals(runtimes, results);
    let mut rows: BTreeMap<&str, Vec<&Result<'_>>> = BTreeMap::new();
    for result in results {
        rows.entry(result.row.id).or_default().push(result);
    }
    let order = results.iter().filter(|result| result.column == 0);
    let mut chapter = "";
    for result in order {
        if result.row.chapter() != chapter {
            text += if chapter.is_empty() { "" } else { "</table>\n" };
            chapter = result.row.chapter();
            text += &html_heading(chapter, runtimes);
        }
        text += &html_row(result.row, rows.get(result.row.id).map(Vec::as_slice).unwrap_or_default());
    }
    text + "</table>\n</html>\n"
}

fn html_totals(runtimes: &[Runtime], results: &[Result<'_>]) -> String {
    let mut text = "<table><tr><th>runtime<th>passed<th>failed<th>of them MUST<th>skipped</tr>\n".to_owned();
    for (column, runtime) in runtimes.iter().enumerate() {
        let [passed, failed, skipped] = ["pass", "fail", "skip"].map(|word| count(results, column, word));
        let _ = writeln!(
            text,
            "<tr><td>{}<td class=pass>{}<td class=fail>{}<td class=fail>{}<td class=skip>{}</tr>",
            escaped(&runtime.name),
            passed.0,
            failed.0,
            failed.1,
            skipped.0
        );
    }
    text + "</table>\n"
}

fn html_heading(chapter: &str, runtimes: &[Runtime]) -> String {
    let names: String = runtimes.iter().map(|runtime| format!("<th>{}", escaped(&runtime.name))).collect();
    format!("<h2>{chapter}</h2>\n<table><tr><th>row<th>level<th>demand{names}</tr>\n")
}

fn html_row(row: &Row, results: &[&Result<'_>]) -> String {
    let cells: String = results
        .iter()
        .map(|result| {
            let (word, why) = (result.word(), escaped(result.why()));
            format!("<td class={word}>{word}<span class=why>{why}</span>")
        })
        .collect();
    let (id, says) = (escaped(row.id), escaped(row.says));
    format!("<tr><td><code>{id}</code><td>{}<td>{says}{cells}</tr>\n", row.level)
}
