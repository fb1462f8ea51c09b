//! Security properties, as static checks: hostile images and configurations that must be contained or refused.
//!
//! Each check has a canary, a directory of the host with files in it, which must be the same afterwards: names,
//! types, modes, owners, times and content. Capability sets, ids and namespaces are checked where they are tested.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

use integration_tests::process::Ran;
use integration_tests::{Bundle, Outcome, World, cases, harness, leaks};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    harness::main(cases![
        dev_as_a_symlink_stays_inside,
        directories_below_dev_as_symlinks_stay_inside,
        files_in_the_place_of_devices_are_harmless,
        mount_points_through_symlinks_stay_inside,
        file_mount_points_through_symlinks_stay_inside,
        proc_and_sys_that_are_no_directories_are_refused,
        mounts_over_proc_are_refused,
        single_files_of_proc_may_be_covered,
        a_substituted_null_device_is_not_used,
        working_directories_that_lead_out_are_contained,
        descriptors_of_the_runtime_lead_nowhere,
        what_waits_for_start_holds_nothing_of_the_host,
        hooks_and_programs_inherit_no_descriptor_of_the_caller,
        the_runtime_binary_is_out_of_reach,
        cgroup_paths_stay_below_the_root,
        readonly_and_masked_paths_through_symlinks_stay_inside,
        a_root_that_is_a_symlink_or_the_host_is_contained,
        a_device_path_that_leads_out_is_contained,
    ])
}

/// A directory of the host that nothing may touch, and what it looked like before.
struct Canary {
    path: PathBuf,
    before: Vec<String>,
}

fn canary(world: &World) -> Canary {
    let path = world.dir.join("canary");
    fs::create_dir_all(path.join("dir")).unwrap();
    fs::write(path.join("file"), "canary\n").unwrap();
    fs::write(path.join("secret"), "host-secret\n").unwrap();
    fs::set_permissions(path.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    let before = snapshot(&path);
    Canary { path, before }
}

impl Canary {
    fn text(&self) -> String {
        self.path.display().to_string()
    }

    #[track_caller]
    fn is_unchanged(&self, what: &str) {
        assert_eq!(self.before, snapshot(&self.path), "the canary has changed: {what}");
    }
}

/// One line for each name below a directory: everything that lstat tells but the access time, and the content.
fn snapshot(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content =
            if meta.is_file() { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        lines.push(format!(
            "{} {:o} {}:{} {} {}.{} {content}",
            path.display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink(),
            meta.mtime(),
            meta.mtime_nsec()
        ));
        if meta.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        }
    }
    lines.sort();
    lines
}

/// Runs a bundle that may succeed or be refused, but not crash, hang, leak or touch the canary.
#[track_caller]
fn contained(world: &World, canary: &Canary, bundle: &Bundle, what: &str) -> Ran {
    let id = world.id();
    let ran = world.orlop(&["run", "--bundle", bundle.path(), &id]);
    assert!(ran.signal.is_none() && !ran.err.contains("panicked"), "{what}: {ran}");
    assert!(!ran.out.contains("host-secret"), "{what}: {ran}");
    canary.is_unchanged(what);
    let left = leaks::settled(&[&id], &world.root);
    assert!(left.is_empty(), "{what}: {left:?}\n{ran}");
    ran
}

fn without_dev(bundle: Bundle) -> Bundle {
    ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]
        .iter()
        .fold(bundle, |bundle, path| bundle.without_mount(path))
}

/// Puts a symlink in the place of a directory of the image.
fn link(bundle: &Bundle, place: &str, target: &str) {
    let path = bundle.rootfs(place);
    let _ = fs::remove_dir(&path);
    let _ = fs::remove_file(&path);
    symlink(target, path).unwrap();
}

/// Targets that would leave a root in which links are followed as text.
fn ways_out(canary: &Canary) -> Vec<String> {
    vec![
        canary.text(),
        format!("../../../../../../../..{}", canary.text()),
        format!("/proc/1/root{}", canary.text()),
    ]
}

