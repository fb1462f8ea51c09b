//! A configuration that a row changes: JSON addressed by pointers, and the one that every row starts from.
//!
//! It is no typed model of config.json, because rows write what no type allows. Start at [`Config::base`].

use serde_json::{Value, json};

/// The contents of a config.json.
#[derive(Clone)]
pub(crate) struct Config(pub(crate) Value);

impl Config {
    /// What every row starts from: new namespaces of the usual types, the filesystems that the specification lists, and
    /// all capabilities, so that a refusal inside has no other cause than the one that a row gives.
    pub(crate) fn base(id: &str) -> Config {
        let capabilities: Vec<String> = capabilities();
        Config(json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/probe", id],
                "env": ["PATH=/"],
                "cwd": "/",
                "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities}
            },
            "hostname": "base",
            "mounts": mounts(),
            "linux": {
                "cgroupsPath": format!("/{id}"),
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
                "resources": {"devices": [{"allow": true, "access": "rwm"}]}
            }
        }))
    }

    /// Sets what a JSON pointer names; objects on the way are made, `-` appends to an array.
    pub(crate) fn set(&mut self, pointer: &str, value: Value) {
        let mut place = &mut self.0;
        for key in pointer.split('/').skip(1) {
            place = step(place, key);
        }
        *place = value;
    }

    /// Removes what a JSON pointer names.
    pub(crate) fn remove(&mut self, pointer: &str) {
        let Some((parent, key)) = pointer.rsplit_once('/') else { return };
        match self.0.pointer_mut(parent) {
            Some(Value::Object(map)) => drop(map.remove(key)),
            Some(Value::Array(list)) => {
                if let Some(index) = key.parse().ok().filter(|index| *index < list.len()) {
                    list.remove(index);
                }
            }
            _ => {}
        }
    }

    /// What a JSON pointer names; null where nothing is.
    pub(crate) fn at(&self, pointer: &str) -> Value {
        self.0.pointer(pointer).cloned().unwrap_or_default()
    }

    /// Appends a mount.
    pub(crate) fn mount(&mut self, kind: &str, source: &str, destination: &str, options: &[&str]) {
        let entry = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.set("/mounts/-", entry);
    }

    /// Removes every mount at a destination.
    pub(crate) fn unmount(&mut self, destination: &str) {
        self.retain("/mounts", |entry| entry.get("destination") != Some(&Value::from(destination)));
    }

    /// Sets the namespace of a type: a new one, or that of a path.
    pub(crate) fn namespace(&mut self, kind: &str, path: Option<&str>) {
        self.no_namespace(kind);
        self.set(
            "/linux/namespaces/-",
            path.map_or(json!({"type": kind}), |path| json!({"type": kind, "path": path})),
        );
    }

    /// Removes the namespace of a type.
    pub(crate) fn no_namespace(&mut self, kind: &str) {
        self.retain("/linux/namespaces", |entry| entry.get("type") != Some(&Value::from(kind)));
    }

    /// A new user namespace whose root is `first` on the host.
    pub(crate) fn user_namespace(&mut self, first: u32) {
        let map = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
        self.namespace("user", None);
        self.set("/linux/uidMappings", map.clone());
        self.set("/linux/gidMappings", map);
    }

    /// Adds words to the program's arguments: questions to the probe.
    pub(crate) fn ask(&mut self, questions: &[&str]) {
        questions.iter().for_each(|question| self.set("/process/args/-", Value::from(*question)));
    }

    /// Lets a hook run the probe inside the container just before the program: how a broken runtime removes something.
    pub(crate) fn sabotage(&mut self, words: &[&str]) {
        let args: Vec<&str> = ["probe", "do"].into_iter().chain(words.iter().copied()).collect();
        self.set("/hooks/startContainer/-", json!({"path": "/probe", "args": args}));
    }

    fn retain(&mut self, pointer: &str, keep: impl FnMut(&Value) -> bool) {
        if let Some(Value::Array(list)) = self.0.pointer_mut(pointer) {
            list.retain(keep);
        }
    }
}

/// The child of a value by key, made where it is absent.
fn step<'a>(place: &'a mut Value, key: &str) -> &'a mut Value {
    if key == "-" && !place.is_array() {
        *place = json!([]);
    }
    if !place.is_array() && !place.is_object() {
        *place = json!({});
    }
    match place {
        Value::Array(list) => {
            let index = key.parse().unwrap_or(list.len());
            while list.len() <= index {
                list.push(Value::Null);
            }
            list.get_mut(index).unwrap_or_else(|| unreachable!("the loop above made it"))
        }
        Value::Object(map) => map.entry(key).or_insert(Value::Null),
        _ => unreachable!("made a container above"),
    }
}

/// Every capability that this host can give, by name.
pub(crate) fn capabilities() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    let held = u64::from_str_radix(line.trim(), 16).unwrap_or_default();
    let names = CAPABILITIES.iter().enumerate().filter(|(bit, _)| held >> bit & 1 == 1);
    names.map(|(_, name)| format!("CAP_{name}")).collect()
}

/// The names of capabilities(7) by their numbers.
pub(crate) const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

fn mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev"]}
    ])
}
