//! Counts the specification's keywords against the rows, so that no sentence is forgotten.
//!
//! `oci-conformance coverage --spec FOLDER` reads the chapters of version 1.3.0 from a folder that the user names. Every
//! MUST, SHALL, SHOULD, REQUIRED and RECOMMENDED, with or without NOT, needs a row that names its line, or an entry in
//! [`ELSEWHERE`] that says why it binds no runtime on Linux. Start at [`main`].

use crate::arguments::{Arguments, misused};
use crate::chapters;
use crate::row::{Level, Test};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

const KEYWORDS: [&str; 5] = ["MUST", "SHALL", "SHOULD", "REQUIRED", "RECOMMENDED"];

const CHAPTERS: [&str; 8] = [
    "bundle",
    "config",
    "config-linux",
    "runtime",
    "runtime-linux",
    "features",
    "features-linux",
    "glossary",
];

/// Keywords that bind no runtime on Linux: chapter, line, how many of them, and why.
const ELSEWHERE: &[(&str, u16, usize, &str)] = &[
    ("config", 30, 1, "Windows"),
    ("config", 31, 1, "Hyper-V"),
    ("config", 36, 1, "Windows"),
    ("config", 44, 1, "Windows"),
    ("config", 74, 1, "Windows"),
    ("config", 75, 1, "Windows"),
    ("config", 76, 1, "Solaris"),
    ("config", 78, 1, "platforms other than Linux"),
    ("config", 87, 1, "Windows"),
    ("config", 91, 2, "the heading of the table of mount options"),
    ("config", 161, 1, "quotes the table's own word"),
    ("config", 252, 1, "the second keyword of the sentence is about Windows"),
    ("config", 530, 1, "Windows"),
    ("config", 740, 1, "binds later specifications"),
];

/// Runs the count.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let arguments = match Arguments::read(words) {
        Ok(arguments) => arguments,
        Err(why) => return misused(&why),
    };
    let Some(folder) = &arguments.folder else { return misused("--spec is missing") };
    let mut missing = Vec::new();
    let mut total = 0;
    for chapter in CHAPTERS {
        match keywords(folder, chapter) {
            Ok(found) => {
                total += found.values().sum::<usize>();
                missing.extend(uncovered(chapter, &found));
            }
            Err(why) => return misused(&why),
        }
    }
    missing.iter().for_each(|fault| println!("{fault}"));
    summary(total);
    ExitCode::from(u8::from(!missing.is_empty()))
}

fn summary(total: usize) {
    let rows = || chapters::all();
    let elsewhere: usize = ELSEWHERE.iter().map(|entry| entry.2).sum();
    let untested = rows().filter(|row| matches!(row.test, Test::Impossible(_))).count();
    println!("keywords {total}, elsewhere {elsewhere}, rows {}, without a test {untested}", rows().count());
    for level in [Level::Must, Level::MustNot, Level::Should, Level::ShouldNot, Level::Plain] {
        println!("{level}: {}", rows().filter(|row| row.level == level).count());
    }
}

/// How many keywords each line of a chapter has.
fn keywords(folder: &Path, chapter: &str) -> Result<BTreeMap<u16, usize>, String> {
    let path = folder.join(format!("{chapter}.md"));
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = (1..).zip(text.lines()).map(|(number, line)| (number, count(line)));
    Ok(lines.filter(|(_, count)| *count > 0).collect())
}

fn count(line: &str) -> usize {
    let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| KEYWORDS.contains(word)).count()
}

/// The lines with more keywords than rows, and rows that name a line beyond any keyword.
fn uncovered(chapter: &str, found: &BTreeMap<u16, usize>) -> Vec<String> {
    let mut covered: BTreeMap<u16, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for row in chapters::all().filter(|row| row.chapter() == chapter) {
        row.at.iter().for_each(|line| *covered.entry(*line).or_default() += 1);
        if row.level != Level::Plain && !row.at.iter().any(|line| found.contains_key(line)) {
            faults.push(format!("{}: no keyword in its lines {:?}", row.id, row.at));
        }
    }
    ELSEWHERE
        .iter()
        .filter(|entry| entry.0 == chapter)
        .for_each(|entry| *covered.entry(entry.1).or_default() += entry.2);
    for (line, wanted) in found {
        let have = covered.get(line).copied().unwrap_or_default();
        if have < *wanted {
            faults.push(format!("{chapter}.md:{line}: {wanted} keywords, {have} rows"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keywords_are_whole_words() {
        assert_eq!(count("The value MUST NOT, and SHOULD: **REQUIRED**; MUSTARD, must"), 3);
    }

    #[test]
    fn every_row_has_a_name_of_its_own_and_at_most_one_in_twenty_no_test() {
        let names: Vec<&str> = chapters::all().map(|row| row.id).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| CHAPTERS.contains(&name.split('.').next().unwrap())));
        let untested = chapters::all().filter(|row| matches!(row.test, Test::Impossible(_))).count();
        assert!(untested * 20 <= names.len(), "{untested} of {}", names.len());
    }
}
