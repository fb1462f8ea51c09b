//! config.md: the version, the root, mounts and their options, the process, hooks, annotations.

use crate::config::{self, Config as Configuration};
use crate::lab::Lab;
use crate::row::Broken::{Command, Config, Ignores, Nothing};
use crate::row::Level::{Must, MustNot, Plain, Should, ShouldNot};
use crate::row::Refusal::{Create, CreateOrStart};
use crate::row::Test::{Impossible, Lab as InLab, Refused, Seen};
use crate::row::{Row, Stop, Verdict, check, fail, row};
use crate::seen::Seen as Report;
use crate::socket;
use rustix::mount::MountFlags;
use serde_json::json;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

/// An option of a new tmpfs at /mnt: what the mount table says of it.
macro_rules! option {
    ($line:literal, $level:expr, $name:literal, $options:expr, $then:expr) => {
        row(
            concat!("config.mounts.option.", $name),
            $level,
            &[$line],
            concat!("the mount option ", $name),
            Seen(
                |config| config.mount("tmpfs", "it", "/mnt", &$options),
                &[],
                |seen| {
                    let mount = seen.mount("/mnt")?;
                    mount.is("/source", "it")?;
                    let then: fn(&Report) -> Verdict = $then;
                    then(&mount)
                },
            ),
            // A runtime that does not know the word hands it to the filesystem.
            Config(unknown_option),
        )
    };
}

/// An option that changes how a bind mount propagates.
macro_rules! propagation {
    ($line:literal, $name:literal, $kind:literal, $then:expr) => {
        row(
            concat!("config.mounts.option.", $name),
            Must,
            &[$line],
            concat!("the mount option ", $name),
            InLab(|lab| {
                let tree = lab.tree(MountFlags::empty())?;
                lab.config.mount("bind", &tree, "/mnt", &[$kind, $name]);
                let seen = lab.see(&[])?;
                let then: fn(&Report) -> Verdict = $then;
                then(&seen.mount("/mnt")?)?;
                if $kind == "rbind" && $name.starts_with('r') {
                    then(&seen.mount("/mnt/sub")?)
                } else {
                    Ok(())
                }
            }),
            Config(wrong_propagation),
        )
    };
}

/// A recursive option: it holds for the mount and for the one below. The mounts have the given flags before.
macro_rules! recursive {
    ($line:literal, $name:literal, $before:expr, $then:expr) => {
        row(
            concat!("config.mounts.option.", $name),
            Should,
            &[$line],
            concat!("the recursive mount option ", $name),
            InLab(|lab| {
                let tree = lab.tree($before)?;
                lab.config.mount("bind", &tree, "/mnt", &["rbind", $name]);
                let seen = lab.see(&[])?;
                let then: fn(&Report) -> Verdict = $then;
                then(&seen.mount("/mnt")?)?;
                then(&seen.mount("/mnt/sub")?)
            }),
            Command(|call| call.refuses("create")),
        )
    };
}

/// The sentences of `idmap` or `ridmap`.
macro_rules! idmap {
    ($line:literal, $name:literal, $bind:literal) => {
        [
            row(concat!("config.mounts.option.", $name), Should, &[$line], concat!("the mount option ", $name),
                InLab(|lab| mapped(lab, $name, $bind)?.mount("/mnt")?.has("/options", "idmapped")), Ignores),
            row(concat!("config.mounts.", $name, ".applied"), Must, &[$line], concat!($name, ": an id mapping is applied"),
                InLab(|lab| owner(&mapped(lab, $name, $bind)?, "/mnt/file", 100_000)), Ignores),
            row(concat!("config.mounts.", $name, ".not-passed"), ShouldNot, &[$line],
                concat!($name, " is not handed to mount(2)"),
                InLab(|lab| mapped(lab, $name, $bind)?.mount("/mnt")?.has_not("/super", $name)), Ignores),
            row(concat!("config.mounts.", $name, ".values"), Must, &[$line], concat!($name, " uses the mount's own mappings"),
                InLab(|lab| {
                    let seen = mapped(lab, $name, $bind)?;
                    owner(&seen, "/mnt/file", 100_000)?;
                    let below = if $name == "ridmap" { 100_000 } else { 0 };
                    if $bind == "rbind" { owner(&seen, "/mnt/sub/file", below) } else { Ok(()) }
                }),
                Config(|config| config.set("/mounts/5/uidMappings/0/hostID", json!(200_000)))),
            row(concat!("config.mounts.", $name, ".container-mapping"), Must, &[$line],
                concat!($name, " without mappings takes the container's, or is an error"),
                InLab(|lab| {
                    let tree = lab.tree(MountFlags::empty())?;
                    lab.config.user_namespace(100_000);
                    lab.config.mount("bind", &tree, "/mnt", &[$bind, $name]);
                    lab.config.ask(&["stat:/mnt/file"]);
                    // Without a mapping of the mount, root's file belongs to nobody in the new user namespace.
                    if lab.try_create()?.ok() { lab.start().and_then(|()| owner(&lab.report()?, "/mnt/file", 0)) } else { Ok(()) }
                }),
                Config(|config| config.set("/mounts/5/options", json!([$bind])))),
            row(concat!("config.mounts.", $name, ".nothing-to-map"), Must, &[$line],
                concat!($name, " without mappings and without a user namespace is an error"),
                InLab(|lab| {
                    let tree = lab.tree(MountFlags::empty())?;
                    lab.config.mount("bind", &tree, "/mnt", &[$bind, $name]);
                    lab.refuses()
                }), Ignores),
            row(concat!("config.mounts.", $name, ".mount-setattr"), Should, &[$line],
                concat!($name, " is done by mount_setattr, so the mount itself is marked as mapped"),
                InLab(|lab| {
                    let seen = mapped(lab, $name, $bind)?;
                    seen.mount("/mnt")?.has("/options", "idmapped")?;
                    seen.mount("/mnt/sub").and_then(|sub| if $name == "ridmap" {
                        sub.has("/options", "idmapped")
                    } else {
                        sub.has_not("/options", "idmapped")
                    })
                }), Ignores),
        ]
    };
}

/// The sentences about one kind of hooks. `$other` is a kind that is called at another time or place.
macro_rules! hook {
    ($kind:literal, $path:expr, $absolute:expr, $timeout:expr, $resolves:expr, $executes:expr, $inside:expr, $whose:expr, $place:literal, $other:literal) => {
        [
            row(concat!("config.hooks.", $kind, ".path"), Must, $path, concat!("a ", $kind, " hook has a path"),
                InLab(|lab| bad_hook(lab, $kind, json!({"args": ["probe"]}))), Ignores),
            row(concat!("config.hooks.", $kind, ".absolute"), Must, $absolute, concat!("the path of a ", $kind, " hook is absolute"),
                InLab(|lab| bad_hook(lab, $kind, json!({"path": "probe", "args": ["probe", "do", "stat", "/"]}))), Ignores),
            row(concat!("config.hooks.", $kind, ".timeout"), Must, $timeout, concat!("the timeout of a ", $kind, " hook is above zero"),
                InLab(|lab| {
                    let path = if $inside { "/probe".to_owned() } else { lab.rootfs("probe").display().to_string() };
                    bad_hook(lab, $kind, json!({"path": path, "args": ["probe", "do", "stat", "/"], "timeout": 0}))
                }), Ignores),
            row(concat!("config.hooks.", $kind, ".resolves"), Must, $resolves,
                concat!("the path of a ", $kind, " hook is one of the ", $place, " namespace"),
                InLab(|lab| {
                    lab.hook($kind, &[]);
                    hooked_life(lab, $kind).map(|_| ())
                }), Command(|call| {
                    call.before_create(|path, bundle| wrong_path(path, bundle, $kind));
                    None
                })),
            row(concat!("config.hooks.", $kind, ".executes"), Must, $executes,
                concat!($kind, " hooks run in the namespace that belongs to them"),
                InLab(|lab| {
                    lab.hook($kind, &[]);
                    let seen = hooked_life(lab, $kind)?;
                    namespaces(&seen, $whose)
                }), Command(|call| {
                    call.before_create(|path, bundle| move_hooks(path, bundle, $kind, $other));
                    None
                })),
        ]
    };
}

