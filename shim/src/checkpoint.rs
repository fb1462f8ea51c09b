//! Checkpoint, and Create with a checkpoint: a container as files, and a container from files.
//!
//! A container that is created from a checkpoint has no process before its start, which restores it. The work runs in a
//! forked helper, by the library or by the binary that the options name. Start at [`save`] and [`restore`].

use std::path::{Path, PathBuf};

use orlop::launch::criu::options::{self as criu, Criu, ManageCgroups};
use prost::Message;

use crate::failure::{Code, Failure, Outcome};
use crate::helper::Done;
use crate::proto::options::CheckpointOptions;
use crate::proto::task::{CheckpointRequest, Mount};
use crate::runtime::{self, Streams, Target};
use crate::{logger, mounts};

/// A container that is to be restored when it is started.
#[derive(Debug)]
pub(crate) struct Saved {
    /// The directory of the images.
    pub(crate) images: PathBuf,
    /// Its streams, open since its creation.
    pub(crate) streams: Streams,
}

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Saving {
    /// The directory of the images.
    pub(crate) images: PathBuf,
    /// The directory of the log; one in the bundle that is removed afterwards, if none is named.
    pub(crate) work: Option<PathBuf>,
    /// The rest, with the names of the message.
    pub(crate) options: CheckpointOptions,
}

impl Saving {
    /// Reads a request; the options of the container name directories where it names none.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub(crate) fn read(request: &CheckpointRequest, target: &Target) -> Outcome<Self> {
        let value = request.options.as_ref().map(|any| any.value.as_slice()).unwrap_or_default();
        let options = CheckpointOptions::decode(value)
            .map_err(|error| Failure::new(Code::InvalidArgument, format!("checkpoint options: {error}")))?;
        let first = |names: [&str; 3]| names.into_iter().find(|name| !name.is_empty()).map(PathBuf::from);
        let images = first([&options.image_path, &request.path, &target.options.criu_image_path]);
        let missing = || Failure::new(Code::InvalidArgument, "checkpoint: no path for the images");
        let work = first([&options.work_path, &target.options.criu_work_path, ""]);
        Ok(Self { images: images.ok_or_else(missing)?, work, options })
    }

    /// The words of the command line for it.
    pub(crate) fn flags(&self) -> Vec<String> {
        let CheckpointOptions { exit, open_tcp, external_unix_sockets, terminal, file_locks, .. } =
            self.options;
        let switches = [
            (!exit, "--leave-running"),
            (open_tcp, "--tcp-established"),
            (external_unix_sockets, "--ext-unix-sk"),
            (terminal, "--shell-job"),
            (file_locks, "--file-locks"),
        ];
        let mut flags: Vec<String> =
            switches.into_iter().filter(|switch| switch.0).map(|switch| switch.1.to_owned()).collect();
        let values = [
            ("--manage-cgroups-mode", &self.options.cgroups_mode),
            ("--parent-path", &self.options.parent_path),
        ];
        for (name, value) in values.into_iter().filter(|(_, value)| !value.is_empty()) {
            flags.extend([name.to_owned(), value.clone()]);
        }
        flags.extend(
            self.options.empty_namespaces.iter().flat_map(|name| ["--empty-ns".to_owned(), name.clone()]),
        );
        flags
    }

    fn criu(&self, work: &Path) -> Criu {
        let options = &self.options;
        Criu {
            tcp_established: options.open_tcp,
            ext_unix_sk: options.external_unix_sockets,
            shell_job: options.terminal,
            file_locks: options.file_locks,
            manage_cgroups: match options.cgroups_mode.as_str() {
                "full" => ManageCgroups::Full,
                "strict" => ManageCgroups::Strict,
                "ignore" => ManageCgroups::Ignore,
                _ => ManageCgroups::Soft,
            },
            ..plain(&self.images, work)
        }
    }
}

/// No wishes but the directories.
fn plain(images: &Path, work: &Path) -> Criu {
    Criu {
        image_path: images.to_owned(),
        work_path: Some(work.to_owned()),
        tcp_established: false,
        ext_unix_sk: false,
        shell_job: false,
        file_locks: false,
        lazy_pages: false,
        auto_dedup: false,
        manage_cgroups: ManageCgroups::Soft,
        network_lock: None,
        empty_network: true,
    }
}

/// The directory in which CRIU works: the one that is named, or one in the bundle that goes with the value.
struct Work {
    path: PathBuf,
    is_ours: bool,
}

impl Work {
    fn new(named: Option<&Path>, target: &Target) -> Self {
        match named {
            Some(path) => Self { path: path.to_owned(), is_ours: false },
            None => Self { path: target.bundle.join("criu-work"), is_ours: true },
        }
    }

