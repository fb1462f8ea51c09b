//! Root file systems, mounts, volumes and devices.

use crate::cell::Cell;
use crate::engine::Kind;
use integration_tests::process::wait_until;
use integration_tests::world::LIMIT;
use integration_tests::{Outcome, bundle, skip};
use serde_json::json;

fn sh(script: &str) -> [&str; 3] {
    ["/bin/sh", "-c", script]
}

pub(crate) fn read_only_root(cell: &Cell) -> Outcome {
    let ran =
        cell.run(&["--read-only"], &sh("touch /new 2>/dev/null || echo refused; cat /data/of-the-image"));
    assert_eq!(ran.ok().out, "refused\ncopied up\n");
    Ok(())
}

const SHOW_TMPFS: &str = "grep ' /mnt/t ' /proc/mounts | cut -d' ' -f3; stat -c %a /mnt/t; grep ' /mnt/t ' /proc/mounts | grep -o size=8192k";

pub(crate) fn tmpfs(cell: &Cell) -> Outcome {
    let ran = cell.run(&["--tmpfs", "/mnt/t:size=8m,mode=1770"], &sh(SHOW_TMPFS));
    assert_eq!(ran.ok().out, "tmpfs\n1770\nsize=8192k\n");
    let ran = cell.run(
        &["--mount", "type=tmpfs,destination=/mnt/t,tmpfs-size=8388608,tmpfs-mode=1770"],
        &sh(SHOW_TMPFS),
    );
    assert_eq!(ran.ok().out, "tmpfs\n1770\nsize=8192k\n");
    Ok(())
}

pub(crate) fn ctr_tmpfs(cell: &Cell) -> Outcome {
    let ran = cell.run(&["--mount", "type=tmpfs,dst=/mnt/t,options=size=8m:mode=1770"], &sh(SHOW_TMPFS));
    assert_eq!(ran.ok().out, "tmpfs\n1770\nsize=8192k\n");
    Ok(())
}

pub(crate) fn buildah_tmpfs(cell: &Cell) -> Outcome {
    let mount = "type=tmpfs,destination=/mnt/t,tmpfs-size=8388608,tmpfs-mode=1770";
    assert_eq!(cell.run(&["--", "--mount", mount], &sh(SHOW_TMPFS)).ok().out, "tmpfs\n1770\nsize=8192k\n");
    Ok(())
}

const WRITE_BELOW: &str = "echo x 2>/dev/null > /mnt/below/new || echo refused";

/// A mount below the shared directory, on the engine's host.
fn mount_below(cell: &Cell) -> String {
    let share = cell.share();
    let below = format!("{share}/below");
    cell.on_host(&["mkdir", "-p", &below]).ok();
    cell.on_host(&["mount", "-t", "tmpfs", "-o", "mode=777", "tmpfs", &below]).ok();
    share
}

pub(crate) fn recursively_read_only(cell: &Cell) -> Outcome {
    cell.only_docker("a recursively read-only mount")?;
    cell.since((25, 0), "a recursively read-only mount")?;
    if cell.engine.kind == Kind::DockerShim {
        return skip("dockerd asks for features only what it knows by a path, not by the name of a shim");
    }
    let share = mount_below(cell);
    let mount = format!("type=bind,source={share},target=/mnt,readonly,bind-recursive=readonly");
    let mount = [mount.as_str(), ",bind-propagation=rprivate"].concat();
    assert_eq!(cell.run(&["--mount", &mount], &sh(WRITE_BELOW)).ok().out, "refused\n");
    Ok(())
}

pub(crate) fn ctr_recursively_read_only(cell: &Cell) -> Outcome {
    let share = mount_below(cell);
    let mount = format!("type=bind,src={share},dst=/mnt,options=rbind:rro");
    assert_eq!(cell.run(&["--mount", &mount], &sh(WRITE_BELOW)).ok().out, "refused\n");
    Ok(())
}

/// What is mounted on the host after the start is seen inside or not, and the other way round.
pub(crate) fn propagation(cell: &Cell) -> Outcome {
    if cell.is_rootless() {
        return skip("an ordinary user's mounts are slaves, whatever is asked");
    }
    let share = cell.share();
    cell.on_host(&["mount", "--bind", &share, &share]).ok();
    cell.on_host(&["mount", "--make-shared", &share]).ok();
    for (propagation, seen, back) in
        [("rprivate", false, false), ("rslave", true, false), ("rshared", true, true)]
    {
        let volume = format!("{share}:/mnt:{propagation}");
        let name = cell.start(&["--privileged", "--volume", &volume], &["/bin/sleep", "1000"]);
        assert_eq!((seen, back), mounts_seen(cell, &share, &name), "{propagation}");
    }
    Ok(())
}

