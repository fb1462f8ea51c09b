//! The course of a command: which phase it is in, and which steps the new process took.
//!
//! Both are `tracing` events. `--debug` prints them as the story of a start, `--timing` measures them; an embedder's own
//! subscriber gets them by their targets. Without a subscriber that wants them a mark costs one comparison.

use child::page::Page;
use std::fmt::Write;

/// The target of the events that [`begin`] makes.
pub const PHASE: &str = "orlop::phase";

/// The target of one event for each step with the time at which it began. A subscriber that enables it makes the new
/// process take the time of each step.
pub const STEP: &str = "orlop::step";

/// A phase begins, and the one before it ends. `name` is short and stable; `what` is for a person.
macro_rules! begin {
    ($name:literal, $($what:tt)+) => {
        tracing::debug!(target: $crate::phase::PHASE, phase = $name, $($what)+)
    };
}
pub(crate) use begin;

/// The nanoseconds since 1970: the one clock that is the same in every time namespace.
pub fn now() -> u64 {
    sys::task::realtime()
}

/// Makes the process behind `page` take the time of its steps, if anybody wants to know.
pub fn time_steps(page: &Page) {
    if tracing::enabled!(target: STEP, tracing::Level::DEBUG) {
        page.time_steps(now());
    }
}

/// Tells of the steps from `first` on that ran, as the shared page has noted them; `text` has the key of a step, which may
/// be empty, and what it does.
pub fn log_steps(page: &Page, first: u32, text: impl Fn(u32) -> Option<(String, String)>) {
    let ran = || page.ran().filter(|(index, _)| *index >= first);
    let text = |index: u32| text(index).unwrap_or_default();
    if tracing::enabled!(target: STEP, tracing::Level::DEBUG) {
        for (index, at) in ran() {
            tracing::debug!(target: STEP, step = index, at, "{}", line(&text(index)));
        }
    }
    if tracing::enabled!(tracing::Level::DEBUG) {
        story(ran().map(|(index, _)| (index, text(index))))
            .iter()
            .for_each(|line| tracing::debug!(target: "orlop::story", "{line}"));
    }
}

fn line((key, what): &(String, String)) -> String {
    if key.is_empty() { what.clone() } else { format!("{key}: {what}") }
}

/// The steps with one line for each run of steps of the same section of the configuration.
fn story(steps: impl Iterator<Item = (u32, (String, String))>) -> Vec<String> {
    let mut lines: Vec<(u32, u32, String, String)> = Vec::new();
    for (index, (key, what)) in steps {
        let section = key.split(['.', '[']).next().unwrap_or_default();
        match lines.last_mut() {
            Some((_, last, same, text)) if same == section => {
                *last = index;
                let _ = write!(text, "; {what}");
            }
            _ => lines.push((index, index, section.to_owned(), what)),
        }
    }
    let told = |(first, last, section, text): (u32, u32, String, String)| {
        let steps = if first == last { format!("step {first}") } else { format!("steps {first} to {last}") };
        let section = if section.is_empty() { String::new() } else { format!("{section}: ") };
        format!("{steps}: {section}{text}")
    };
    lines.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_has_one_line_for_neighbours_of_a_section() {
        let steps = [("", "a"), ("mounts[0]", "b"), ("mounts[1].source", "c"), ("process.cwd", "d")];
        let steps = steps.map(|(key, what)| (key.to_owned(), what.to_owned()));
        let lines = story((7..).zip(steps));
        assert_eq!(lines, ["step 7: a", "steps 8 to 9: mounts: b; c", "step 10: process: d"]);
    }
}
