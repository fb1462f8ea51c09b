//! The rules of `mounts` and their steps, option by option.

use std::ffi::CStr;
use std::path::PathBuf;

use child::op::Source;
use child::{Fd, Op, Text};

use super::*;
use crate::config::cgroup_mount::HostCgroups;
use crate::step::{IdMap, Open, Opens, Step, Tree};

const NONE: Attributes = Attributes { set: 0, clear: 0, propagation: 0 };

/// A host and a container to check mounts for.
struct Case {
    namespaces: Vec<Kind>,
    linux: &'static str,
    euid: u32,
    selinux: bool,
}

const PLAIN: Case = Case { namespaces: Vec::new(), linux: "{}", euid: 0, selinux: false };

fn user_namespace() -> Case {
    let linux = r#"{"uidMappings":[{"containerID":0,"hostID":1000,"size":1}],
                    "gidMappings":[{"containerID":0,"hostID":1000,"size":1}]}"#;
    Case { namespaces: vec![Kind::User], linux, ..PLAIN }
}

impl Case {
    fn check(&self, mounts: &str) -> (Mounts, Problems) {
        let mut problems = Problems::default();
        let json = format!(r#"{{"mounts":{mounts},"linux":{}}}"#, self.linux);
        let spec: Spec = serde_json::from_str(&json).unwrap();
        let namespaces = Namespaces::all_new(&self.namespaces);
        let mappings = idmappings::check(&spec, &namespaces, &Facts::default(), &mut problems);
        let facts = Facts::default();
        facts.euid.set(self.euid).unwrap();
        facts.selinux.set(self.selinux).unwrap();
        facts.in_user_namespace.set(false).unwrap();
        let root = super::super::root::check(
            &Spec {
                root: Some(super::super::root::Shape {
                    path: Some("rootfs".to_owned()),
                    ..Default::default()
                }),
                linux: spec.linux.as_ref().map(|linux| super::super::Linux {
                    rootfs_propagation: linux.rootfs_propagation.clone(),
                    ..Default::default()
                }),
                ..Spec::default()
            },
            Path::new("/bundle"),
            &mut problems,
        );
        let mounts = check(&spec, Path::new("/bundle"), &namespaces, &mappings, &root, &facts, &mut problems);
        (mounts, problems)
    }

    fn errors(&self, mounts: &str) -> Vec<String> {
        self.check(mounts).1.errors.iter().map(ToString::to_string).collect()
    }

    fn warnings(&self, mounts: &str) -> Vec<String> {
        self.check(mounts).1.warnings.iter().map(ToString::to_string).collect()
    }

    /// Runs `test` on the steps of valid mounts, and on what is opened for them.
    fn steps(&self, mounts: &str, test: impl FnOnce(&[Op<'_>], &[Open<'_>])) {
        let (mounts, problems) = self.check(mounts);
        assert!(problems.errors.is_empty(), "{:?}", problems.errors);
        let view = mounts.cgroup_view(&HostCgroups::V2 { mount_point: c"/sys/fs/cgroup".to_owned() });
        let mut opens = Opens::new(10);
        let steps: Vec<Step<'_>> = mounts.iter().flat_map(|mount| mount.steps(&mut opens, &view)).collect();
        let mut ops: Vec<Op<'_>> = steps.into_iter().map(|step| step.op).collect();
        ops.extend(mounts.readonly_steps().map(|step| step.op));
        let opened: Vec<Open<'_>> = opens.iter().map(|(_, open)| open.clone()).collect();
        test(&ops, &opened);
    }
}

fn mount<'a>(target: &'a CStr, kind: &'a CStr, flags: u32, data: &'a CStr, over: Over) -> Op<'a> {
    Op::Mount { target: Text(target), source: Text(kind), kind: Text(kind), flags, data: Text(data), over }
}

fn bind<'a>(source: &'a CStr, target: &'a CStr, depth: Depth) -> Op<'a> {
    let source = Source::Path(Text(source));
    Op::Bind { source, target: Text(target), depth, whole: NONE, attributes: NONE, over: Over::Any }
}

