//! An engine with a runtime: which programs it takes, how it is configured, started, asked and ended.
//!
//! What is asked of it is in `cell.rs`. An engine that is a daemon runs in its [`Host`]; one that is only a program
//! has its store there.

use crate::host::Host;
use crate::image;
use integration_tests::process::{self, Ran, Running, wait_until};
use integration_tests::world::{LIMIT, runtime, text_of};
use integration_tests::{World, harness::Skipped, skip};
use serde_json::json;
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An engine, and with `Shim` in its name one that runs containers through orlop's own shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// dockerd with the shim it brings.
    Docker,
    /// dockerd with the shim of orlop.
    DockerShim,
    /// containerd and `ctr` with the shim it brings.
    Containerd,
    /// containerd and `ctr` with the shim of orlop.
    ContainerdShim,
    /// Podman as root.
    Podman,
    /// Podman as an ordinary user.
    PodmanRootless,
    /// Buildah as root.
    Buildah,
}

/// The columns of the table, those of one family beside each other.
pub(crate) const KINDS: [Kind; 7] = [
    Kind::Docker,
    Kind::DockerShim,
    Kind::Containerd,
    Kind::ContainerdShim,
    Kind::Podman,
    Kind::PodmanRootless,
    Kind::Buildah,
];

impl Kind {
    /// The word for it in the name of a test.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Docker => "docker",
            Kind::DockerShim => "docker-shim",
            Kind::Containerd => "containerd",
            Kind::ContainerdShim => "containerd-shim",
            Kind::Podman => "podman",
            Kind::PodmanRootless => "podman-rootless",
            Kind::Buildah => "buildah",
        }
    }

    /// The engine's own name.
    pub(crate) fn title(self) -> &'static str {
        match self.family() {
            Kind::Docker => "Docker",
            Kind::Containerd => "containerd",
            Kind::Buildah => "Buildah",
            _ => "Podman",
        }
    }

    /// What follows name and version in the heading of its column.
    pub(crate) fn variant(self) -> &'static str {
        match self {
            Kind::DockerShim | Kind::ContainerdShim => ", our shim",
            Kind::PodmanRootless => ", rootless",
            _ => "",
        }
    }

    /// The same engine without a shim of ours, which is what runc is asked behind.
    pub(crate) fn family(self) -> Kind {
        match self {
            Kind::DockerShim => Kind::Docker,
            Kind::ContainerdShim => Kind::Containerd,
            other => other,
        }
    }

    fn program(self) -> &'static str {
        match self.family() {
            Kind::Docker => "dockerd",
            Kind::Containerd => "containerd",
            Kind::Buildah => "buildah",
            _ => "podman",
        }
    }
}

/// What runs the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// The runtime under test.
    Orlop,
    /// The reference.
    Runc,
}

/// A running engine.
pub(crate) struct Engine {
    pub(crate) kind: Kind,
    pub(crate) runtime: Runtime,
    /// Its version, as numbers and as text.
    pub(crate) version: (u32, u32),
    pub(crate) release: String,
    /// The directory of everything.
    pub(crate) world: World,
    pub(crate) host: Host,
    daemon: RefCell<Option<Running>>,
    program: PathBuf,
    client: PathBuf,
}

/// The first of the usual places that has a program.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/sbin", "/bin"];
    places.iter().map(|place| Path::new(place).join(name)).find(|path| path.is_file())
}

impl Engine {
    /// Starts an engine and gives it the image.
    pub(crate) fn start(kind: Kind, runtime: Runtime) -> Result<Engine, Skipped> {
        Engine::start_with(kind, runtime, &json!({}))
    }

    /// The same with more keys of dockerd's configuration.
    pub(crate) fn start_with(
        kind: Kind,
        runtime: Runtime,
        more: &serde_json::Value,
    ) -> Result<Engine, Skipped> {
        let Some(program) = installed(kind.program()) else {
            return skip(format!("{} is not installed", kind.program()));
        };
        let client = match kind.family() {
            Kind::Docker => installed("docker"),
            Kind::Containerd => installed("ctr"),
            _ => Some(program.clone()),
        };
        let Some(client) = client else { return skip(format!("{} has no client", kind.program())) };
        if runtime == Runtime::Runc && installed("runc").is_none() {
            return skip("runc is not installed");
        }
        let world = World::new(kind.word());
        let host = Host::new(&world.dir);
        let (version, release) = version_of(&world, &program);
        let daemon = RefCell::default();
        let engine = Engine { kind, runtime, version, release, world, host, daemon, program, client };
        engine.prepare(more);
        engine.start_daemon();
        engine.load(&image::busybox(&engine.world)).ok();
        Ok(engine)
    }

