//! One cell of the table: a feature under an engine, with a directory and names of its own.
//!
//! The three command languages meet here: [`Cell::run`] and [`Cell::start`] say `docker run`, `ctr run` or
//! `buildah run` as the engine wants it. Whatever a cell names is removed by [`Cell::finish`].

use crate::engine::{Engine, Kind, Runtime};
use crate::host::USER_ID;
use crate::image::IMAGE;
use integration_tests::process::{Ran, wait_until};
use integration_tests::world::LIMIT;
use integration_tests::{Outcome, World, skip};
use std::cell::{Cell as Number, RefCell};
use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

/// A feature under an engine.
pub(crate) struct Cell<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) world: World,
    names: RefCell<Vec<String>>,
    serial: Number<u32>,
}

impl<'a> Cell<'a> {
    pub(crate) fn new(engine: &'a Engine, feature: &str) -> Cell<'a> {
        let word: String =
            feature.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
        Cell { engine, world: World::new(&word), names: RefCell::default(), serial: Number::new(0) }
    }

    /// A name of this cell's own, for a container; removed at the end.
    pub(crate) fn name(&self) -> String {
        self.serial.set(self.serial.get() + 1);
        let dir = self.world.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = format!("it-{dir}-{}", self.serial.get());
        self.names.borrow_mut().push(name.clone());
        name
    }

    /// The engine's client with some words.
    #[track_caller]
    pub(crate) fn call(&self, words: &[&str]) -> Ran {
        self.world.finish(self.engine.command().args(words))
    }

    /// The same through a shell on the engine's host: `$ENGINE` is the client with its options.
    #[track_caller]
    pub(crate) fn shell(&self, script: &str) -> Ran {
        let command = self.engine.command();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let client: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let mut shell = Command::new("/bin/bash");
        self.world.finish(shell.arg("-c").arg(format!("ENGINE='{}'\n{script}", client.join(" "))))
    }

    /// A command of the engine's host, as root.
    #[track_caller]
    pub(crate) fn on_host(&self, words: &[&str]) -> Ran {
        let mut command = self.engine.host.command(words[0]);
        self.world.finish(command.args(&words[1..]))
    }

    /// What a server on the engine's host, or of a container of it, answers to a request for a page. Bash has the only
    /// client that every machine has.
    pub(crate) fn fetch(&self, host: &str, port: u32, page: &str) -> String {
        let script = format!(
            "exec 3<>/dev/tcp/{host}/{port} && printf 'GET {page} HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
        );
        self.on_host(&["timeout", "5", "bash", "-c", &script]).out
    }

    /// Runs a program in a new container to its end; the container is removed.
    #[track_caller]
    pub(crate) fn run(&self, options: &[&str], program: &[&str]) -> Ran {
        self.run_image(IMAGE, options, program)
    }

    /// [`Cell::run`] of another image.
    #[track_caller]
    pub(crate) fn run_image(&self, image: &str, options: &[&str], program: &[&str]) -> Ran {
        let options = self.filled(options);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        match self.engine.kind.family() {
            Kind::Containerd => self.call(&words(
                &self.ctr_run(&["--rm"]),
                &options,
                &[image_of_ctr(image).as_str(), &self.name()],
                program,
            )),
            Kind::Buildah => self.buildah_run(image, &options, program),
            _ => self.call(&words(&self.docker_run(&["--rm"]), &options, &[image], program)),
        }
    }

    /// Starts a program in a new container and returns the container's name.
    #[track_caller]
    pub(crate) fn start(&self, options: &[&str], program: &[&str]) -> String {
        let name = self.name();
        self.start_named(&name, options, program).ok();
        name
    }

    /// [`Cell::start`] with a name of [`Cell::name`].
    #[track_caller]
    pub(crate) fn start_named(&self, name: &str, options: &[&str], program: &[&str]) -> Ran {
        self.start_image(IMAGE, name, options, program)
    }

    /// [`Cell::start_named`] of another image.
    #[track_caller]
    pub(crate) fn start_image(&self, image: &str, name: &str, options: &[&str], program: &[&str]) -> Ran {
        let options = self.filled(options);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        match self.engine.kind.family() {
            Kind::Containerd => self.call(&words(
                &self.ctr_run(&["--detach"]),
                &options,
                &[image_of_ctr(image).as_str(), name],
                program,
            )),
            Kind::Buildah => panic!("buildah starts nothing in the background"),
            _ => self.call(&words(
                &self.docker_run(&["--detach", "--name", name]),
                &options,
                &[image],
                program,
            )),
        }
    }

    /// A shell's line for a new container of the tests' image; `--rm` and quotes are the caller's.
    pub(crate) fn line(&self, options: &[&str], program: &[&str]) -> String {
        self.line_of(options, IMAGE, program)
    }

    /// [`Cell::line`] of another image.
    pub(crate) fn line_of(&self, options: &[&str], image: &str, program: &[&str]) -> String {
        match self.engine.kind.family() {
            Kind::Containerd => {
                let name = self.name();
                let image = if image.starts_with('/') { image.to_owned() } else { image_of_ctr(image) };
                format!("$ENGINE {}", words(&self.ctr_run(&[]), options, &[&image, &name], program).join(" "))
            }
            _ => format!("$ENGINE {}", words(&self.docker_run(&[]), options, &[image], program).join(" ")),
        }
    }

    /// A working container of Buildah, removed at the end.
    #[track_caller]
    pub(crate) fn buildah_from(&self, options: &[&str]) -> String {
        let name = self.name();
        let parent = format!("/{}/{name}", self.engine.host.parent.name);
        let from = owned(&["from", "--pull=never", "--cgroup-parent", &parent, "--name", &name]);
        self.call(&words(&from, options, &[IMAGE], &[])).ok();
        name
    }

    fn docker_run(&self, own: &[&str]) -> Vec<String> {
        let mut words = owned(&["run"]);
        // dockerd has it in its configuration; a rootless Podman on cgroup v1 has no group.
        if self.engine.kind == Kind::Podman {
            words.extend(["--cgroup-parent".to_owned(), format!("/{}", self.engine.host.parent.name)]);
        }
        words.extend(owned(own));
        words
    }

    fn ctr_run(&self, own: &[&str]) -> Vec<String> {
        let group = format!("/{}/{}", self.engine.host.parent.name, self.serial.get() + 1);
        let mut words = owned(&[
            "run",
            "--cgroup",
            &format!("{group}-{}", self.world.dir.file_name().unwrap_or_default().to_string_lossy()),
        ]);
        match (self.engine.kind, self.engine.runtime) {
            (Kind::ContainerdShim, _) => words.extend(owned(&["--runtime", "io.containerd.orlop.v2"])),
            (_, Runtime::Orlop) => words.extend(owned(&["--runc-binary", &self.engine.runtime_path()])),
            _ => {}
        }
        words.extend(owned(own));
        words
    }

    /// Options before `--` are `buildah from`'s, those after it `buildah run`'s.
    fn buildah_run(&self, image: &str, options: &[&str], program: &[&str]) -> Ran {
        let name = self.name();
        let cut = options.iter().position(|word| *word == "--").unwrap_or(options.len());
        let parent = format!("/{}/{name}", self.engine.host.parent.name);
        let from = owned(&["from", "--pull=never", "--cgroup-parent", &parent, "--name", &name]);
        let made = self.call(&words(&from, &options[..cut], &[image], &[]));
        if made.code != Some(0) {
            return made;
        }
        let run = owned(&["run", "--runtime", &self.engine.runtime_path()]);
        self.call(&words(&run, options.get(cut + 1..).unwrap_or_default(), &["--", &name], program))
    }

    /// `{dir}` in an option is the directory of [`Cell::share`].
    fn filled(&self, options: &[&str]) -> Vec<String> {
        let dir = self.world.path("share");
        if options.iter().any(|option| option.contains("{dir}")) {
            self.share();
        }
        options.iter().map(|option| option.replace("{dir}", &dir)).collect()
    }

    /// A directory that containers may mount: `file` with a text and a directory `sub` with another.
    pub(crate) fn share(&self) -> String {
        let dir = self.world.dir.join("share");
        if !dir.exists() {
            fs::create_dir_all(dir.join("sub")).expect("directory");
            fs::write(dir.join("file"), "of the host\n").expect("file");
            fs::write(dir.join("sub/file"), "below\n").expect("file");
            for path in ["", "file", "sub", "sub/file"] {
                let owner = Some(self.owner());
                chown(dir.join(path), owner, owner).expect("owner");
            }
        }
        dir.display().to_string()
    }

    /// Who the containers' root is on the host.
    pub(crate) fn owner(&self) -> u32 {
        if self.is_rootless() { USER_ID } else { 0 }
    }

    /// Ends a test of an option of `ctr run` that this version lacks.
    pub(crate) fn ctr_has(&self, option: &str) -> Outcome {
        let has = self.call(&["run", "--help"]).ok().out.lines().any(|line| line.trim().starts_with(option));
        if has { Ok(()) } else { skip(format!("this `ctr` has no `{option}`")) }
    }

    pub(crate) fn is_rootless(&self) -> bool {
        self.engine.kind == Kind::PodmanRootless
    }

    pub(crate) fn is_podman(&self) -> bool {
        self.engine.kind == Kind::Podman || self.is_rootless()
    }

    pub(crate) fn is_docker(&self) -> bool {
        self.engine.kind.family() == Kind::Docker
    }

    /// Ends a test of something that an engine before this version lacks.
    pub(crate) fn since(&self, version: (u32, u32), what: &str) -> Outcome {
        if self.engine.version >= version {
            return Ok(());
        }
        skip(format!("{what} came with {} {}.{}", self.engine.kind.family().title(), version.0, version.1))
    }

    /// Ends a test of something that only Podman has.
    pub(crate) fn only_podman(&self, what: &str) -> Outcome {
        if self.is_podman() { Ok(()) } else { skip(format!("{what} is Podman's")) }
    }

    /// Ends a test of something that only Docker has.
    pub(crate) fn only_docker(&self, what: &str) -> Outcome {
        if self.is_docker() { Ok(()) } else { skip(format!("{what} is Docker's")) }
    }

    /// `inspect` with a format, of Docker and Podman.
    #[track_caller]
    pub(crate) fn inspect(&self, name: &str, format: &str) -> String {
        self.call(&["inspect", "--format", format, name]).ok().out.trim().to_owned()
    }

    /// The first process of a running container, by the number that the engine's host knows it by.
    #[track_caller]
    pub(crate) fn pid(&self, name: &str) -> String {
        if self.engine.kind.family() == Kind::Containerd {
            let out = self.call(&["task", "ls"]).ok().out;
            let line = out.lines().find(|line| line.split_whitespace().next() == Some(name));
            return line.and_then(|line| line.split_whitespace().nth(1)).expect("a task").to_owned();
        }
        self.inspect(name, "{{.State.Pid}}")
    }

    /// Waits for a value of `inspect`.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, format: &str, value: &str) {
        wait_until(&format!("{format} is {value}"), LIMIT, || self.inspect(name, format) == value);
    }

