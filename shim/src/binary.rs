//! A runtime that is a program of its own: `BinaryName` of the options.
//!
//! It is called as containerd's own shim calls it, so runc, crun and what behaves like them work. Its errors are the last
//! line of level `error` in the log that it is told to write.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType, accept, bind, listen, recvmsg, socket_with,
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};
use serde::Deserialize;

use crate::checkpoint::Saving;
use crate::failure::{Code, Failure, Outcome};
use crate::helper::{Done, Report};
use crate::options::Options;
use crate::runtime::{Streams, Whom, copy};

/// How to call it.
#[derive(Debug)]
pub(crate) struct Binary {
    /// The program, by path or by name.
    pub(crate) program: String,
    /// Where it keeps states.
    pub(crate) root: PathBuf,
    /// Where it writes errors.
    pub(crate) log: PathBuf,
    /// Whether systemd makes its cgroups.
    pub(crate) systemd: bool,
}

/// A line of the log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    level: String,
    msg: String,
}

impl Binary {
    #[expect(clippy::disallowed_methods, reason = "a runtime is started here, with the caller's environment")]
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).arg("--log").arg(&self.log).args(["--log-format", "json"]);
        if self.systemd {
            command.arg("--systemd-cgroup");
        }
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        sys::process::close_extra_descriptors(&mut command);
        command
    }

    /// Runs it to its end; the value is what it printed where it failed.
    fn run(&self, command: &mut Command) -> Result<(), String> {
        // It belongs to this helper, and this helper to the shim.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        let text = |error: std::io::Error| format!("{}: {error}", self.program);
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().map_err(text)?;
        if output.status.success() {
            return Ok(());
        }
        let printed = [output.stdout, output.stderr].concat();
        Err(String::from_utf8_lossy(&printed).trim().to_owned())
    }

    fn failure(&self, phase: &str, printed: &str) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines = log.lines().filter_map(|line| serde_json::from_slice::<Line>(line.as_bytes()).ok());
        let last = lines.filter(|line| line.level == "error").map(|line| line.msg).next_back();
        let why = match (last, printed) {
            (Some(why), _) => why,
            (None, "") => "unable to retrieve OCI runtime error".to_owned(),
            (None, printed) => format!("unable to retrieve OCI runtime error: {printed}"),
        };
        Failure::unknown(format!("OCI runtime {phase} failed: {why}"))
    }

    /// `create`
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn create(
        &self,
        id: &str,
        bundle: &Path,
        streams: Streams,
        options: &Options,
    ) -> Outcome<Done> {
        let pid_file = bundle.join("init.pid");
        let mut command = self.command();
        command.arg("create").arg("--bundle").arg(bundle).arg("--pid-file").arg(&pid_file);
        if options.no_pivot_root {
            command.arg("--no-pivot");
        }
        if options.no_new_keyring {
            command.arg("--no-new-keyring");
        }
        let (pid, pidfd, console) = self.make(command, id, "create", &pid_file, streams)?;
        Ok(Self::made(pid, pidfd, console))
    }

    /// `exec`
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn exec(
        &self,
        id: &str,
        exec_id: &str,
        bundle: &Path,
        process: &[u8],
        streams: Streams,
    ) -> Outcome<Done> {
        let (pid_file, file) =
            (bundle.join(format!("{exec_id}.pid")), bundle.join(format!(".{exec_id}.json")));
        std::fs::write(&file, process)
            .map_err(|error| Failure::unknown(format!("{}: {error}", file.display())))?;
        let mut command = self.command();
        command.arg("exec").arg("--process").arg(&file).arg("--detach").arg("--pid-file").arg(&pid_file);
        let made = self.make(command, id, "exec", &pid_file, streams);
        let _ = std::fs::remove_file(&file);
        let (pid, pidfd, console) = made?;
        Ok(Done {
            report: Report { pid, ..Report::default() },
            pidfd: Some(pidfd),
            console,
            ..Done::default()
        })
    }

    fn make(
        &self,
        mut command: Command,
        id: &str,
        phase: &str,
        pid_file: &Path,
        streams: Streams,
    ) -> Outcome<(i32, OwnedFd, Option<OwnedFd>)> {
        let _ = std::fs::remove_file(pid_file);
        let socket = if streams.terminal { Some(ConsoleSocket::new()?) } else { None };
        if let Some(socket) = &socket {
            command.arg("--console-socket").arg(&socket.path);
        }
        let [stdin, stdout, stderr] = streams.descriptors;
        command.arg(id).stdin(stdin).stdout(stdout).stderr(copy(&stderr)?);
        let status =
            command.status().map_err(|error| Failure::unknown(format!("{}: {error}", self.program)))?;
        drop(command);
        if !status.success() {
            return Err(self.failure(phase, ""));
        }
        let console = socket.map(|socket| socket.receive()).transpose()?;
        let unreadable =
            || Failure::unknown(format!("OCI runtime {phase} failed: no pid in {}", pid_file.display()));
        let text = std::fs::read_to_string(pid_file).map_err(|_| unreadable())?;
        let pid = text.trim().parse::<i32>().ok().and_then(Pid::from_raw).ok_or_else(unreadable)?;
        // The process is a child of this helper by now, so its number is its own even where it has ended.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| unreadable())?;
        Ok((pid.as_raw_nonzero().get(), pidfd, console))
    }

    /// `start`
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn start(&self, id: &str) -> Outcome<Done> {
        let mut command = self.command();
        command.arg("start").arg(id);
        self.run(&mut command).map_err(|printed| self.failure("start", &printed))?;
        Ok(Done::default())
    }

    /// `checkpoint`
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn checkpoint(&self, id: &str, saving: &Saving, work: &Path) -> Outcome<()> {
        let mut command = self.command();
        command.arg("checkpoint").arg("--image-path").arg(&saving.images).arg("--work-path").arg(work);
        command.args(saving.flags()).arg(id);
        self.run(&mut command).map_err(|printed| self.failure("checkpoint", &printed))
    }

    /// `restore`
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn restore(
        &self,
        id: &str,
        bundle: &Path,
        images: &Path,
        work: &Path,
        streams: Streams,
    ) -> Outcome<Done> {
        let pid_file = bundle.join("init.pid");
        let mut command = self.command();
        command.args(["restore", "--detach", "--no-subreaper"]).arg("--bundle").arg(bundle);
        command.arg("--image-path").arg(images).arg("--work-path").arg(work).arg("--pid-file").arg(&pid_file);
        let (pid, pidfd, console) = self.make(command, id, "restore", &pid_file, streams)?;
        Ok(Self::made(pid, pidfd, console))
    }

    fn made(pid: i32, pidfd: OwnedFd, console: Option<OwnedFd>) -> Done {
        let cgroup = cgroups::Record::of_process(pid).unwrap_or_default();
        let cgroup = serde_json::to_vec(&cgroup).unwrap_or_default();
        let report = Report { pid, cgroup, ..Report::default() };
        Done { report, pidfd: Some(pidfd), console, ..Done::default() }
    }

    /// `pause` and `resume`
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn simple(&self, verb: &str, id: &str) -> Outcome<()> {
        let mut command = self.command();
        command.arg(verb).arg(id);
        self.run(&mut command).map_err(|printed| self.failure(verb, &printed))
    }

    /// `update`
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn update(&self, id: &str, resources: &[u8]) -> Outcome<()> {
        use std::io::Write;
        let file = rustix::fs::memfd_create("resources", rustix::fs::MemfdFlags::CLOEXEC);
        let mut file: std::fs::File =
            file.map_err(|errno| Failure::unknown(format!("memfd_create: {errno}")))?.into();
        let rewound = file.write_all(resources).and_then(|()| std::io::Seek::rewind(&mut file));
        rewound.map_err(|error| Failure::unknown(format!("write resources: {error}")))?;
        let mut command = self.command();
        command.args(["update", "--resources=-"]).arg(id).stdin(file);
        self.run(&mut command).map_err(|printed| self.failure("update", &printed))
    }

    /// `kill`
    ///
    /// # Errors
    /// NOT_FOUND where it has ended.
    pub(crate) fn kill(&self, id: &str, signal: u32, whom: Whom) -> Outcome<()> {
        let mut command = self.command();
        command.arg("kill");
        if whom == Whom::All {
            command.arg("--all");
        }
        command.arg(id).arg(signal.to_string());
        self.run(&mut command).map_err(|printed| {
            let text = printed.to_lowercase();
            let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
            if any(&["os: process already finished", "container not running", "no such process"]) {
                Failure::not_found("process already finished")
            } else if any(&["does not exist", "no such container"]) {
                Failure::not_found("no such container")
            } else {
                Failure::unknown(format!("unknown error after kill: {printed}"))
            }
        })
    }

    /// `delete`; a container that does not exist is deleted.
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn delete(&self, id: &str) -> Outcome<()> {
        let mut command = self.command();
        command.arg("delete").arg(id);
        self.deleted(&mut command)
    }

    /// `delete --force`
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn delete_forced(&self, id: &str) -> Outcome<()> {
        let mut command = self.command();
        command.args(["delete", "--force"]).arg(id);
        self.deleted(&mut command)
    }

    fn deleted(&self, command: &mut Command) -> Outcome<()> {
        match self.run(command) {
            Err(printed) if printed.contains("does not exist") => Ok(()),
            other => other.map_err(|printed| self.failure("delete", &printed)),
        }
    }

    /// `features`, as it prints them.
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn features(&self) -> Outcome<Vec<u8>> {
        let mut command = self.command();
        let output = command.arg("features").output();
        let output = output.map_err(|error| Failure::unknown(format!("{}: {error}", self.program)))?;
        if output.status.success() { Ok(output.stdout) } else { Err(self.failure("features", "")) }
    }
}

