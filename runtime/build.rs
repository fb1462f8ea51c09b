//! Builds the init image, so that plain `cargo build` works: the crate `child` as a program of its own, for the target
//! and with the toolchain of this build, in a target directory below OUT_DIR.
#![expect(clippy::disallowed_methods, reason = "a build script starts cargo")]

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variables through which the outer cargo would reach into the inner build.
const OUTER: [&str; 6] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_MAKEFLAGS",
];

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest.parent().ok_or("the crate has no workspace around it")?;
    for folder in ["child/src", "sys/src", "child/Cargo.toml", "sys/Cargo.toml", "Cargo.toml"] {
        println!("cargo:rerun-if-changed={}", workspace.join(folder).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let image = build(workspace, &out)?;
    std::fs::copy(image, out.join("init"))?;
    println!("cargo:rustc-env=ORLOP_COMMIT={}", commit(workspace));
    Ok(())
}

fn build(workspace: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let target = env::var("TARGET")?;
    let folder = out.join("image");
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.current_dir(workspace).args([
        "build",
        "--package",
        "child",
        "--bin",
        "init",
        "--features",
        "image",
    ]);
    cargo.args(["--profile", "image", "--target", &target, "--quiet"]).arg("--target-dir").arg(&folder);
    if target.contains("musl") && target != env::var("HOST")?.replace("-gnu", "-musl") {
        // The target's own linker may be absent, and the objects need no more than this one.
        cargo.arg("--config").arg(format!("target.{target}.linker=\"rust-lld\""));
    }
    for name in OUTER {
        cargo.env_remove(name);
    }
    let relocation = if target.contains("gnu") { "-C target-feature=+crt-static" } else { "" };
    if !relocation.is_empty() {
        cargo.env("RUSTFLAGS", relocation);
    }
    if !cargo.status()?.success() {
        return Err("the init image could not be built".into());
    }
    Ok(folder.join(target).join("image/init"))
}

/// The commit for `--version`; `unknown` outside a repository.
fn commit(workspace: &Path) -> String {
    let output =
        Command::new("git").current_dir(workspace).args(["rev-parse", "--short=12", "HEAD"]).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let text = text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
    if text.trim().is_empty() { "unknown".to_owned() } else { text.trim().to_owned() }
}
