//! The table of features.
//!
//! A row is read from left to right: its name, then what is done under Docker and Podman, under `ctr`, under Buildah.
//! What takes more than one container is a function of one of the files beside this one.

use crate::row::{Check, Pace, Row};
use crate::{building, lifecycle, network, process, resources, security, storage};
use Check::{Absent, Prints, Test};
use Pace::{Always, Full};

const NO_CTR: Check = Absent("`ctr` has no option for it");
const NO_BUILDAH: Check = Absent("`buildah` has no option for it");
const NO_DAEMON: Check = Absent("`buildah` runs nothing in the background");
const NO_CTR_COMMAND: Check = Absent("`ctr` has no command for it");

fn row(theme: &'static str, feature: &'static str, pace: Pace, checks: [Check; 3]) -> Row {
    let [docker, ctr, buildah] = checks;
    Row { theme, feature, pace, docker, ctr, buildah }
}

/// The same script and the same text everywhere; the options of each language, before them.
macro_rules! prints {
    ($script:expr, $text:expr; $($options:expr),+) => { [$(Prints($options, $script, $text)),+] };
}

/// All rows, theme by theme.
pub(crate) fn rows() -> Vec<Row> {
    [processes(), users(), names(), mounts(), networks(), limits(), security(), lives(), images(), inside()]
        .into_iter()
        .flatten()
        .collect()
}