fn set(target: &CStr, depth: Depth, attributes: Attributes) -> Op<'_> {
    Op::SetAttributes { target: Text(target), depth, attributes }
}

fn propagation(flag: u64) -> Attributes {
    Attributes { propagation: flag, ..NONE }
}

#[test]
fn the_usual_file_systems() {
    let mounts = r#"[
        {"destination":"/proc","type":"proc","source":"proc"},
        {"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]},
        {"destination":"/dev/pts","type":"devpts","source":"devpts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"]},
        {"destination":"/sys","type":"sysfs","options":["nosuid","noexec","nodev","ro"]}]"#;
    PLAIN.steps(mounts, |ops, _| {
        assert_eq!(
            ops,
            [
                mount(c"/proc", c"proc", 0, c"", Over::Directory),
                mount(c"/dev", c"tmpfs", 0x100_0002, c"mode=755,size=65536k", Over::Any),
                mount(c"/dev/pts", c"devpts", 10, c"newinstance,ptmxmode=0666,mode=0620,gid=5", Over::Any),
                mount(c"/sys", c"sysfs", 15, c"", Over::Directory),
            ]
        );
    });
}

#[test]
fn a_read_only_tmpfs_and_dev_stay_writable_until_everything_is_made() {
    let mounts = r#"[
        {"destination":"/run","type":"tmpfs","options":["ro","size=1m"]},
        {"destination":"/dev/","type":"devtmpfs","options":["ro"]},
        {"destination":"/x","type":"tmpfs","options":["tmpcopyup","ro"]},
        {"destination":"/y","type":"ext4","source":"/dev/sda","options":["ro"]}]"#;
    PLAIN.steps(mounts, |ops, _| {
        let readonly = Attributes { set: 1, ..NONE };
        assert_eq!(
            ops,
            [
                mount(c"/run", c"tmpfs", 0, c"size=1m", Over::Any),
                mount(c"/dev/", c"devtmpfs", 0, c"", Over::Any),
                Op::MountCopyUp { target: Text(c"/x"), flags: 0, data: Text(c"") },
                Op::Mount {
                    target: Text(c"/y"),
                    source: Text(c"/dev/sda"),
                    kind: Text(c"ext4"),
                    flags: 1,
                    data: Text(c""),
                    over: Over::Any
                },
                set(c"/run", Depth::One, readonly),
                set(c"/dev/", Depth::One, readonly),
                set(c"/x", Depth::One, readonly),
            ]
        );
    });
}