/// A key below org.opencontainers.image, which a runtime passes on as it is.
macro_rules! image_key {
    ($name:literal, $at:expr, $value:literal) => {
        row(
            concat!("config.annotations.image.", $name),
            Must,
            $at,
            concat!("org.opencontainers.image.", $name, " reaches the state unchanged"),
            InLab(|lab| annotation(lab, concat!("org.opencontainers.image.", $name), $value)),
            Ignores,
        )
    };
}

/// The rows of this chapter.
pub(super) const ROWS: &[&[Row]] = &[
    VERSION_AND_ROOT,
    MOUNTS,
    OPTIONS,
    &idmap!(154, "idmap", "rbind"),
    &idmap!(155, "ridmap", "rbind"),
    PROCESS,
    &hook!(
        "prestart",
        &[555],
        &[556],
        &[560],
        &[561, 602],
        &[562, 603],
        false,
        Whose::Runtime,
        "runtime",
        "createContainer"
    ),
    &hook!(
        "createRuntime",
        &[565],
        &[566],
        &[570],
        &[571, 609],
        &[572, 610],
        false,
        Whose::Runtime,
        "runtime",
        "createContainer"
    ),
    &hook!(
        "createContainer",
        &[555],
        &[556],
        &[560],
        &[575, 621],
        &[576, 622],
        false,
        Whose::Container,
        "runtime",
        "createRuntime"
    ),
    &hook!(
        "startContainer",
        &[555],
        &[556],
        &[560],
        &[579, 633],
        &[580, 634],
        true,
        Whose::Container,
        "container",
        "createRuntime"
    ),
    &hook!(
        "poststart",
        &[555],
        &[556],
        &[560],
        &[583, 641],
        &[584, 642],
        false,
        Whose::Runtime,
        "runtime",
        "createContainer"
    ),
    &hook!(
        "poststop",
        &[555],
        &[556],
        &[560],
        &[587, 649],
        &[588, 650],
        false,
        Whose::Runtime,
        "runtime",
        "createContainer"
    ),
    HOOKS,
    ANNOTATIONS,
];

const VERSION_AND_ROOT: &[Row] = &[
    row(
        "config.version.required",
        Must,
        &[17],
        "ociVersion is required",
        Refused(Create, |config| config.remove("/ociVersion")),
        Ignores,
    ),
    row(
        "config.version.semver",
        Must,
        &[17],
        "ociVersion is a version of SemVer 2.0.0",
        Refused(Create, |config| config.set("/ociVersion", json!("one"))),
        Ignores,
    ),
    row(
        "config.root.required",
        Must,
        &[33],
        "root is required",
        Refused(Create, |config| config.remove("/root")),
        Ignores,
    ),
    row(
        "config.root.path",
        Must,
        &[35],
        "root.path is required",
        Refused(Create, |config| config.set("/root", json!({}))),
        Ignores,
    ),
    row(
        "config.root.absolute",
        Plain,
        &[37],
        "root.path may be absolute",
        InLab(|lab| {
            lab.config.set("/root/path", json!(lab.rootfs("").display().to_string()));
            lab.see(&["read:/etc/file"])?.answer("read:/etc/file").is("/ok", "contents\n")
        }),
        Config(|config| config.set("/root/path", json!("/nonexistent/it"))),
    ),
    row(
        "config.root.conventional",
        Should,
        &[39],
        "root.path rootfs is the directory of that name in the bundle",
        Seen(|_| {}, &["read:/etc/file"], |seen| seen.answer("read:/etc/file").is("/ok", "contents\n")),
        Config(|config| config.set("/root/path", json!("missing"))),
    ),
    row(
        "config.root.exists",
        Must,
        &[41],
        "a root.path where nothing is is an error",
        Refused(Create, |config| config.set("/root/path", json!("missing"))),
        Ignores,
    ),
    row(
        "config.root.directory",
        Must,
        &[41],
        "a root.path that is no directory is an error",
        Refused(Create, |config| config.set("/root/path", json!("config.json"))),
        Ignores,
    ),
    row(
        "config.root.readonly",
        Must,
        &[43],
        "with root.readonly the root filesystem cannot be written",
        Seen(
            |config| config.set("/root/readonly", json!(true)),
            &["create:/written"],
            |seen| {
                seen.mount("/")?.has("/options", "ro")?;
                seen.errno("create:/written", libc::EROFS)
            },
        ),
        Ignores,
    ),
    row(
        "config.root.writable",
        Plain,
        &[43],
        "without root.readonly the root filesystem can be written",
        Seen(|_| {}, &["create:/written"], |seen| seen.could("create:/written")),
        Config(|config| config.set("/root/readonly", json!(true))),
    ),
    row(
        "config.hostname",
        Plain,
        &[494],
        "hostname is what the program sees",
        Seen(
            |config| config.set("/hostname", json!("mrsdalloway")),
            &[],
            |seen| seen.is("/hostname", "mrsdalloway"),
        ),
        Ignores,
    ),
    row(
        "config.domainname",
        Plain,
        &[506],
        "domainname is what the program sees",
        Seen(
            |config| config.set("/domainname", json!("foo.test")),
            &[],
            |seen| seen.is("/domainname", "foo.test"),
        ),
        Ignores,
    ),
];

