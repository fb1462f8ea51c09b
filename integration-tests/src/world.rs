//! What a test gets: a directory, a state root and container ids of its own, and the commands on them.
//!
//! Everything in it carries one of two names that no other test has, so [`crate::leaks`] can tell what is left.
//! Start at [`World::bundle`] and [`World::probe`].

use crate::process::{self, Ran, Running};
use crate::{Bundle, Outcome, Report, leaks, skip};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long any one command may take before the test has failed.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The surroundings of one test.
pub struct World {
    /// A directory of the test's own, deleted after it.
    pub dir: PathBuf,
    /// The state directory that commands get as `--root`.
    pub root: PathBuf,
    /// The runtime under test.
    pub runtime: PathBuf,
    tag: String,
    ids: RefCell<Vec<String>>,
    bundles: Cell<u32>,
    transcript: RefCell<Vec<String>>,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl World {
    /// Makes the directory of a test; the id of its containers begins with `it-NAME-PID-SERIAL`.
    pub fn new(name: &str) -> World {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = run_dir().join(serial.to_string());
        fs::create_dir_all(&dir).expect("test directory");
        let name = name.get(..40).unwrap_or(name).trim_end_matches('_');
        World {
            root: dir.join("state"),
            dir,
            runtime: runtime(),
            // Long names are cut, so the number is what makes it unique; with leading zeros none begins another.
            tag: format!("it-{name}-{}-{serial:03}", std::process::id()),
            ids: RefCell::default(),
            bundles: Cell::new(0),
            transcript: RefCell::default(),
        }
    }

    /// A fresh bundle: the default configuration, with the probe as its program.
    pub fn bundle(&self) -> Bundle {
        let number = self.bundles.replace(self.bundles.get() + 1);
        Bundle::new(&self.dir.join(format!("b{number}")))
    }

    /// A fresh bundle whose program is a shell script.
    pub fn shell(&self, script: &str) -> Bundle {
        self.bundle().args(&["/bin/sh", "-c", script])
    }

    /// A container id that no other test uses; deleted with force when the test ends.
    pub fn id(&self) -> String {
        let mut ids = self.ids.borrow_mut();
        let id = if ids.is_empty() { self.tag.clone() } else { format!("{}-{}", self.tag, ids.len()) };
        ids.push(id.clone());
        id
    }

    /// The runtime with `--root` and `arguments`, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(&self.root).args(arguments);
        command
    }

    /// Runs the runtime with `--root` and `arguments` to its end.
    #[track_caller]
    pub fn orlop(&self, arguments: &[&str]) -> Ran {
        self.finish(&mut self.command(arguments))
    }

    /// The same after lines of bash have changed what the runtime inherits: `umask 0`, `exec 7</etc/passwd`.
    #[track_caller]
    pub fn orlop_after(&self, prelude: &str, arguments: &[&str]) -> Ran {
        self.finish(&mut self.command_after(prelude, arguments))
    }

    /// [`World::orlop_after`], not started yet.
    pub fn command_after(&self, prelude: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/bash");
        command.args(["-c", &format!("{prelude}\nexec \"$@\""), "bash"]).arg(&self.runtime);
        command.arg("--root").arg(&self.root).args(arguments);
        command
    }

    /// Runs any command to its end and keeps it for the transcript of a failure.
    #[track_caller]
    pub fn finish(&self, command: &mut Command) -> Ran {
        let ran = process::run(command, &self.dir, LIMIT);
        self.transcript.borrow_mut().push(ran.to_string());
        ran
    }

    /// Starts any command and leaves it running.
    #[track_caller]
    pub fn begin(&self, command: &mut Command) -> Running {
        process::start(command, &self.dir)
    }

    /// `run` of a bundle under a new id, in the foreground.
    #[track_caller]
    pub fn run(&self, bundle: &Bundle) -> Ran {
        self.orlop(&["run", "--bundle", bundle.path(), &self.id()])
    }

    /// `run` of a bundle whose program is the probe; it must succeed.
    #[track_caller]
    pub fn probe(&self, bundle: &Bundle) -> Report {
        Report(self.run(bundle).ok().json())
    }

    /// `run` of a shell script in a bundle; it must succeed, and its standard output is returned.
    #[track_caller]
    pub fn output_of(&self, bundle: &Bundle) -> String {
        self.run(bundle).ok().out
    }

    /// `create` of a bundle under a new id; it must succeed.
    #[track_caller]
    pub fn create(&self, bundle: &Bundle) -> String {
        let id = self.id();
        self.orlop(&["create", "--bundle", bundle.path(), &id]).ok();
        id
    }