/// G01: CVE-2026-41579, CVE-2026-47766.
fn dev_as_a_symlink_stays_inside(world: &World) -> Outcome {
    let canary = canary(world);
    for target in ways_out(&canary) {
        for (name, bundle) in [("with a mount", world.bundle()), ("without", without_dev(world.bundle()))] {
            link(&bundle, "dev", &target);
            contained(world, &canary, &bundle, &format!("/dev -> {target}, {name}"));
        }
    }
    Ok(())
}

fn directories_below_dev_as_symlinks_stay_inside(world: &World) -> Outcome {
    let canary = canary(world);
    for name in ["pts", "shm", "mqueue", "fd", "ptmx", "console", "core"] {
        let bundle = world.bundle().without_mount("/dev");
        link(&bundle, &format!("dev/{name}"), &canary.text());
        contained(world, &canary, &bundle, &format!("/dev/{name}"));
    }
    Ok(())
}

/// G02: the image has something else where a default device goes.
fn files_in_the_place_of_devices_are_harmless(world: &World) -> Outcome {
    let canary = canary(world);
    for name in ["null", "zero", "full", "random", "urandom", "tty", "it"] {
        for kind in ["file", "directory", "fifo", "link", "dangling"] {
            let bundle = without_dev(world.bundle().asking(&[&format!("stat:/dev/{name}")])).edit(|config| {
                config["linux"]["devices"] =
                    json!([{"path": "/dev/it", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 1, "gid": 1}]);
            });
            let place = bundle.rootfs("dev").join(name);
            match kind {
                "file" => fs::write(&place, "").unwrap(),
                "directory" => fs::create_dir(&place).unwrap(),
                "fifo" => assert!(Command::new("mkfifo").arg(&place).status().unwrap().success()),
                "link" => symlink(canary.path.join("file"), &place).unwrap(),
                _ => symlink(canary.path.join("new"), &place).unwrap(),
            }
            let ran = contained(world, &canary, &bundle, &format!("{kind} at /dev/{name}"));
            if ran.code == Some(0) {
                let stat = ran.json()["asked"][format!("stat:/dev/{name}")].clone();
                assert_eq!(stat["type"], "char", "{kind} at /dev/{name}: {stat}");
            }
        }
    }
    Ok(())
}

/// Symlinks on the way of a mount point, and what each must not reach.
fn crooked_roots(bundle: &Bundle, canary: &Canary) {
    for (name, target) in ["absolute", "upwards", "magic"].iter().zip(ways_out(canary)) {
        symlink(target, bundle.rootfs(name)).unwrap();
    }
    symlink(canary.path.join("no/such"), bundle.rootfs("dangling")).unwrap();
    symlink(canary.path.join("file"), bundle.rootfs("to-file")).unwrap();
    symlink("loop", bundle.rootfs("loop")).unwrap();
    for number in 0..41 {
        let target = if number == 40 { canary.text() } else { format!("/chain{}", number + 1) };
        symlink(target, bundle.rootfs(&format!("chain{number}"))).unwrap();
    }
}

const CROOKED: [&str; 12] = [
    "/absolute",
    "/absolute/dir",
    "/absolute/new/deep",
    "/upwards/new",
    "/magic/new",
    "/dangling",
    "/dangling/new",
    "/chain0",
    "/chain0/new",
    "/loop/new",
    "/tmp/../absolute/new",
    "/absolute/../../../new",
];

/// G03: CVE-2024-45310 and many before it.
fn mount_points_through_symlinks_stay_inside(world: &World) -> Outcome {
    let canary = canary(world);
    let source = world.path("source");
    fs::create_dir(&source).unwrap();
    for destination in CROOKED {
        let tmpfs = json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
        for bundle in [world.bundle().bind(&source, destination, &["rbind"]), world.bundle().mount(tmpfs)] {
            crooked_roots(&bundle, &canary);
            contained(world, &canary, &bundle, destination);
        }
    }
    Ok(())
}

