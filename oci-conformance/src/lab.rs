//! One test's own place: a bundle, a runtime's state directory, and what the host sees of the container.
//!
//! Nothing that the runtime says is taken for an answer: what a program sees comes from the probe inside, and which
//! processes and cgroups there are comes from `/proc` and the cgroup filesystems. Dropping a [`Lab`] ends the container
//! and removes everything. Start at [`Lab::see`].

use crate::config::Config;
use crate::row::{Stop, Verdict, check, fail, skip};
use crate::runtime::{Done, Runtime};
use crate::seen::Seen;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many milliseconds something that has to happen may take. The self-test, where it does not happen, waits less.
static PATIENCE: AtomicU64 = AtomicU64::new(5000);

/// How long something that must not happen is waited for.
const GLANCE: Duration = Duration::from_millis(60);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Waits for at most that many milliseconds from now on.
pub(crate) fn be_impatient(milliseconds: u64) {
    PATIENCE.store(milliseconds, Ordering::Relaxed);
}

/// The place of one test.
pub(crate) struct Lab {
    /// The container's id; also the last part of its cgroup's path.
    pub(crate) id: String,
    /// What will be in config.json.
    pub(crate) config: Config,
    dir: PathBuf,
    runtime: Runtime,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Fail(format!("the suite itself: {error}"))
    }
}

