//! A container's root that is nobody on the host makes groups of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;

use cgroups::{Owner, Request, Resources};

use crate::Case;
use crate::fixture::{Container, layout_name, request, soon, unique};

pub(crate) const CASES: &[Case] = &[
    ("the_owner_gets_what_the_kernel_lists", the_owner_gets_what_the_kernel_lists),
    ("the_owner_enables_controllers_from_its_leaf", the_owner_enables_controllers_from_its_leaf),
    ("a_leaf_is_one_name", a_leaf_is_one_name),
];

const OWNER: Owner = Owner { uid: 61_234, gid: 61_235 };

fn delegated<'a>(path: &'a str, resources: &'a Resources) -> Request<'a> {
    Request { owner: Some(OWNER), leaf: Some("init"), ..request(path, resources) }
}

fn the_owner_gets_what_the_kernel_lists() {
    let (path, resources) = (unique("owned"), Resources::default());
    let container = Container::prepare(&delegated(&path, &resources));
    let owner = |path: &str| {
        let data = fs::metadata(path).unwrap();
        (data.uid(), data.gid())
    };
    for (names, path) in container.cgroup.container_paths() {
        let named = names.starts_with("name=");
        let given = named || names.is_empty();
        assert_eq!(owner(&path), if given { (OWNER.uid, OWNER.gid) } else { (0, 0) }, "{path}");
        if names.is_empty() {
            for file in
                ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "init/cgroup.procs", "init"]
            {
                assert_eq!(owner(&format!("{path}/{file}")), (OWNER.uid, OWNER.gid), "{file}");
            }
            // Huge pages may be version 1's.
            let limits = ["cgroup.freeze", "cgroup.max.descendants", "hugetlb.2MB.max"];
            for file in limits.iter().filter(|file| fs::exists(format!("{path}/{file}")).unwrap()) {
                assert_eq!(owner(&format!("{path}/{file}")), (0, 0), "{file} is a limit of the container");
            }
        }
    }
}

fn the_owner_enables_controllers_from_its_leaf() {
    if layout_name() != "v2" {
        println!("skipped: only version 2 delegates controllers");
        return;
    }
    let (path, resources) = (unique("nested"), Resources::default());
    let container = Container::prepare(&delegated(&path, &resources));
    let group = container.directory("");
    let leaf = container.prepared.leaf().expect("a leaf was asked for");
    let script = format!(
        "exec setpriv --reuid {} --regid {} --clear-groups sh -ec '
            cd {}; mkdir inner; echo +hugetlb >cgroup.subtree_control; echo 0 >inner/cgroup.procs
            ! echo 0 >hugetlb.2MB.max; exec 2>/dev/null; ! echo 0 >../cgroup.procs'",
        OWNER.uid,
        OWNER.gid,
        group.display()
    );
    let mut child = std::process::Command::new("sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    container.enter(child.id());
    rustix::io::write(leaf, child.id().to_string().as_bytes()).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(container.read("", "cgroup.subtree_control"), "hugetlb");
    container.cgroup.remove(soon()).unwrap();
}

fn a_leaf_is_one_name() {
    let (path, resources) = (unique("leaf"), Resources::default());
    let layout = cgroups::Layout::detect().unwrap();
    for leaf in ["", "a/b", "../x", "/", "a\n"] {
        let request = Request { leaf: Some(leaf), ..request(&path, &resources) };
        assert!(!cgroups::validate(&request, &layout).is_empty(), "{leaf:?}");
    }
}