fn file_mount_points_through_symlinks_stay_inside(world: &World) -> Outcome {
    let canary = canary(world);
    let source = world.file("source", "bound\n");
    for destination in CROOKED.iter().copied().chain(["/to-file", "/to-file/new"]) {
        let bundle = world.bundle().bind(&source, destination, &["bind", "ro"]);
        crooked_roots(&bundle, &canary);
        contained(world, &canary, &bundle, destination);
    }
    Ok(())
}

/// G05: CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867.
fn proc_and_sys_that_are_no_directories_are_refused(world: &World) -> Outcome {
    let canary = canary(world);
    for place in ["proc", "sys"] {
        for kind in ["outside", "inside", "file", "fifo"] {
            let bundle = world.bundle();
            let path = bundle.rootfs(place);
            fs::remove_dir(&path).unwrap();
            match kind {
                "outside" => symlink(&canary.path, &path).unwrap(),
                "inside" => symlink("/var", &path).unwrap(),
                "file" => fs::write(&path, "").unwrap(),
                _ => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
            }
            let ran = contained(world, &canary, &bundle, &format!("/{place} as {kind}"));
            assert_ne!(ran.code, Some(0), "/{place} as {kind}: {ran}");
        }
    }
    Ok(())
}

/// G06: CVE-2019-16884.
fn mounts_over_proc_are_refused(world: &World) -> Outcome {
    let canary = canary(world);
    let destinations = [
        "/proc",
        "/proc/self",
        "/proc/self/attr",
        "/proc/sys",
        "/proc/thread-self/attr",
        "/proc/1",
        "/tmp/../proc/self",
        "proc/self",
        "//proc/self/",
        "/proc/./self",
        "/proc/../proc/sys",
    ];
    for destination in destinations {
        let bundle = world.bundle().bind(&canary.text(), destination, &["rbind"]);
        let ran = contained(world, &canary, &bundle, destination);
        assert_ne!(ran.code, Some(0), "a volume at {destination}: {ran}");
        let tmpfs = json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
        let ran = contained(world, &canary, &world.bundle().mount(tmpfs), destination);
        assert_ne!(ran.code, Some(0), "a tmpfs at {destination}: {ran}");
    }
    Ok(())
}