impl Lab {
    /// A fresh place with the configuration that every row starts from.
    pub(crate) fn new(runtime: &Runtime) -> io::Result<Lab> {
        let id = format!("it-oci-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&id);
        let rootfs = dir.join("bundle/rootfs");
        for name in ["proc", "sys", "dev", "tmp", "etc", "report", "mnt", "mnt2"] {
            fs::create_dir_all(rootfs.join(name))?;
        }
        for path in ["report", "tmp"] {
            fs::set_permissions(rootfs.join(path), fs::Permissions::from_mode(0o1777))?;
        }
        for path in [dir.clone(), dir.join("bundle"), rootfs.clone()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(rootfs.join("etc/file"), "contents\n")?;
        install_probe(&rootfs.join("probe"))?;
        Ok(Lab { config: Config::base(&id), id, dir, runtime: runtime.clone() })
    }

    /// Another place for the same runtime.
    pub(crate) fn sibling(&self) -> Result<Lab, Stop> {
        Ok(Lab::new(&self.runtime)?)
    }

    /// The bundle's directory.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// A path in the root filesystem, as the host sees it.
    pub(crate) fn rootfs(&self, inside: &str) -> PathBuf {
        self.dir.join("bundle/rootfs").join(inside.trim_start_matches('/'))
    }

    /// A path outside the bundle that goes with the test.
    pub(crate) fn aside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The same as text, for a configuration.
    pub(crate) fn aside_text(&self, name: &str) -> String {
        self.aside(name).display().to_string()
    }

    /// Makes a directory outside the bundle, to be mounted from.
    pub(crate) fn directory(&self, name: &str) -> Result<String, Stop> {
        fs::create_dir_all(self.aside(name))?;
        Ok(self.aside_text(name))
    }

    /// A directory with a mount and another mount below it, each with a file of root's. Both have these flags.
    pub(crate) fn tree(&self, flags: MountFlags) -> Result<String, Stop> {
        let tree = self.directory("tree")?;
        for place in [tree.clone(), format!("{tree}/sub")] {
            rustix::mount::mount("it-tree", &place, "tmpfs", MountFlags::empty(), None)
                .map_err(io::Error::from)?;
            rustix::mount::mount_change(&place, MountPropagationFlags::SHARED).map_err(io::Error::from)?;
            fs::write(format!("{place}/file"), "x")?;
            if place == tree {
                fs::create_dir(format!("{place}/sub"))?;
            }
        }
        for place in [tree.clone(), format!("{tree}/sub")] {
            let remount = flags | MountFlags::BIND;
            rustix::mount::mount_remount(&place, remount, "").map_err(io::Error::from)?;
        }
        Ok(tree)
    }

    /// Writes the configuration, and beside the bundle the one that a runtime which ignores the row would take.
    pub(crate) fn write(&self) -> Verdict {
        let mut base = Config::base(&self.id);
        if self.config.at("/process/args").is_array() {
            base.set("/process/args", self.config.at("/process/args"));
        }
        if base.at("/process/args/0") != "/probe" {
            base.set("/process/args/0", json!("/probe"));
        }
        fs::write(self.dir.join("base.json"), base.0.to_string())?;
        fs::write(self.bundle().join("config.json"), self.config.0.to_string())?;
        Ok(())
    }

    /// Calls the runtime; its standard output goes to `out` of the test.
    pub(crate) fn call(&self, words: &[&str]) -> Result<Done, Stop> {
        self.call_to("said", words)
    }

    fn call_to(&self, out: &str, words: &[&str]) -> Result<Done, Stop> {
        let root = self.aside_text("state");
        let words: Vec<&str> = ["--root", &root].into_iter().chain(words.iter().copied()).collect();
        Ok(self.runtime.call(&words, &self.aside(out), &self.aside("err"))?)
    }

    /// `create` of what the bundle has; its output is the container's.
    pub(crate) fn create_as(&self, id: &str) -> Result<Done, Stop> {
        let bundle = self.bundle().display().to_string();
        self.call_to("out", &["create", "--bundle", &bundle, id])
    }

    /// Writes the configuration and creates the container; whether that works is for the caller.
    pub(crate) fn try_create(&self) -> Result<Done, Stop> {
        self.write()?;
        self.create_as(&self.id)
    }

    /// Creates the container, or fails.
    pub(crate) fn create(&self) -> Verdict {
        let done = self.try_create()?;
        check(done.ok().then_some(()), || format!("create failed: {}", done.said))
    }

    /// Starts the container; whether that works is for the caller.
    pub(crate) fn try_start(&self) -> Result<Done, Stop> {
        self.call(&["start", &self.id])
    }

    /// Starts the container, or fails.
    pub(crate) fn start(&self) -> Verdict {
        let done = self.try_start()?;
        check(done.ok().then_some(()), || format!("start failed: {}", done.said))
    }

    /// Creates and starts.
    pub(crate) fn run(&self) -> Verdict {
        self.create()?;
        self.start()
    }

    /// Sends a signal through the runtime.
    pub(crate) fn kill(&self, signal: &str) -> Result<Done, Stop> {
        self.call(&["kill", &self.id, signal])
    }

    /// Deletes the container, or fails.
    pub(crate) fn delete(&self) -> Verdict {
        let done = self.try_delete()?;
        check(done.ok().then_some(()), || format!("delete failed: {}", done.said))
    }

    /// Deletes the container; whether that works is for the caller.
    pub(crate) fn try_delete(&self) -> Result<Done, Stop> {
        self.call(&["delete", &self.id])
    }

    /// Ends the container's processes from the host and waits until they are gone.
    pub(crate) fn end(&self) -> Verdict {
        for pid in self.inhabitants() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        self.until("the container's processes to end", || self.inhabitants().is_empty())
    }

    /// The state that the runtime gives, for rows about the state; an error if there is none.
    pub(crate) fn state_of(&self, id: &str) -> Result<Result<Seen, Done>, Stop> {
        drop(fs::remove_file(self.aside("state.json")));
        let done = self.call_to("state.json", &["state", id])?;
        if !done.ok() {
            return Ok(Err(done));
        }
        let text = fs::read(self.aside("state.json"))?;
        match serde_json::from_slice(&text) {
            Ok(value) => Ok(Ok(Seen(value))),
            Err(error) => fail(format!("state is no JSON: {error}: {}", String::from_utf8_lossy(&text))),
        }
    }

    /// The state of this container, or a failure.
    pub(crate) fn state(&self) -> Result<Seen, Stop> {
        self.state_of(&self.id)?.or_else(|done| fail(format!("state failed: {}", done.said)))
    }

    /// The structure that `features` writes; skipped where the runtime has no such command.
    pub(crate) fn features(&self) -> Result<Seen, Stop> {
        drop(fs::remove_file(self.aside("features.json")));
        let done = self.call_to("features.json", &["features"])?;
        if !done.ok() {
            return skip("the runtime has no features command, and need not have one");
        }
        match serde_json::from_slice(&fs::read(self.aside("features.json"))?) {
            Ok(value) => Ok(Seen(value)),
            Err(error) => fail(format!("features is no JSON: {error}")),
        }
    }

    /// Runs the container with these questions and gives the probe's report.
    pub(crate) fn see(&mut self, questions: &[&str]) -> Result<Seen, Stop> {
        self.config.ask(questions);
        self.run()?;
        self.report()
    }

    /// Waits for the report of the program.
    pub(crate) fn report(&self) -> Result<Seen, Stop> {
        let path = self.aside("out");
        let mut report = None;
        let found = self.until("the program's report", || {
            let text = fs::read(&path).unwrap_or_default();
            let lines = text.split(|byte| *byte == b'\n');
            report =
                lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok()).find(Value::is_object);
            report.is_some()
        });
        match report {
            Some(report) => Ok(Seen(report)),
            None => {
                let said = fs::read_to_string(self.aside("err")).unwrap_or_default();
                found.and_then(|()| fail("no report")).map_err(|stop| explain(stop, &said))
            }
        }
    }

    /// Whether the program has run so far; waits a moment for one that should not.
    pub(crate) fn has_run(&self) -> bool {
        std::thread::sleep(GLANCE);
        fs::read(self.aside("out")).unwrap_or_default().windows(6).any(|window| window == b"\"args\"")
    }

    /// Fails unless the condition becomes true in time.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) -> Verdict {
        let end = Instant::now() + Duration::from_millis(PATIENCE.load(Ordering::Relaxed));
        while !holds() {
            if Instant::now() > end {
                return fail(format!("waited in vain for {what}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Adds a hook that reports to the log of hooks. Its words are questions to the probe, `fail` or `stay`.
    pub(crate) fn hook(&mut self, kind: &str, words: &[&str]) {
        let inside = kind == "startContainer";
        let path = if inside { "/probe".to_owned() } else { self.rootfs("probe").display().to_string() };
        let log = if inside {
            "/report/hooks".to_owned()
        } else {
            self.rootfs("report/hooks").display().to_string()
        };
        let args: Vec<&str> =
            ["probe", "hook", &log, kind].into_iter().chain(words.iter().copied()).collect();
        self.config.set(&format!("/hooks/{kind}/-"), json!({"path": path, "args": args}));
    }

    /// What hooks have reported so far, in the order in which they ran.
    pub(crate) fn hooks(&self) -> Vec<Seen> {
        let text = fs::read_to_string(self.rootfs("report/hooks")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).map(Seen).collect()
    }

    /// The report of the first hook of that name, or a failure.
    pub(crate) fn hooked(&self, name: &str) -> Result<Seen, Stop> {
        let found = self.hooks().into_iter().find(|entry| entry.text("/hook") == name);
        found.map_or_else(|| fail(format!("no {name} hook has run")), Ok)
    }

    /// The processes in the container's mount namespace, by the host's ids: those whose mounts come from the bundle.
    pub(crate) fn inhabitants(&self) -> Vec<i32> {
        let own = fs::read_link("/proc/self/ns/mnt").ok();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let elsewhere =
            pids.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|ns| Some(ns) != own));
        let mark = format!("/{}/", self.id);
        let has_mark = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/mountinfo"))
                .is_ok_and(|text| text.lines().any(|line| comes_from(line, &mark)))
        };
        elsewhere.filter(has_mark).collect()
    }

    /// The container's process, by the host's id.
    pub(crate) fn pid(&self) -> Result<i32, Stop> {
        self.inhabitants().first().copied().map_or_else(|| fail("the container has no process"), Ok)
    }

    /// The link of a namespace of the container's process.
    pub(crate) fn namespace(&self, kind: &str) -> Result<String, Stop> {
        Ok(fs::read_link(format!("/proc/{}/ns/{kind}", self.pid()?))?.display().to_string())
    }

    /// Fails if anything of the container is left on the host: a process or a cgroup.
    pub(crate) fn nothing_left(&self) -> Verdict {
        let found = self.until("the container's processes to end", || self.inhabitants().is_empty());
        found.map_err(|_| Stop::Fail(format!("left behind: the processes {:?}", self.inhabitants())))?;
        let mut groups = Vec::new();
        let gone = self.until("", || {
            groups = crate::cgroup::named(&self.id);
            groups.is_empty()
        });
        gone.map_err(|_| Stop::Fail(format!("left behind: the cgroups {groups:?}")))
    }

    /// Fails if `create` of this configuration works or leaves anything.
    pub(crate) fn refuses(&self) -> Verdict {
        let done = self.try_create()?;
        check((!done.ok()).then_some(()), || "create succeeded".to_owned())?;
        check((!self.has_run()).then_some(()), || "create failed, and the program ran".to_owned())?;
        self.nothing_left()
    }

    /// Fails if the program runs, whichever of `create` and `start` says so.
    pub(crate) fn refuses_to_run(&self) -> Verdict {
        let done = self.try_create()?;
        if done.ok() {
            let started = self.try_start()?;
            check((!started.ok()).then_some(()), || "create and start succeeded".to_owned())?;
        }
        check((!self.has_run()).then_some(()), || "an error came, and the program ran".to_owned())
    }
}

fn explain(stop: Stop, said: &str) -> Stop {
    match stop {
        Stop::Fail(why) if !said.trim().is_empty() => Stop::Fail(format!("{why}: {}", said.trim())),
        stop => stop,
    }
}

/// Links this program into a root filesystem, or copies it where that is another filesystem.
fn install_probe(target: &Path) -> io::Result<()> {
    let own = std::env::temp_dir().join(format!("it-oci-probe-{}", std::process::id()));
    if !own.exists() {
        fs::copy("/proc/self/exe", &own)?;
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755))?;
    }
    fs::hard_link(&own, target).or_else(|_| fs::copy(&own, target).map(|_| ()))
}

