//! A host for one engine: namespaces for its network, mounts and processes, with tables of users of their own.
//!
//! Whatever an engine leaves behind (bridges, packet filter rules, mounts, monitors) ends with the first process of
//! that host. Its cgroups are those of this machine, so all of an engine's go below one [`Parent`].

use integration_tests::parent::Parent;
use integration_tests::process::{self, Running, wait_until};
use integration_tests::world::LIMIT;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The ordinary user of the host, its id and the first of its subordinate ids.
pub(crate) const USER: &str = "it-user";
pub(crate) const USER_ID: u32 = 7000;
const SUBORDINATE: u32 = 700_000;

/// A host with a directory that the engine keeps everything in.
pub(crate) struct Host {
    /// The directory.
    pub(crate) dir: PathBuf,
    holder: Option<Running>,
    /// The first process, by the number that this machine knows it by.
    pid: i32,
    /// The cgroup of everything that runs here.
    pub(crate) parent: Parent,
}

impl Host {
    /// Makes the namespaces and what an engine expects in them.
    pub(crate) fn new(dir: &Path) -> Host {
        fs::create_dir_all(dir.join("bin")).expect("directory");
        let script = dir.join("host.sh");
        fs::write(&script, script_of(dir)).expect("script");
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
        command.args(["--propagation", "private", "/bin/sh"]).arg(&script);
        let holder = process::start(&mut command, dir);
        wait_until("the host is made", LIMIT, || dir.join("ready").exists());
        let pid = only_child(holder.pid());
        let serial = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parent = Parent::new(&serial);
        Host { dir: dir.to_owned(), holder: Some(holder), pid, parent }
    }

    /// A command of this host, as root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command.args(["--target", &self.pid.to_string(), "--net", "--mount", "--pid", "--", "/usr/bin/env"]);
        command.arg(format!(
            "PATH={}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.dir.join("bin").display()
        ));
        command.arg(program);
        command
    }

    /// A command of this host, as its ordinary user with nothing of root's.
    pub(crate) fn command_as_user(&self, program: &str) -> Command {
        let mut command = self.command("/usr/bin/setpriv");
        let id = USER_ID;
        command.args([format!("--reuid={id}"), format!("--regid={id}")]);
        command.args(["--clear-groups", "--inh-caps=-all", "/usr/bin/env", "--chdir"]).arg(self.home());
        command.arg(format!("HOME={}", self.home().display()));
        command.arg(format!("XDG_RUNTIME_DIR={}", self.home().join("run").display()));
        command.arg(program);
        command
    }

    /// The ordinary user's directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// Whether only the first process is left, and whatever asks for it.
    pub(crate) fn processes(&self) -> Vec<String> {
        let output = self.command("/bin/ps").args(["-eo", "pid,args", "--no-headers"]).output().expect("ps");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("1 "));
        lines.filter(|line| !line.contains("ps -eo")).map(str::to_owned).collect()
    }

    /// The mounts that this host has.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let text = fs::read_to_string(format!("/proc/{}/mountinfo", self.pid)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.pid.to_string()]).status();
        if let Some(mut holder) = self.holder.take() {
            let _ = process::wait(&mut holder.child, LIMIT);
        }
    }
}

/// What the first process does; it stays a shell, because that reaps what engines leave to it. The directories that
/// engines use without being asked are covered, and the devices that an ordinary user's engine opens are everybody's, as udev makes them.
fn script_of(dir: &Path) -> String {
    let (dir, home) = (dir.display(), dir.join("home"));
    let home = home.display();
    format!(
        "set -e\n\
         mount -t tmpfs tmpfs /run; mkdir -p /run/lock\n\
         for covered in /var/lib/cni /var/lib/containers; do\n\
           mkdir -p $covered; mount -t tmpfs tmpfs $covered\n\
         done\n\
         mkdir {dir}/etc {dir}/etc-work\n\
         mount -t overlay -o lowerdir=/etc,upperdir={dir}/etc,workdir={dir}/etc-work overlay /etc\n\
         mkdir -p /etc/cni/net.d; rm -f /etc/cni/net.d/*\n\
         echo '{USER}:x:{USER_ID}:{USER_ID}::{home}:/bin/sh' >> /etc/passwd\n\
         echo '{USER}:x:{USER_ID}:' >> /etc/group\n\
         for file in /etc/subuid /etc/subgid; do\n\
           printf '{USER}:{SUBORDINATE}:65536\\ncontainers:1000000:1048576\\n' > $file\n\
         done\n\
         mkdir -p {home}/run; chown -R {USER_ID}:{USER_ID} {home}; chmod 700 {home} {home}/run\n\
         for device in net/tun:10:200 fuse:10:229; do\n\
           name=${{device%%:*}} number=${{device#*:}}\n\
           test -e /dev/$name || continue\n\
           mknod -m 666 {dir}/${{name##*/}} c ${{number%:*}} ${{number#*:}}; mount --bind {dir}/${{name##*/}} /dev/$name\n\
         done\n\
         ip link set lo up\n\
         touch {dir}/ready\n\
         sleep 100000 & wait\n"
    )
}

fn only_child(pid: i32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("children");
    text.trim().parse().expect("one child")
}