fn single_files_of_proc_may_be_covered(world: &World) -> Outcome {
    let file = world.file("covered", "covered\n");
    for path in
        ["/proc/uptime", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/loadavg", "/proc/diskstats"]
    {
        let question = format!("read:{path}");
        let bundle = world.bundle().asking(&[&question]).bind(&file, path, &["bind"]);
        assert_eq!(world.probe(&bundle).asked(&question)["ok"], "covered\n", "{path}");
    }
    Ok(())
}

/// G08, G12: CVE-2025-31133, CVE-2025-62161, CVE-2026-88265.
fn a_substituted_null_device_is_not_used(world: &World) -> Outcome {
    let canary = canary(world);
    let before = fs::metadata("/dev/null").unwrap();
    for target in [canary.text() + "/file", "/proc/version".into(), "/dev/zero".into(), "/etc/passwd".into()]
    {
        for user in [0, 1000] {
            let bundle =
                without_dev(world.bundle().asking(&["read:/etc/group", "stat:/etc/group"])).edit(|config| {
                    config["linux"]["maskedPaths"] = json!(["/etc/group"]);
                    config["process"]["user"] = json!({"uid": user, "gid": user});
                });
            symlink(&target, bundle.rootfs("dev/null")).unwrap();
            let ran = contained(world, &canary, &bundle, &format!("/dev/null -> {target}"));
            if ran.code == Some(0) {
                let asked = ran.json()["asked"].clone();
                assert_eq!(asked["stat:/etc/group"]["rdev"], "1:3", "/dev/null -> {target}: {asked}");
                assert_eq!(asked["read:/etc/group"]["ok"], "", "/dev/null -> {target}: {asked}");
            }
        }
    }
    let after = fs::metadata("/dev/null").unwrap();
    assert_eq!((before.uid(), before.mode()), (after.uid(), after.mode()));
    Ok(())
}

/// G14: CVE-2024-21626, CVE-2026-55686.
fn working_directories_that_lead_out_are_contained(world: &World) -> Outcome {
    let canary = canary(world);
    let mut directories: Vec<String> = CROOKED.iter().map(|path| (*path).to_owned()).collect();
    directories
        .extend(["/proc/1/root", "/proc/self/root/..", "/proc/self/cwd", "/etc/passwd"].map(str::to_owned));
    directories.push(format!("/proc/1/root{}", canary.text()));
    directories.push(format!("/..{}", canary.text()));
    for cwd in directories {
        let script = format!(
            "pwd; cat secret ../secret .{} {}/secret; ls ../../../../../..",
            canary.text(),
            canary.text()
        );
        let bundle = world.shell(&script).edit(|config| config["process"]["cwd"] = json!(cwd));
        crooked_roots(&bundle, &canary);
        let ran = contained(world, &canary, &bundle, &cwd);
        assert!(!ran.out.lines().any(|line| line == "boot" || line == "(unreachable)/"), "cwd {cwd}: {ran}");
    }
    Ok(())
}

/// G20: a descriptor that the runtime leaves open, as working directory or as program.
fn descriptors_of_the_runtime_lead_nowhere(world: &World) -> Outcome {
    let canary = canary(world);
    for number in 3..40 {
        for cwd in [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/../../../..")] {
            let script = format!("cat .{0}/secret ../../../../../../../..{0}/secret; ls", canary.text());
            let bundle = world.shell(&script).edit(|config| config["process"]["cwd"] = json!(cwd));
            let ran = contained(world, &canary, &bundle, &cwd);
            assert!(!ran.out.lines().any(|line| line == "boot"), "cwd {cwd}: {ran}");
        }
        for program in
            [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}{}/secret", canary.text())]
        {
            let ran = contained(world, &canary, &world.bundle().args(&[&program]), &program);
            assert_ne!(ran.code, Some(0), "{program}: {ran}");
        }
    }
    Ok(())
}

/// A created container may wait for days: beyond its streams it has sockets to the runtime and, for its hooks, its root
/// and the file they print to.
fn what_waits_for_start_holds_nothing_of_the_host(world: &World) -> Outcome {
    world.only_orlop()?;
    let hook = serde_json::json!([{"path": "/bin/true"}]);
    let hooked = world.bundle().edit(|config| config["hooks"]["startContainer"] = hook);
    for (bundle, files) in [(world.bundle(), 0), (hooked, 2)] {
        let pid = world.pid(&world.create(&bundle));
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let beyond = entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap() > 2);
        let targets = beyond.map(|entry| fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned());
        let others: Vec<String> = targets.filter(|target| !target.starts_with("socket:")).collect();
        let known = |target: &String| target == "/" || target.starts_with("/memfd:");
        assert!(others.len() == files && others.iter().all(known), "{others:?}");
    }
    Ok(())
}

/// G18: descriptors without close-on-exec in the caller, with --preserve-fds and without.
fn hooks_and_programs_inherit_no_descriptor_of_the_caller(world: &World) -> Outcome {
    let file = world.file("plain", "");
    for (preserve, expected) in [("0", vec![0, 1, 2]), ("2", vec![0, 1, 2, 3, 4])] {
        let (bundle, id) = (world.bundle(), world.id());
        let prelude = format!("exec 3<{file} 4<{file} 5</ 25</ 26<{file} 63</ 64</ 900</");
        let ran = world
            .orlop_after(&prelude, &["run", "--preserve-fds", preserve, "--bundle", bundle.path(), &id])
            .ok();
        let found: Vec<u32> = integration_tests::Report(ran.json()).descriptors().into_iter().collect();
        assert_eq!(found, expected, "--preserve-fds {preserve}");
    }
    Ok(())
}