const MOUNTS: &[Row] = &[
    row(
        "config.mounts.order",
        Must,
        &[66],
        "mounts are made in the listed order",
        Seen(
            |config| {
                config.mount("tmpfs", "first", "/mnt", &[]);
                config.mount("tmpfs", "second", "/mnt", &[]);
            },
            &[],
            |seen| seen.mount("/mnt")?.is("/source", "second"),
        ),
        Config(|config| {
            let (first, second) = (config.at("/mounts/5"), config.at("/mounts/6"));
            config.set("/mounts/5", second);
            config.set("/mounts/6", first);
        }),
    ),
    row(
        "config.mounts.destination",
        Must,
        &[70],
        "a mount has a destination",
        Refused(Create, |config| config.set("/mounts/-", json!({"type": "tmpfs", "source": "it"}))),
        Ignores,
    ),
    row(
        "config.mounts.destination-absolute",
        Should,
        &[71],
        "an absolute destination is that path in the container",
        Seen(
            |config| config.mount("tmpfs", "it", "/mnt", &[]),
            &[],
            |seen| seen.mount("/mnt")?.is("/source", "it"),
        ),
        Ignores,
    ),
    row(
        "config.mounts.destination-relative",
        Must,
        &[72],
        "a relative destination is taken from the root",
        Seen(
            |config| {
                config.set("/process/cwd", json!("/tmp"));
                config.mount("tmpfs", "it", "mnt", &[]);
            },
            &[],
            |seen| seen.mount("/mnt")?.is("/source", "it"),
        ),
        Config(|config| config.set("/mounts/5/destination", json!("/tmp/mnt"))),
    ),
    row(
        "config.mounts.source-relative",
        Plain,
        &[80],
        "a bind mount's relative source is taken from the bundle",
        Seen(
            |config| config.mount("bind", "rootfs/etc", "/mnt", &["bind"]),
            &["read:/mnt/file"],
            |seen| seen.answer("read:/mnt/file").is("/ok", "contents\n"),
        ),
        Ignores,
    ),
    row(
        "config.mounts.options.mount-8",
        Should,
        &[164],
        "a runtime's own option that mount(8) knows too acts as there",
        Impossible("only options that a runtime adds of its own are concerned, and nothing lists those"),
        Nothing,
    ),
    row(
        "config.mounts.options.unknown",
        Should,
        &[166],
        "unknown options are the filesystem's, joined by commas",
        Seen(
            |config| config.mount("tmpfs", "it", "/mnt", &["size=64k", "nr_inodes=17"]),
            &[],
            |seen| {
                let mount = seen.mount("/mnt")?;
                mount.has("/super", "size=64k")?;
                mount.has("/super", "nr_inodes=17")
            },
        ),
        Config(|config| config.remove("/mounts/5/options/1")),
    ),
    row(
        "config.mounts.uid-mappings",
        Should,
        &[189],
        "uidMappings are done by mount_setattr: the mount is marked as mapped",
        InLab(|lab| {
            let seen = mapped(lab, "idmap", "bind")?;
            seen.mount("/mnt")?.has("/options", "idmapped")?;
            seen.answer("stat:/mnt/file").is("/ok/uid", 100_000)
        }),
        Ignores,
    ),
    row(
        "config.mounts.uid-mappings.option",
        Should,
        &[190],
        "with idmap only the mount itself is mapped, those below are not",
        InLab(|lab| {
            let seen = mapped(lab, "idmap", "rbind")?;
            owner(&seen, "/mnt/file", 100_000)?;
            owner(&seen, "/mnt/sub/file", 0)
        }),
        Ignores,
    ),
    row(
        "config.mounts.uid-mappings.alone",
        Must,
        &[192],
        "uidMappings without gidMappings is an error",
        InLab(|lab| lone_mapping(lab, "uidMappings")),
        Ignores,
    ),
    row(
        "config.mounts.gid-mappings",
        Should,
        &[194],
        "gidMappings are done by mount_setattr: the mount is marked as mapped",
        InLab(|lab| {
            let seen = mapped(lab, "idmap", "bind")?;
            seen.mount("/mnt")?.has("/options", "idmapped")?;
            seen.answer("stat:/mnt/file").is("/ok/gid", 100_000)
        }),
        Ignores,
    ),
    row(
        "config.mounts.gid-mappings.option",
        Should,
        &[195],
        "with ridmap the mounts below are mapped too",
        InLab(|lab| {
            let seen = mapped(lab, "ridmap", "rbind")?;
            seen.answer("stat:/mnt/sub/file").is("/ok/gid", 100_000)
        }),
        Ignores,
    ),
    row(
        "config.mounts.gid-mappings.alone",
        Must,
        &[197],
        "gidMappings without uidMappings is an error",
        InLab(|lab| lone_mapping(lab, "gidMappings")),
        Ignores,
    ),
];

const OPTIONS: &[Row] = &[
    option!(95, Must, "async", ["sync", "async"], |mount| mount.has_not("/super", "sync")),
    option!(96, Must, "atime", ["noatime", "atime"], |mount| mount.has_not("/options", "noatime")),
    row(
        "config.mounts.option.bind",
        Must,
        &[97],
        "the mount option bind: the mount alone",
        InLab(|lab| {
            let tree = lab.tree(MountFlags::empty())?;
            lab.config.mount("bind", &tree, "/mnt", &["bind"]);
            let seen = lab.see(&["stat:/mnt/file", "stat:/mnt/sub/file"])?;
            seen.could("stat:/mnt/file")?;
            seen.errno("stat:/mnt/sub/file", libc::ENOENT)
        }),
        Ignores,
    ),
    option!(98, Must, "defaults", ["defaults"], |mount| mount.has("/options", "rw")),
    option!(99, Must, "dev", ["nodev", "dev"], |mount| mount.has_not("/options", "nodev")),
    option!(100, Must, "diratime", ["nodiratime", "diratime"], |mount| mount
        .has_not("/options", "nodiratime")),
    option!(101, Must, "dirsync", ["dirsync"], |mount| mount.has("/super", "dirsync")),
    option!(102, Must, "exec", ["noexec", "exec"], |mount| mount.has_not("/options", "noexec")),
    option!(103, Must, "iversion", ["iversion"], |mount| mount.has("/options", "rw")),
    option!(104, Must, "lazytime", ["lazytime"], |mount| mount.has("/super", "lazytime")),
    option!(105, Must, "loud", ["loud"], |mount| mount.has("/options", "rw")),
    option!(107, Must, "noatime", ["noatime"], |mount| mount.has("/options", "noatime")),
    option!(108, Must, "nodev", ["nodev"], |mount| mount.has("/options", "nodev")),
    option!(109, Must, "nodiratime", ["nodiratime"], |mount| mount.has("/options", "nodiratime")),
    option!(110, Must, "noexec", ["noexec"], |mount| mount.has("/options", "noexec")),
    option!(111, Must, "noiversion", ["noiversion"], |mount| mount.has("/options", "rw")),
    option!(112, Must, "nolazytime", ["lazytime", "nolazytime"], |mount| mount.has_not("/super", "lazytime")),
    option!(114, Must, "norelatime", ["norelatime"], |mount| mount.has("/options", "rw")),
    option!(115, Must, "nostrictatime", ["strictatime", "nostrictatime"], |mount| mount
        .has("/options", "relatime")),
    option!(116, Must, "nosuid", ["nosuid"], |mount| mount.has("/options", "nosuid")),
    option!(117, Should, "nosymfollow", ["nosymfollow"], |mount| mount.has("/options", "nosymfollow")),
    propagation!(118, "private", "bind", |mount| mount.is("/peers", json!([]))),
    recursive!(119, "ratime", MountFlags::NOATIME, |mount| mount.has_not("/options", "noatime")),
    row(
        "config.mounts.option.rbind",
        Must,
        &[120],
        "the mount option rbind: the mount and those below",
        InLab(|lab| {
            let tree = lab.tree(MountFlags::empty())?;
            lab.config.mount("bind", &tree, "/mnt", &["rbind"]);
            lab.see(&["stat:/mnt/sub/file"])?.could("stat:/mnt/sub/file")
        }),
        Ignores,
    ),
    recursive!(121, "rdev", MountFlags::NODEV, |mount| mount.has_not("/options", "nodev")),
    recursive!(122, "rdiratime", MountFlags::NODIRATIME, |mount| mount.has_not("/options", "nodiratime")),
    option!(123, Must, "relatime", ["relatime"], |mount| mount.has("/options", "relatime")),
    row(
        "config.mounts.option.remount",
        Must,
        &[124],
        "the mount option remount changes the mount that is there",
        Seen(
            |config| {
                config.mount("tmpfs", "it", "/mnt", &[]);
                config.mount("tmpfs", "it", "/mnt", &["remount", "ro"]);
            },
            &["create:/mnt/file"],
            |seen| seen.errno("create:/mnt/file", libc::EROFS),
        ),
        Ignores,
    ),
    recursive!(125, "rexec", MountFlags::NOEXEC, |mount| mount.has_not("/options", "noexec")),
    recursive!(126, "rnoatime", MountFlags::empty(), |mount| mount.has("/options", "noatime")),
    recursive!(127, "rnodiratime", MountFlags::empty(), |mount| mount.has("/options", "nodiratime")),
    recursive!(128, "rnoexec", MountFlags::empty(), |mount| mount.has("/options", "noexec")),
    recursive!(129, "rnorelatime", MountFlags::empty(), |mount| mount.has("/options", "rw")),
    recursive!(130, "rnostrictatime", MountFlags::STRICTATIME, |mount| mount.has("/options", "relatime")),
    recursive!(131, "rnosuid", MountFlags::empty(), |mount| mount.has("/options", "nosuid")),
    recursive!(132, "rnosymfollow", MountFlags::empty(), |mount| mount.has("/options", "nosymfollow")),
    option!(133, Must, "ro", ["ro"], |mount| mount.has("/options", "ro")),
    propagation!(134, "rprivate", "rbind", |mount| mount.is("/peers", json!([]))),
    recursive!(135, "rrelatime", MountFlags::NOATIME, |mount| mount.has("/options", "relatime")),
    recursive!(136, "rro", MountFlags::empty(), |mount| mount.has("/options", "ro")),
    recursive!(137, "rrw", MountFlags::RDONLY, |mount| mount.has("/options", "rw")),
    propagation!(138, "rshared", "rbind", |mount| mount.mentions("/peers/0", "shared:")),
    propagation!(139, "rslave", "rbind", |mount| mount.mentions("/peers/0", "master:")),
    recursive!(140, "rstrictatime", MountFlags::empty(), |mount| mount.has_not("/options", "relatime")),
    recursive!(141, "rsuid", MountFlags::NOSUID, |mount| mount.has_not("/options", "nosuid")),
    recursive!(142, "rsymfollow", NOSYMFOLLOW, |mount| mount.has_not("/options", "nosymfollow")),
    propagation!(143, "runbindable", "rbind", |mount| mount.is("/peers/0", "unbindable")),
    option!(144, Must, "rw", ["ro", "rw"], |mount| mount.has("/options", "rw")),
    propagation!(145, "shared", "bind", |mount| mount.mentions("/peers/0", "shared:")),
    option!(146, Must, "silent", ["silent"], |mount| mount.has("/options", "rw")),
    propagation!(147, "slave", "bind", |mount| mount.mentions("/peers/0", "master:")),
    option!(148, Must, "strictatime", ["strictatime"], |mount| mount.has_not("/options", "relatime")),
    option!(149, Must, "suid", ["nosuid", "suid"], |mount| mount.has_not("/options", "nosuid")),
    option!(150, Should, "symfollow", ["nosymfollow", "symfollow"], |mount| mount
        .has_not("/options", "nosymfollow")),
    option!(151, Must, "sync", ["sync"], |mount| mount.has("/super", "sync")),
    propagation!(153, "unbindable", "bind", |mount| mount.is("/peers/0", "unbindable")),
];