pub(crate) fn ctr_propagation(cell: &Cell) -> Outcome {
    let share = cell.share();
    cell.on_host(&["mount", "--bind", &share, &share]).ok();
    cell.on_host(&["mount", "--make-shared", &share]).ok();
    for (propagation, seen, back) in
        [("rprivate", false, false), ("rslave", true, false), ("rshared", true, true)]
    {
        let mount = format!("type=bind,src={share},dst=/mnt,options=rbind:{propagation}");
        // Docker and Podman raise the root's propagation to that of the mounts by themselves.
        let options = ["--privileged", "--rootfs-propagation", propagation, "--mount", &mount];
        let name = cell.start(&options, &["/bin/sleep", "1000"]);
        assert_eq!((seen, back), mounts_seen(cell, &share, &name), "{propagation}");
    }
    Ok(())
}

/// Whether a mount of the host is seen in the container, and one of the container on the host.
fn mounts_seen(cell: &Cell, share: &str, name: &str) -> (bool, bool) {
    let sub = format!("{share}/sub");
    cell.on_host(&["mount", "-t", "tmpfs", "it-of-host", &sub]).ok();
    let seen = cell.exec(name, &[], &["/bin/grep", "-q", "it-of-host", "/proc/mounts"]).code == Some(0);
    cell.on_host(&["umount", &sub]).ok();
    let script = "mkdir -p /mnt/back; mount -t tmpfs it-of-guest /mnt/back";
    cell.exec(name, &[], &sh(script)).ok();
    let back = cell.on_host(&["grep", "-q", "it-of-guest", "/proc/mounts"]).code == Some(0);
    cell.exec(name, &[], &["/bin/umount", "/mnt/back"]).ok();
    (seen, back)
}

pub(crate) fn volume(cell: &Cell) -> Outcome {
    let volume = cell.name();
    cell.call(&["volume", "create", &volume]).ok();
    let option = format!("{volume}:/data");
    let first = cell.run(&["--volume", &option], &sh("cat /data/of-the-image; echo kept > /data/new"));
    assert_eq!(first.ok().out, "copied up\n");
    let mount = format!("type=volume,source={volume},target=/mnt,ro");
    let second =
        cell.run(&["--mount", &mount], &sh("cat /mnt/new; touch /mnt/x 2>/dev/null || echo refused"));
    assert_eq!(second.ok().out, "kept\nrefused\n");
    cell.call(&["volume", "rm", &volume]).ok();
    Ok(())
}

pub(crate) fn volumes_from(cell: &Cell) -> Outcome {
    let first = cell.start(&["--volume", "/data"], &["/bin/sleep", "1000"]);
    cell.exec(&first, &[], &sh("echo shared > /data/new")).ok();
    let ran = cell.run(&["--volumes-from", &first], &["/bin/cat", "/data/new"]);
    assert_eq!(ran.ok().out, "shared\n");
    Ok(())
}

pub(crate) fn volume_flags(cell: &Cell) -> Outcome {
    cell.only_podman("a volume with an overlay")?;
    let share = cell.share();
    let overlay =
        cell.run(&["--volume", &format!("{share}:/mnt:O")], &sh("echo changed > /mnt/file; cat /mnt/file"));
    assert_eq!(overlay.ok().out, "changed\n");
    let given = cell.run(
        &["--user", "1000:1000", "--volume", &format!("{share}:/mnt:U")],
        &sh("cat /mnt/file; echo x > /mnt/new; stat -c %u /mnt"),
    );
    assert_eq!(given.ok().out, "of the host\n1000\n");
    Ok(())
}

pub(crate) fn idmapped_volume(cell: &Cell) -> Outcome {
    cell.only_podman("an id-mapped volume")?;
    if cell.is_rootless() {
        return skip("the kernel lets no ordinary user map the ids of a mount");
    }
    let share = cell.share();
    let ran = cell.run(
        &[
            "--uidmap",
            "0:100000:5000",
            "--gidmap",
            "0:100000:5000",
            "--volume",
            &format!("{share}:/mnt:idmap"),
        ],
        &sh("stat -c %u /mnt/file; echo new > /mnt/new"),
    );
    assert_eq!(ran.ok().out, "0\n");
    let owner = cell.on_host(&["stat", "-c", "%u", &format!("{share}/new")]);
    assert_eq!(owner.ok().out, "0\n");
    Ok(())
}

pub(crate) fn image_mount(cell: &Cell) -> Outcome {
    cell.only_podman("a mount of an image")?;
    let mount = "type=image,source=it-busybox:latest,destination=/mnt,rw=false";
    let ran = cell.run(&["--mount", mount], &sh("cat /mnt/data/of-the-image"));
    assert_eq!(ran.ok().out, "copied up\n");
    Ok(())
}

pub(crate) fn secret(cell: &Cell) -> Outcome {
    cell.only_podman("a secret without a swarm")?;
    let (name, file) = (cell.name(), cell.world.file("secret", "hidden\n"));
    cell.call(&["secret", "create", &name, &file]).ok();
    let option = format!("{name},mode=0400");
    let ran = cell.run(
        &["--secret", &option],
        &sh(&format!("cat /run/secrets/{name}; stat -c %a /run/secrets/{name}")),
    );
    cell.call(&["secret", "rm", &name]).ok();
    assert_eq!(ran.ok().out, "hidden\n400\n");
    Ok(())
}

