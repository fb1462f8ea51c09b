//! The project's own chores, run as `cargo xtask NAME`. Each chore is one module and nothing here is shipped.
//!
//! Start at [`main`], which is the list of chores.

mod manual;
mod syscalls;

use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask syscalls FOLDER    write seccomp/src/tables/numbers.rs from kernel sources
       cargo xtask man FOLDER         write the man pages
       cargo xtask completions FOLDER write the completions where shells look for them below a share folder";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["syscalls", folder] => syscalls::write_tables(folder.as_ref()),
        ["man", folder] => manual::write_pages(folder.as_ref()),
        ["completions", folder] => manual::write_completions(folder.as_ref()),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
