//! Mounts of the root file system that are more than a bind, and that nothing of them stays.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use containerd_shim_protos::types::mount::Mount;

use crate::harness::{Shim, World, able, await_true, ctx, status};

fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::new();
    (mount.type_, mount.source) = (kind.to_owned(), source.to_owned());
    mount.options = options.iter().map(|option| (*option).to_owned()).collect();
    mount
}

/// Runs a script in a container with these mounts; the value is what it printed.
fn run(world: &World, mounts: Vec<Mount>, script: &str) -> Result<String, String> {
    let shim = world.shim(&world.bundle("c1", script), "c1");
    let file = world.dir.join("said");
    let _ = fs::remove_file(&file);
    let mut request = Shim::request(world, "c1");
    request.rootfs = mounts;
    request.stdout = format!("file://{}", file.display());
    let created = shim.task.create(ctx(), &request).map_err(|error| status(error).1);
    if created.is_ok() {
        shim.start("c1", "").unwrap();
        shim.wait("c1", "").unwrap();
        shim.delete("c1", "").unwrap();
    }
    shim.shutdown();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&world.dir.join("c1").display().to_string()), "{table}");
    assert!(!world.dir.join("c1/lower").exists());
    fs::remove_dir_all(world.dir.join("c1")).unwrap();
    created.map(|_| fs::read_to_string(&file).unwrap())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Whether a loop device has the file.
fn is_attached(file: &str) -> bool {
    fs::read_dir("/sys/block").unwrap().filter_map(Result::ok).any(|entry| {
        fs::read_to_string(entry.path().join("loop/backing_file")).is_ok_and(|held| held.trim() == file)
    })
}

#[test]
fn an_image_is_mounted_by_a_loop_device_that_goes_with_it() {
    if !able() || !Path::new("/dev/loop-control").exists() {
        return;
    }
    let world = World::new();
    let image = text(&world.dir.join("image"));
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let made =
        Command::new("mkfs.ext4").args(["-q", "-d"]).arg(world.dir.join("rootfs")).arg(&image).output();
    if !made.is_ok_and(|made| made.status.success()) {
        return;
    }
    // A container of another test that is being made has a copy of every mount for a moment, and keeps the device so long.
    let run = |options: &[&str], script: &str| {
        let said = run(&world, vec![mount("ext4", &image, options)], script);
        await_true("the device goes", || !is_attached(&image));
        said
    };
    assert_eq!(run(&["loop"], "echo written >/tmp/file; cat /tmp/file; exit 0").unwrap(), "written\n");
    assert_eq!(run(&["loop"], "cat /tmp/file").unwrap(), "written\n");
    let overwrite = "echo x 2>/dev/null >/tmp/file || cat /tmp/file";
    assert_eq!(run(&["loop", "ro"], overwrite).unwrap(), "written\n");
    let absent = vec![mount("ext4", "/nonexistent", &["loop"])];
    let missing = self::run(&world, absent, "").unwrap_err();
    assert!(missing.contains("/nonexistent: open: ENOENT"), "{missing}");
}

#[test]
fn owners_are_mapped_in_binds_and_beneath_overlays() {
    if !able() {
        return;
    }
    let world = World::new();
    for name in ["lower2", "upper", "work"] {
        fs::create_dir(world.dir.join(name)).unwrap();
    }
    let file = world.dir.join("lower2/mapped");
    fs::write(&file, "").unwrap();
    std::os::unix::fs::chown(&file, Some(0), Some(5)).unwrap();
    let maps = ["uidmap=0:1000:65536", "gidmap=0:2000:65536"];
    let layers = format!("lowerdir={}:{}", text(&world.dir.join("lower2")), text(&world.dir.join("rootfs")));
    let (upper, work) = (text(&world.dir.join("upper")), text(&world.dir.join("work")));
    let (upper, work) = (format!("upperdir={upper}"), format!("workdir={work}"));
    let options = [layers.as_str(), &upper, &work, maps[0], maps[1]];
    let look = "busybox stat -c '%u %g' /mapped /bin/busybox";
    let look = look.replace("busybox stat", "/bin/busybox stat");
    let seen = match run(&world, vec![mount("overlay", "overlay", &options)], &look) {
        // The file system of the test's directory cannot be mapped.
        Err(error) if error.contains("mount_setattr: EINVAL") => return,
        other => other.unwrap(),
    };
    assert_eq!(seen, "1000 2005\n1000 2000\n");
    let bind = mount("bind", &text(&world.dir.join("rootfs")), &["rbind", maps[0], maps[1]]);
    assert_eq!(run(&world, vec![bind], &look.replace("/mapped ", "")).unwrap(), "1000 2000\n");
    assert_eq!(file.metadata().unwrap().gid(), 5);
    let half = mount("overlay", "overlay", &[layers.as_str(), maps[0]]);
    assert!(run(&world, vec![half], "").unwrap_err().contains("uidmap and gidmap need each other"));
}