    /// Keeps the log of a failure in the bundle, where clients look for it.
    fn keep(&self, log: &str, target: &Target, mut failure: Failure) -> Failure {
        let kept = target.bundle.join(format!("criu-{log}"));
        if std::fs::copy(self.path.join(log), &kept).is_ok() {
            failure.text = format!("{} path= {}", failure.text, kept.display());
        }
        failure
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Saves a container; unless it is to run on, its processes have ended when this returns.
///
/// # Errors
/// What the runtime says; the container runs on.
pub(crate) fn save(target: &Target, saving: &Saving) -> Outcome<Done> {
    let work = Work::new(saving.work.as_deref(), target);
    let saved = match target.binary() {
        Some(binary) => binary.checkpoint(&target.id, saving, &work.path),
        None => save_here(target, saving, &work.path),
    };
    saved.map(|()| Done::default()).map_err(|failure| work.keep("dump.log", target, failure))
}

fn save_here(target: &Target, saving: &Saving, work: &Path) -> Outcome<()> {
    let parent = &saving.options.parent_path;
    let save = || {
        let options = criu::Checkpoint {
            id: orlop::id::ContainerId::try_from(target.id.as_str())?,
            criu: saving.criu(work),
            leave_running: !saving.options.exit,
            pre_dump: false,
            parent_path: (!parent.is_empty()).then(|| PathBuf::from(parent)),
            tcp_skip_in_flight: false,
            link_remap: false,
            status_fd: None,
            page_server: None,
        };
        let directory = target.directory()?;
        directory.lock()?;
        orlop::launch::criu::dump::checkpoint(&directory, &options, None, None)
    };
    save().map(drop).map_err(|error| Failure::of_runtime("checkpoint", &error))
}

/// Mounts the root file system of a container that will be restored.
///
/// # Errors
/// Why it cannot be mounted.
pub(crate) fn mount(target: &Target, rootfs: &[Mount]) -> Outcome<Done> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::unknown(format!("{what}: {error}"));
    target.options.save(&target.bundle).map_err(|error| failed("save the options", &error))?;
    mounts::mount_all(rootfs, &target.rootfs())
        .map_err(|error| failed("mount the root file system", &error))?;
    Ok(Done::default())
}

/// Restores a container.
///
/// # Errors
/// What the runtime says; nothing of it is left but the mounts.
pub(crate) fn restore(target: &Target, saved: Saved) -> Outcome<Done> {
    let Saved { images, mut streams } = saved;
    let logger = streams.logger.take().map(logger::Start::run).transpose()?;
    let named = Some(target.options.criu_work_path.as_str()).filter(|path| !path.is_empty()).map(Path::new);
    let work = Work::new(named, target);
    let made = match target.binary() {
        Some(binary) => binary.restore(&target.id, &target.bundle, &images, &work.path, streams),
        None => {
            let how = criu::Restore {
                criu: plain(&images, &work.path),
                tcp_close: false,
                lsm_profile: None,
                lsm_mount_context: None,
            };
            runtime::restore_here(target, streams, &how)
                .map_err(|error| Failure::of_runtime("restore", &error))
        }
    };
    let mut done = made.map_err(|failure| work.keep("restore.log", target, failure))?;
    done.report.shared_pids = runtime::shares_pids(&target.bundle);
    Ok(Done { logger, ..done })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::proto::Any;

    fn target() -> Target {
        let options = Options { criu_image_path: "/default".to_owned(), ..Options::default() };
        Target { namespace: "n".to_owned(), id: "c".to_owned(), bundle: "/b".into(), options }
    }

    #[test]
    fn the_images_go_where_the_most_particular_wish_says() {
        let request = |path: &str, image_path: &str| {
            let options = CheckpointOptions { image_path: image_path.to_owned(), ..Default::default() };
            let options = Some(Any::new("containerd.runc.v1.CheckpointOptions", &options));
            CheckpointRequest { id: "c".to_owned(), path: path.to_owned(), options }
        };
        let images = |path, image_path| Saving::read(&request(path, image_path), &target()).unwrap().images;
        assert_eq!(images("/path", "/image"), Path::new("/image"));
        assert_eq!(images("/path", ""), Path::new("/path"));
        assert_eq!(images("", ""), Path::new("/default"));
        let nowhere = Target { options: Options::default(), ..target() };
        let refused = Saving::read(&CheckpointRequest::default(), &nowhere).unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument);
    }

    #[test]
    fn wishes_become_the_words_of_the_command_line() {
        let options = CheckpointOptions {
            open_tcp: true,
            cgroups_mode: "full".to_owned(),
            empty_namespaces: vec!["network".to_owned()],
            ..CheckpointOptions::default()
        };
        let saving = Saving { images: "/i".into(), work: None, options };
        assert_eq!(
            saving.flags().join(" "),
            "--leave-running --tcp-established --manage-cgroups-mode full --empty-ns network"
        );
        let criu = saving.criu(Path::new("/w"));
        assert_eq!((criu.tcp_established, criu.manage_cgroups), (true, ManageCgroups::Full));
    }
}
