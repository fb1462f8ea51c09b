//! runtime-linux.md: the links in /dev and the descriptors of the program.

use crate::row::Broken::{Command, Config};
use crate::row::Level::{Must, Plain};
use crate::row::Test::Seen;
use crate::row::{Row, Stop, row};
use serde_json::json;

/// A row for a link that has to be in /dev.
macro_rules! link {
    ($id:literal, $path:literal, $target:literal) => {
        row(
            $id,
            Must,
            &[11],
            concat!($path, " leads to ", $target),
            Seen(
                |_| {},
                &[concat!("stat:", $path)],
                |seen| {
                    seen.answer(concat!("stat:", $path)).is("/ok/type", "symlink")?;
                    seen.answer(concat!("stat:", $path)).is("/ok/link", $target)
                },
            ),
            Config(|config| config.sabotage(&["unlink", $path])),
        )
    };
}

/// The rows of this chapter.
pub(super) const ROWS: &[&[Row]] = &[TABLE];

const TABLE: &[Row] = &[
    row(
        "runtime-linux.descriptors",
        Plain,
        &[5],
        "the program has the three standard descriptors open and no other",
        Seen(
            |_| {},
            &[],
            |seen| {
                let open = seen.at("/fds");
                let numbers: Vec<&String> =
                    open.as_object().map(|map| map.keys().collect()).unwrap_or_default();
                if numbers == ["0", "1", "2"] { Ok(()) } else { Err(Stop::Fail(format!("open are {open}"))) }
            },
        ),
        Command(|call| (call.command() == "create").then(|| call.with_open_descriptor())),
    ),
    link!("runtime-linux.dev.fd", "/dev/fd", "/proc/self/fd"),
    link!("runtime-linux.dev.stdin", "/dev/stdin", "/proc/self/fd/0"),
    link!("runtime-linux.dev.stdout", "/dev/stdout", "/proc/self/fd/1"),
    link!("runtime-linux.dev.stderr", "/dev/stderr", "/proc/self/fd/2"),
    row(
        "runtime-linux.dev.order",
        Must,
        &[11],
        "the links are made after the mounts, so that a mounted /dev has them",
        Seen(
            |config| {
                config.unmount("/dev/pts");
                config.unmount("/dev/shm");
                config.unmount("/dev");
                config.mount("tmpfs", "other", "/dev", &["mode=755"]);
                config.set("/mounts/0/source", json!("proc"));
            },
            &["stat:/dev/fd"],
            |seen| {
                seen.mount("/dev")?.is("/source", "other")?;
                seen.answer("stat:/dev/fd").is("/ok/link", "/proc/self/fd")
            },
        ),
        Config(|config| config.sabotage(&["unlink", "/dev/fd"])),
    ),
];