/// MS_NOSYMFOLLOW of mount(2).
const NOSYMFOLLOW: MountFlags = MountFlags::from_bits_retain(256);

const PROCESS: &[Row] = &[
    row(
        "config.process.required",
        Must,
        &[240],
        "start needs process",
        Refused(CreateOrStart, |config| config.remove("/process")),
        Ignores,
    ),
    row(
        "config.process.terminal",
        Plain,
        &[242],
        "with terminal the standard streams are a pseudoterminal",
        InLab(|lab| {
            lab.config.set("/process/terminal", json!(true));
            let seen = see_terminal(lab)?;
            check(seen.at("/terminal").is_object().then_some(()), || {
                "the standard input is no terminal".to_owned()
            })
        }),
        Ignores,
    ),
    row(
        "config.process.console-size-ignored",
        Must,
        &[245],
        "without terminal consoleSize has no effect",
        Seen(
            |config| {
                config.set("/process/terminal", json!(false));
                config.set("/process/consoleSize", json!({"height": 33, "width": 77}));
            },
            &[],
            |seen| seen.is("/terminal", json!(null)),
        ),
        Config(|config| config.set("/process/terminal", json!(true))),
    ),
    row(
        "config.process.console-height",
        Must,
        &[246],
        "consoleSize.height is the number of lines",
        InLab(|lab| {
            lab.config.set("/process/terminal", json!(true));
            lab.config.set("/process/consoleSize", json!({"height": 33, "width": 77}));
            see_terminal(lab)?.is("/terminal/rows", 33)
        }),
        Config(|config| config.remove("/process/consoleSize")),
    ),
    row(
        "config.process.console-width",
        Must,
        &[247],
        "consoleSize.width is the number of columns",
        InLab(|lab| {
            lab.config.set("/process/terminal", json!(true));
            lab.config.set("/process/consoleSize", json!({"height": 33, "width": 77}));
            see_terminal(lab)?.is("/terminal/columns", 77)
        }),
        Config(|config| config.remove("/process/consoleSize")),
    ),
    row(
        "config.process.cwd",
        Must,
        &[248],
        "cwd is where the program starts",
        Seen(|config| config.set("/process/cwd", json!("/etc")), &[], |seen| seen.is("/cwd", "/etc")),
        Ignores,
    ),
    row(
        "config.process.cwd-absolute",
        Must,
        &[249],
        "a relative cwd is an error",
        Refused(CreateOrStart, |config| config.set("/process/cwd", json!("etc"))),
        Ignores,
    ),
    row(
        "config.process.env",
        Plain,
        &[250],
        "env is the program's environment, and nothing else",
        Seen(
            |config| config.set("/process/env", json!(["PATH=/", "A=1", "EMPTY="])),
            &[],
            |seen| ["PATH=/", "A=1", "EMPTY="].iter().try_for_each(|pair| seen.has("/env", pair)),
        ),
        Ignores,
    ),
    row(
        "config.process.args",
        Must,
        &[252],
        "args without an entry is an error",
        Refused(CreateOrStart, |config| config.set("/process/args", json!([]))),
        Ignores,
    ),
    row(
        "config.process.args-search",
        Plain,
        &[252],
        "args[0] without a slash is looked for in PATH, as execvp(3) does",
        Seen(|config| config.set("/process/args/0", json!("probe")), &[], |seen| seen.is("/args/0", "probe")),
        Ignores,
    ),
    row(
        "config.process.args-missing",
        Plain,
        &[252],
        "a program that is not there is an error",
        Refused(CreateOrStart, |config| config.set("/process/args/0", json!("/nonexistent"))),
        Ignores,
    ),
    row(
        "config.process.rlimits.type",
        Must,
        &[264],
        "an entry of rlimits without a type is an error",
        Refused(CreateOrStart, |config| config.set("/process/rlimits", json!([{"soft": 1, "hard": 1}]))),
        Ignores,
    ),
    row(
        "config.process.rlimits.unknown",
        Must,
        &[268],
        "a type of rlimits that the kernel does not know is an error",
        Refused(CreateOrStart, |config| {
            config.set("/process/rlimits", json!([{"type": "RLIMIT_NOTHING", "soft": 1, "hard": 1}]));
        }),
        Ignores,
    ),
    row(
        "config.process.rlimits.every-type",
        Must,
        &[269],
        "every type of getrlimit(2) can be limited",
        Seen(
            |config| config.set("/process/rlimits", every_limit()),
            &[],
            |seen| {
                LIMITS
                    .iter()
                    .try_for_each(|(_, name, value)| seen.is(&format!("/limits/{name}/0"), value.to_string()))
            },
        ),
        Ignores,
    ),
    row(
        "config.process.rlimits.soft",
        Must,
        &[272],
        "soft is the limit that the program has",
        Seen(
            |config| config.set("/process/rlimits", open_files()),
            &[],
            |seen| seen.is("/limits/Max open files/0", "200"),
        ),
        Ignores,
    ),
    row(
        "config.process.rlimits.soft-matches",
        Must,
        &[273],
        "rlim_cur is soft and not hard",
        Seen(
            |config| config.set("/process/rlimits", open_files()),
            &[],
            |seen| seen.is("/limits/Max open files/0", "200"),
        ),
        Config(|config| config.set("/process/rlimits/0/soft", json!(300))),
    ),
    row(
        "config.process.rlimits.hard",
        Must,
        &[274],
        "hard is the ceiling of the limit",
        Seen(
            |config| config.set("/process/rlimits", open_files()),
            &[],
            |seen| seen.is("/limits/Max open files/1", "300"),
        ),
        Ignores,
    ),
    row(
        "config.process.rlimits.hard-matches",
        Must,
        &[275],
        "rlim_max is hard and not soft",
        Seen(
            |config| config.set("/process/rlimits", open_files()),
            &[],
            |seen| seen.is("/limits/Max open files/1", "300"),
        ),
        Config(|config| config.set("/process/rlimits/0/hard", json!(200))),
    ),
    row(
        "config.process.rlimits.twice",
        Must,
        &[278],
        "a type of rlimits that is listed twice is an error",
        Refused(CreateOrStart, |config| {
            let limit = json!({"type": "RLIMIT_NOFILE", "soft": 200, "hard": 300});
            config.set("/process/rlimits", json!([limit, limit]));
        }),
        Ignores,
    ),
    row(
        "config.process.capabilities.warning",
        Must,
        &[289],
        "a capability that cannot be given is logged as a warning",
        Impossible("the specification leaves open how a warning is shown, or whether it is"),
        Nothing,
    ),
    row(
        "config.process.capabilities.unknown",
        ShouldNot,
        &[290],
        "a capability that cannot be given fails nothing",
        Seen(
            |config| {
                config.set("/process/capabilities/bounding", json!(["CAP_KILL", "CAP_IT_IS_UNKNOWN"]));
                config.set("/process/capabilities/effective", json!(["CAP_KILL", "CAP_IT_IS_UNKNOWN"]));
                config.set("/process/capabilities/permitted", json!(["CAP_KILL", "CAP_IT_IS_UNKNOWN"]));
            },
            &[],
            |seen| capability_set(seen, "CapBnd", &["KILL"]),
        ),
        Ignores,
    ),
    row(
        "config.process.capabilities.effective",
        Plain,
        &[295],
        "effective is the effective set",
        Seen(
            |config| {
                // At execve(2) root's effective set becomes its permitted one, so that both have to be the same to be seen.
                let both = json!(["CAP_KILL"]);
                config.set(
                    "/process/capabilities",
                    json!({"bounding": both, "effective": both, "permitted": both}),
                );
            },
            &[],
            |seen| capability_set(seen, "CapEff", &["KILL"]),
        ),
        Ignores,
    ),
    row(
        "config.process.capabilities.bounding",
        Plain,
        &[296],
        "bounding is the bounding set",
        Seen(
            |config| capability_sets(config, &["bounding"]),
            &[],
            |seen| capability_set(seen, "CapBnd", &["KILL", "CHOWN"]),
        ),
        Ignores,
    ),
    row(
        "config.process.capabilities.inheritable",
        Plain,
        &[297],
        "inheritable is the inheritable set",
        Seen(
            |config| capability_sets(config, &["bounding", "permitted", "inheritable"]),
            &[],
            |seen| capability_set(seen, "CapInh", &["KILL", "CHOWN"]),
        ),
        Ignores,
    ),
    row(
        "config.process.capabilities.permitted",
        Plain,
        &[298],
        "permitted is the permitted set",
        Seen(
            |config| {
                capability_sets(config, &["bounding", "permitted"]);
                config.set("/process/user", json!({"uid": 0, "gid": 0}));
            },
            &[],
            |seen| capability_set(seen, "CapPrm", &["KILL", "CHOWN"]),
        ),
        Ignores,
    ),
    row(
        "config.process.capabilities.ambient",
        Plain,
        &[299],
        "ambient is the ambient set, and survives an exec as another user",
        Seen(
            |config| {
                capability_sets(config, &["bounding", "permitted", "inheritable", "ambient"]);
                config.set("/process/user", json!({"uid": 1000, "gid": 1000}));
            },
            &[],
            |seen| {
                capability_set(seen, "CapAmb", &["KILL", "CHOWN"])?;
                capability_set(seen, "CapEff", &["KILL", "CHOWN"])
            },
        ),
        Ignores,
    ),
    row(
        "config.process.no-new-privileges",
        Plain,
        &[300],
        "noNewPrivileges sets the flag of prctl(2)",
        Seen(
            |config| config.set("/process/noNewPrivileges", json!(true)),
            &[],
            |seen| seen.is("/status/NoNewPrivs", "1"),
        ),
        Ignores,
    ),
    row(
        "config.process.oom-score-adj",
        Must,
        &[303],
        "oomScoreAdj is the program's oom_score_adj",
        Seen(|config| config.set("/process/oomScoreAdj", json!(500)), &[], |seen| seen.is("/oom", "500")),
        Ignores,
    ),
    row(
        "config.process.oom-score-adj-unset",
        MustNot,
        &[304],
        "without oomScoreAdj oom_score_adj stays the caller's",
        Seen(|_| {}, &[], |seen| seen.is("/oom", fs::read_to_string("/proc/self/oom_score_adj")?.trim())),
        Config(|config| config.set("/process/oomScoreAdj", json!(300))),
    ),
    row(
        "config.process.scheduler.policy",
        Must,
        &[310],
        "scheduler.policy is the program's policy",
        Seen(
            |config| config.set("/process/scheduler", json!({"policy": "SCHED_BATCH"})),
            &[],
            |seen| seen.is("/sched/policy", 3),
        ),
        Ignores,
    ),
    row(
        "config.process.scheduler.nice",
        Plain,
        &[320],
        "scheduler.nice is the program's nice value",
        Seen(
            |config| config.set("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 5})),
            &[],
            |seen| seen.is("/sched/nice", 5),
        ),
        Ignores,
    ),
    row(
        "config.process.io-priority.class",
        Must,
        &[341],
        "ioPriority.class is the program's class",
        Seen(
            |config| config.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0})),
            &[],
            |seen| seen.is("/io", 3 << 13),
        ),
        Ignores,
    ),
    row(
        "config.process.io-priority.priority",
        Must,
        &[342],
        "ioPriority.priority is the level in the class",
        Seen(
            |config| config.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6})),
            &[],
            |seen| seen.is("/io", 2 << 13 | 6),
        ),
        Ignores,
    ),
    row(
        "config.process.affinity-final",
        ShouldNot,
        &[352],
        "without execCPUAffinity.final an exec leaves the affinity to the kernel",
        Impossible("the kernel may change it too when the process is moved, so no outcome is wrong"),
        Nothing,
    ),
    row(
        "config.process.user.uid",
        Must,
        &[370],
        "user.uid is the program's user id",
        Seen(
            |config| config.set("/process/user", json!({"uid": 1000, "gid": 1001})),
            &[],
            |seen| seen.is("/uid", 1000),
        ),
        Ignores,
    ),
    row(
        "config.process.user.gid",
        Must,
        &[371],
        "user.gid is the program's group id",
        Seen(
            |config| config.set("/process/user", json!({"uid": 1000, "gid": 1001})),
            &[],
            |seen| seen.is("/gid", 1001),
        ),
        Ignores,
    ),
    row(
        "config.process.user.umask",
        Plain,
        &[372],
        "user.umask is the program's umask",
        Seen(
            |config| config.set("/process/user/umask", json!(0o27)),
            &[],
            |seen| seen.is("/status/Umask", "0027"),
        ),
        Ignores,
    ),
    row(
        "config.process.user.groups",
        Plain,
        &[373],
        "user.additionalGids are the program's supplementary groups",
        Seen(
            |config| config.set("/process/user/additionalGids", json!([5, 6])),
            &[],
            |seen| {
                let groups = seen.at("/groups");
                let both =
                    [5, 6].iter().all(|gid| groups.as_array().is_some_and(|list| list.contains(&json!(gid))));
                check(both.then_some(()), || format!("the groups are {groups}"))
            },
        ),
        Ignores,
    ),
];