    /// The path of the runtime, as the engine gets it.
    pub(crate) fn runtime_path(&self) -> String {
        match self.runtime {
            Runtime::Orlop => text_of(&self.world.dir.join("bin/orlop")),
            Runtime::Runc => text_of(&installed("runc").expect("runc")),
        }
    }

    /// Puts the programs under test into the first directory of the host's path, and writes configurations.
    fn prepare(&self, more: &serde_json::Value) {
        let bin = self.world.dir.join("bin");
        if self.runtime == Runtime::Orlop {
            copy_program(&runtime(), &bin.join("orlop"));
            // BuildKit in dockerd looks for a program of this name and takes no other.
            symlink("orlop", bin.join("runc")).expect("link");
        }
        let shim = "containerd-shim-orlop-v2";
        if matches!(self.kind, Kind::DockerShim | Kind::ContainerdShim) {
            copy_program(&shim_path(), &bin.join(shim));
        }
        if self.kind == Kind::DockerShim && self.version.0 < 23 {
            symlink(shim, bin.join("containerd-shim-runc-v2")).expect("link");
        }
        fs::create_dir_all(self.world.dir.join("docker-config")).expect("directory");
        let mut docker = self.docker_config();
        for (key, value) in more.as_object().into_iter().flatten() {
            docker[key] = value.clone();
        }
        self.world.file("daemon.json", &docker.to_string());
        self.world.file("containerd.toml", &self.containerd_config());
        self.world.file("containers.conf", &self.containers_config());
        self.world.file("registries.conf", "unqualified-search-registries = []\n[[registry]]\nlocation = \"127.0.0.1:5000\"\ninsecure = true\n");
        self.world.file("policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
        if self.kind.family() == Kind::Containerd {
            let conf = self.world.file("10-it.conflist", CNI);
            self.host.command("cp").args([conf.as_str(), "/etc/cni/net.d/"]).status().expect("cp");
        }
    }

    fn docker_config(&self) -> serde_json::Value {
        let path = |name: &str| self.world.path(name);
        let mut config = json!({
            "hosts": [format!("unix://{}", path("docker.sock"))],
            "data-root": path("docker"), "exec-root": path("x"), "pidfile": path("docker.pid"),
            "exec-opts": ["native.cgroupdriver=cgroupfs"], "group": "root",
            "bip": "172.31.250.1/24", "cgroup-parent": format!("/{}", self.host.parent.name), "live-restore": true, "experimental": true,
        });
        if self.runtime == Runtime::Orlop {
            let by_type = self.kind == Kind::DockerShim && self.version.0 >= 23;
            let entry = match by_type {
                true => json!({"runtimeType": "io.containerd.orlop.v2"}),
                false => json!({"path": self.runtime_path()}),
            };
            config["runtimes"] = json!({"orlop": entry});
            config["default-runtime"] = json!("orlop");
        }
        config
    }

    fn containerd_config(&self) -> String {
        format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n",
            self.world.path("containerd-root"),
            self.world.path("containerd-state"),
            self.world.path("containerd.sock"),
        )
    }

    /// Limits that no caller is below, because raising one takes a capability that a virtual machine's root may lack.
    fn containers_config(&self) -> String {
        format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             runtime_supports_nocgroup = [\"orlop\", \"runc\", {0:?}]\nruntime_supports_json = [\"orlop\", \"runc\", {0:?}]\n",
            self.runtime_path()
        )
    }

    /// Starts the daemon, where the engine has one, and waits for its answer.
    pub(crate) fn start_daemon(&self) {
        let mut command = match self.kind.family() {
            Kind::Docker => {
                let mut command = self.host.command(&text_of(&self.program));
                command.args(["--config-file", &self.world.path("daemon.json")]);
                command
            }
            Kind::Containerd => {
                let mut command = self.host.command(&text_of(&self.program));
                command.args(["--config", &self.world.path("containerd.toml")]);
                command
            }
            _ => return,
        };
        // A daemon that was killed left it, and its number may be somebody else's by now.
        let _ = fs::remove_file(self.world.dir.join("docker.pid"));
        *self.daemon.borrow_mut() = Some(process::start(&mut command, &self.world.dir));
        wait_until("the daemon answers", LIMIT, || {
            self.world.finish(self.command().arg("version")).code == Some(0)
        });
    }