#[test]
fn directories_are_made_before_a_mount_and_stacked_mounts_go_in_order() {
    if !able() {
        return;
    }
    let world = World::new();
    let made = world.dir.join("made/deep");
    let option = format!("X-containerd.mkdir.path={}:777:7:8", text(&made));
    let mut second = mount("bind", &text(&made), &["bind", &option]);
    second.target = "/tmp".to_owned();
    let first = mount("bind", &text(&world.dir.join("rootfs")), &["rbind", "ro"]);
    let script = "echo inside >/tmp/file; echo x 2>/dev/null >/etc/file || echo read-only";
    assert_eq!(run(&world, vec![first, second], script).unwrap(), "read-only\n");
    assert_eq!(fs::read_to_string(made.join("file")).unwrap(), "inside\n");
    let seen = made.metadata().unwrap();
    assert_eq!((seen.mode() & 0o777, seen.uid(), seen.gid()), (0o777, 7, 8));
}

#[test]
fn overlays_with_options_longer_than_a_page_are_mounted() {
    if !able() {
        return;
    }
    let world = World::new();
    let name = |number: u32| format!("layer-with-a-long-name-{number:020}");
    let mut layers: Vec<String> = (0..80).map(|number| text(&world.dir.join(name(number)))).collect();
    layers.iter().for_each(|layer| fs::create_dir(layer).unwrap());
    fs::write(world.dir.join(name(79)).join("bottom"), "bottom\n").unwrap();
    layers.push(text(&world.dir.join("rootfs")));
    let layers = format!("lowerdir={}", layers.join(":"));
    assert!(layers.len() > 4096);
    let overlay = vec![mount("overlay", "overlay", &[&layers])];
    assert_eq!(run(&world, overlay, "cat /bottom").unwrap(), "bottom\n");
}

#[test]
fn a_program_mounts_what_the_kernel_alone_cannot() {
    if !able() {
        return;
    }
    let world = World::new();
    let bin = world.dir.join("bin");
    fs::create_dir(&bin).unwrap();
    // It stands for mount.fuse3: the same words, and a bind instead of a file system.
    let script =
        format!("#!/bin/sh\necho \"$@\" >{0}/words\nexec mount --bind \"$1\" \"$2\"\n", text(&world.dir));
    fs::write(bin.join("mount.fuse3"), script).unwrap();
    fs::set_permissions(bin.join("mount.fuse3"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", text(&bin), std::env::var("PATH").unwrap());
    world.set_path(&path);
    let rootfs = text(&world.dir.join("rootfs"));
    let mounts = vec![mount("fuse3.it-fs", &rootfs, &["ro", "key=value"])];
    assert_eq!(run(&world, mounts, "echo seen").unwrap(), "seen\n");
    let target = text(&world.dir.join("c1/rootfs"));
    let words = fs::read_to_string(world.dir.join("words")).unwrap();
    assert_eq!(words, format!("{rootfs} {target} -t it-fs -o ro,key=value\n"));
    let failing = run(&world, vec![mount("fuse3.it-fs", "/nonexistent", &[])], "").unwrap_err();
    assert!(failing.contains("mount.fuse3: exit status: 32: mount: "), "{failing}");
    let missing = run(&world, vec![mount("fuse.it-fs", &rootfs, &[])], "").unwrap_err();
    assert!(missing.contains("mount.fuse: "), "{missing}");
}