const HOOKS: &[Row] = &[
    row(
        "config.hooks.args",
        Plain,
        &[557],
        "a hook gets its args",
        InLab(|lab| {
            lab.hook("createRuntime", &["word"]);
            lab.create()?;
            lab.hooked("createRuntime")?.has("/args", "word")
        }),
        Config(|config| config.remove("/hooks/createRuntime/0/args/4")),
    ),
    row(
        "config.hooks.env",
        Plain,
        &[558],
        "a hook gets its env, and nothing of the caller's",
        InLab(|lab| {
            lab.hook("createRuntime", &[]);
            lab.config.set("/hooks/createRuntime/0/env", json!(["KEY=value"]));
            lab.create()?;
            lab.hooked("createRuntime")?.is("/env", json!(["KEY=value"]))
        }),
        Config(|config| config.remove("/hooks/createRuntime/0/env")),
    ),
    row(
        "config.hooks.timeout",
        Plain,
        &[559],
        "a hook that takes longer than its timeout is ended, and create fails",
        InLab(|lab| {
            lab.hook("createRuntime", &["stay"]);
            lab.config.set("/hooks/createRuntime/0/timeout", json!(1));
            lab.refuses()
        }),
        Ignores,
    ),
    row(
        "config.hooks.order",
        Must,
        &[591],
        "hooks of a kind are called in the listed order",
        InLab(|lab| {
            lab.hook("createRuntime", &["stat:/first"]);
            lab.hook("createRuntime", &["stat:/second"]);
            lab.create()?;
            let hooks = lab.hooks();
            let asked = hooks.first().map(|hook| hook.at("/asked").to_string()).unwrap_or_default();
            check((hooks.len() == 2 && asked.contains("first")).then_some(()), || {
                format!("{} hooks, the first {asked}", hooks.len())
            })
        }),
        Config(|config| {
            let (first, second) = (config.at("/hooks/createRuntime/0"), config.at("/hooks/createRuntime/1"));
            if !second.is_null() {
                config.set("/hooks/createRuntime", json!([second, first]));
            }
        }),
    ),
    row(
        "config.hooks.state",
        Must,
        &[592],
        "hooks get the container's state on their standard input",
        InLab(|lab| {
            lab.hook("createRuntime", &[]);
            lab.create()?;
            let hook = lab.hooked("createRuntime")?;
            hook.is("/state/id", lab.id.as_str())?;
            hook.is("/state/pid", lab.pid()?)?;
            hook.is("/state/bundle", lab.bundle().display().to_string())?;
            check(hook.at("/state/status").is_string().then_some(()), || "the state has no status".to_owned())
        }),
        Config(|config| config.set("/hooks/createRuntime/0/args/-", json!("deaf"))),
    ),
    row(
        "config.hooks.prestart.when",
        Must,
        &[596],
        "prestart hooks are called by create, with the namespaces made and before pivot_root",
        InLab(|lab| before_pivot(lab, "prestart")),
        Command(|call| {
            call.before_create(|path, bundle| move_hooks(path, bundle, "prestart", "poststart"));
            None
        }),
    ),
    row(
        "config.hooks.prestart.first",
        Must,
        &[598],
        "prestart hooks are called before createRuntime hooks",
        InLab(|lab| in_order(lab, "prestart", "createRuntime")),
        Config(|config| swap_hooks(config, "prestart", "createRuntime")),
    ),
    row(
        "config.hooks.createRuntime.when",
        Must,
        &[607],
        "createRuntime hooks are called by create, with the namespaces made and before pivot_root",
        InLab(|lab| before_pivot(lab, "createRuntime")),
        Command(|call| {
            call.before_create(|path, bundle| move_hooks(path, bundle, "createRuntime", "poststart"));
            None
        }),
    ),
    row(
        "config.hooks.createContainer.when",
        Must,
        &[618],
        "createContainer hooks are called by create, in the mount namespace and before pivot_root",
        InLab(|lab| {
            lab.hook("createContainer", &[]);
            lab.create()?;
            let hook = lab.hooked("createContainer")?;
            let root = fs::metadata("/")?;
            hook.is("/root", format!("{}:{}", root.dev(), root.ino()))
        }),
        Command(|call| {
            call.before_create(|path, bundle| move_hooks(path, bundle, "createContainer", "poststart"));
            None
        }),
    ),
    row(
        "config.hooks.createContainer.second",
        Must,
        &[619],
        "createContainer hooks are called after createRuntime hooks",
        InLab(|lab| in_order(lab, "createRuntime", "createContainer")),
        Config(|config| swap_hooks(config, "createRuntime", "createContainer")),
    ),
    row(
        "config.hooks.startContainer.when",
        Must,
        &[630],
        "startContainer hooks are called by start, before the program runs",
        InLab(|lab| {
            lab.hook("startContainer", &[]);
            lab.config.ask(&["stat:/report/hooks"]);
            lab.create()?;
            check(lab.hooks().is_empty().then_some(()), || "create called it".to_owned())?;
            lab.start()?;
            lab.report()?.could("stat:/report/hooks")
        }),
        Config(|config| config.remove("/hooks/startContainer")),
    ),
    row(
        "config.hooks.poststart.when",
        Must,
        &[638],
        "poststart hooks are called after the program runs and before start returns",
        InLab(|lab| {
            lab.hook("poststart", &[]);
            lab.config.ask(&["stay"]);
            lab.create()?;
            check(lab.hooks().is_empty().then_some(()), || "create called it".to_owned())?;
            lab.start()?;
            lab.hooked("poststart")?.is("/container/program", "/probe")
        }),
        Command(|call| {
            call.before_create(|path, bundle| move_hooks(path, bundle, "poststart", "createRuntime"));
            None
        }),
    ),
    row(
        "config.hooks.poststop.when",
        Must,
        &[646],
        "poststop hooks are called after the container is deleted and before delete returns",
        InLab(|lab| {
            lab.hook("poststop", &[]);
            lab.config.ask(&["stay"]);
            lab.run()?;
            lab.report()?;
            lab.end()?;
            check(lab.hooks().is_empty().then_some(()), || "it ran before delete".to_owned())?;
            delete_when_stopped(lab)?;
            lab.hooked("poststop")?.is("/container", json!(null))
        }),
        Command(|call| {
            call.before_create(|path, bundle| move_hooks(path, bundle, "poststop", "poststart"));
            None
        }),
    ),
];