    /// Runs a command in a running container.
    #[track_caller]
    pub(crate) fn exec(&self, name: &str, options: &[&str], program: &[&str]) -> Ran {
        if self.engine.kind.family() == Kind::Containerd {
            let id = format!("e{}", self.serial.replace(self.serial.get() + 1));
            return self.call(&words(&owned(&["task", "exec", "--exec-id", &id]), options, &[name], program));
        }
        self.call(&words(&owned(&["exec"]), options, &[name], program))
    }

    /// Removes a container of Docker or Podman, whatever it does. Podman would first ask it to end for ten seconds.
    #[track_caller]
    pub(crate) fn remove(&self, name: &str) -> Ran {
        match self.is_podman() {
            true => self.call(&["rm", "--force", "--time", "0", "--volumes", name]),
            false => self.call(&["rm", "--force", "--volumes", name]),
        }
    }

    /// Unmounts what a test mounted into its directory on the engine's host.
    fn unmount(&self) {
        let dir = self.world.dir.display().to_string();
        for line in self.engine.host.mounts().iter().rev() {
            if let Some(target) = line.split(' ').nth(4).filter(|target| target.starts_with(&dir)) {
                self.on_host(&["umount", "--lazy", target]);
            }
        }
    }

    /// Removes the containers that the cell named; those that a failure left are removed by force.
    pub(crate) fn finish(&self) {
        self.unmount();
        for name in self.names.borrow().iter() {
            match self.engine.kind.family() {
                Kind::Containerd => {
                    self.call(&["task", "kill", "--signal", "SIGKILL", name]);
                    self.call(&["task", "delete", "--force", name]);
                    self.call(&["container", "delete", name]);
                }
                Kind::Buildah => drop(self.call(&["rm", name])),
                _ => drop(self.remove(name)),
            }
        }
    }
}

/// Containerd's own list of containers knows images by their full name only.
fn image_of_ctr(image: &str) -> String {
    if image.contains('/') { image.to_owned() } else { format!("docker.io/library/{image}") }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn words<'a>(
    first: &'a [String],
    options: &[&'a str],
    between: &[&'a str],
    program: &[&'a str],
) -> Vec<&'a str> {
    let first = first.iter().map(String::as_str);
    first
        .chain(options.iter().copied())
        .chain(between.iter().copied())
        .chain(program.iter().copied())
        .collect()
}
