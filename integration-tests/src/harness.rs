//! Runs the tests of one file: each in a [`World`] of its own, with the leak check after it.
//!
//! It is libtest-mimic with three rules added: a test may end by naming the reason why it cannot run here, a
//! panic message is shown with the commands that the test ran, and a test that leaves anything behind has failed.

use crate::World;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;

/// The end of a test that did not fail: done, or `Err` with the reason why it cannot run on this host.
pub type Outcome = Result<(), Skipped>;

/// Why a test cannot run on this host. Printed beside its name.
#[derive(Debug)]
pub struct Skipped(pub String);

/// One test: its name and its function.
pub struct Case {
    /// The behaviour in words, which is the function's name.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&World) -> Outcome,
}

/// Ends a test with the reason why it cannot run here: `return skip("no SELinux")`.
pub fn skip<T>(reason: impl Into<String>) -> Result<T, Skipped> {
    Err(Skipped(reason.into()))
}

/// Names each test once: `cases![create_leaves_it_created, ...]` is the table that [`main`] takes.
#[macro_export]
macro_rules! cases {
    ($($test:ident),+ $(,)?) => { &[$($crate::harness::Case { name: stringify!($test), run: $test }),+] };
}

/// The `main` of a test file whose tests need root; for another user it says so and ends well.
pub fn main(cases: &'static [Case]) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        println!("\n{} tests skipped: they need root", cases.len());
        return ExitCode::SUCCESS;
    }
    main_for_anyone(cases)
}

/// The `main` of a test file whose tests run for any user.
pub fn main_for_anyone(cases: &'static [Case]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Containers are cheap but the machine is small; more threads than this only make timings worse.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    if !arguments.list {
        crate::world::prepare_run();
    }
    let trials = cases.iter().map(|case| Trial::ignorable_test(case.name, || run(case))).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    crate::world::remove_run();
    conclusion.exit_code()
}

/// Panic messages with their places, by thread, because catch_unwind returns no place.
static PANICS: Mutex<Vec<(std::thread::ThreadId, String)>> = Mutex::new(Vec::new());

fn run(case: &'static Case) -> Result<Completion, Failed> {
    let world = World::new(case.name);
    let ended = caught(|| (case.run)(&world));
    let left = world.clean_up();
    match ended {
        Err(message) => Err(format!("{message}\n{}{left}", world.transcript()).into()),
        Ok(_) if !left.is_empty() => Err(format!("left behind:\n{left}{}", world.transcript()).into()),
        Ok(Err(Skipped(reason))) => Ok(Completion::ignored_with(reason)),
        Ok(Ok(())) => Ok(Completion::Completed),
    }
}

/// Runs a test to its end; a panic becomes its message, with the place.
pub fn caught<T>(test: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::set_hook(Box::new(|info| {
        let message = info.to_string();
        PANICS.lock().unwrap_or_else(|held| held.into_inner()).push((std::thread::current().id(), message));
    }));
    catch_unwind(AssertUnwindSafe(test)).map_err(|_| panic_message())
}

fn panic_message() -> String {
    let thread = std::thread::current().id();
    let mut panics = PANICS.lock().unwrap_or_else(|held| held.into_inner());
    let place = panics.iter().rposition(|(owner, _)| *owner == thread);
    place.map_or_else(|| "panicked".to_owned(), |index| panics.swap_remove(index).1)
}