    /// `create` of a bundle that must be refused, and of which nothing may remain.
    #[track_caller]
    pub fn refused(&self, bundle: &Bundle) -> Ran {
        let id = self.id();
        let ran = self.orlop(&["create", "--bundle", bundle.path(), &id]).fails();
        let left = leaks::find(&[&id], &self.root);
        assert!(left.is_empty(), "a refused create left {left:?}\n{ran}");
        self.orlop(&["state", &id]).fails();
        ran
    }

    /// `create` and `start` of a bundle.
    #[track_caller]
    pub fn started(&self, bundle: &Bundle) -> String {
        let id = self.create(bundle);
        self.orlop(&["start", &id]).ok();
        id
    }

    /// `state` of a container as JSON; it must exist.
    #[track_caller]
    pub fn state(&self, id: &str) -> Value {
        self.orlop(&["state", id]).ok().json()
    }

    /// The `status` word of `state`.
    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap_or_default().to_owned()
    }

    /// The `pid` of `state`.
    #[track_caller]
    pub fn pid(&self, id: &str) -> i32 {
        let state = self.state(id);
        i32::try_from(state["pid"].as_i64().unwrap_or(0)).expect("a pid")
    }

    /// Waits until a container is `stopped`.
    #[track_caller]
    pub fn wait_stopped(&self, id: &str) {
        process::wait_until("the container is stopped", LIMIT, || self.status(id) == "stopped");
    }

    /// Writes a file of the test's directory and returns its path as text.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.join(name);
        fs::write(&path, text).expect("test file");
        text_of(&path)
    }

    /// A path in the test's directory, as text.
    pub fn path(&self, name: &str) -> String {
        text_of(&self.dir.join(name))
    }

    /// An executable script of the test's directory, for a hook.
    pub fn script(&self, name: &str, body: &str) -> String {
        let path = self.file(name, &format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        path
    }

    /// Whether the runtime under test is orlop, whose promises beyond the OCI specification then hold.
    pub fn is_orlop(&self) -> bool {
        self.runtime.file_name().is_some_and(|name| name == "orlop")
    }

    /// Skips a test of something that only orlop promises when another runtime is under test.
    pub fn only_orlop(&self) -> Outcome {
        if self.is_orlop() { Ok(()) } else { skip("a promise of orlop's own") }
    }

    /// The last commands run, for the message of a failure.
    pub fn transcript(&self) -> String {
        let commands = self.transcript.borrow();
        commands.iter().skip(commands.len().saturating_sub(6)).map(String::as_str).collect()
    }

    /// Deletes every container of the test and then its directory; returns what the deletion left behind.
    pub fn clean_up(&self) -> String {
        for id in self.ids.borrow().iter() {
            let mut command = self.command(&["delete", "--force", id]);
            let _ = process::run(&mut command, &self.dir, LIMIT);
        }
        let place = format!("{}/", self.dir.display());
        let names = [self.tag.as_str(), place.as_str()];
        let left = leaks::settled(&names, &self.root);
        if !left.is_empty() {
            leaks::remove(&names);
        }
        let _ = fs::remove_dir_all(&self.dir);
        left.iter().map(|line| format!("  leak: {line}\n")).collect()
    }
}

/// A path as text; the tests use no other.
pub fn text_of(path: &Path) -> String {
    path.to_str().expect("a path that is text").to_owned()
}

/// The directory of this run of a test program.
pub fn run_dir() -> PathBuf {
    std::env::temp_dir().join(format!("it-{}", std::process::id()))
}

/// Makes the directory of this run and checks that the programs to test with are there.
pub fn prepare_run() {
    fs::create_dir_all(run_dir()).expect("run directory");
    fs::set_permissions(run_dir(), fs::Permissions::from_mode(0o755)).expect("mode");
    let found = runtime();
    assert!(found.is_file(), "no runtime at {}: set ORLOP to the one to test", found.display());
    crate::bundle::prepare_template(&run_dir().join("template"));
}

/// Deletes the directory of this run.
pub fn remove_run() {
    let _ = fs::remove_dir_all(run_dir());
}

/// The runtime under test: `ORLOP`, or what `make build` leaves.
pub fn runtime() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist/orlop");
    std::env::var_os("ORLOP").map_or(built, PathBuf::from)
}

/// A program of this crate, beside the test program or one directory above it.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    let places = own.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    places.into_iter().find(|path| path.is_file()).unwrap_or_else(|| panic!("{name} is not built"))
}