/// Removes the copy of this program that labs link to.
pub(crate) fn remove_probe() {
    drop(fs::remove_file(std::env::temp_dir().join(format!("it-oci-probe-{}", std::process::id()))));
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.call(&["delete", "--force", &self.id]));
        drop(self.end());
        // A group is busy until its last process has been waited for.
        drop(self.until("", || {
            crate::cgroup::named(&self.id).iter().for_each(|group| drop(fs::remove_dir(group)));
            crate::cgroup::named(&self.id).is_empty()
        }));
        for name in ["it-relative", "it-parent"] {
            crate::cgroup::named(name).iter().for_each(|group| drop(fs::remove_dir(group)));
        }
        for place in ["tree/sub", "tree"] {
            let _ = rustix::mount::unmount(self.aside(place), UnmountFlags::DETACH);
        }
        for _ in 0..50 {
            match fs::remove_dir_all(&self.dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    std::thread::sleep(Duration::from_millis(2))
                }
                _ => break,
            }
        }
    }
}

/// Whether what a line of mountinfo mounts comes from a place with this mark. A mount that the suite itself made there is
/// none: services of the host that have mount namespaces of their own, such as those of systemd, receive it too.
fn comes_from(line: &str, mark: &str) -> bool {
    let mut words = line.split(' ').skip(3);
    let (root, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    root.contains(mark) || (!target.contains(mark) && line.contains(mark))
}