fn processes() -> Vec<Row> {
    let t = "Processes";
    vec![
        row(t, "run", Always, [Test(process::run), Test(process::run), Test(process::run)]),
        row(
            t,
            "exit code of the program",
            Always,
            [Test(process::exit_code), Test(process::exit_code), Test(process::exit_code)],
        ),
        row(
            t,
            "127 and 126: no such program, no program",
            Always,
            [Test(process::not_found), Test(process::ctr_not_found), Test(process::buildah_not_found)],
        ),
        row(
            t,
            "125: the engine's or runtime's own failure",
            Full,
            [Test(process::own_failure), NO_CTR, NO_BUILDAH],
        ),
        row(
            t,
            "137 and 143: ended by a signal",
            Full,
            [Test(process::ended_by_signal), Test(process::ctr_ended_by_signal), NO_DAEMON],
        ),
        row(
            t,
            "standard input",
            Full,
            [Test(process::input), Test(process::ctr_input), Test(process::buildah_input)],
        ),
        row(
            t,
            "terminal (`-t`)",
            Always,
            [Test(process::terminal), Test(process::ctr_terminal), Test(process::buildah_terminal)],
        ),
        row(
            t,
            "environment",
            Full,
            prints!("echo $A$B", "12"; &["--env", "A=1", "-e", "B=2"], &["--env", "A=1", "--env", "B=2"], &["--", "-e", "A=1", "-e", "B=2"]),
        ),
        row(
            t,
            "working directory",
            Full,
            prints!("pwd", "/tmp"; &["--workdir", "/tmp"], &["--cwd", "/tmp"], &["--", "--workingdir", "/tmp"]),
        ),
        row(
            t,
            "working directory that is missing",
            Full,
            [
                Test(process::missing_directory),
                Prints(&["--cwd", "/a/b"], "pwd", "/a/b"),
                Prints(&["--", "--workingdir", "/a/b"], "pwd", "/a/b"),
            ],
        ),
        row(t, "entry point", Full, [Test(process::entry_point), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "exec, its exit code and errors",
            Always,
            [Test(process::exec), Test(process::ctr_exec), NO_DAEMON],
        ),
        row(
            t,
            "exec with user, environment, directory",
            Full,
            [Test(process::exec_options), Test(process::ctr_exec_options), NO_DAEMON],
        ),
        row(
            t,
            "exec with a terminal, in the background",
            Always,
            [Test(process::exec_terminal), Test(process::ctr_exec_terminal), NO_DAEMON],
        ),
        row(t, "exec privileged", Full, [Test(process::exec_privileged), NO_CTR, NO_DAEMON]),
        row(t, "`--init`", Always, [Test(process::init), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "limits of processes (`--ulimit`)",
            Always,
            [
                Prints(
                    &["--ulimit", "nofile=512:1024", "--ulimit", "core=0", "--ulimit", "nproc=1024:1024"],
                    "ulimit -n; ulimit -Hn; ulimit -c",
                    "512\n1024\n0",
                ),
                NO_CTR,
                Prints(
                    &["--ulimit", "nofile=512:1024", "--ulimit", "core=0", "--ulimit", "nproc=1024:1024"],
                    "ulimit -n; ulimit -Hn; ulimit -c",
                    "512\n1024\n0",
                ),
            ],
        ),
        row(
            t,
            "OOM score",
            Full,
            [Prints(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj", "500"), NO_CTR, NO_BUILDAH],
        ),
        row(
            t,
            "open descriptors handed on",
            Full,
            [Test(process::preserved_descriptors), NO_CTR, NO_BUILDAH],
        ),
        row(t, "readiness by sd_notify", Full, [Test(process::sd_notify), NO_CTR, NO_BUILDAH]),
    ]
}

fn users() -> Vec<Row> {
    let t = "Users";
    vec![
        row(
            t,
            "user by number",
            Always,
            [
                Prints(&["--user", "1000:1000"], "id -u; id -g", "1000\n1000"),
                Test(security::ctr_user),
                Prints(&["--", "--user", "1000:1000"], "id -u; id -g", "1000\n1000"),
            ],
        ),
        row(
            t,
            "user by name, group by name",
            Full,
            [
                Prints(&["--user", "walter:audio"], "id -u; id -g", "1000\n29"),
                Test(security::ctr_user_by_name),
                Prints(&["--", "--user", "walter:audio"], "id -u; id -g", "1000\n29"),
            ],
        ),
        row(t, "further groups (`--group-add`)", Full, [Test(security::further_groups), NO_CTR, NO_BUILDAH]),
        row(t, "the caller's groups kept", Full, [Test(security::kept_groups), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "user namespace with a map",
            Full,
            [Test(security::mapped), Test(security::ctr_mapped), Test(security::buildah_mapped)],
        ),
        row(t, "`--userns=auto`", Full, [Test(security::userns_auto), NO_CTR, NO_BUILDAH]),
        row(t, "`--userns=keep-id`", Full, [Test(security::userns_keep_id), NO_CTR, NO_BUILDAH]),
        row(t, "`--userns=nomap`", Full, [Test(security::userns_nomap), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "`--userns=host`",
            Full,
            [
                Test(security::userns_host),
                NO_CTR,
                Prints(&["--userns", "host"], "cat /proc/self/uid_map | tr -s ' '", "0 0 4294967295"),
            ],
        ),
        row(
            t,
            "user namespace of another container",
            Full,
            [Test(security::userns_of_another), NO_CTR, NO_BUILDAH],
        ),
        row(t, "daemon with userns-remap", Full, [Test(security::remapped_daemon), NO_CTR, NO_BUILDAH]),
    ]
}

fn names() -> Vec<Row> {
    let t = "Names and namespaces";
    vec![
        row(
            t,
            "host name",
            Always,
            [
                Prints(&["--hostname", "it-name"], "hostname; grep -c it-name /etc/hosts", "it-name\n1"),
                NO_CTR,
                Prints(&["--", "--hostname", "it-name"], "hostname", "it-name"),
            ],
        ),
        row(t, "domain name", Full, [Test(process::domain_name), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "hosts and resolv.conf",
            Full,
            [
                Prints(
                    &["--add-host", "it-friend:10.1.2.3", "--dns", "10.9.8.7", "--dns-search", "it.test"],
                    "grep it-friend /etc/hosts | tr -s ' \\t' ' '; grep -v '^#' /etc/resolv.conf | grep . | sort",
                    "10.1.2.3 it-friend\nnameserver 10.9.8.7\nsearch it.test",
                ),
                NO_CTR,
                Prints(
                    &["--add-host", "it-friend:10.1.2.3", "--dns", "10.9.8.7", "--dns-search", "it.test"],
                    "grep it-friend /etc/hosts | tr -s ' \\t' ' '; grep -v '^#' /etc/resolv.conf | grep . | sort",
                    "10.1.2.3 it-friend\nnameserver 10.9.8.7\nsearch it.test",
                ),
            ],
        ),
        row(
            t,
            "pid namespace of the host",
            Full,
            [Test(process::pid_of_host), Test(process::ctr_pid_of_host), Test(process::buildah_pid_of_host)],
        ),
        row(
            t,
            "pid namespace of another container",
            Full,
            [Test(process::pid_of_another), NO_CTR, NO_BUILDAH],
        ),
        row(
            t,
            "ipc namespace: host, private, another's",
            Full,
            [Test(process::ipc), Test(process::ctr_ipc), Test(process::buildah_ipc)],
        ),
        row(
            t,
            "uts namespace of the host",
            Full,
            [Test(process::uts_of_host), Test(process::ctr_uts_of_host), Test(process::buildah_uts_of_host)],
        ),
        row(
            t,
            "cgroup namespace: private, host",
            Full,
            [Test(process::cgroup_namespace), NO_CTR, Test(process::buildah_cgroup_namespace)],
        ),
        row(
            t,
            "kernel parameters (`--sysctl`)",
            Always,
            [
                Prints(
                    &["--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=9000"],
                    "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
                    "1\n9000",
                ),
                NO_CTR,
                NO_BUILDAH,
            ],
        ),
        row(
            t,
            "size of /dev/shm",
            Full,
            [
                Prints(
                    &["--shm-size", "16m"],
                    "grep ' /dev/shm ' /proc/mounts | grep -o size=.....",
                    "size=16384",
                ),
                NO_CTR,
                Prints(
                    &["--shm-size", "16m"],
                    "grep ' /dev/shm ' /proc/mounts | grep -o size=.....",
                    "size=16384",
                ),
            ],
        ),
    ]
}

fn mounts() -> Vec<Row> {
    let t = "Mounts";
    vec![
        row(
            t,
            "read-only root",
            Always,
            [Test(storage::read_only_root), Test(storage::read_only_root), NO_BUILDAH],
        ),
        row(
            t,
            "tmpfs with size and mode",
            Always,
            [Test(storage::tmpfs), Test(storage::ctr_tmpfs), Test(storage::buildah_tmpfs)],
        ),
        row(
            t,
            "bind mount, read-write",
            Always,
            prints!("echo new > /mnt/new; cat /mnt/file", "of the host"; &["--volume", "{dir}:/mnt"], &["--mount", "type=bind,src={dir},dst=/mnt,options=rbind:rw"], &["--", "--volume", "{dir}:/mnt"]),
        ),
        row(
            t,
            "bind mount, read-only",
            Always,
            prints!("cat /mnt/file; echo x 2>/dev/null > /mnt/new || echo refused", "of the host\nrefused"; &["--volume", "{dir}:/mnt:ro"], &["--mount", "type=bind,src={dir},dst=/mnt,options=rbind:ro"], &["--", "--volume", "{dir}:/mnt:ro"]),
        ),
        row(
            t,
            "bind mount of a file",
            Full,
            prints!("cat /etc/it-file", "of the host"; &["--volume", "{dir}/file:/etc/it-file"], &["--mount", "type=bind,src={dir}/file,dst=/etc/it-file,options=bind:ro"], &["--", "--volume", "{dir}/file:/etc/it-file:ro"]),
        ),
        row(
            t,
            "bind mount, recursively read-only",
            Full,
            [Test(storage::recursively_read_only), Test(storage::ctr_recursively_read_only), NO_BUILDAH],
        ),
        row(
            t,
            "propagation: rslave, rshared, rprivate",
            Full,
            [Test(storage::propagation), Test(storage::ctr_propagation), NO_DAEMON],
        ),
        row(
            t,
            "`--mount type=bind` with options",
            Full,
            [
                Prints(
                    &["--mount", "type=bind,source={dir},target=/mnt,readonly,bind-propagation=rprivate"],
                    "cat /mnt/sub/file; echo x 2>/dev/null > /mnt/x || echo refused",
                    "below\nrefused",
                ),
                Prints(
                    &["--mount", "type=bind,src={dir},dst=/mnt,options=rbind:ro:nosuid:nodev:noexec"],
                    "grep ' /mnt ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1-4",
                    "ro,nosuid,nodev,noexec",
                ),
                Prints(
                    &["--", "--mount", "type=bind,source={dir},target=/mnt,readonly"],
                    "cat /mnt/sub/file; echo x 2>/dev/null > /mnt/x || echo refused",
                    "below\nrefused",
                ),
            ],
        ),
        row(
            t,
            "volume: made, filled from the image, kept",
            Always,
            [Test(storage::volume), NO_CTR, NO_BUILDAH],
        ),
        row(t, "volumes of another container", Full, [Test(storage::volumes_from), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "volume with an overlay, given to the user",
            Full,
            [Test(storage::volume_flags), NO_CTR, NO_BUILDAH],
        ),
        row(t, "id-mapped volume", Full, [Test(storage::idmapped_volume), NO_CTR, NO_BUILDAH]),
        row(t, "mount of an image", Full, [Test(storage::image_mount), NO_CTR, NO_BUILDAH]),
        row(t, "secret", Full, [Test(storage::secret), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "root directory without an image",
            Full,
            [Test(storage::rootfs), Test(storage::ctr_rootfs), NO_BUILDAH],
        ),
        row(
            t,
            "device (`--device`)",
            Always,
            [Test(storage::device), Test(storage::ctr_device), Test(storage::buildah_device)],
        ),
        row(
            t,
            "device rule, and a device that no rule allows",
            Full,
            [Test(storage::device_rule), Test(storage::ctr_device_denied), NO_BUILDAH],
        ),
    ]
}

fn networks() -> Vec<Row> {
    let t = "Network";
    vec![
        row(
            t,
            "none",
            Always,
            [
                Prints(
                    &["--network", "none"],
                    "ls /sys/class/net; ip -4 -o addr | grep -c 127.0.0.1",
                    "lo\n1",
                ),
                Prints(&[], "ls /sys/class/net", "lo"),
                Prints(&["--network", "none"], "ls /sys/class/net", "lo"),
            ],
        ),
        row(t, "host", Always, [Test(network::host), Test(network::ctr_host), Test(network::buildah_host)]),
        row(
            t,
            "bridge with a published port",
            Always,
            [Test(network::published), Test(network::ctr_bridge), NO_DAEMON],
        ),
        row(
            t,
            "network of another container",
            Full,
            [Test(network::of_another), Test(network::ctr_of_another), NO_DAEMON],
        ),
        row(t, "network of one's own, names in it", Full, [Test(network::named), NO_CTR, NO_DAEMON]),
        row(t, "connect and disconnect while it runs", Full, [Test(network::connect), NO_CTR, NO_DAEMON]),
        row(t, "fixed address and MAC", Full, [Test(network::fixed_address), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "namespace by path",
            Full,
            [Test(network::by_path), Test(network::ctr_by_path), Test(network::buildah_by_path)],
        ),
        row(t, "pod", Full, [Test(network::pod), NO_CTR, NO_DAEMON]),
    ]
}

fn limits() -> Vec<Row> {
    let t = "Limits";
    vec![
        row(
            t,
            "memory",
            Always,
            [Test(resources::memory), Test(resources::ctr_memory), Test(resources::buildah_memory)],
        ),
        row(t, "swap, reservation", Full, [Test(resources::swap), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "CPU quota",
            Always,
            [Test(resources::cpus), Test(resources::ctr_cpus), Test(resources::buildah_cpus)],
        ),
        row(
            t,
            "CPU shares",
            Full,
            [Test(resources::shares), Test(resources::ctr_shares), Test(resources::buildah_shares)],
        ),
        row(t, "CPU set", Full, [Test(resources::cpuset), NO_CTR, Test(resources::buildah_cpuset)]),
        row(t, "number of processes", Always, [Test(resources::pids), NO_CTR, NO_BUILDAH]),
        row(t, "block device throttle", Always, [Test(resources::throttle), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "killed for lack of memory, and said",
            Always,
            [Test(resources::out_of_memory), Test(resources::ctr_out_of_memory), NO_DAEMON],
        ),
        row(t, "update while it runs", Always, [Test(resources::update), NO_CTR_COMMAND, NO_DAEMON]),
        row(
            t,
            "without cgroups",
            Full,
            [Test(resources::no_cgroups), Test(resources::ctr_no_cgroups), NO_BUILDAH],
        ),
    ]
}

fn security() -> Vec<Row> {
    let t = "Security";
    vec![
        row(
            t,
            "capabilities: default",
            Full,
            [
                Test(security::default_capabilities),
                Test(security::default_capabilities),
                Test(security::default_capabilities),
            ],
        ),
        row(
            t,
            "capabilities: add, drop",
            Always,
            [
                Test(security::capabilities),
                Test(security::ctr_capabilities),
                Test(security::buildah_capabilities),
            ],
        ),
        row(
            t,
            "capabilities: drop all, add all",
            Full,
            [Test(security::all_capabilities), NO_CTR, NO_BUILDAH],
        ),
        row(
            t,
            "capabilities of an ordinary user",
            Full,
            [
                Prints(
                    &["--user", "1000"],
                    "grep -E 'CapEff|CapPrm' /proc/self/status | tr -s '\\t' ' '",
                    "CapPrm: 0000000000000000\nCapEff: 0000000000000000",
                ),
                NO_CTR,
                Prints(
                    &["--", "--user", "1000"],
                    "grep CapEff /proc/self/status | tr -s '\\t' ' '",
                    "CapEff: 0000000000000000",
                ),
            ],
        ),
        row(
            t,
            "no new privileges",
            Full,
            [
                Prints(
                    &["--security-opt", "no-new-privileges"],
                    "grep NoNewPrivs /proc/self/status | tr '\\t' ' '",
                    "NoNewPrivs: 1",
                ),
                Prints(&[], "grep NoNewPrivs /proc/self/status | tr '\\t' ' '", "NoNewPrivs: 1"),
                NO_BUILDAH,
            ],
        ),
        row(
            t,
            "seccomp: default",
            Always,
            [
                Prints(&[], "grep Seccomp: /proc/self/status | tr '\\t' ' '", "Seccomp: 2"),
                Prints(&["--seccomp"], "grep Seccomp: /proc/self/status | tr '\\t' ' '", "Seccomp: 2"),
                Prints(&[], "grep Seccomp: /proc/self/status | tr '\\t' ' '", "Seccomp: 2"),
            ],
        ),
        row(
            t,
            "seccomp: a file",
            Always,
            [
                Test(security::seccomp_file),
                Test(security::ctr_seccomp_file),
                Test(security::buildah_seccomp_file),
            ],
        ),
        row(
            t,
            "seccomp: unconfined",
            Full,
            prints!("grep Seccomp: /proc/self/status | tr '\\t' ' '", "Seccomp: 0"; &["--security-opt", "seccomp=unconfined"], &[], &["--security-opt", "seccomp=unconfined"]),
        ),
        row(
            t,
            "AppArmor: default profile, unconfined",
            Full,
            [Test(security::apparmor), Test(security::ctr_apparmor), NO_BUILDAH],
        ),
        row(
            t,
            "masked and read-only paths",
            Full,
            [Test(security::masked_paths), Test(security::masked_paths), Test(security::masked_paths)],
        ),
        row(t, "masked paths unmasked", Full, [Test(security::unmasked_paths), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "`--privileged`",
            Always,
            [Test(security::privileged), Test(security::ctr_privileged), NO_BUILDAH],
        ),
    ]
}

fn lives() -> Vec<Row> {
    let t = "Life";
    vec![
        row(
            t,
            "start, stop, start again, remove",
            Always,
            [Test(lifecycle::start_stop), Test(lifecycle::ctr_start_kill), NO_DAEMON],
        ),
        row(
            t,
            "stop: the signal first, the kill after the time",
            Full,
            [Test(lifecycle::stop_timeout), NO_CTR_COMMAND, NO_DAEMON],
        ),
        row(t, "create, then start", Full, [Test(lifecycle::create), Absent("`ctr run` is both"), NO_DAEMON]),
        row(t, "kill with a signal", Full, [Test(lifecycle::kill), Test(lifecycle::ctr_kill), NO_DAEMON]),
        row(t, "wait", Full, [Test(lifecycle::wait), NO_CTR_COMMAND, NO_DAEMON]),
        row(t, "pause and resume", Always, [Test(lifecycle::pause), Test(lifecycle::ctr_pause), NO_DAEMON]),
        row(t, "every state in the list", Full, [Test(lifecycle::states), NO_CTR_COMMAND, NO_DAEMON]),
        row(
            t,
            "held by the shim that was asked for",
            Always,
            [Test(lifecycle::holder), Test(lifecycle::holder), NO_DAEMON],
        ),
        row(t, "restart", Full, [Test(lifecycle::restart), NO_CTR_COMMAND, NO_DAEMON]),
        row(t, "restart policies", Full, [Test(lifecycle::restart_policy), NO_CTR_COMMAND, NO_DAEMON]),
        row(t, "health check", Always, [Test(lifecycle::health), NO_CTR_COMMAND, NO_DAEMON]),
        row(t, "logs", Always, [Test(lifecycle::logs), Test(lifecycle::ctr_logs), NO_DAEMON]),
        row(t, "attach", Full, [Test(lifecycle::attach), Test(lifecycle::ctr_attach), NO_DAEMON]),
        row(
            t,
            "copy into and out of it",
            Full,
            [Test(lifecycle::copy), NO_CTR_COMMAND, Test(lifecycle::buildah_copy)],
        ),
        row(t, "top", Always, [Test(lifecycle::top), Test(lifecycle::ctr_ps), NO_DAEMON]),
        row(t, "stats", Always, [Test(lifecycle::stats), Test(lifecycle::ctr_metrics), NO_DAEMON]),
        row(t, "events", Full, [Test(lifecycle::events), Test(lifecycle::ctr_events), NO_DAEMON]),
        row(t, "rename", Full, [Test(lifecycle::rename), NO_CTR_COMMAND, Test(lifecycle::buildah_rename)]),
        row(t, "hooks", Full, [Test(lifecycle::hooks), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "the daemon ends and comes back, the container runs on",
            Full,
            [Test(lifecycle::daemon_restarts), Test(lifecycle::ctr_daemon_restarts), NO_DAEMON],
        ),
        row(t, "many at once", Full, [Test(lifecycle::many), Test(lifecycle::many), NO_DAEMON]),
        row(
            t,
            "checkpoint and restore",
            Full,
            [Test(lifecycle::checkpoint), Test(lifecycle::ctr_checkpoint), NO_DAEMON],
        ),
    ]
}

fn images() -> Vec<Row> {
    let t = "Images";
    vec![
        row(
            t,
            "build of several layers",
            Always,
            [Test(building::build), NO_CTR_COMMAND, Test(building::buildah_build)],
        ),
        row(t, "build by BuildKit", Full, [Test(building::buildkit), NO_CTR_COMMAND, NO_BUILDAH]),
        row(
            t,
            "a step of the build that fails",
            Full,
            [Test(building::failing_step), NO_CTR_COMMAND, Test(building::buildah_failing_step)],
        ),
        row(t, "commit", Full, [Test(building::commit), NO_CTR_COMMAND, Test(building::buildah_commit)]),
        row(
            t,
            "a local registry: push, pull, run",
            Full,
            [Test(building::registry), Test(building::ctr_registry), Test(building::buildah_registry)],
        ),
    ]
}

fn inside() -> Vec<Row> {
    let t = "Nested";
    vec![
        row(t, "systemd as the first process", Full, [Test(process::systemd), NO_CTR, NO_BUILDAH]),
        row(
            t,
            "the runtime in a privileged container",
            Full,
            [Test(process::nested), Test(process::ctr_nested), NO_BUILDAH],
        ),
        row(
            t,
            "nothing is left behind",
            Always,
            [Test(lifecycle::nothing_left), Test(lifecycle::nothing_left), Test(lifecycle::nothing_left)],
        ),
    ]
}