    /// Ends the daemon by a signal and waits for its end.
    pub(crate) fn stop_daemon(&self, signal: &str) {
        let Some(running) = self.daemon.borrow_mut().take() else { return };
        // The client of the namespaces stands before it, so the daemon is asked by its name within its own host.
        let program = text_of(&self.program);
        for line in self.host.processes() {
            let mut words = line.split_whitespace();
            if let (Some(pid), Some(name)) = (words.next(), words.next())
                && name == program
            {
                let _ = self.host.command("/bin/kill").args([signal, pid]).status();
            }
        }
        running.end(LIMIT);
    }

    /// The engine's client with its global options.
    pub(crate) fn command(&self) -> Command {
        let client = text_of(&self.client);
        let path = |name: &str| self.world.path(name);
        let mut command = match self.kind {
            Kind::PodmanRootless => self.host.command_as_user("/usr/bin/env"),
            _ => self.host.command("/usr/bin/env"),
        };
        match self.kind.family() {
            Kind::Docker => {
                command.arg(format!("DOCKER_CONFIG={}", path("docker-config"))).arg("DOCKER_BUILDKIT=0")
            }
            _ => command
                .arg("PODMAN_IGNORE_CGROUPSV1_WARNING=1")
                .arg(format!("CONTAINERS_CONF={}", path("containers.conf")))
                .arg(format!("CONTAINERS_REGISTRIES_CONF={}", path("registries.conf")))
                .arg(format!(
                    "BUILDAH_ISOLATION={}",
                    if self.kind == Kind::PodmanRootless { "rootless" } else { "oci" }
                )),
        };
        command.arg(&client);
        match self.kind.family() {
            Kind::Docker => command.args(["--host", &format!("unix://{}", path("docker.sock"))]),
            Kind::Containerd => command.args(["--address", &path("containerd.sock"), "-n", "it"]),
            Kind::Buildah => command.args(["--root", &path("store"), "--runroot", &path("store-run")]),
            Kind::Podman => command.args(["--root", &path("store"), "--runroot", &path("store-run")]).args([
                "--tmpdir",
                &path("store-tmp"),
                "--runtime",
                &self.runtime_path(),
            ]),
            _ => command.args(["--runtime", &self.runtime_path()]),
        };
        if self.kind.program() == "podman" || self.kind == Kind::Buildah {
            command.args(["--storage-driver", "overlay"]);
        }
        command
    }

    /// Makes the engine know the image of an archive.
    pub(crate) fn load(&self, archive: &str) -> Ran {
        let mut command = self.command();
        match self.kind.family() {
            Kind::Containerd => command.args(["image", "import", archive]),
            Kind::Buildah => command.args(["pull", "--quiet", &format!("docker-archive:{archive}")]),
            _ => command.args(["load", "--input", archive]),
        };
        self.world.finish(&mut command)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Whatever is in the engine's host ends with it; the store is only a directory then.
        drop(self.daemon.borrow_mut().take());
    }
}

const CNI: &str = r#"{"cniVersion": "0.4.0", "name": "it", "plugins": [
  {"type": "bridge", "bridge": "it0", "isGateway": true, "ipMasq": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.250.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}"#;

/// The shim under test: `ORLOP_SHIM`, or beside the runtime.
fn shim_path() -> PathBuf {
    let beside = runtime().with_file_name("containerd-shim-orlop-v2");
    std::env::var_os("ORLOP_SHIM").map_or(beside, PathBuf::from)
}

fn copy_program(source: &Path, target: &Path) {
    fs::copy(source, target).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    fs::set_permissions(target, fs::Permissions::from_mode(0o755)).expect("mode");
}

/// The first number with a dot in what `--version` says: `Docker version 20.10.24+dfsg1, build ...`.
fn version_of(world: &World, program: &Path) -> ((u32, u32), String) {
    let out = world.finish(Command::new(program).arg("--version")).ok().out;
    let is_version =
        |word: &&str| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit());
    let word = out.split([' ', ',']).find(is_version).unwrap_or("0.0").to_owned();
    let release: String =
        word.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    ((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)), release)
}