pub(crate) fn rootfs(cell: &Cell) -> Outcome {
    cell.only_podman("a root directory without an image")?;
    let dir = cell.world.dir.join("root");
    bundle::make_rootfs(&dir);
    cell.on_host(&["chown", "-R", &cell.owner().to_string(), &dir.display().to_string()]).ok();
    let line = cell.line_of(&["--rm", "--rootfs"], &dir.display().to_string(), &["/bin/cat", "/etc/group"]);
    assert!(cell.shell(&line).ok().out.contains("walter"));
    Ok(())
}

pub(crate) fn ctr_rootfs(cell: &Cell) -> Outcome {
    let dir = cell.world.dir.join("root");
    bundle::make_rootfs(&dir);
    let line = cell.line_of(&["--rm", "--rootfs"], &dir.display().to_string(), &["/bin/cat", "/etc/group"]);
    assert!(cell.shell(&line).ok().out.contains("walter"));
    Ok(())
}

/// Null under another name: written to and read from.
const USE_DEVICE: &str = "echo x > /dev/it-null && cat /dev/it-null && stat -c %t:%T /dev/it-null";

pub(crate) fn device(cell: &Cell) -> Outcome {
    if cell.is_rootless() {
        let ran = cell.run(&["--device", "/dev/null:/dev/it-null"], &sh(USE_DEVICE));
        assert_eq!(ran.ok().out, "1:3\n");
        return Ok(());
    }
    let ran = cell.run(&["--device", "/dev/null:/dev/it-null:rw"], &sh(USE_DEVICE));
    assert_eq!(ran.ok().out, "1:3\n");
    // Only reading is allowed.
    let denied =
        cell.run(&["--device", "/dev/loop-control:/dev/it-null:r"], &sh("(echo x > /dev/it-null) 2>&1"));
    denied.fails();
    Ok(())
}

pub(crate) fn ctr_device(cell: &Cell) -> Outcome {
    let ran = cell
        .run(&["--device", "/dev/fuse"], &sh("stat -c %t:%T /dev/fuse; exec 3<>/dev/fuse && echo opened"));
    assert_eq!(ran.ok().out, "a:e5\nopened\n");
    Ok(())
}

pub(crate) fn buildah_device(cell: &Cell) -> Outcome {
    let ran = cell.run(&["--device", "/dev/null:/dev/it-null:rw"], &sh(USE_DEVICE));
    assert_eq!(ran.ok().out, "1:3\n");
    Ok(())
}

/// A node of the machine's disk, which no rule allows.
const DENIED: &str = "mknod /tmp/d b 254 0 2>/dev/null; (exec 3</tmp/d) 2>/dev/null || echo refused";

pub(crate) fn device_rule(cell: &Cell) -> Outcome {
    if cell.is_rootless() {
        return skip("an ordinary user may not make device nodes");
    }
    // Podman's default lacks it since version 5.
    let may_make = ["--cap-add", "MKNOD"];
    assert_eq!(cell.run(&may_make, &sh(DENIED)).ok().out, "refused\n");
    let script = "mknod /tmp/l c 10 237 && (exec 3</tmp/l) 2>&1 && echo opened";
    let ruled = [&may_make[..], &["--device-cgroup-rule", "c 10:237 rwm"]].concat();
    assert_eq!(cell.run(&ruled, &sh(script)).ok().out, "opened\n");
    cell.run(&may_make, &sh(script)).fails();
    Ok(())
}

pub(crate) fn ctr_device_denied(cell: &Cell) -> Outcome {
    assert_eq!(cell.run(&[], &sh(DENIED)).ok().out, "refused\n");
    Ok(())
}

/// A directory of OCI hooks, and the file that they write.
pub(crate) fn hook_dir(cell: &Cell) -> (String, std::path::PathBuf) {
    let dir = cell.world.dir.join("hooks");
    std::fs::create_dir_all(&dir).expect("directory");
    let wrote = cell.engine.host.home().join("hooked");
    let script = cell.world.script("hook", &format!("cat > /dev/null; echo $1 >> {}", wrote.display()));
    for stage in ["prestart", "poststop"] {
        let hook = json!({"version": "1.0.0", "hook": {"path": script, "args": [script, stage]},
            "when": {"always": true}, "stages": [stage]});
        std::fs::write(dir.join(format!("{stage}.json")), hook.to_string()).expect("hook");
    }
    (dir.display().to_string(), wrote)
}

/// Waits for the lines that the hooks wrote, and removes them.
pub(crate) fn hooks_ran(wrote: &std::path::Path) {
    let read = || std::fs::read_to_string(wrote).unwrap_or_default();
    wait_until("the hooks ran", LIMIT, || read() == "prestart\npoststop\n");
    let _ = std::fs::remove_file(wrote);
}
