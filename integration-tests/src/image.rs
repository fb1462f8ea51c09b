//! An image for engines: busybox and the probe, in the archive format that all of them read.

use crate::{World, bundle};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Writes the image NAME:latest, whose program is `command`, as a `docker save` archive and returns its path.
pub fn archive(world: &World, name: &str, command: &[&str]) -> String {
    let (rootfs, dir) = (world.dir.join(format!("{name}-rootfs")), world.dir.join(format!("{name}-image")));
    bundle::make_rootfs(&rootfs);
    fs::create_dir_all(rootfs.join("www")).unwrap();
    fs::write(rootfs.join("www/index.html"), "served from the inside\n").unwrap();
    fs::create_dir_all(&dir).unwrap();
    tar(world, &dir.join("layer.tar"), &rootfs, "--numeric-owner");
    let digest = sha256(world, &dir.join("layer.tar"));
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let config = json!({"architecture": architecture, "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]}})
    .to_string();
    fs::write(dir.join("config.tmp"), &config).unwrap();
    let file = format!("{}.json", sha256(world, &dir.join("config.tmp")));
    fs::rename(dir.join("config.tmp"), dir.join(&file)).unwrap();
    let manifest = json!([{"Config": file, "RepoTags": [format!("{name}:latest")], "Layers": ["layer.tar"]}]);
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    let archive = world.dir.join(format!("{name}.tar"));
    tar(world, &archive, &dir, "--numeric-owner");
    archive.display().to_string()
}

fn tar(world: &World, archive: &Path, dir: &Path, option: &str) {
    world.finish(Command::new("tar").arg(option).arg("-C").arg(dir).arg("-cf").arg(archive).arg(".")).ok();
}

fn sha256(world: &World, path: &Path) -> String {
    let ran = world.finish(Command::new("sha256sum").arg(path)).ok();
    ran.out.split(' ').next().unwrap_or_default().to_owned()
}