/// The socket on which the runtime hands over the master of a terminal.
#[derive(Debug)]
struct ConsoleSocket {
    directory: PathBuf,
    path: PathBuf,
    socket: OwnedFd,
}

impl ConsoleSocket {
    fn new() -> Outcome<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let failed = |what: &str| Failure::new(Code::Unknown, format!("make a console socket: {what}"));
        // Bundles have paths that are too long for a socket.
        let directory = std::env::temp_dir().join(format!("orlop-pty-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(|error| failed(&format!("{}: {error}", directory.display())))?;
        let path = directory.join("s");
        let make = || {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            bind(&socket, &SocketAddrUnix::new(&path)?)?;
            listen(&socket, 1)?;
            Ok(socket)
        };
        let socket = make().map_err(|errno: rustix::io::Errno| failed(&errno.to_string()))?;
        Ok(Self { directory, path, socket })
    }

    /// The runtime has ended, so what it sent is there.
    fn receive(&self) -> Outcome<OwnedFd> {
        let failed = |what: String| Failure::unknown(format!("receive the console: {what}"));
        rustix::io::ioctl_fionbio(&self.socket, true).map_err(|errno| failed(errno.to_string()))?;
        let connection = accept(&self.socket).map_err(|errno| failed(errno.to_string()))?;
        let mut bytes = [0; 4096];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [std::io::IoSliceMut::new(&mut bytes)];
        recvmsg(&connection, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(|errno| failed(errno.to_string()))?;
        let master = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        master.ok_or_else(|| failed(format!("nothing on descriptor {}", connection.as_raw_fd())))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