#[test]
fn a_bind_mount_changes_what_is_named_and_nothing_else() {
    let attributes = |set, clear| Attributes { set, clear, propagation: 0 };
    let table = [
        (r#"["bind"]"#, Depth::One, NONE, NONE),
        (r#"["rbind","ro","rprivate"]"#, Depth::Tree, propagation(0x4_0000), attributes(1, 0)),
        (r#"["rbind","rro"]"#, Depth::Tree, attributes(1, 0), NONE),
        (r#"["rbind","rro","rw"]"#, Depth::Tree, attributes(1, 0), attributes(0, 1)),
        (r#"["bind","suid","exec","dev"]"#, Depth::One, NONE, attributes(0, 14)),
        (r#"["bind","noatime"]"#, Depth::One, NONE, attributes(0x10, 0x70)),
        (r#"["bind","rslave"]"#, Depth::One, propagation(0x8_0000), NONE),
        (r#"["rbind","shared"]"#, Depth::Tree, NONE, propagation(0x10_0000)),
    ];
    for (options, depth, whole, own) in table {
        let mounts =
            format!(r#"[{{"destination":"/data","type":"none","source":"/srv","options":{options}}}]"#);
        PLAIN.steps(&mounts, |ops, opened| {
            let source = Source::Path(Text(c"/srv"));
            let target = Text(c"/data");
            let over = Over::Any;
            assert_eq!(ops, [Op::Bind { source, target, depth, whole, attributes: own, over }], "{options}");
            assert!(opened.is_empty());
        });
    }
}

#[test]
fn two_propagations_are_applied_in_their_order() {
    let mounts = r#"[{"destination":"/d","source":"/s","options":["rbind","rslave","shared"]},
                     {"destination":"/t","type":"tmpfs","options":["private"]}]"#;
    PLAIN.steps(mounts, |ops, _| {
        assert_eq!(
            ops,
            [
                bind(c"/s", c"/d", Depth::Tree),
                set(c"/d", Depth::Tree, propagation(0x8_0000)),
                set(c"/d", Depth::One, propagation(0x10_0000)),
                mount(c"/t", c"tmpfs", 0, c"", Over::Any),
                set(c"/t", Depth::One, propagation(0x4_0000)),
            ]
        );
    });
}

#[test]
fn relative_paths_start_at_the_bundle_and_at_the_root() {
    let mounts = r#"[{"destination":"data","source":"volume/a","options":["bind"]}]"#;
    PLAIN.steps(mounts, |ops, _| assert_eq!(ops, [bind(c"/bundle/volume/a", c"/data", Depth::One)]));
    assert_eq!(
        PLAIN.warnings(mounts),
        ["mounts[0].destination: \"data\" is not absolute; taken as \"/data\""]
    );
}

#[test]
fn a_path_beneath_the_root_is_meant_inside_the_container() {
    let mounts = r#"[{"destination":"/bundle/rootfs/b","source":"rootfs/a/x","options":["rbind"]},
                     {"destination":"/bundle/rootfs2","source":"/bundle/rootfs/../x","options":["bind"]}]"#;
    let inside = |op: &Op<'_>| {
        let Op::Bind { source, target, .. } = op else { return false };
        *source == Source::Inside(Text(c"/a/x")) && *target == Text(c"/b")
    };
    PLAIN.steps(mounts, |ops, _| {
        assert!(inside(&ops[0]), "{:?}", ops[0]);
        assert_eq!(ops[1], bind(c"/bundle/rootfs/../x", c"/bundle/rootfs2", Depth::One));
    });
    user_namespace().steps(mounts, |ops, opened| {
        assert!(inside(&ops[0]), "{:?}", ops[0]);
        assert_eq!(opened.len(), 1);
    });
    assert_eq!(
        PLAIN.warnings(mounts),
        [
            "mounts[0].destination: \"/bundle/rootfs/b\" is beneath root.path; taken as \"/b\" in the container"
        ]
    );
}

#[test]
fn remount_names_what_changes() {
    let mounts = r#"[
        {"destination":"/a","options":["bind","remount","ro","suid"]},
        {"destination":"/b","options":["remount","nosuid"]},
        {"destination":"/c","options":["remount","ro","size=1m","nodev"]}]"#;
    PLAIN.steps(mounts, |ops, _| {
        let attributes = |set, clear| Attributes { set, clear, propagation: 0 };
        assert_eq!(
            ops,
            [
                set(c"/a", Depth::One, attributes(1, 2)),
                set(c"/b", Depth::One, attributes(2, 0)),
                Op::Remount { target: Text(c"/c"), flags: 1, data: Text(c"size=1m") },
                set(c"/c", Depth::One, attributes(5, 0)),
            ]
        );
    });
}

/// What is mounted on /proc decides what the runtime and the tools of an operator read: CVE-2019-16884.
#[test]
fn proc_can_be_covered_by_proc_and_a_few_files_alone() {
    let over = |mounts: &str| {
        let mut found = None;
        PLAIN.steps(mounts, |ops, _| {
            found = ops.iter().find_map(|op| match op {
                Op::Bind { over, .. } | Op::Mount { over, .. } => Some(*over),
                _ => None,
            });
        });
        found
    };
    let to = |destination: &str| {
        format!(r#"[{{"destination":"{destination}","source":"/s","options":["bind"]}}]"#)
    };
    assert_eq!(over(&to("/proc/")), Some(Over::ProcfsTree));
    assert_eq!(over(&to("/proc/uptime")), Some(Over::Procfs));
    assert_eq!(over(&to("/x/../proc//sys/kernel/ns_last_pid")), Some(Over::Procfs));
    assert_eq!(over(&to("/process")), Some(Over::Any));
    for path in ["/proc/self", "/proc/sys", "proc/thread-self/attr", "/a/../proc/./1", "/proc/uptime/x"] {
        let errors = PLAIN.errors(&to(path));
        assert_eq!(errors.len(), 1, "{path}");
        assert!(errors[0].contains("is inside /proc; only a few of its files can be replaced"), "{errors:?}");
    }
    let errors =
        PLAIN.errors(r#"[{"destination":"/proc","type":"tmpfs"},{"destination":"/proc/sys","type":"proc"}]"#);
    assert_eq!(
        errors,
        [
            "mounts[0].destination: \"tmpfs\" would hide proc; only proc goes there",
            "mounts[1].destination: /proc/sys is inside /proc; only a few of its files can be replaced",
        ]
    );
}

#[test]
fn every_violation_is_reported_by_its_key() {
    let table = [
        (r#"{"type":"tmpfs"}"#, "mounts[0].destination: required"),
        (r#"{"destination":"","type":"tmpfs"}"#, "mounts[0].destination: required"),
        (
            r#"{"destination":"/a/..","type":"tmpfs"}"#,
            "mounts[0].destination: the root cannot be mounted over; see root.path",
        ),
        (r#"{"destination":"/a\u0000","type":"tmpfs"}"#, "mounts[0].destination: contains NUL"),
        (
            r#"{"destination":"/a","options":["ro"]}"#,
            "mounts[0].type: required unless the options have bind or rbind",
        ),
        (
            r#"{"destination":"/a","type":"bind","source":"/s"}"#,
            "mounts[0].options: a mount of type bind needs the option bind or rbind",
        ),
        (r#"{"destination":"/a","options":["bind"]}"#, "mounts[0].source: required for a bind mount"),
        (
            r#"{"destination":"/a","source":"/s","options":["rbind","nosiud"]}"#,
            "mounts[0].options[1]: a bind mount takes no options of a file system: unknown option \"nosiud\"; did you mean \"nosuid\"?",
        ),
        (
            r#"{"destination":"/a","source":"/s","options":["rbind","tmpcopyup"]}"#,
            "mounts[0].options[1]: tmpcopyup is for mounts of type tmpfs",
        ),
        (
            r#"{"destination":"/a","type":"tmpfs","options":["idmap"]}"#,
            "mounts[0]: only a new bind mount can be id-mapped",
        ),
        (
            r#"{"destination":"/a","source":"/s","options":["bind","idmap"]}"#,
            "mounts[0]: idmap needs uidMappings and gidMappings, or a user namespace whose maps it takes",
        ),
        (
            r#"{"destination":"/a","source":"/s","options":["bind"],"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}"#,
            "mounts[0].gidMappings: required together with uidMappings",
        ),
        (r#"{"destination":"/a","type":"tmpfs","options":["a\u0000"]}"#, "mounts[0].options: contains NUL"),
    ];
    for (mount, error) in table {
        assert_eq!(PLAIN.errors(&format!("[{mount}]")), [error], "{mount}");
    }
    assert!(PLAIN.errors("null").is_empty());
}

#[test]
fn data_is_at_most_a_page() {
    let mount = |len: usize| {
        format!(r#"[{{"destination":"/a","type":"overlay","options":["{}"]}}]"#, "x".repeat(len))
    };
    assert!(PLAIN.errors(&mount(4095)).is_empty());
    assert_eq!(
        PLAIN.errors(&mount(4096)),
        ["mounts[0].options: 4096 bytes for the file system; the kernel reads 4095"]
    );
}

#[test]
fn flags_of_a_file_system_do_nothing_on_a_bind_mount() {
    assert_eq!(
        PLAIN.warnings(r#"[{"destination":"/a","source":"/s","options":["bind","sync","async"]}]"#),
        [
            "mounts[0].options[1]: \"sync\" has no effect: it is a property of the file system, which a bind mount shares"
        ]
    );
}

#[test]
fn the_label_is_quoted_and_given_to_those_that_take_one() {
    let labelled = Case { linux: r#"{"mountLabel":"system_u:object_r:t:s0:c1,c2"}"#, selinux: true, ..PLAIN };
    let mounts = r#"[
        {"destination":"/t","type":"tmpfs","options":["mode=755"]},
        {"destination":"/u","type":"tmpfs","options":["context=\"own\""]},
        {"destination":"/proc","type":"proc"},
        {"destination":"/s","source":"/s","options":["bind"]},
        {"destination":"/dev/mqueue","type":"mqueue"}]"#;
    labelled.steps(mounts, |ops, _| {
        assert_eq!(
            ops[0],
            mount(c"/t", c"tmpfs", 0, c"mode=755,context=\"system_u:object_r:t:s0:c1,c2\"", Over::Any)
        );
        assert_eq!(ops[1], mount(c"/u", c"tmpfs", 0, c"context=\"own\"", Over::Any));
        assert_eq!(ops[2], mount(c"/proc", c"proc", 0, c"", Over::Directory));
        assert_eq!(ops[4], mount(c"/dev/mqueue", c"mqueue", 0, c"", Over::Any));
    });
    assert_eq!(
        labelled.warnings(mounts),
        ["mounts[4]: mqueue takes no label; linux.mountLabel is not applied to it"]
    );
    let without = Case { selinux: false, ..labelled };
    assert_eq!(without.errors("[]"), ["linux.mountLabel: this host has no SELinux"]);
    let quote = Case { linux: r#"{"mountLabel":"a\",b"}"#, selinux: true, ..PLAIN };
    assert_eq!(quote.errors("[]"), ["linux.mountLabel: contains a quote or a control character"]);
}

#[test]
fn for_a_user_namespace_the_parent_opens_the_sources() {
    let mounts = r#"[{"destination":"/a","source":"/s","options":["rbind"]}]"#;
    user_namespace().steps(mounts, |ops, opened| {
        let Op::Bind { source, .. } = ops[0] else { panic!("{ops:?}") };
        assert_eq!(source, Source::Tree(Fd(10)));
        let tree = Tree {
            source: c"/s",
            depth: Depth::Tree,
            idmap: None,
            propagation: 0x8_0000,
            key: "mounts[0]".into(),
        };
        assert_eq!(opened, [Open::Tree(tree)]);
    });
    let shared = Case { linux: r#"{"rootfsPropagation":"rshared"}"#, namespaces: vec![], ..PLAIN };
    let mapped = r#"[{"destination":"/a","source":"/s","options":["bind"],
        "uidMappings":[{"containerID":0,"hostID":1,"size":1}],
        "gidMappings":[{"containerID":0,"hostID":2,"size":3}]}]"#;
    shared.steps(mapped, |_, opened| {
        let idmap = IdMap { uid_map: "0 1 1\n", gid_map: "0 2 3\n", depth: Depth::One };
        let tree = Tree {
            source: c"/s",
            depth: Depth::One,
            idmap: Some(idmap),
            propagation: 0,
            key: "mounts[0]".into(),
        };
        assert_eq!(opened, [Open::Tree(tree)]);
    });
}

#[test]
fn an_idmap_without_maps_takes_those_of_the_container() {
    let mounts = r#"[{"destination":"/a","source":"/s","options":["rbind","ridmap"]}]"#;
    user_namespace().steps(mounts, |_, opened| {
        let Open::Tree(tree) = &opened[0] else { panic!("{opened:?}") };
        let lines = "0 1000 1\n";
        assert_eq!(tree.idmap, Some(IdMap { uid_map: lines, gid_map: lines, depth: Depth::Tree }));
    });
    let rootless = Case { euid: 1000, ..user_namespace() };
    assert_eq!(
        rootless.errors(mounts),
        ["mounts[0]: id-mapped mounts need root of the host; this is uid 1000"]
    );
}

#[test]
fn an_ordinary_user_opens_the_sources_itself() {
    let rootless = Case { euid: 1000, ..user_namespace() };
    rootless.steps(r#"[{"destination":"/a","source":"/s","options":["bind"]}]"#, |ops, opened| {
        assert_eq!(ops, [bind(c"/s", c"/a", Depth::One)]);
        assert!(opened.is_empty());
    });
}

#[test]
fn an_id_that_is_not_mapped_is_explained() {
    let mounts = r#"[{"destination":"/dev/pts","type":"devpts","options":["gid=5","uid=0"]}]"#;
    assert!(PLAIN.errors(mounts).is_empty());
    assert_eq!(
        user_namespace().errors(mounts),
        [
            "mounts[0].options[0]: \"gid=5\": 5 is not mapped; add it to linux.gidMappings or leave the option out"
        ]
    );
}

#[test]
fn sysfs_of_a_foreign_network_namespace_is_the_hosts_read_only() {
    let mounts = r#"[{"destination":"/sys","type":"sysfs","options":["rw"]}]"#;
    user_namespace().steps(mounts, |ops, _| {
        let whole = Attributes { set: 15, ..NONE };
        let (source, target) = (Source::Path(Text(c"/sys")), Text(c"/sys"));
        let (depth, over) = (Depth::Tree, Over::Directory);
        assert_eq!(ops, [Op::Bind { source, target, depth, whole, attributes: NONE, over }]);
    });
    assert_eq!(user_namespace().warnings(mounts).len(), 1);
    let own = Case { namespaces: vec![Kind::User, Kind::Network], ..user_namespace() };
    own.steps(mounts, |ops, _| assert_eq!(ops, [mount(c"/sys", c"sysfs", 0, c"", Over::Directory)]));
}

#[test]
fn mqueue_in_a_user_namespace_needs_an_ipc_namespace() {
    let mounts = r#"[{"destination":"/dev/mqueue","type":"mqueue"}]"#;
    assert_eq!(user_namespace().errors(mounts).len(), 1);
    let own = Case { namespaces: vec![Kind::User, Kind::Ipc], ..user_namespace() };
    assert!(own.errors(mounts).is_empty());
}

#[test]
fn cgroups_of_the_host_are_read_only_for_all_but_root() {
    let mounts = r#"[{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["rw"]}]"#;
    let attributes = |case: &Case| {
        let mut found = None;
        case.steps(mounts, |ops, _| {
            found = match ops {
                [Op::Bind { whole, .. }] => Some(whole.set),
                _ => None,
            };
        });
        found
    };
    assert_eq!(attributes(&PLAIN), Some(14));
    assert_eq!(attributes(&user_namespace()), Some(15));
    assert_eq!(attributes(&Case { euid: 1000, ..PLAIN }), Some(15));
    assert_eq!(attributes(&Case { namespaces: vec![Kind::Cgroup], ..PLAIN }), None);
    assert_eq!(user_namespace().warnings(mounts).len(), 1);
    let (mounts, _) = PLAIN.check(mounts);
    assert!(mounts.wants_cgroups() && mounts.writes_cgroups);
}

#[test]
fn dev_from_the_host_is_noticed() {
    let bound = |destination: &str, options: &str| {
        let mount = format!(
            r#"[{{"destination":"{destination}","type":"tmpfs","source":"/d","options":{options}}}]"#
        );
        PLAIN.check(&mount).0.binds_dev
    };
    assert!(bound("/dev/./", r#"["rbind"]"#));
    assert!(!bound("/dev", "[]"));
    assert!(!bound("/dev/pts", r#"["bind"]"#));
}

#[test]
fn ids_are_not_judged_by_the_maps_of_a_namespace_that_is_not_known_yet() {
    let joined = Namespaces { joined: vec![(Kind::User, 0, PathBuf::from("/ns"))], ..Namespaces::default() };
    let mut problems = Problems::default();
    let spec: Spec =
        serde_json::from_str(r#"{"mounts":[{"destination":"/p","type":"devpts","options":["gid=5"]}]}"#)
            .unwrap();
    let mappings = idmappings::check(&spec, &joined, &Facts::default(), &mut problems);
    let (root, facts) = (Root::default(), Facts::default());
    check(&spec, Path::new("/b"), &joined, &mappings, &root, &facts, &mut problems);
    assert!(problems.errors.is_empty(), "{:?}", problems.errors);
}