const ANNOTATIONS: &[Row] = &[
    row(
        "config.annotations.map",
        Must,
        &[720],
        "annotations that are no map are an error",
        Refused(Create, |config| config.set("/annotations", json!(["org.example.a"]))),
        Ignores,
    ),
    row(
        "config.annotations.keys",
        Must,
        &[723],
        "the keys of annotations are strings",
        Impossible("JSON has no other keys"),
        Nothing,
    ),
    row(
        "config.annotations.empty-key",
        MustNot,
        &[724],
        "an annotation with an empty key is an error",
        Refused(Create, |config| config.set("/annotations", json!({"": "value"}))),
        Ignores,
    ),
    row(
        "config.annotations.reverse-domain",
        Should,
        &[725],
        "a key in reverse domain notation reaches the state unchanged",
        InLab(|lab| annotation(lab, "com.example.myKey", "value")),
        Ignores,
    ),
    row(
        "config.annotations.reserved",
        Must,
        &[727],
        "a key of org.opencontainers reaches the state with its meaning unchanged",
        InLab(|lab| annotation(lab, "org.opencontainers.image.os", "linux")),
        Ignores,
    ),
    image_key!("os", &[731, 731], "linux"),
    image_key!("os.version", &[732, 732], "6.1"),
    image_key!("os.features", &[733, 733], "none"),
    image_key!("architecture", &[734, 734], "amd64"),
    image_key!("variant", &[735, 735], "v8"),
    image_key!("author", &[736, 736], "An Author <author@example.org>"),
    image_key!("created", &[737, 737], "2015-10-31T22:22:56.015925234Z"),
    image_key!("stopSignal", &[738, 738, 738], "SIGKILL"),
    row(
        "config.annotations.unknown",
        Must,
        &[741],
        "an unknown annotation changes nothing",
        Seen(
            |config| config.set("/annotations", json!({"org.example.unknown": "", "com.example.other": "x"})),
            &[],
            |seen| seen.is("/hostname", "base"),
        ),
        Command(|call| call.refuses("create")),
    ),
    row(
        "config.annotations.values",
        Must,
        &[743],
        "an annotation whose value is no string is an error",
        Refused(Create, |config| config.set("/annotations", json!({"org.example.a": 1}))),
        Ignores,
    ),
    row(
        "config.extensibility",
        Must,
        &[754],
        "unknown properties are ignored everywhere",
        Seen(
            |config| {
                config.set("/unknown", json!({"a": [1]}));
                config.set("/process/unknown", json!(true));
                config.set("/linux/unknown", json!("x"));
                config.set("/linux/resources/unknown", json!({"limit": 1}));
                config.set("/mounts/0/unknown", json!(null));
            },
            &[],
            |seen| seen.is("/hostname", "base"),
        ),
        Command(|call| call.refuses("create")),
    ),
    row(
        "config.valid-values",
        Must,
        &[759],
        "a value that does not exist is an error",
        Refused(Create, |config| config.set("/linux/namespaces/-", json!({"type": "nonsense"}))),
        Ignores,
    ),
    row(
        "config.valid-types",
        Must,
        &[759],
        "a value of the wrong type is an error",
        Refused(Create, |config| config.set("/process/cwd", json!(["/"]))),
        Ignores,
    ),
];