/// G21: CVE-2019-5736.
fn the_runtime_binary_is_out_of_reach(world: &World) -> Outcome {
    let canary = canary(world);
    let describe = || {
        let meta = fs::metadata(&world.runtime).unwrap();
        let sum = Command::new("sha256sum").arg(&world.runtime).output().unwrap().stdout;
        (meta.mtime(), meta.mtime_nsec(), meta.mode(), meta.ino(), sum)
    };
    let before = describe();
    let own = fs::metadata(&world.runtime).unwrap();
    let programs: [&[&str]; 3] =
        [&["/proc/self/exe"], &["/proc/self/exe", "--version"], &["/proc/thread-self/exe"]];
    for args in programs {
        contained(world, &canary, &world.bundle().args(args), "args name /proc/self/exe");
    }
    let script = world.bundle().args(&["/tmp/script"]);
    fs::write(script.rootfs("tmp/script"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(script.rootfs("tmp/script"), fs::Permissions::from_mode(0o755)).unwrap();
    contained(world, &canary, &script, "a shebang names /proc/self/exe");
    // What a process of the container can see of its own pid 1 before and after its program starts.
    let id = world.create(&world.bundle().args(&["/bin/sleep", "1000"]));
    let exe = fs::metadata(format!("/proc/{}/exe", world.pid(&id))).unwrap();
    assert_ne!(
        (exe.dev(), exe.ino()),
        (own.dev(), own.ino()),
        "init of a created container runs from the host's file"
    );
    assert_eq!(before, describe());
    Ok(())
}

/// G35: crun #2114 was a path of this kind.
fn cgroup_paths_stay_below_the_root(world: &World) -> Outcome {
    world.only_orlop()?;
    let canary = canary(world);
    let name = format!("it-escape-{}", std::process::id());
    let paths = [
        format!("../../../{name}"),
        format!("/../../{name}"),
        format!("/{name}/../../../../tmp/{name}"),
        format!("{name}\nb"),
        format!("/{name}").repeat(2000),
    ];
    for path in paths {
        let bundle = world.bundle().edit(|config| config["linux"]["cgroupsPath"] = json!(path));
        contained(world, &canary, &bundle, &path);
        assert!(!Path::new("/tmp").join(&name).exists() && !Path::new("/").join(&name).exists());
    }
    let left = leaks::find(&[&name], &world.root);
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

fn readonly_and_masked_paths_through_symlinks_stay_inside(world: &World) -> Outcome {
    let canary = canary(world);
    for key in ["maskedPaths", "readonlyPaths"] {
        for path in CROOKED.iter().copied().chain(["/to-file"]) {
            let bundle = world.bundle().edit(|config| config["linux"][key] = json!([path]));
            crooked_roots(&bundle, &canary);
            contained(world, &canary, &bundle, &format!("{key} {path}"));
        }
    }
    Ok(())
}

/// G17.
fn a_root_that_is_a_symlink_or_the_host_is_contained(world: &World) -> Outcome {
    world.only_orlop()?;
    let canary = canary(world);
    let bundle = world.bundle().edit(|config| config["root"]["path"] = json!("/"));
    let ran = contained(world, &canary, &bundle, "the host's root");
    assert_ne!(ran.code, Some(0), "{ran}");
    let empty = world.bundle().edit(|config| config["root"]["path"] = json!(""));
    let ran = contained(world, &canary, &empty, "no path");
    assert_ne!(ran.code, Some(0), "{ran}");
    let file = world.bundle().edit(|config| config["root"]["path"] = json!("config.json"));
    let ran = contained(world, &canary, &file, "a file");
    assert_ne!(ran.code, Some(0), "{ran}");
    Ok(())
}

fn a_device_path_that_leads_out_is_contained(world: &World) -> Outcome {
    let canary = canary(world);
    let mut paths: Vec<String> = CROOKED.iter().map(|path| format!("{path}/it-device")).collect();
    paths.extend(["/dev/../../../../it-device".to_owned(), format!("/dev/../..{}/it-device", canary.text())]);
    for path in paths {
        let bundle = world.bundle().edit(|config| {
            config["linux"]["devices"] =
                json!([{"path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
        });
        crooked_roots(&bundle, &canary);
        contained(world, &canary, &bundle, &path);
        assert!(!Path::new("/it-device").exists());
    }
    Ok(())
}
