//! Bundles: the default configuration of the tests and a root filesystem of busybox and the probe.
//!
//! The root filesystem is made once per run and hard-linked into each bundle, so a test may delete or replace
//! names in its own but never writes into a file of it. Start at [`Bundle::edit`].

use crate::world::{program, run_dir, text_of};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A bundle in a directory of its own.
pub struct Bundle {
    dir: PathBuf,
    path: String,
}

const APPLETS: [&str; 34] = [
    "cat", "chmod", "chown", "cp", "cut", "dd", "df", "echo", "env", "false", "grep", "head", "hostname",
    "httpd", "id", "kill", "ln", "ls", "mkdir", "mount", "ps", "pwd", "readlink", "rm", "sed", "sh", "sleep",
    "stat", "stty", "test", "touch", "true", "tty", "umount",
];

impl Bundle {
    /// Makes `dir` with a root filesystem and the default configuration.
    pub fn new(dir: &Path) -> Bundle {
        make_rootfs(&dir.join("rootfs"));
        let bundle = Bundle { dir: dir.to_owned(), path: text_of(dir) };
        bundle.write(&default_config());
        bundle
    }

    /// The bundle's directory as text.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A path in the root filesystem, seen from the host: `rootfs("etc/passwd")`.
    pub fn rootfs(&self, inside: &str) -> PathBuf {
        self.dir.join("rootfs").join(inside)
    }

    /// Changes the configuration.
    pub fn edit(self, change: impl FnOnce(&mut Value)) -> Bundle {
        let mut config = self.config();
        change(&mut config);
        self.write(&config);
        self
    }

    /// Changes the configuration's text, for input that is no JSON.
    pub fn edit_text(self, change: impl FnOnce(String) -> Vec<u8>) -> Bundle {
        let text = fs::read_to_string(self.dir.join("config.json")).expect("config.json");
        fs::write(self.dir.join("config.json"), change(text)).expect("config.json");
        self
    }

    /// Sets `process.args`.
    pub fn args(self, args: &[&str]) -> Bundle {
        self.edit(|config| config["process"]["args"] = json!(args))
    }

    /// Lets the probe answer questions: `asking(&["stat:/dev/null"])`.
    pub fn asking(self, questions: &[&str]) -> Bundle {
        let mut args = vec!["/bin/probe"];
        args.extend(questions);
        self.args(&args)
    }

    /// Adds an entry to `mounts`.
    pub fn mount(self, entry: Value) -> Bundle {
        self.edit(|config| config["mounts"].as_array_mut().expect("mounts").push(entry))
    }

    /// Adds a bind mount of `source`.
    pub fn bind(self, source: &str, destination: &str, options: &[&str]) -> Bundle {
        self.mount(json!({"destination": destination, "type": "bind", "source": source, "options": options}))
    }

    /// Takes a namespace out of `linux.namespaces`.
    pub fn without_namespace(self, kind: &str) -> Bundle {
        self.edit(|config| namespaces(config).retain(|entry| entry["type"] != kind))
    }

    /// Adds a namespace, or replaces the entry of its type; `path` is absent for a new one.
    pub fn with_namespace(self, kind: &str, path: Option<&str>) -> Bundle {
        self.edit(|config| {
            namespaces(config).retain(|entry| entry["type"] != kind);
            namespaces(config)
                .push(path.map_or(json!({"type": kind}), |path| json!({"type": kind, "path": path})));
        })
    }

    /// Takes every mount at `destination` out of the configuration.
    pub fn without_mount(self, destination: &str) -> Bundle {
        self.edit(|config| {
            config["mounts"]
                .as_array_mut()
                .expect("mounts")
                .retain(|mount| mount["destination"] != destination);
        })
    }

    /// A new user namespace in which root is `first` on the host and `count` ids follow.
    pub fn with_user_namespace(self, first: u32, count: u32) -> Bundle {
        let bundle = self.with_namespace("user", None).edit(|config| {
            let map = json!([{"containerID": 0, "hostID": first, "size": count}]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
        });
        give_directory(&bundle.dir.join("rootfs"), first);
        bundle
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Value {
        let text = fs::read(self.dir.join("config.json")).expect("config.json");
        serde_json::from_slice(&text).expect("config.json")
    }

    fn write(&self, config: &Value) {
        fs::write(self.dir.join("config.json"), config.to_string()).expect("config.json");
    }
}

fn namespaces(config: &mut Value) -> &mut Vec<Value> {
    config["linux"]["namespaces"].as_array_mut().expect("namespaces")
}

/// Gives the directories of a root filesystem to `owner`; files stay root's, because they are shared by hard links.
fn give_directory(dir: &Path, owner: u32) {
    std::os::unix::fs::chown(dir, Some(owner), Some(owner)).expect("chown");
    let entries = fs::read_dir(dir).expect("rootfs").flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).for_each(|entry| {
        give_directory(&entry.path(), owner);
    });
}

/// Copies busybox and the probe once, so that bundles can link to them.
pub fn prepare_template(dir: &Path) {
    fs::create_dir_all(dir).expect("template");
    for (source, name) in [(PathBuf::from("/bin/busybox"), "busybox"), (program("probe"), "probe")] {
        let target = dir.join(name);
        fs::copy(&source, &target).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).expect("mode");
        assert!(
            is_static(&target),
            "{} is linked dynamically: build the tests for a musl target",
            source.display()
        );
    }
}

/// Whether an ELF file names no interpreter.
fn is_static(path: &Path) -> bool {
    let bytes = fs::read(path).expect("program");
    !bytes.windows(8).take(8192).any(|window| window == b"/lib64/l" || window == b"/lib/ld-")
}

/// Makes a root filesystem at `dir`: busybox, the probe, and the directories that mounts go to.
pub fn make_rootfs(dir: &Path) {
    for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"] {
        fs::create_dir_all(dir.join(name)).expect("rootfs");
    }
    for name in ["busybox", "probe"] {
        fs::hard_link(run_dir().join("template").join(name), dir.join("bin").join(name)).expect("hard link");
    }
    for applet in APPLETS {
        symlink("busybox", dir.join("bin").join(applet)).expect("applet");
    }
    fs::write(
        dir.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nwalter:x:1000:1000::/home/walter:/bin/sh\n",
    )
    .expect("passwd");
    fs::write(dir.join("etc/group"), "root:x:0:\nwalter:x:1000:\n").expect("group");
    fs::set_permissions(dir.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("mode");
}

/// The configuration that every test starts from: what `spec` writes, without a terminal and with a writable root.
pub fn default_config() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/probe"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "it",
        "mounts": default_mounts(),
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

fn default_mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
    ])
}