/// A word that no runtime and no filesystem knows, in the place of a mount's last option.
fn unknown_option(config: &mut Configuration) {
    let options = config.at("/mounts/5/options");
    let last = options.as_array().map_or(0, Vec::len).saturating_sub(1);
    config.set(&format!("/mounts/5/options/{last}"), json!("it-no-such-option"));
}

/// Another propagation than the one that was asked for.
fn wrong_propagation(config: &mut Configuration) {
    let asked = config.at("/mounts/5/options/1");
    let private = asked.as_str().is_some_and(|word| word.ends_with("private"));
    config.set("/mounts/5/options", json!(["rbind", if private { "rshared" } else { "rprivate" }]));
}

/// Runs a container with an id-mapped bind mount at /mnt of a tree that belongs to root.
fn mapped(lab: &mut Lab, option: &str, bind: &str) -> Result<Report, Stop> {
    let tree = lab.tree(MountFlags::empty())?;
    lab.config.mount("bind", &tree, "/mnt", &[bind, option]);
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    lab.config.set("/mounts/5/uidMappings", map.clone());
    lab.config.set("/mounts/5/gidMappings", map);
    lab.see(&["stat:/mnt/file", "stat:/mnt/sub/file"])
}

fn owner(seen: &Report, path: &str, uid: u32) -> Verdict {
    seen.answer(&format!("stat:{path}")).is("/ok/uid", uid)
}

fn lone_mapping(lab: &mut Lab, key: &str) -> Verdict {
    let tree = lab.tree(MountFlags::empty())?;
    lab.config.mount("bind", &tree, "/mnt", &["bind", "idmap"]);
    lab.config.set(&format!("/mounts/5/{key}"), json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]));
    lab.refuses()
}

/// Creates with a console socket, starts, and reads the report from the terminal.
pub(super) fn see_terminal(lab: &mut Lab) -> Result<Report, Stop> {
    let path = lab.aside("console");
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    lab.write()?;
    let (bundle, path) = (lab.bundle().display().to_string(), path.display().to_string());
    let done = lab.call(&["create", "--bundle", &bundle, "--console-socket", &path, &lab.id])?;
    check(done.ok().then_some(()), || format!("create failed: {}", done.said))?;
    let message = socket::receive(&socket::accept(&listener)?)?;
    let Some(terminal) = message.descriptors.into_iter().next() else { return fail("no terminal came") };
    lab.start()?;
    let mut terminal = fs::File::from(terminal);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    // The end of the program is an error on the terminal's other side.
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        text.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&text);
    let report = text.lines().find_map(|line| serde_json::from_str(line.trim()).ok());
    report.map_or_else(|| fail(format!("the terminal said {text:?}")), |value| Ok(Report(value)))
}

