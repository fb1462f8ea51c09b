//! SIGKILL of the runtime at every system call of create, start and delete: `delete --force` must leave nothing.
//!
//! One run for each k = 1, 2, ... until the command ends by itself before its k-th call. Only the command is killed:
//! its children live or die by what it has provided for. Each case prints the number of runs.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::trace::{End, kill_at};
use integration_tests::{Bundle, Outcome, World, cases, harness, leaks};
use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(cases![
        create_killed_at_every_call_leaves_nothing_after_delete,
        start_killed_at_every_call_leaves_nothing_after_delete,
        delete_killed_at_every_call_leaves_nothing_after_delete,
        forced_delete_killed_at_every_call_leaves_nothing_after_delete,
        run_killed_at_every_call_leaves_nothing_after_delete,
    ])
}

fn create_killed_at_every_call_leaves_nothing_after_delete(world: &World) -> Outcome {
    let bundle = sleeping(world);
    sweep(world, "create", |id, k| {
        kill_at(&world.command(&["create", "--bundle", bundle.path(), id]), k, &world.dir.join("traced"))
    });
    Ok(())
}

fn start_killed_at_every_call_leaves_nothing_after_delete(world: &World) -> Outcome {
    let bundle = sleeping(world);
    sweep(world, "start", |id, k| {
        world.orlop(&["create", "--bundle", bundle.path(), id]).ok();
        kill_at(&world.command(&["start", id]), k, &world.dir.join("traced"))
    });
    Ok(())
}

fn delete_killed_at_every_call_leaves_nothing_after_delete(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/bin/true"]);
    sweep(world, "delete", |id, k| {
        world.orlop(&["create", "--bundle", bundle.path(), id]).ok();
        world.orlop(&["start", id]).ok();
        world.wait_stopped(id);
        kill_at(&world.command(&["delete", id]), k, &world.dir.join("traced"))
    });
    Ok(())
}

fn forced_delete_killed_at_every_call_leaves_nothing_after_delete(world: &World) -> Outcome {
    let bundle = sleeping(world);
    sweep(world, "delete --force", |id, k| {
        world.orlop(&["create", "--bundle", bundle.path(), id]).ok();
        world.orlop(&["start", id]).ok();
        kill_at(&world.command(&["delete", "--force", id]), k, &world.dir.join("traced"))
    });
    Ok(())
}

fn run_killed_at_every_call_leaves_nothing_after_delete(world: &World) -> Outcome {
    let bundle = world.bundle().args(&["/bin/true"]);
    sweep(world, "run", |id, k| {
        kill_at(&world.command(&["run", "--bundle", bundle.path(), id]), k, &world.dir.join("traced"))
    });
    Ok(())
}

fn sleeping(world: &World) -> Bundle {
    world.bundle().args(&["/bin/sleep", "1000"])
}

/// Takes k from 1 upwards until the command is through; every k must be clean, and all failures are shown together.
fn sweep(world: &World, command: &str, mut killed_at: impl FnMut(&str, u64) -> End) {
    let mut unclean = Vec::new();
    let mut runs = 0;
    for k in 1.. {
        let id = format!("{}-k{k}", world.id());
        let end = killed_at(&id, k);
        runs += 1;
        unclean.extend(leftovers(world, &id).map(|left| format!("killed at call {k}: {left}")));
        if let End::Ended { code, calls } = end {
            assert_eq!(code, 0, "{command} failed by itself after {calls} calls");
            break;
        }
    }
    println!("{command}: killed at each of {} system calls, {runs} runs", runs - 1);
    assert!(
        unclean.is_empty(),
        "{command}: {} of {runs} runs left something:\n{}",
        unclean.len(),
        unclean.join("\n")
    );
}

/// What is wrong after `delete --force`, run twice: the second must find nothing to do.
fn leftovers(world: &World, id: &str) -> Option<String> {
    let first = world.orlop(&["delete", "--force", id]);
    let left = leaks::settled(&[id], &world.root);
    let second = world.orlop(&["delete", "--force", id]);
    let known = world.orlop(&["state", id]).code == Some(0);
    leaks::remove(&[id]);
    let problems = [
        (first.code != Some(0)).then(|| format!("delete --force failed: {}", first.err.trim())),
        (!left.is_empty()).then(|| left.join("; ")),
        (second.code != Some(0)).then(|| format!("the second delete --force failed: {}", second.err.trim())),
        known.then(|| "state still knows the container".to_owned()),
    ];
    let found: Vec<String> = problems.into_iter().flatten().collect();
    (!found.is_empty()).then(|| found.join("; "))
}
