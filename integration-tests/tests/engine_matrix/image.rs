//! The image of the tests: busybox with all of its names, the probe, a page, in the archive format that every engine
//! reads; and one whose programs are those of this machine, for systemd.

use integration_tests::{World, bundle};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// The name that engines know the image by.
pub(crate) const IMAGE: &str = "it-busybox:latest";

/// Writes the image as an archive and returns its path.
pub(crate) fn busybox(world: &World) -> String {
    let rootfs = world.dir.join("image-rootfs");
    bundle::make_rootfs(&rootfs);
    link_applets(&rootfs);
    for dir in ["www", "data", "etc/empty", "run", "mnt", "home"] {
        fs::create_dir_all(rootfs.join(dir)).expect("directory");
    }
    fs::write(rootfs.join("www/index.html"), "served from the inside\n").expect("page");
    fs::write(rootfs.join("data/of-the-image"), "copied up\n").expect("file");
    fs::write(rootfs.join("etc/group"), "root:x:0:\naudio:x:29:\nwalter:x:1000:\n").expect("group");
    archive(world, &rootfs, "it-busybox", &["/bin/sh"])
}

fn link_applets(rootfs: &Path) {
    let output = Command::new("/bin/busybox").arg("--list").output().expect("busybox");
    for name in String::from_utf8_lossy(&output.stdout).lines().filter(|name| *name != "busybox") {
        let _ = symlink("busybox", rootfs.join("bin").join(name));
    }
}

/// An image without any program: `/usr` is a mount of the machine's own.
pub(crate) fn of_this_machine(world: &World) -> String {
    let rootfs = world.dir.join("machine-rootfs");
    for dir in ["dev", "etc", "proc", "run", "sys", "tmp", "usr", "var/log", "var/lib"] {
        fs::create_dir_all(rootfs.join(dir)).expect("directory");
    }
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        symlink(format!("usr/{name}"), rootfs.join(name)).expect("link");
    }
    fs::write(rootfs.join("etc/machine-id"), "").expect("machine-id");
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("passwd");
    fs::write(rootfs.join("etc/group"), "root:x:0:\n").expect("group");
    let units = rootfs.join("etc/systemd/system");
    fs::create_dir_all(&units).expect("directory");
    let unit = "[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n\
                [Service]\nType=oneshot\nRemainAfterExit=yes\nStandardOutput=tty\nExecStart=/bin/touch /run/it-ran\n";
    fs::write(units.join("it.service"), unit).expect("unit");
    fs::write(
        units.join("it.target"),
        "[Unit]\nDefaultDependencies=no\nRequires=it.service\nAfter=it.service\n",
    )
    .expect("unit");
    symlink("it.target", units.join("default.target")).expect("link");
    archive(world, &rootfs, "it-machine", &["/lib/systemd/systemd"])
}

fn archive(world: &World, rootfs: &Path, name: &str, program: &[&str]) -> String {
    let dir = world.dir.join(format!("{name}-image"));
    fs::create_dir_all(&dir).expect("directory");
    tar(world, &dir.join("layer.tar"), rootfs);
    let digest = sha256(world, &dir.join("layer.tar"));
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let config = json!({"architecture": architecture, "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": program},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "the tests"}],
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]}})
    .to_string();
    fs::write(dir.join("config.tmp"), &config).expect("config");
    let file = format!("{}.json", sha256(world, &dir.join("config.tmp")));
    fs::rename(dir.join("config.tmp"), dir.join(&file)).expect("config");
    let tag = format!("{name}:latest");
    let manifest = json!([{"Config": file, "RepoTags": [tag], "Layers": ["layer.tar"]}]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).expect("manifest");
    let archive = world.dir.join(format!("{name}.tar"));
    tar(world, &archive, &dir);
    archive.display().to_string()
}

fn tar(world: &World, archive: &Path, dir: &Path) {
    let mut command = Command::new("tar");
    world.finish(command.args(["--numeric-owner", "-C"]).arg(dir).arg("-cf").arg(archive).arg(".")).ok();
}

fn sha256(world: &World, path: &Path) -> String {
    let ran = world.finish(Command::new("sha256sum").arg(path)).ok();
    ran.out.split(' ').next().unwrap_or_default().to_owned()
}