/// Every limit, its name in /proc, and a value that any process may lower it to.
const LIMITS: [(&str, &str, u64); 16] = [
    ("RLIMIT_AS", "Max address space", 1 << 40),
    ("RLIMIT_CORE", "Max core file size", 0),
    ("RLIMIT_CPU", "Max cpu time", 10_000),
    ("RLIMIT_DATA", "Max data size", 1 << 39),
    ("RLIMIT_FSIZE", "Max file size", 1 << 38),
    ("RLIMIT_LOCKS", "Max file locks", 1000),
    ("RLIMIT_MEMLOCK", "Max locked memory", 65_536),
    ("RLIMIT_MSGQUEUE", "Max msgqueue size", 8192),
    ("RLIMIT_NICE", "Max nice priority", 0),
    ("RLIMIT_NOFILE", "Max open files", 250),
    ("RLIMIT_NPROC", "Max processes", 500),
    ("RLIMIT_RSS", "Max resident set", 1 << 37),
    ("RLIMIT_RTPRIO", "Max realtime priority", 0),
    ("RLIMIT_RTTIME", "Max realtime timeout", 5_000_000),
    ("RLIMIT_SIGPENDING", "Max pending signals", 400),
    ("RLIMIT_STACK", "Max stack size", 1 << 22),
];

fn every_limit() -> serde_json::Value {
    LIMITS.iter().map(|(name, _, value)| json!({"type": name, "soft": value, "hard": value})).collect()
}

fn open_files() -> serde_json::Value {
    json!([{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 300}])
}

/// Gives CAP_KILL and CAP_CHOWN to the listed sets, and CAP_KILL alone to the effective one.
fn capability_sets(config: &mut Configuration, sets: &[&str]) {
    let mut map = json!({"effective": ["CAP_KILL"]});
    for set in sets {
        map.as_object_mut().map(|map| map.insert((*set).to_owned(), json!(["CAP_KILL", "CAP_CHOWN"])));
    }
    if sets.contains(&"ambient") {
        map.as_object_mut().map(|map| map.insert("effective".to_owned(), json!(["CAP_KILL", "CAP_CHOWN"])));
    }
    // Another user, so that exec does not raise the sets again: capabilities(7).
    config.set("/process/user", json!({"uid": 0, "gid": 0}));
    config.set("/process/capabilities", map);
}

/// Fails unless a set in the status file is exactly these capabilities.
fn capability_set(seen: &Report, field: &str, names: &[&str]) -> Verdict {
    let bit = |name: &&str| {
        config::CAPABILITIES.iter().position(|known| known == name).map_or(0, |bit| 1u64 << bit)
    };
    let wanted: u64 = names.iter().map(bit).sum();
    seen.is(&format!("/status/{field}"), format!("{wanted:016x}"))
}

/// Fails unless a hook of that form makes an operation fail.
fn bad_hook(lab: &mut Lab, kind: &str, entry: serde_json::Value) -> Verdict {
    lab.config.set(&format!("/hooks/{kind}"), json!([entry]));
    lab.config.ask(&["stay"]);
    let done = lab.try_create()?;
    if !done.ok() {
        return lab.nothing_left();
    }
    // Hooks of later operations may be looked at later.
    let started = lab.try_start()?;
    check((!started.ok()).then_some(()), || "create and start succeeded".to_owned())
}

/// Takes a container through its life and gives the report of the hook of that kind.
fn hooked_life(lab: &mut Lab, kind: &str) -> Result<Report, Stop> {
    lab.config.ask(&["stay"]);
    lab.run()?;
    let inside = lab.report()?;
    let hook = lab.hooked(kind);
    if kind == "poststop" {
        lab.end()?;
        delete_when_stopped(lab)?;
        let mut hook = lab.hooked(kind)?;
        hook.set_inside(&inside);
        return Ok(hook);
    }
    let mut hook = hook?;
    hook.set_inside(&inside);
    Ok(hook)
}

/// Deletes a container whose processes the suite has ended: the runtime knows that only a moment later.
fn delete_when_stopped(lab: &Lab) -> Verdict {
    lab.until("the status stopped", || lab.state().is_ok_and(|state| state.text("/status") == "stopped"))?;
    lab.delete()
}

/// Whose namespaces a hook has to run in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Runtime,
    Container,
}

/// Fails unless a hook ran in those namespaces.
fn namespaces(hook: &Report, whose: Whose) -> Verdict {
    for kind in ["mnt", "uts", "ipc", "net"] {
        let wanted = match whose {
            Whose::Runtime => fs::read_link(format!("/proc/self/ns/{kind}"))?.display().to_string(),
            Whose::Container => hook.text(&format!("/inside/ns/{kind}")),
        };
        hook.is(&format!("/ns/{kind}"), wanted)?;
    }
    Ok(())
}

/// Fails unless a hook of that kind has run after create, with the namespaces made and the host's root in place.
fn before_pivot(lab: &mut Lab, kind: &str) -> Verdict {
    lab.hook(kind, &[]);
    lab.create()?;
    let hook = lab.hooked(kind)?;
    let root = fs::metadata("/")?;
    hook.is("/container/root", format!("{}:{}", root.dev(), root.ino()))?;
    let own = fs::read_link("/proc/self/ns/mnt")?.display().to_string();
    hook.is_not("/container/mnt", own)
}

fn in_order(lab: &mut Lab, first: &str, second: &str) -> Verdict {
    lab.hook(second, &[]);
    lab.hook(first, &[]);
    lab.create()?;
    let names: Vec<String> = lab.hooks().iter().map(|hook| hook.text("/hook")).collect();
    check((names == [first, second]).then_some(()), || format!("the order is {names:?}"))
}

fn swap_hooks(config: &mut Configuration, first: &str, second: &str) {
    let (one, other) = (config.at(&format!("/hooks/{first}")), config.at(&format!("/hooks/{second}")));
    config.set(&format!("/hooks/{first}"), other);
    config.set(&format!("/hooks/{second}"), one);
}

/// A runtime that calls hooks of one kind where those of another belong.
fn move_hooks(path: &std::path::Path, bundle: &std::path::Path, from: &str, to: &str) {
    let Ok(text) = fs::read(path) else { return };
    let mut config = Configuration(serde_json::from_slice(&text).unwrap_or_default());
    let mut hooks = config.at(&format!("/hooks/{from}"));
    for hook in hooks.as_array_mut().into_iter().flatten() {
        if from == "startContainer" {
            let mut entry = Configuration(hook.clone());
            entry.set("/path", json!(bundle.join("rootfs/probe")));
            entry.set("/args/2", json!(bundle.join("rootfs/report/hooks")));
            *hook = entry.0;
        }
    }
    config.remove(&format!("/hooks/{from}"));
    config.set(&format!("/hooks/{to}"), hooks);
    drop(fs::write(path, config.0.to_string()));
}

/// A runtime that looks for a hook in the wrong namespace.
fn wrong_path(path: &std::path::Path, bundle: &std::path::Path, kind: &str) {
    let Ok(text) = fs::read(path) else { return };
    let mut config = Configuration(serde_json::from_slice(&text).unwrap_or_default());
    let host = bundle.join("rootfs/probe").display().to_string();
    let wrong = if kind == "startContainer" { host } else { "/probe".to_owned() };
    config.set(&format!("/hooks/{kind}/0/path"), json!(wrong));
    drop(fs::write(path, config.0.to_string()));
}

/// Fails unless an annotation is in the state of a container as it was written.
fn annotation(lab: &mut Lab, key: &str, value: &str) -> Verdict {
    lab.config.set("/annotations", json!({key: value}));
    lab.create()?;
    let found = lab.state()?.at("/annotations");
    check((found.get(key) == Some(&json!(value))).then_some(()), || format!("annotations are {found}"))
}
