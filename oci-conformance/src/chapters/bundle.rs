//! bundle.md, and what glossary.md demands of JSON.

use crate::lab::Lab;
use crate::row::Broken::{Command, Config, Ignores};
use crate::row::Level::{Must, MustNot, Plain};
use crate::row::Test::{Lab as InLab, Seen};
use crate::row::{Row, Verdict, check, row};
use serde_json::json;
use std::fs;

/// The rows of this chapter.
pub(super) const ROWS: &[&[Row]] = &[TABLE];

const TABLE: &[Row] = &[
    row(
        "bundle.config.required",
        Must,
        &[14, 14],
        "a bundle without config.json makes no container",
        InLab(|lab| without_config(lab, "other.json")),
        Ignores,
    ),
    row(
        "bundle.config.place",
        Must,
        &[14],
        "config.json is looked for in the bundle's own directory only",
        InLab(|lab| without_config(lab, "rootfs/config.json")),
        Ignores,
    ),
    row(
        "bundle.one-directory",
        Must,
        &[19],
        "the root filesystem is taken from the directory that config.json is in",
        Seen(|_| {}, &["read:/etc/file"], |seen| seen.answer("read:/etc/file").is("/ok", "contents\n")),
        Config(|config| config.sabotage(&["unlink", "/etc/file"])),
    ),
    row(
        "bundle.moved",
        Plain,
        &[20],
        "a bundle works from any directory, since that directory is no part of it",
        InLab(|lab| {
            let moved = lab.aside("elsewhere");
            lab.config.ask(&["read:/etc/file"]);
            lab.write()?;
            fs::rename(lab.bundle(), &moved)?;
            let done = lab.call(&["create", "--bundle", &moved.display().to_string(), &lab.id]);
            fs::rename(&moved, lab.bundle())?;
            let done = done?;
            check(done.ok().then_some(()), || format!("create failed: {}", done.said))
        }),
        Command(|call| call.refuses("create")),
    ),
    row(
        "glossary.utf8",
        Must,
        &[27],
        "letters beyond ASCII in config.json reach the program as UTF-8",
        Seen(
            |config| config.set("/process/env/-", json!("WORD=Größe-容器")),
            &[],
            |seen| seen.has("/env", "WORD=Größe-容器"),
        ),
        Ignores,
    ),
    row(
        "glossary.unique-names",
        MustNot,
        &[28],
        "no JSON object that the runtime writes has a name twice",
        InLab(|lab| {
            lab.config.ask(&["stay"]);
            lab.run()?;
            drop(lab.state()?);
            let text = fs::read_to_string(lab.aside("state.json"))?;
            let twice = names_twice(&text);
            check(twice.is_empty().then_some(()), || format!("state has {twice:?} twice"))
        }),
        Command(|call| {
            (call.command() == "state").then(|| {
                println!("{{\"id\": \"a\", \"pid\": 1, \"id\": \"b\"}}");
                0
            })
        }),
    ),
];

/// Moves config.json away from where it belongs.
fn without_config(lab: &mut Lab, to: &str) -> Verdict {
    lab.write()?;
    fs::rename(lab.bundle().join("config.json"), lab.bundle().join(to))?;
    let done = lab.create_as(&lab.id)?;
    check((!done.ok()).then_some(()), || "create succeeded".to_owned())?;
    lab.nothing_left()
}

/// The names that an object on the first level has more than once.
fn names_twice(text: &str) -> Vec<String> {
    let (mut depth, mut names, mut twice) = (0, Vec::new(), Vec::new());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            '"' => {
                let end = rest.find('"').unwrap_or(rest.len());
                let word = rest.get(..end).unwrap_or_default().to_owned();
                rest = rest.get(end + 1..).unwrap_or_default();
                if depth == 1 && rest.trim_start().starts_with(':') {
                    if names.contains(&word) {
                        twice.push(word.clone());
                    }
                    names.push(word);
                }
            }
            _ => {}
        }
    }
    twice
}
